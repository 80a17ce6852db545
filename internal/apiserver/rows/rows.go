// Package rows turns rows of the resource table into REST storage: the generic
// registry with the row's rules, its status and scale subresources, its table
// columns and its field selectors. It knows no kind by name.
package rows

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	apistorage "k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/warning"
	"k8s.io/client-go/tools/cache"

	"github.com/sinawi/sinawi/internal/apiserver/resources"
	"github.com/sinawi/sinawi/internal/apiserver/stack"
	"github.com/sinawi/sinawi/internal/apiserver/storage"
)

// Served is one row as REST storage.
type Served struct {
	Row    resources.Resource
	Store  *Store
	Status *StatusStore // nil when the row has no status subresource
	Scale  *ScaleStore  // nil when the row has no scale subresource
}

// GroupResource names the resource.
func (s *Served) GroupResource() schema.GroupResource {
	return schema.GroupResource{Group: s.Row.GroupVersion.Group, Resource: s.Row.Plural}
}

// Store is the main resource.
type Store struct {
	*genericregistry.Store
	row resources.Resource
}

// ShortNames and Categories are what discovery tells of the resource.
func (s *Store) ShortNames() []string { return s.row.ShortNames }

// Categories are the groups of kinds that it belongs to, such as "all".
func (s *Store) Categories() []string { return s.row.Categories }

// Key is the place of an object in the store, by which the change feed knows it.
// The namespace of a cluster's objects is empty.
func (s *Store) Key(namespace, name string) string {
	if s.row.ClusterScoped {
		return "/" + s.row.StoragePrefix + "/" + name
	}
	return "/" + s.row.StoragePrefix + "/" + namespace + "/" + name
}

// Create stores a new object.
func (s *Store) Create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	stack.Grow()
	if again := s.row.Strategy.Again; again != nil && again(obj) {
		if m, err := meta.Accessor(obj); err == nil && m.GetName() == "" && m.GetGenerateName() != "" {
			return s.createNamed(ctx, m, obj, validate, options)
		}
	}
	return s.Store.Create(ctx, obj, validate, options)
}

// createNamed stores an object under a name made up here. Upstream's makes one up
// too, but for a copy of the object, so as to try again with what it was given;
// the first name is hardly ever taken.
func (s *Store) createNamed(ctx context.Context, m metav1.Object, obj runtime.Object, validate rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	m.SetName(s.CreateStrategy.GenerateName(m.GetGenerateName()))
	out, err := s.Store.Create(ctx, obj, validate, options)
	if !apierrors.IsAlreadyExists(err) {
		return out, err
	}
	m.SetName("")
	return s.Store.Create(ctx, obj, validate, options)
}

// Update changes an object, or creates it where its kind allows that.
func (s *Store) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc, update rest.ValidateObjectUpdateFunc, force bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	stack.Grow()
	return s.Store.Update(ctx, name, info, create, update, force, options)
}

// Delete deletes an object, gracefully where its kind has that.
func (s *Store) Delete(ctx context.Context, name string, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions) (runtime.Object, bool, error) {
	s.warnOfOrphans(ctx, options)
	return s.Store.Delete(resources.WithGrace(ctx, options), name, validate, options)
}

// DeleteCollection deletes what the list options select.
func (s *Store) DeleteCollection(ctx context.Context, validate rest.ValidateObjectFunc, options *metav1.DeleteOptions, list *internalversion.ListOptions) (runtime.Object, error) {
	s.warnOfOrphans(ctx, options)
	return s.Store.DeleteCollection(resources.WithGrace(ctx, options), validate, options, list)
}

// warnOfOrphans warns who does not say what shall become of dependents.
func (s *Store) warnOfOrphans(ctx context.Context, o *metav1.DeleteOptions) {
	//nolint:staticcheck // clients still send the deprecated field
	if w := s.row.Strategy.OrphanWarning; w != "" && o != nil && o.PropagationPolicy == nil && o.OrphanDependents == nil {
		warning.AddWarning(ctx, "", w)
	}
}

