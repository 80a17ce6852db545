// Package lookup reads objects for admission straight from the server's own
// watch caches: no admission plugin keeps a second copy of what the server
// already holds, and a read costs microseconds. Objects are shared and must not
// be changed.
//
// Reads may lag behind a write by the time that the change takes from the store
// to the cache; what is not found there is asked of the store itself.
package lookup

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metainternal "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
)

// Storage is what the reads need of a resource's storage.
type Storage interface {
	rest.Getter
	rest.Lister
}

// Shared is a Storage that shows its objects without the work of a list.
type Shared interface {
	// Each calls f with every object, in no order.
	Each(f func(runtime.Object))
	// Peek returns one object, nil when it is not known.
	Peek(namespace, name string) runtime.Object
}

// Source finds the storage of resources. It is asked at the time of a read, for
// storages come into being after admission.
type Source func(schema.GroupResource) (Storage, bool)

func (s Source) storage(resource schema.GroupResource) (Storage, error) {
	if st, ok := s(resource); ok {
		return st, nil
	}
	return nil, fmt.Errorf("read %s: not served", resource)
}

// Get returns one object; one that is missing in the cache is looked up in the
// store before it is called missing.
func Get[T runtime.Object](ctx context.Context, s Source, resource schema.GroupResource, namespace, name string) (T, error) {
	if st, ok := s(resource); ok {
		if all, ok := st.(Shared); ok {
			if obj, ok := all.Peek(namespace, name).(T); ok {
				return obj, nil
			}
		}
	}
	obj, err := get[T](ctx, s, resource, namespace, name, "0")
	if apierrors.IsNotFound(err) {
		return get[T](ctx, s, resource, namespace, name, "")
	}
	return obj, err
}

func get[T runtime.Object](ctx context.Context, s Source, resource schema.GroupResource, namespace, name, version string) (T, error) {
	var none T
	st, err := s.storage(resource)
	if err != nil {
		return none, err
	}
	if len(content.IsPathSegmentName(name)) > 0 {
		return none, apierrors.NewNotFound(resource, name) // nothing can be called so
	}
	obj, err := st.Get(Context(ctx, resource, namespace), name, &metav1.GetOptions{ResourceVersion: version})
	if err != nil {
		return none, err
	}
	typed, ok := obj.(T)
	if !ok {
		return none, fmt.Errorf("read %s: unexpected %T", resource, obj)
	}
	return typed, nil
}

// List returns the objects of a namespace, or all when it is empty, from the
// cache.
func List[T runtime.Object](ctx context.Context, s Source, resource schema.GroupResource, namespace string) ([]T, error) {
	return list[T](ctx, s, resource, namespace, "0")
}

// ListFew is List for kinds of which a whole cluster has few: it looks at each of
// them, at a fraction of what a list costs.
func ListFew[T runtime.Object](ctx context.Context, s Source, resource schema.GroupResource, namespace string) ([]T, error) {
	st, err := s.storage(resource)
	if err != nil {
		return nil, err
	}
	all, ok := st.(Shared)
	if !ok {
		return List[T](ctx, s, resource, namespace)
	}
	var out []T
	all.Each(func(obj runtime.Object) {
		typed, ok := obj.(T)
		if m, named := obj.(metav1.Object); ok && named && (namespace == "" || m.GetNamespace() == namespace) {
			out = append(out, typed)
		}
	})
	return out, nil
}

// ListPresent is List of what is there now, also of what was written a moment ago.
// It costs a question to the store.
func ListPresent[T runtime.Object](ctx context.Context, s Source, resource schema.GroupResource, namespace string) ([]T, error) {
	return list[T](ctx, s, resource, namespace, "")
}

func list[T runtime.Object](ctx context.Context, s Source, resource schema.GroupResource, namespace, version string) ([]T, error) {
	st, err := s.storage(resource)
	if err != nil {
		return nil, err
	}
	found, err := st.List(Context(ctx, resource, namespace), &metainternal.ListOptions{ResourceVersion: version})
	if err != nil {
		return nil, err
	}
	var out []T
	err = meta.EachListItem(found, func(obj runtime.Object) error {
		typed, ok := obj.(T)
		if !ok {
			return fmt.Errorf("read %s: unexpected %T", resource, obj)
		}
		out = append(out, typed)
		return nil
	})
	return out, err
}

// Context is ctx for a read of another resource than the request is about:
// storages name in their errors what the request says it wants.
func Context(ctx context.Context, resource schema.GroupResource, namespace string) context.Context {
	ctx = request.WithRequestInfo(ctx, &request.RequestInfo{
		IsResourceRequest: true, APIGroup: resource.Group, Resource: resource.Resource, Namespace: namespace,
	})
	return request.WithNamespace(ctx, namespace)
}

// Core names a resource of the group without a name.
func Core(resource string) schema.GroupResource { return schema.GroupResource{Resource: resource} }
