package storagemigration

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	svmv1 "k8s.io/api/storagemigration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
)

// manager is who the writes are by.
const manager = "storage-version-migrator-controller"

// page is how many objects are read at once.
const page = 500

// migrate touches all objects that are no younger than the migration.
func (c *Controller) migrate(ctx context.Context, m *svmv1.StorageVersionMigration) (time.Duration, error) {
	resource, pause, err := c.await(ctx, m, "migration encountered unhandled error: unable to obtain GVR from discovery")
	if err != nil || resource.Empty() {
		return pause, err
	}
	kind, err := c.mapper.KindFor(resource)
	if err != nil {
		return 0, c.tell(ctx, m, failed("migration encountered unhandled error: "+err.Error()))
	}
	old, all, err := c.old(ctx, resource, m.Status.ResourceVersion)
	if err != nil {
		return 0, err
	}
	p := progress{left: len(old), all: all}
	for i := range old {
		err := c.touch(ctx, resource, kind, &old[i])
		switch {
		case err == nil:
			p.left--
		case passing(err):
			if told := c.tell(ctx, m, running(p.words(err))); told != nil {
				return 0, told
			}
			return 0, err
		default:
			return 0, c.tell(ctx, m, running(p.words(nil)),
				failed(fmt.Sprintf("%d/%d not yet migrated. migration encountered unhandled error: %s", p.left, p.all, err)))
		}
	}
	return 0, c.tell(ctx, m, running(p.words(nil)), succeeded())
}

// old are the objects that are no younger than a revision, of how many.
func (c *Controller) old(ctx context.Context, r schema.GroupVersionResource, revision string) (out []metav1.PartialObjectMetadata, all int, err error) {
	opts := metav1.ListOptions{Limit: page}
	for {
		list, err := c.metadata.Resource(r).List(ctx, opts)
		if err != nil {
			return nil, 0, fmt.Errorf("list %s: %w", r.String(), err)
		}
		all += len(list.Items)
		for i := range list.Items {
			order, err := resourceversion.CompareResourceVersion(list.Items[i].ResourceVersion, revision)
			if err != nil {
				return nil, 0, fmt.Errorf("compare revisions of %s: %w", r.String(), err)
			}
			if order <= 0 {
				out = append(out, list.Items[i])
			}
		}
		if opts.Continue = list.Continue; opts.Continue == "" {
			return out, all, nil
		}
	}
}

// touch has one object written, unless it is gone or has been written since.
func (c *Controller) touch(ctx context.Context, r schema.GroupVersionResource, kind schema.GroupVersionKind, obj *metav1.PartialObjectMetadata) error {
	version, name := kind.ToAPIVersionAndKind()
	data, err := json.Marshal(map[string]any{
		"apiVersion": version, "kind": name, "metadata": map[string]any{"resourceVersion": obj.ResourceVersion},
	})
	if err != nil {
		return err
	}
	_, err = c.metadata.Resource(r).Namespace(obj.Namespace).Patch(ctx, obj.Name, types.MergePatchType, data, metav1.PatchOptions{FieldManager: manager})
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
