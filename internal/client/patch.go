package client

import (
	"context"
	"maps"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// conflicts is how often a patch that names no version is tried again when the
// object changed meanwhile, as the server does for requests.
const conflicts = 5

// Patch applies a merge or strategic merge patch to obj, which then is as it was
// stored.
func (c *Client) Patch(ctx context.Context, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
	e, err := c.endpoint(obj, "")
	if err != nil {
		return err
	}
	if !patchable(e, patch) {
		return c.Client.Patch(ctx, obj, patch, opts...)
	}
	options := (&client.PatchOptions{}).ApplyOptions(opts).AsPatchOptions()
	return c.patch(ctx, e, client.ObjectKeyFromObject(obj), obj, obj, patch, options)
}

func patchable(e *Endpoint, patch client.Patch) bool {
	if _, ok := storageOf[rest.Updater](e); !ok {
		return false
	}
	return patch.Type() == types.MergePatchType || patch.Type() == types.StrategicMergePatchType
}

// patch computes the patch from obj and puts the result into out.
func (c *Client) patch(ctx context.Context, e *Endpoint, key client.ObjectKey, obj client.Object, out runtime.Object, patch client.Patch, options *metav1.PatchOptions) error {
	data, err := patch.Data(obj)
	if err != nil {
		return err
	}
	manager := c.manager(options.FieldManager)
	apply := func(_ context.Context, _, live runtime.Object) (runtime.Object, error) {
		if m, err := meta.Accessor(live); err != nil || m.GetUID() == "" {
			return nil, apierrors.NewNotFound(e.Resource.GroupResource(), key.Name)
		}
		changed, err := e.patched(live, patch.Type(), data)
		if err != nil {
			return nil, err
		}
		return e.Fields.UpdateNoErrors(live, changed, manager), nil
	}
	stored, err := c.recorded(c.request(ctx, e, "patch", key), e, nil, data, func(ctx context.Context) (stored runtime.Object, err error) {
		for range conflicts {
			stored, err = c.change(ctx, e, key, nil, options, options.DryRun, apply)
			if !apierrors.IsConflict(err) {
				break
			}
		}
		return stored, err
	})
	if err != nil {
		return err
	}
	return e.answer(stored, out)
}

// patched returns the live object with the patch applied, in the hub version.
func (e *Endpoint) patched(live runtime.Object, kind types.PatchType, data []byte) (runtime.Object, error) {
	versioned, err := e.Scheme.ConvertToVersion(live, e.Kind.GroupVersion())
	if err != nil {
		return nil, err
	}
	original, err := runtime.DefaultUnstructuredConverter.ToUnstructured(versioned)
	if err != nil {
		return nil, err
	}
	var change map[string]any
	if err := json.Unmarshal(data, &change); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if kind == types.StrategicMergePatchType {
		if original, err = strategicpatch.StrategicMergeMapPatch(original, change, versioned); err != nil {
			return nil, apierrors.NewBadRequest(err.Error())
		}
	} else {
		original = merged(original, change)
	}
	out, err := e.Scheme.New(e.Kind)
	if err != nil {
		return nil, err
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(original, out); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	return e.hub(out)
}

// merged applies a JSON merge patch (RFC 7396).
func merged(original, change map[string]any) map[string]any {
	out := maps.Clone(original)
	if out == nil {
		out = make(map[string]any, len(change))
	}
	for name, value := range change {
		switch v := value.(type) {
		case nil:
			delete(out, name)
		case map[string]any:
			inner, _ := out[name].(map[string]any)
			out[name] = merged(inner, v)
		default:
			out[name] = v
		}
	}
	return out
}
