package rows

import (
	"context"
	"reflect"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage/names"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/sinawi/sinawi/internal/apiserver/resources"
)

// strategy speaks for a row to the generic registry.
type strategy struct {
	runtime.ObjectTyper
	names.NameGenerator
	row   resources.Resource
	rules resources.Strategy
	reset map[fieldpath.APIVersion]*fieldpath.Set
}

// rowStrategy is all that the registry asks of a strategy.
type rowStrategy interface {
	rest.RESTCreateStrategy
	rest.RESTUpdateStrategy
	rest.ResetFieldsStrategy
}

func newStrategy(typer runtime.ObjectTyper, row resources.Resource, rules resources.Strategy) rowStrategy {
	s := &strategy{ObjectTyper: typer, NameGenerator: names.SimpleNameGenerator, row: row, rules: rules, reset: resetFields(row, rules)}
	if rules.GracefulDelete != nil {
		return gracefulStrategy{s}
	}
	return s
}

func resetFields(row resources.Resource, rules resources.Strategy) map[fieldpath.APIVersion]*fieldpath.Set {
	if len(rules.ResetFields) == 0 {
		return nil
	}
	set := fieldpath.NewSet()
	for _, p := range rules.ResetFields {
		parts := make([]any, len(p))
		for i := range p {
			parts[i] = p[i]
		}
		set.Insert(fieldpath.MakePathOrDie(parts...))
	}
	out := map[fieldpath.APIVersion]*fieldpath.Set{}
	for _, gv := range append([]schema.GroupVersion{row.GroupVersion}, row.ServedAs...) {
		out[fieldpath.APIVersion(gv.String())] = set
	}
	return out
}

func (s *strategy) NamespaceScoped() bool { return !s.row.ClusterScoped }

func (s *strategy) PrepareForCreate(ctx context.Context, obj runtime.Object) {
	if s.rules.AutoGeneration {
		if m, err := meta.Accessor(obj); err == nil {
			m.SetGeneration(1)
		}
	}
	if s.rules.PrepareForCreate != nil {
		s.rules.PrepareForCreate(ctx, obj)
	}
}

func (s *strategy) PrepareForUpdate(ctx context.Context, obj, old runtime.Object) {
	if s.rules.PrepareForUpdate != nil {
		s.rules.PrepareForUpdate(ctx, obj, old)
	}
	if s.rules.AutoGeneration && !sameContent(obj, old) {
		m, err := meta.Accessor(obj)
		oldMeta, oldErr := meta.Accessor(old)
		if err == nil && oldErr == nil {
			m.SetGeneration(oldMeta.GetGeneration() + 1)
		}
	}
}

// sameContent compares all but type, metadata and status.
func sameContent(a, b runtime.Object) bool {
	va, vb := reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()
	for i := range va.NumField() {
		switch va.Type().Field(i).Name {
		case "TypeMeta", "ObjectMeta", "Status":
			continue
		}
		if !apiequality.Semantic.DeepEqual(va.Field(i).Interface(), vb.Field(i).Interface()) {
			return false
		}
	}
	return true
}

func (s *strategy) Validate(ctx context.Context, obj runtime.Object) field.ErrorList {
	if s.rules.Validate == nil {
		return nil
	}
	return s.rules.Validate(ctx, obj)
}

func (s *strategy) ValidateUpdate(ctx context.Context, obj, old runtime.Object) field.ErrorList {
	if s.rules.ValidateUpdate == nil {
		return nil
	}
	return s.rules.ValidateUpdate(ctx, obj, old)
}

func (s *strategy) WarningsOnCreate(ctx context.Context, obj runtime.Object) []string {
	if s.rules.Warnings == nil {
		return nil
	}
	return s.rules.Warnings(ctx, obj)
}

func (s *strategy) WarningsOnUpdate(ctx context.Context, obj, old runtime.Object) []string {
	if s.rules.UpdateWarnings == nil {
		return nil
	}
	return s.rules.UpdateWarnings(ctx, obj, old)
}

func (s *strategy) Canonicalize(obj runtime.Object) {
	if s.rules.Canonicalize != nil {
		s.rules.Canonicalize(obj)
	}
}

func (s *strategy) AllowCreateOnUpdate(context.Context) bool { return s.rules.AllowCreateOnUpdate }

func (s *strategy) AllowUnconditionalUpdate(context.Context) bool {
	return s.rules.AllowUnconditionalUpdate
}

func (s *strategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set { return s.reset }

// DefaultGarbageCollectionPolicy says what becomes of dependents when the
// request does not.
func (s *strategy) DefaultGarbageCollectionPolicy(context.Context) rest.GarbageCollectionPolicy {
	switch {
	case s.rules.OrphanDependents:
		return rest.OrphanDependents
	case s.row.TTLSeconds != 0:
		return rest.Unsupported // what expires by itself cannot wait for a finalizer
	}
	return rest.DeleteDependents
}

// gracefulStrategy is for kinds whose deletion takes time. It is a type of its
// own because the registry looks for the method.
type gracefulStrategy struct{ *strategy }

func (s gracefulStrategy) CheckGracefulDelete(ctx context.Context, obj runtime.Object, options *metav1.DeleteOptions) bool {
	return s.rules.GracefulDelete(ctx, obj, options)
}
