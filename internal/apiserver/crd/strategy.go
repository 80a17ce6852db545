package crd

import (
	"context"
	"slices"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
)

// creation makes new definitions as upstream does, but with a list of conditions that
// is empty instead of null: `kubectl wait --for=condition=Established` takes null for
// a broken object and fails, if it looks before the first condition is written.
type creation struct{ rest.RESTCreateStrategy }

// PrepareForCreate clears what is not the creator's to say.
func (s creation) PrepareForCreate(ctx context.Context, obj runtime.Object) {
	s.RESTCreateStrategy.PrepareForCreate(ctx, obj)
	if crd, ok := obj.(*apiextensions.CustomResourceDefinition); ok {
		crd.Status.Conditions = []apiextensions.CustomResourceDefinitionCondition{}
	}
}

// Validate checks a new definition.
func (s creation) Validate(ctx context.Context, obj runtime.Object) field.ErrorList {
	obj, errs := selectable(obj)
	return append(errs, s.RESTCreateStrategy.Validate(ctx, obj)...)
}

// change is how definitions change: as upstream's do.
type change struct{ rest.RESTUpdateStrategy }

// ValidateUpdate checks a changed definition.
func (s change) ValidateUpdate(ctx context.Context, obj, old runtime.Object) field.ErrorList {
	obj, errs := selectable(obj)
	return append(errs, s.RESTUpdateStrategy.ValidateUpdate(ctx, obj, old)...)
}

// selectable returns obj without those selectable fields that cannot be looked for,
// since the schema is not structural, and says what is wrong with the schema. Upstream's
// check panics on them: the client would see its connection break.
func selectable(obj runtime.Object) (runtime.Object, field.ErrorList) {
	definition, ok := obj.(*apiextensions.CustomResourceDefinition)
	if !ok || !selects(&definition.Spec) {
		return obj, nil
	}
	var errs field.ErrorList
	clear := func(fields *[]apiextensions.SelectableField, v *apiextensions.CustomResourceValidation, path *field.Path) {
		if len(*fields) == 0 || v == nil {
			return
		}
		schema, err := structuralschema.NewStructural(v.OpenAPIV3Schema)
		if err != nil {
			errs = append(errs, field.Invalid(path.Child("openAPIV3Schema"), "", err.Error()))
		}
		if schema == nil {
			*fields = nil
		}
	}
	checked := definition.DeepCopy()
	path := field.NewPath("spec")
	clear(&checked.Spec.SelectableFields, checked.Spec.Validation, path.Child("schema"))
	for i := range checked.Spec.Versions {
		v := &checked.Spec.Versions[i]
		clear(&v.SelectableFields, v.Schema, path.Child("versions").Index(i).Child("schema"))
	}
	return checked, errs
}

// selects tells whether there are any selectable fields: few definitions have some,
// and the others need no copy.
func selects(s *apiextensions.CustomResourceDefinitionSpec) bool {
	return len(s.SelectableFields) > 0 || slices.ContainsFunc(s.Versions, func(v apiextensions.CustomResourceDefinitionVersion) bool {
		return len(v.SelectableFields) > 0
	})
}
