// Package policy decides whether disruption budgets are valid, in the field
// paths and words that Kubernetes uses. Its functions are pure.
package policy

import (
	policyv1 "k8s.io/api/policy/v1"
	segment "k8s.io/apimachinery/pkg/api/validation/path"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
	"github.com/sinawi/sinawi/internal/apiserver/validation/rule"
)

// PodDisruptionBudget checks a new budget.
func PodDisruptionBudget(p *policyv1.PodDisruptionBudget) field.ErrorList {
	l := check.List{Errors: rule.Namespaced(&p.ObjectMeta, segment.ValidatePathSegmentName)}
	spec(&l, &p.Spec, field.NewPath("spec"))
	return l.Errors
}

// PodDisruptionBudgetUpdate checks a changed budget.
func PodDisruptionBudgetUpdate(p, old *policyv1.PodDisruptionBudget) field.ErrorList {
	l := check.List{Errors: rule.MetaUpdate(&p.ObjectMeta, &old.ObjectMeta)}
	spec(&l, &p.Spec, field.NewPath("spec"))
	return l.Errors
}

func spec(l *check.List, s *policyv1.PodDisruptionBudgetSpec, path *field.Path) {
	if s.MinAvailable != nil && s.MaxUnavailable != nil {
		l.Invalid(path, *s, "minAvailable and maxUnavailable cannot be both set")
	}
	for _, n := range []struct {
		name  string
		value *intstr.IntOrString
	}{{"minAvailable", s.MinAvailable}, {"maxUnavailable", s.MaxUnavailable}} {
		if n.value != nil {
			l.Add(rule.IntOrPercent(*n.value, path.Child(n.name))...)
			l.Add(rule.AtMostAll(*n.value, path.Child(n.name))...)
		}
	}
	l.Add(rule.Selector(s.Selector, path.Child("selector"))...)
	if p := s.UnhealthyPodEvictionPolicy; p != nil {
		check.OneOf(l, path.Child("unhealthyPodEvictionPolicy"), *p, policyv1.AlwaysAllow, policyv1.IfHealthyBudget)
	}
}

// PodDisruptionBudgetStatusUpdate checks a changed status.
func PodDisruptionBudgetStatusUpdate(p, old *policyv1.PodDisruptionBudget) field.ErrorList {
	path, s := field.NewPath("status"), &p.Status
	return rule.All(
		rule.MetaUpdate(&p.ObjectMeta, &old.ObjectMeta),
		metav1validation.ValidateConditions(s.Conditions, path.Child("conditions")),
		rule.NonNegative(s.DisruptionsAllowed, path.Child("disruptionsAllowed")),
		rule.NonNegative(s.CurrentHealthy, path.Child("currentHealthy")),
		rule.NonNegative(s.DesiredHealthy, path.Child("desiredHealthy")),
		rule.NonNegative(s.ExpectedPods, path.Child("expectedPods")),
	)
}
