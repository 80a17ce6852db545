package resources

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/gated"
	"github.com/sinawi/sinawi/internal/apiserver/warnings"
)

// The adapters below let a row name functions on its concrete type.

func onCreate[T runtime.Object](f func(obj T)) func(context.Context, runtime.Object) {
	return func(_ context.Context, obj runtime.Object) { f(obj.(T)) }
}

func onUpdate[T runtime.Object](f func(obj, old T)) func(context.Context, runtime.Object, runtime.Object) {
	return func(_ context.Context, obj, old runtime.Object) { f(obj.(T), old.(T)) }
}

// checked returns s with its validators; a subresource has none for creation.
func checked[T runtime.Object](s Strategy, create func(obj T) field.ErrorList, update func(obj, old T) field.ErrorList) Strategy {
	s.Validate = nil
	if create != nil {
		s.Validate = func(_ context.Context, obj runtime.Object) field.ErrorList { return create(obj.(T)) }
	}
	s.ValidateUpdate = func(_ context.Context, obj, old runtime.Object) field.ErrorList { return update(obj.(T), old.(T)) }
	return s
}

// checkedUpdate is checked for the rules of a subresource.
func checkedUpdate[T runtime.Object](s *Strategy, update func(obj, old T) field.ErrorList) *Strategy {
	c := checked(*s, nil, update)
	return &c
}

func onWarn[T runtime.Object](f func(obj T) []string) func(context.Context, runtime.Object) []string {
	return func(_ context.Context, obj runtime.Object) []string { return f(obj.(T)) }
}

// warned returns s with warnings on creation and on every update.
func warned[T runtime.Object](s Strategy, f func(obj T) []string) Strategy {
	s.Warnings = onWarn(f)
	s.UpdateWarnings = func(_ context.Context, obj, _ runtime.Object) []string { return f(obj.(T)) }
	return s
}

// warnedOnChange returns s with warnings on creation, and on updates that
// change what is wanted: a controller's own writes are nobody's to hear of.
func warnedOnChange[T interface {
	runtime.Object
	metav1.Object
}](s Strategy, f func(obj T) []string) Strategy {
	s.Warnings = onWarn(f)
	s.UpdateWarnings = func(_ context.Context, obj, old runtime.Object) []string {
		if obj.(T).GetGeneration() == old.(T).GetGeneration() {
			return nil
		}
		return f(obj.(T))
	}
	return s
}

// named returns s with a warning, on creation, of a name that makes bad names
// for pods.
func named[T interface {
	runtime.Object
	metav1.Object
}](s Strategy) Strategy {
	more := s.Warnings
	s.Warnings = func(ctx context.Context, obj runtime.Object) []string {
		return append(warnings.PodName(obj.(T).GetName()), more(ctx, obj)...)
	}
	return s
}

// ofTemplate warns of the pods that a workload makes.
func ofTemplate[T runtime.Object](template func(obj T) *corev1.PodTemplateSpec) func(obj T) []string {
	return func(obj T) []string { return warnings.Template(template(obj), field.NewPath("spec", "template")) }
}

func selectable[T runtime.Object](f func(obj T) fields.Set) func(runtime.Object) fields.Set {
	return func(obj runtime.Object) fields.Set { return f(obj.(T)) }
}

// resetStatus and resetSpec are what the main resource and its status
// subresource do not own.
func resetStatus() [][]string { return [][]string{{"status"}} }
func resetSpec() [][]string   { return [][]string{{"spec"}} }

// bumpGeneration raises the generation of obj when its content differs from
// old's; for kinds whose rule is other than AutoGeneration's.
func bumpGeneration(obj, old metav1.Object, content, oldContent any) {
	if !apiequality.Semantic.DeepEqual(content, oldContent) {
		obj.SetGeneration(old.GetGeneration() + 1)
	}
}

// mainStrategy is that of a kind whose status is written by a subresource
// alone: a create starts with an empty status, an update keeps the old one.
func mainStrategy[T runtime.Object, S any](status func(obj T) *S) Strategy {
	return Strategy{
		PrepareForCreate: onCreate(func(obj T) {
			var none S
			*status(obj) = none
		}),
		PrepareForUpdate:         onUpdate(func(obj, old T) { *status(obj) = *status(old) }),
		AllowUnconditionalUpdate: true,
		AutoGeneration:           true,
		ResetFields:              resetStatus(),
	}
}

// statusStrategy is that of a status subresource: the spec stays as it is.
func statusStrategy[T runtime.Object, S any](spec func(obj T) *S) *Strategy {
	return &Strategy{
		PrepareForUpdate:         onUpdate(func(obj, old T) { *spec(obj) = *spec(old) }),
		AllowUnconditionalUpdate: true,
		ResetFields:              resetSpec(),
	}
}

// templated returns s for a kind that pods are made from: what its template says
// of features that are not switched on is forgotten.
func templated[T runtime.Object](s Strategy, template func(obj T) *corev1.PodTemplateSpec) Strategy {
	create, update := s.PrepareForCreate, s.PrepareForUpdate
	s.PrepareForCreate = func(ctx context.Context, obj runtime.Object) {
		if t := template(obj.(T)); t != nil {
			gated.Template(t, nil)
		}
		if create != nil {
			create(ctx, obj)
		}
	}
	s.PrepareForUpdate = func(ctx context.Context, obj, old runtime.Object) {
		if t := template(obj.(T)); t != nil {
			gated.Template(t, template(old.(T)))
		}
		if update != nil {
			update(ctx, obj, old)
		}
	}
	return s
}

// keepMeta replaces the metadata of obj with old's, for status subresources
// that own none of it. Managed fields were already written for this update.
func keepMeta(obj, old *metav1.ObjectMeta) {
	managed := obj.ManagedFields
	*obj = *old
	obj.ManagedFields = managed
}
