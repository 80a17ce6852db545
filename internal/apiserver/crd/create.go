package crd

import (
	"context"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	"k8s.io/apimachinery/pkg/runtime"
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
