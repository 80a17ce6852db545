package client

import (
	"context"
	"fmt"
	"reflect"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// Options says on whose behalf a Client works.
type Options struct {
	// User is who writes; admission and policies see it.
	User user.Info
	// Manager is the field manager of writes that name none.
	Manager string
}

// Client is a client.Client over the API server of this process.
type Client struct {
	// Client answers for kinds that are not the server's own, and for scheme
	// and mapper.
	client.Client
	server    Server
	opts      Options
	endpoints *endpoints
	fields    *fieldMemory
}

// New returns a client over server; fallback takes what server has no endpoint
// for.
func New(server Server, fallback client.Client, opts Options) *Client {
	return &Client{Client: fallback, server: server, opts: opts, endpoints: &endpoints{server: server}, fields: newFieldMemory()}
}

// As returns the same client in another name.
func (c *Client) As(opts Options) *Client {
	other := *c
	other.opts = opts
	return &other
}

// endpoints remembers what the server answered.
type endpoints struct {
	server Server
	known  sync.Map // endpointKey → *Endpoint, nil included
}

type endpointKey struct {
	kind        schema.GroupVersionKind
	subresource string
}

func (e *endpoints) get(kind schema.GroupVersionKind, subresource string) (*Endpoint, error) {
	key := endpointKey{kind, subresource}
	if found, ok := e.known.Load(key); ok {
		return found.(*Endpoint), nil
	}
	found, err := e.server.Endpoint(kind, subresource)
	if err != nil {
		return nil, fmt.Errorf("find %s of %s: %w", subresource, kind, err)
	}
	e.known.Store(key, found)
	return found, nil
}

// endpoint returns what serves obj, nil when the fallback does.
func (c *Client) endpoint(obj runtime.Object, subresource string) (*Endpoint, error) {
	if !typed(obj) {
		return nil, nil
	}
	kind, err := apiutil.GVKForObject(obj, c.Scheme())
	if err != nil {
		return nil, err
	}
	return c.endpoints.get(kind, subresource)
}

// typed reports whether obj is of a Go type of its own.
func typed(obj runtime.Object) bool {
	switch obj.(type) {
	case runtime.Unstructured, *metav1.PartialObjectMetadata, *metav1.PartialObjectMetadataList, *unstructured.UnstructuredList:
		return false
	}
	return true
}

// Get reads from the store.
func (c *Client) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	e, err := c.endpoint(obj, "")
	if err != nil {
		return err
	}
	getter, ok := storageOf[rest.Getter](e)
	if !ok {
		return c.Client.Get(ctx, key, obj, opts...)
	}
	options := (&client.GetOptions{}).ApplyOptions(opts).AsGetOptions()
	out, err := c.recorded(c.request(ctx, e, "get", key), e, nil, nil, func(ctx context.Context) (runtime.Object, error) {
		return getter.Get(ctx, key.Name, options)
	})
	if err != nil {
		return err
	}
	return e.answer(out, obj)
}

// List reads from the watch cache, as fresh as the store.
func (c *Client) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	e, err := c.listed(list)
	if err != nil {
		return err
	}
	lister, ok := storageOf[rest.Lister](e)
	if !ok {
		return c.Client.List(ctx, list, opts...)
	}
	options := (&client.ListOptions{}).ApplyOptions(opts)
	key := client.ObjectKey{Namespace: options.Namespace}
	out, err := c.recorded(c.request(ctx, e, "list", key), e, nil, nil, func(ctx context.Context) (runtime.Object, error) {
		return lister.List(ctx, listOptions(options))
	})
	if err != nil {
		return err
	}
	// The items are those of the watch cache.
	return e.answer(out.DeepCopyObject(), list)
}

// listed is the endpoint of a list's items.
func (c *Client) listed(list client.ObjectList) (*Endpoint, error) {
	if !typed(list) {
		return nil, nil
	}
	kind, err := itemKind(list, c.Scheme())
	if err != nil {
		return nil, err
	}
	return c.endpoints.get(kind, "")
}

func listOptions(o *client.ListOptions) *internalversion.ListOptions {
	out := &internalversion.ListOptions{LabelSelector: o.LabelSelector, FieldSelector: o.FieldSelector, Limit: o.Limit, Continue: o.Continue}
	if raw := o.Raw; raw != nil {
		out.ResourceVersion, out.ResourceVersionMatch, out.TimeoutSeconds = raw.ResourceVersion, raw.ResourceVersionMatch, raw.TimeoutSeconds
	}
	return out
}

// storageOf is the endpoint's storage if it can do what is asked.
func storageOf[T any](e *Endpoint) (storage T, ok bool) {
	if e == nil {
		return storage, false
	}
	storage, ok = e.Storage.(T)
	return storage, ok
}

// hub returns in, which is the server's own, in the version that the server works
// with, all defaults filled in.
func (e *Endpoint) hub(in runtime.Object) (runtime.Object, error) {
	e.Scheme.Default(in)
	if reflect.TypeOf(in) == e.stored() {
		in.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
		return in, nil
	}
	out, err := e.Scheme.UnsafeConvertToVersion(in, e.Hub)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	return out, nil
}

// stored is the type that the registry works with.
func (e *Endpoint) stored() reflect.Type {
	e.typeOnce.Do(func() { e.storedType = reflect.TypeOf(e.Storage.New()) })
	return e.storedType
}

// answer puts what the registry returned into the caller's object.
func (e *Endpoint) answer(from runtime.Object, to runtime.Object) error {
	source, target := reflect.ValueOf(from), reflect.ValueOf(to)
	if source.Type() != target.Type() {
		if _, status := from.(*metav1.Status); status {
			return nil // done, and nothing to tell
		}
		converted, err := e.Scheme.UnsafeConvertToVersion(from, e.Kind.GroupVersion())
		if err != nil {
			return fmt.Errorf("convert %T: %w", from, err)
		}
		if source = reflect.ValueOf(converted); source.Type() != target.Type() {
			return fmt.Errorf("the server returned %T, not %T", from, to)
		}
	}
	target.Elem().Set(source.Elem())
	to.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	return nil
}
