package client

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Status writes status subresources.
func (c *Client) Status() client.SubResourceWriter { return c.SubResource("status") }

// SubResource reads and writes subresources of that name.
func (c *Client) SubResource(name string) client.SubResourceClient {
	return &subresource{SubResourceClient: c.Client.SubResource(name), client: c, name: name}
}

type subresource struct {
	client.SubResourceClient // the fallback's
	client                   *Client
	name                     string
}

// Get reads the subresource of obj.
func (s *subresource) Get(ctx context.Context, obj client.Object, sub client.Object, opts ...client.SubResourceGetOption) error {
	e, err := s.client.endpoint(obj, s.name)
	if err != nil {
		return err
	}
	getter, ok := storageOf[rest.Getter](e)
	if !ok {
		return s.SubResourceClient.Get(ctx, obj, sub, opts...)
	}
	options := &metav1.GetOptions{}
	if raw := (&client.SubResourceGetOptions{}).ApplyOptions(opts).Raw; raw != nil {
		options = raw
	}
	key := client.ObjectKeyFromObject(obj)
	out, err := s.client.recorded(s.client.request(ctx, e, "get", key), e, nil, nil, func(ctx context.Context) (runtime.Object, error) {
		return getter.Get(ctx, key.Name, options)
	})
	if err != nil {
		return err
	}
	return e.answer(out, sub)
}

// Create creates sub below obj: a binding, an eviction, a token.
func (s *subresource) Create(ctx context.Context, obj client.Object, sub client.Object, opts ...client.SubResourceCreateOption) error {
	e, err := s.client.endpoint(obj, s.name)
	if err != nil {
		return err
	}
	creater, ok := storageOf[rest.NamedCreater](e)
	if !ok {
		return s.SubResourceClient.Create(ctx, obj, sub, opts...)
	}
	key := client.ObjectKeyFromObject(obj)
	sub.SetNamespace(obj.GetNamespace())
	sub.SetName(obj.GetName())
	options := (&client.SubResourceCreateOptions{}).ApplyOptions(opts).AsCreateOptions()
	return s.client.create(ctx, e, key, sub, sub.DeepCopyObject(), options, func(ctx context.Context, in runtime.Object, check rest.ValidateObjectFunc) (runtime.Object, error) {
		return creater.Create(ctx, key.Name, in, check, options)
	})
}

// Update replaces the subresource of obj.
func (s *subresource) Update(ctx context.Context, obj client.Object, opts ...client.SubResourceUpdateOption) error {
	e, err := s.client.endpoint(obj, s.name)
	if err != nil {
		return err
	}
	if _, ok := storageOf[rest.Updater](e); !ok {
		return s.SubResourceClient.Update(ctx, obj, opts...)
	}
	options := (&client.SubResourceUpdateOptions{}).ApplyOptions(opts)
	body := obj
	if options.SubResourceBody != nil {
		body = options.SubResourceBody
		if body.GetName() == "" {
			body.SetName(obj.GetName())
		}
		if body.GetNamespace() == "" {
			body.SetNamespace(obj.GetNamespace())
		}
	}
	return s.client.update(ctx, e, client.ObjectKeyFromObject(obj), body, options.AsUpdateOptions())
}

// Patch patches the subresource of obj.
func (s *subresource) Patch(ctx context.Context, obj client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
	e, err := s.client.endpoint(obj, s.name)
	if err != nil {
		return err
	}
	if !patchable(e, patch) {
		return s.SubResourceClient.Patch(ctx, obj, patch, opts...)
	}
	options := (&client.SubResourcePatchOptions{}).ApplyOptions(opts)
	body := obj
	if options.SubResourceBody != nil {
		body = options.SubResourceBody
	}
	return s.client.patch(ctx, e, client.ObjectKeyFromObject(obj), body, body, patch, options.AsPatchOptions())
}
