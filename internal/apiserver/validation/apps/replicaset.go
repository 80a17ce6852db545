package apps

import (
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/rule"
)

// ReplicaSet validates a new ReplicaSet.
func ReplicaSet(s *appsv1.ReplicaSet) field.ErrorList {
	return append(rule.Namespaced(&s.ObjectMeta, rule.Subdomain), replicaSetSpec(&s.Spec, field.NewPath("spec"))...)
}

// ReplicaSetUpdate validates a changed ReplicaSet.
func ReplicaSetUpdate(s, old *appsv1.ReplicaSet) field.ErrorList {
	return rule.All(
		rule.MetaUpdate(&s.ObjectMeta, &old.ObjectMeta),
		replicaSetSpec(&s.Spec, field.NewPath("spec")),
		rule.Immutable(s.Spec.Selector, old.Spec.Selector, field.NewPath("spec", "selector")),
	)
}

// ReplicaSetStatusUpdate validates a changed status.
func ReplicaSetStatusUpdate(s, old *appsv1.ReplicaSet) field.ErrorList {
	path, st := field.NewPath("status"), &s.Status
	return rule.All(
		rule.MetaUpdate(&s.ObjectMeta, &old.ObjectMeta),
		rule.NonNegative(st.Replicas, path.Child("replicas")),
		rule.NonNegative(st.FullyLabeledReplicas, path.Child("fullyLabeledReplicas")),
		rule.NonNegative(st.ReadyReplicas, path.Child("readyReplicas")),
		rule.NonNegative(st.AvailableReplicas, path.Child("availableReplicas")),
		rule.OptionalNonNegative(st.TerminatingReplicas, path.Child("terminatingReplicas")),
		rule.NonNegative(st.ObservedGeneration, path.Child("observedGeneration")),
		rule.NotAbove(st.FullyLabeledReplicas, st.Replicas, "status.replicas", path.Child("fullyLabeledReplicas")),
		rule.NotAbove(st.ReadyReplicas, st.Replicas, "status.replicas", path.Child("readyReplicas")),
		rule.NotAbove(st.AvailableReplicas, st.Replicas, "status.replicas", path.Child("availableReplicas")),
		rule.NotAbove(st.AvailableReplicas, st.ReadyReplicas, "readyReplicas", path.Child("availableReplicas")),
	)
}

func replicaSetSpec(spec *appsv1.ReplicaSetSpec, path *field.Path) field.ErrorList {
	errs := rule.All(
		rule.OptionalNonNegative(spec.Replicas, path.Child("replicas")),
		rule.NonNegative(spec.MinReadySeconds, path.Child("minReadySeconds")),
		rule.RequiredSelector(spec.Selector, "deployment", path.Child("selector")),
	)
	if _, err := metav1.LabelSelectorAsSelector(spec.Selector); err != nil {
		return append(errs, field.Invalid(path.Child("selector"), spec.Selector, "invalid label selector"))
	}
	return append(errs, replicaTemplate(&spec.Template, spec.Selector, "ReplicaSet", path.Child("template"))...)
}
