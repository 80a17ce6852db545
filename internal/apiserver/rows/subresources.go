package rows

import (
	"context"
	"fmt"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/sinawi/sinawi/internal/apiserver/resources"
	"github.com/sinawi/sinawi/internal/apiserver/stack"
)

// StatusStore is the status subresource: the same objects under other rules.
type StatusStore struct{ store *genericregistry.Store }

func newStatusStore(main *genericregistry.Store, s rowStrategy) *StatusStore {
	status := *main
	status.UpdateStrategy = s
	status.ResetFieldsStrategy = s
	return &StatusStore{store: &status}
}

// New returns an empty object.
func (s *StatusStore) New() runtime.Object { return s.store.New() }

// Destroy does nothing: the main resource owns the storage.
func (s *StatusStore) Destroy() {}

// Get reads the object.
func (s *StatusStore) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	return s.store.Get(ctx, name, options)
}

// Update writes the status; it never creates.
func (s *StatusStore) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc, update rest.ValidateObjectUpdateFunc, _ bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	stack.Grow()
	return s.store.Update(ctx, name, info, create, update, false, options)
}

// GetResetFields are the fields that status writers do not own.
func (s *StatusStore) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return s.store.GetResetFields()
}

// ConvertToTable shows the object as the main resource does.
func (s *StatusStore) ConvertToTable(ctx context.Context, obj, options runtime.Object) (*metav1.Table, error) {
	return s.store.ConvertToTable(ctx, obj, options)
}

// ScaleStore is the scale subresource: a view of an object as autoscaling/v1
// Scale.
type ScaleStore struct {
	store *genericregistry.Store
	scale resources.Scale
	row   resources.Resource
}

// GroupVersionKind is the same for all kinds that can be scaled.
func (s *ScaleStore) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return autoscalingv1.SchemeGroupVersion.WithKind("Scale")
}

// New returns an empty scale.
func (s *ScaleStore) New() runtime.Object { return &autoscalingv1.Scale{} }

// Destroy does nothing: the main resource owns the storage.
func (s *ScaleStore) Destroy() {}

// Get reads the scale of an object.
func (s *ScaleStore) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	obj, err := s.store.Get(ctx, name, options)
	if err != nil {
		return nil, err
	}
	return s.view(obj)
}

// view shows obj as a scale.
func (s *ScaleStore) view(obj runtime.Object) (*autoscalingv1.Scale, error) {
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	return &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{
			Name:              m.GetName(),
			Namespace:         m.GetNamespace(),
			UID:               m.GetUID(),
			ResourceVersion:   m.GetResourceVersion(),
			CreationTimestamp: m.GetCreationTimestamp(),
		},
		Spec:   autoscalingv1.ScaleSpec{Replicas: s.scale.Replicas(obj)},
		Status: autoscalingv1.ScaleStatus{Replicas: s.scale.Status(obj), Selector: s.scale.Selector(obj)},
	}, nil
}

// Update sets the number of replicas.
func (s *ScaleStore) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc, update rest.ValidateObjectUpdateFunc, _ bool, options *metav1.UpdateOptions) (runtime.Object, bool, error) {
	obj, _, err := s.store.Update(ctx, name, &scaledObject{scales: s, name: name, info: info},
		asScaleValidation(s, create), asScaleUpdateValidation(s, update), false, options)
	if err != nil {
		return nil, false, err
	}
	scale, err := s.view(obj)
	return scale, false, err
}

func asScaleValidation(s *ScaleStore, f rest.ValidateObjectFunc) rest.ValidateObjectFunc {
	return func(ctx context.Context, obj runtime.Object) error {
		scale, err := s.view(obj)
		if err != nil || f == nil {
			return err
		}
		return f(ctx, scale)
	}
}

func asScaleUpdateValidation(s *ScaleStore, f rest.ValidateObjectUpdateFunc) rest.ValidateObjectUpdateFunc {
	return func(ctx context.Context, obj, old runtime.Object) error {
		scale, err := s.view(obj)
		if err != nil || f == nil {
			return err
		}
		oldScale, err := s.view(old)
		if err != nil {
			return err
		}
		return f(ctx, scale, oldScale)
	}
}

// scaledObject applies a change of a scale to the object behind it.
type scaledObject struct {
	scales *ScaleStore
	name   string
	info   rest.UpdatedObjectInfo
}

// Preconditions are those of the scale's change.
func (o *scaledObject) Preconditions() *metav1.Preconditions { return o.info.Preconditions() }

// UpdatedObject returns old with the new number of replicas.
func (o *scaledObject) UpdatedObject(ctx context.Context, old runtime.Object) (runtime.Object, error) {
	obj := old.DeepCopyObject()
	m, err := meta.Accessor(obj)
	if err != nil {
		return nil, err
	}
	oldScale, err := o.scales.view(old)
	if err != nil {
		return nil, err
	}
	fields, err := o.managedFields(m)
	if err != nil {
		return nil, err
	}
	if oldScale.ManagedFields, err = fields.ToSubresource(); err != nil {
		return nil, err
	}
	updated, err := o.info.UpdatedObject(ctx, oldScale)
	if err != nil {
		return nil, err
	}
	scale, ok := updated.(*autoscalingv1.Scale)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("expected a Scale, got %T", updated))
	}
	if err := validateScale(scale, oldScale); err != nil {
		return nil, err
	}
	if len(scale.ResourceVersion) != 0 {
		m.SetResourceVersion(scale.ResourceVersion)
	}
	if len(scale.UID) != 0 && scale.UID != m.GetUID() {
		resource := schema.GroupResource{Group: o.scales.row.GroupVersion.Group, Resource: o.scales.row.Plural + "/scale"}
		return nil, apierrors.NewConflict(resource, o.name,
			//lint:ignore ST1005 clients of Kubernetes read it so
			fmt.Errorf("Precondition failed: UID in precondition: %v, UID in object meta: %v", scale.UID, m.GetUID()))
	}
	o.scales.scale.SetReplicas(obj, scale.Spec.Replicas)
	entries, err := fields.ToParent(scale.ManagedFields)
	if err != nil {
		return nil, err
	}
	m.SetManagedFields(entries)
	return obj, nil
}

// managedFields translates ownership of replicas between object and scale.
func (o *scaledObject) managedFields(m metav1.Object) (*managedfields.ScaleHandler, error) {
	mappings := managedfields.ResourcePathMappings{}
	for _, gv := range append([]schema.GroupVersion{o.scales.row.GroupVersion}, o.scales.row.ServedAs...) {
		mappings[gv.String()] = fieldpath.MakePathOrDie("spec", "replicas")
	}
	return managedfields.NewScaleHandler(m.GetManagedFields(), o.scales.row.GroupVersion, mappings), nil
}

func validateScale(scale, old *autoscalingv1.Scale) error {
	var errs field.ErrorList
	if scale.Name != old.Name {
		errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), scale.Name, "field is immutable"))
	}
	if scale.Spec.Replicas < 0 {
		errs = append(errs, field.Invalid(field.NewPath("spec", "replicas"), scale.Spec.Replicas, "must be greater than or equal to 0"))
	}
	if len(errs) == 0 {
		return nil
	}
	return apierrors.NewInvalid(schema.GroupKind{Group: "autoscaling", Kind: "Scale"}, scale.Name, errs)
}

// ConvertToTable shows a scale.
func (s *ScaleStore) ConvertToTable(ctx context.Context, obj, options runtime.Object) (*metav1.Table, error) {
	return scaleTable().ConvertToTable(ctx, obj, options)
}
