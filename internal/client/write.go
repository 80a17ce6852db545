package client

import (
	"context"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/util/dryrun"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/client/given"
)

// Create creates obj, which then is as it was stored.
func (c *Client) Create(ctx context.Context, obj client.Object, opts ...client.CreateOption) error {
	e, err := c.endpoint(obj, "")
	if err != nil {
		return err
	}
	creater, ok := storageOf[rest.Creater](e)
	if !ok {
		return c.Client.Create(ctx, obj, opts...)
	}
	options := (&client.CreateOptions{}).ApplyOptions(opts).AsCreateOptions()
	key := client.ObjectKeyFromObject(obj)
	in := runtime.Object(obj)
	if e.Audit != nil || !slices.Contains(opts, client.CreateOption(given.Away{})) { // what was sent is recorded as it was
		in = obj.DeepCopyObject()
	}
	return c.create(ctx, e, key, obj, in, options, func(ctx context.Context, in runtime.Object, check rest.ValidateObjectFunc) (runtime.Object, error) {
		return creater.Create(ctx, in, check, options)
	})
}

// create is what the server's handler does with a decoded object: in, which is its own.
func (c *Client) create(ctx context.Context, e *Endpoint, key client.ObjectKey, obj, in runtime.Object, options *metav1.CreateOptions,
	store func(context.Context, runtime.Object, rest.ValidateObjectFunc) (runtime.Object, error)) error {
	in, err := e.hub(in)
	if err != nil {
		return err
	}
	out, err := c.recorded(c.request(ctx, e, "create", key), e, obj, nil, func(ctx context.Context) (runtime.Object, error) {
		return c.admitted(ctx, e, key, in, options, store)
	})
	if err != nil {
		return err
	}
	return e.answer(out, obj)
}

// admitted creates what passes admission.
func (c *Client) admitted(ctx context.Context, e *Endpoint, key client.ObjectKey, in runtime.Object, options *metav1.CreateOptions,
	store func(context.Context, runtime.Object, rest.ValidateObjectFunc) (runtime.Object, error)) (runtime.Object, error) {
	if err := e.checkMeta(in, key, e.Storage); err != nil {
		return nil, err
	}
	withoutDoubleOwners(in)
	if e.Subresource == "" { // what is created below an object is never stored
		var err error
		if in, err = c.fields.created(e, in, c.manager(options.FieldManager)); err != nil {
			return nil, err
		}
	}
	namespace := c.admissionNamespace(e, key)
	attributes := admission.NewAttributesRecord(in, nil, e.Kind, namespace, key.Name, e.Resource, e.Subresource,
		admission.Create, options, dryrun.IsDryRun(options.DryRun), c.opts.User)
	gate := e.gate()
	if mutating, ok := gate.(admission.MutationInterface); ok && mutating.Handles(admission.Create) {
		if err := mutating.Admit(ctx, attributes, e.Objects); err != nil {
			return nil, err
		}
		withoutDoubleOwners(in)
	}
	return store(ctx, in, rest.AdmissionToValidateObjectFunc(gate, attributes, e.Objects))
}

// checkMeta is what the server asks of the metadata of what is created.
func (e *Endpoint) checkMeta(in runtime.Object, key client.ObjectKey, storage rest.Storage) error {
	m, err := meta.Accessor(in)
	if err != nil {
		return nil // an object without metadata
	}
	keep := false
	if p, ok := storage.(rest.SubresourceObjectMetaPreserver); ok && e.Subresource != "" {
		keep = p.PreserveRequestObjectMetaSystemFieldsOnSubresourceCreate()
	}
	if !keep {
		rest.WipeObjectMetaSystemFields(m)
	}
	return rest.EnsureObjectNamespaceMatchesRequestNamespace(rest.ExpectedNamespaceForResource(e.namespace(key), e.Resource), m)
}

func (e *Endpoint) namespace(key client.ObjectKey) string {
	if !e.Namespaced {
		return ""
	}
	return key.Namespace
}

// admissionNamespace is the namespace that admission sees: that of a Namespace
// is itself.
func (c *Client) admissionNamespace(e *Endpoint, key client.ObjectKey) string {
	if e.Resource == (schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}) {
		return key.Name
	}
	return e.namespace(key)
}

// gate is the endpoint's admission as the handlers wrap it.
func (e *Endpoint) gate() admission.Interface {
	if e.Admission == nil {
		return nil
	}
	return gate{admission.WithAudit(e.Admission).(plugins)}
}

func (c *Client) manager(asked string) string {
	if asked != "" {
		return asked
	}
	return c.opts.Manager
}

// Update replaces obj, which then is as it was stored.
func (c *Client) Update(ctx context.Context, obj client.Object, opts ...client.UpdateOption) error {
	e, err := c.endpoint(obj, "")
	if err != nil {
		return err
	}
	if _, ok := storageOf[rest.Updater](e); !ok {
		return c.Client.Update(ctx, obj, opts...)
	}
	options := (&client.UpdateOptions{}).ApplyOptions(opts).AsUpdateOptions()
	return c.update(ctx, e, client.ObjectKeyFromObject(obj), obj, options)
}

func (c *Client) update(ctx context.Context, e *Endpoint, key client.ObjectKey, obj runtime.Object, options *metav1.UpdateOptions) error {
	in, err := e.hub(obj.DeepCopyObject())
	if err != nil {
		return err
	}
	if m, err := meta.Accessor(in); err == nil {
		if err := rest.EnsureObjectNamespaceMatchesRequestNamespace(rest.ExpectedNamespaceForResource(e.namespace(key), e.Resource), m); err != nil {
			return err
		}
	}
	withoutDoubleOwners(in)
	manager := c.manager(options.FieldManager)
	own := func(_ context.Context, changed, live runtime.Object) (runtime.Object, error) {
		return e.Fields.UpdateNoErrors(live, changed, manager), nil
	}
	out, err := c.recorded(c.request(ctx, e, "update", key), e, obj, nil, func(ctx context.Context) (runtime.Object, error) {
		return c.change(ctx, e, key, in, options, options.DryRun, own)
	})
	if err != nil {
		return err
	}
	return e.answer(out, obj)
}

