package apps

import (
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/rule"
)

// DaemonSet validates a new DaemonSet.
func DaemonSet(d *appsv1.DaemonSet) field.ErrorList {
	return append(rule.Namespaced(&d.ObjectMeta, rule.Subdomain), daemonSetSpec(&d.Spec, field.NewPath("spec"))...)
}

// DaemonSetUpdate validates a changed DaemonSet.
func DaemonSetUpdate(d, old *appsv1.DaemonSet) field.ErrorList {
	return rule.All(
		rule.MetaUpdate(&d.ObjectMeta, &old.ObjectMeta),
		daemonSetSpec(&d.Spec, field.NewPath("spec")),
		rule.Immutable(d.Spec.Selector, old.Spec.Selector, field.NewPath("spec", "selector")),
	)
}

// DaemonSetStatusUpdate validates a changed status.
func DaemonSetStatusUpdate(d, old *appsv1.DaemonSet) field.ErrorList {
	path, s := field.NewPath("status"), &d.Status
	return rule.All(
		rule.MetaUpdate(&d.ObjectMeta, &old.ObjectMeta),
		rule.NonNegative(s.CurrentNumberScheduled, path.Child("currentNumberScheduled")),
		rule.NonNegative(s.NumberMisscheduled, path.Child("numberMisscheduled")),
		rule.NonNegative(s.DesiredNumberScheduled, path.Child("desiredNumberScheduled")),
		rule.NonNegative(s.NumberReady, path.Child("numberReady")),
		rule.NonNegative(s.ObservedGeneration, path.Child("observedGeneration")),
		rule.NonNegative(s.UpdatedNumberScheduled, path.Child("updatedNumberScheduled")),
		rule.NonNegative(s.NumberAvailable, path.Child("numberAvailable")),
		rule.NonNegative(s.NumberUnavailable, path.Child("numberUnavailable")),
		rule.OptionalNonNegative(s.CollisionCount, path.Child("collisionCount")),
		rule.NotDecremented(s.CollisionCount, old.Status.CollisionCount, path.Child("collisionCount")),
	)
}

// daemonSetSelector checks a selector. Without one the template is what does not match.
func daemonSetSelector(s *metav1.LabelSelector, path *field.Path) field.ErrorList {
	if s == nil {
		return nil
	}
	return rule.RequiredSelector(s, "daemonset", path)
}

func daemonSetSpec(spec *appsv1.DaemonSetSpec, path *field.Path) field.ErrorList {
	return rule.All(
		daemonSetSelector(spec.Selector, path.Child("selector")),
		replicaTemplate(&spec.Template, spec.Selector, "DaemonSet", path.Child("template")),
		rule.NonNegative(spec.MinReadySeconds, path.Child("minReadySeconds")),
		daemonSetStrategy(&spec.UpdateStrategy, path.Child("updateStrategy")),
		rule.OptionalNonNegative(spec.RevisionHistoryLimit, path.Child("revisionHistoryLimit")),
	)
}

func daemonSetStrategy(s *appsv1.DaemonSetUpdateStrategy, path *field.Path) field.ErrorList {
	switch s.Type {
	case appsv1.OnDeleteDaemonSetStrategyType:
		return nil
	case appsv1.RollingUpdateDaemonSetStrategyType:
		if s.RollingUpdate == nil {
			return field.ErrorList{field.Required(path.Child("rollingUpdate"), "")}
		}
		return rollingDaemonSet(s.RollingUpdate, path.Child("rollingUpdate"))
	}
	return field.ErrorList{field.NotSupported(path, s.Type, []appsv1.DaemonSetUpdateStrategyType{
		appsv1.RollingUpdateDaemonSetStrategyType, appsv1.OnDeleteDaemonSetStrategyType,
	})}
}

func rollingDaemonSet(r *appsv1.RollingUpdateDaemonSet, path *field.Path) field.ErrorList {
	unavailable, surge := orZero(r.MaxUnavailable), orZero(r.MaxSurge)
	errs := rule.All(
		rule.IntOrPercent(unavailable, path.Child("maxUnavailable")),
		rule.IntOrPercent(surge, path.Child("maxSurge")),
		rule.AtMostAll(unavailable, path.Child("maxUnavailable")),
		rule.AtMostAll(surge, path.Child("maxSurge")),
	)
	switch hasUnavailable, hasSurge := rule.Amount(unavailable) != 0, rule.Amount(surge) != 0; {
	case hasUnavailable && hasSurge:
		errs = append(errs, field.Invalid(path.Child("maxSurge"), surge, "may not be set when maxUnavailable is non-zero"))
	case !hasUnavailable && !hasSurge:
		errs = append(errs, field.Required(path.Child("maxUnavailable"), "cannot be 0 when maxSurge is 0"))
	}
	return errs
}

func orZero(v *intstr.IntOrString) intstr.IntOrString {
	if v == nil {
		return intstr.IntOrString{}
	}
	return *v
}