// New returns the REST storage of row on backend. Its watch cache starts to
// fill at once.
func New(row resources.Resource, scheme *runtime.Scheme, backend *storage.Backend) (*Served, error) {
	group := row.GroupVersion.Group
	resource := schema.GroupResource{Group: group, Resource: row.Plural}
	options, err := backend.For(storage.Resource{
		GroupResource: resource,
		Version:       row.GroupVersion,
		KeyPrefix:     row.StoragePrefix,
		NoCache:       row.TTLSeconds != 0,
	})
	if err != nil {
		return nil, err
	}
	main := newStrategy(scheme, row, row.Strategy)
	attrs := attrFunc(row)
	indexes, indexers, indexFields := indexes(row)
	store := &genericregistry.Store{
		NewFunc:                   row.New,
		NewListFunc:               row.NewList,
		DefaultQualifiedResource:  resource,
		SingularQualifiedResource: schema.GroupResource{Group: group, Resource: row.Singular},
		PredicateFunc: func(label labels.Selector, field fields.Selector) apistorage.SelectionPredicate {
			return apistorage.SelectionPredicate{Label: label, Field: field, GetAttrs: attrs, IndexFields: indexFields}
		},
		CreateStrategy:      main,
		UpdateStrategy:      main,
		DeleteStrategy:      main,
		ResetFieldsStrategy: main,
		ReturnDeletedObject: row.ReturnsDeleted,
		TableConvertor:      tableConvertor(row),
	}
	if row.TTLSeconds != 0 {
		store.TTLFunc = func(runtime.Object, uint64, bool) (uint64, error) { return row.TTLSeconds, nil }
	}
	err = store.CompleteWithOptions(&generic.StoreOptions{
		RESTOptions: options, AttrFunc: attrs, TriggerFunc: indexes, Indexers: indexers,
	})
	if err != nil {
		return nil, fmt.Errorf("registry of %s: %w", resource, err)
	}
	served := &Served{Row: row, Store: &Store{Store: store, row: row}}
	if row.Status != nil {
		served.Status = newStatusStore(store, newStrategy(scheme, row, *row.Status))
	}
	if row.Scale != nil {
		served.Scale = &ScaleStore{store: store, scale: *row.Scale, row: row}
	}
	return served, nil
}

// Storage returns what is served below the resource's path, by subresource:
// the resource itself under "".
func (s *Served) Storage() map[string]rest.Storage {
	out := map[string]rest.Storage{"": s.Store}
	if s.Status != nil {
		out["status"] = s.Status
	}
	if s.Scale != nil {
		out["scale"] = s.Scale
	}
	return out
}

// attrFunc returns what selectors see of an object.
func attrFunc(row resources.Resource) apistorage.AttrFunc {
	return func(obj runtime.Object) (labels.Set, fields.Set, error) {
		m, err := meta.Accessor(obj)
		if err != nil {
			return nil, nil, err
		}
		var set fields.Set
		if row.SelectableFields != nil {
			set = row.SelectableFields(obj)
		}
		if set == nil {
			set = make(fields.Set, 2)
		}
		set["metadata.name"] = m.GetName()
		if !row.ClusterScoped {
			set["metadata.namespace"] = m.GetNamespace()
		}
		return m.GetLabels(), set, nil
	}
}

// indexes returns the watch cache's index over the row's indexed field, so
// that a watch that selects one value wakes up for that value alone.
func indexes(row resources.Resource) (apistorage.IndexerFuncs, *cache.Indexers, []string) {
	field, value := row.IndexedField, row.IndexedValue
	if field == "" {
		return nil, nil, nil
	}
	indexers := cache.Indexers{
		apistorage.FieldIndex(field): func(obj any) ([]string, error) {
			o, ok := obj.(runtime.Object)
			if !ok {
				return nil, fmt.Errorf("index %s: unexpected %T", field, obj)
			}
			return []string{value(o)}, nil
		},
	}
	return apistorage.IndexerFuncs{field: value}, &indexers, []string{field}
}