// change updates an object through admission, as the request of ctx. first makes
// the new object of the live one and in, which may be nil.
func (c *Client) change(ctx context.Context, e *Endpoint, key client.ObjectKey, in runtime.Object, options runtime.Object, dryRun []string, first rest.TransformFunc) (runtime.Object, error) {
	updater := e.Storage.(rest.Updater)
	gate := e.gate()
	attributes := func(changed, live runtime.Object, op admission.Operation, options runtime.Object) admission.Attributes {
		return admission.NewAttributesRecord(changed, live, e.Kind, c.admissionNamespace(e, key), key.Name, e.Resource, e.Subresource,
			op, options, dryrun.IsDryRun(dryRun), c.opts.User)
	}
	createOptions := &metav1.CreateOptions{DryRun: dryRun}
	steps := []rest.TransformFunc{first}
	if mutating, ok := gate.(admission.MutationInterface); ok {
		steps = append(steps, func(ctx context.Context, changed, live runtime.Object) (runtime.Object, error) {
			a := attributes(changed, live, admission.Update, options)
			if m, err := meta.Accessor(live); err != nil || m.GetUID() == "" {
				a = attributes(changed, nil, admission.Create, createOptions)
			}
			if !mutating.Handles(a.GetOperation()) {
				return changed, nil
			}
			err := mutating.Admit(ctx, a, e.Objects)
			withoutDoubleOwners(changed)
			return changed, err
		})
	}
	out, _, err := updater.Update(ctx, key.Name, rest.DefaultUpdatedObjectInfo(in, steps...),
		rest.AdmissionToValidateObjectFunc(gate, attributes(nil, nil, admission.Create, createOptions), e.Objects),
		rest.AdmissionToValidateObjectUpdateFunc(gate, attributes(nil, nil, admission.Update, options), e.Objects),
		false, updateOptions(options))
	return out, err
}

// updateOptions are those that the registry takes, for a patch too.
func updateOptions(options runtime.Object) *metav1.UpdateOptions {
	switch o := options.(type) {
	case *metav1.UpdateOptions:
		return o
	case *metav1.PatchOptions:
		return &metav1.UpdateOptions{DryRun: o.DryRun, FieldManager: o.FieldManager, FieldValidation: o.FieldValidation}
	}
	return &metav1.UpdateOptions{}
}

// Delete deletes obj.
func (c *Client) Delete(ctx context.Context, obj client.Object, opts ...client.DeleteOption) error {
	e, err := c.endpoint(obj, "")
	if err != nil {
		return err
	}
	deleter, ok := storageOf[rest.GracefulDeleter](e)
	if !ok {
		return c.Client.Delete(ctx, obj, opts...)
	}
	options := (&client.DeleteOptions{}).ApplyOptions(opts).AsDeleteOptions()
	key := client.ObjectKeyFromObject(obj)
	_, err = c.recorded(c.request(ctx, e, "delete", key), e, options, nil, func(ctx context.Context) (runtime.Object, error) {
		out, _, err := deleter.Delete(ctx, key.Name, c.mayDelete(e, key, options), options)
		return out, err
	})
	return err
}

func (c *Client) mayDelete(e *Endpoint, key client.ObjectKey, options *metav1.DeleteOptions) rest.ValidateObjectFunc {
	var gate admission.Interface
	if e.Admission != nil {
		gate = admission.WithAudit(e.Admission)
	}
	attributes := admission.NewAttributesRecord(nil, nil, e.Kind, c.admissionNamespace(e, key), key.Name, e.Resource, e.Subresource,
		admission.Delete, options, dryrun.IsDryRun(options.DryRun), c.opts.User)
	return rest.AdmissionToValidateObjectDeleteFunc(gate, attributes, e.Objects)
}

// DeleteAllOf deletes the objects of obj's kind that the options select.
func (c *Client) DeleteAllOf(ctx context.Context, obj client.Object, opts ...client.DeleteAllOfOption) error {
	e, err := c.endpoint(obj, "")
	if err != nil {
		return err
	}
	deleter, ok := storageOf[rest.CollectionDeleter](e)
	if !ok {
		return c.Client.DeleteAllOf(ctx, obj, opts...)
	}
	options := (&client.DeleteAllOfOptions{}).ApplyOptions(opts)
	key := client.ObjectKey{Namespace: options.Namespace}
	how := options.AsDeleteOptions()
	_, err = c.recorded(c.request(ctx, e, "deletecollection", key), e, how, nil, func(ctx context.Context) (runtime.Object, error) {
		return deleter.DeleteCollection(ctx, c.mayDelete(e, key, how), how, listOptions(&options.ListOptions))
	})
	return err
}

// withoutDoubleOwners drops owner references that are there twice.
func withoutDoubleOwners(obj runtime.Object) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return
	}
	refs := m.GetOwnerReferences()
	if len(refs) < 2 {
		return
	}
	var once []metav1.OwnerReference
	for _, ref := range refs {
		if !slices.ContainsFunc(once, func(r metav1.OwnerReference) bool { return equality.Semantic.DeepEqual(r, ref) }) {
			once = append(once, ref)
		}
	}
	if len(once) < len(refs) {
		m.SetOwnerReferences(once)
	}
}
