package apps

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/pod"
	"github.com/sinawi/sinawi/internal/apiserver/validation/rule"
)

// Deployment validates a new Deployment.
func Deployment(d *appsv1.Deployment) field.ErrorList {
	return append(rule.Namespaced(&d.ObjectMeta, rule.Subdomain), deploymentSpec(&d.Spec, field.NewPath("spec"))...)
}

// DeploymentUpdate validates a changed Deployment.
func DeploymentUpdate(d, old *appsv1.Deployment) field.ErrorList {
	return rule.All(
		rule.MetaUpdate(&d.ObjectMeta, &old.ObjectMeta),
		deploymentSpec(&d.Spec, field.NewPath("spec")),
		rule.Immutable(d.Spec.Selector, old.Spec.Selector, field.NewPath("spec", "selector")),
	)
}

// DeploymentStatusUpdate validates a changed status.
func DeploymentStatusUpdate(d, old *appsv1.Deployment) field.ErrorList {
	return rule.All(
		rule.MetaUpdate(&d.ObjectMeta, &old.ObjectMeta),
		deploymentStatus(&d.Status, field.NewPath("status")),
		rule.NotDecremented(d.Status.CollisionCount, old.Status.CollisionCount, field.NewPath("status", "collisionCount")),
	)
}

func deploymentSpec(spec *appsv1.DeploymentSpec, path *field.Path) field.ErrorList {
	errs := rule.All(
		rule.OptionalNonNegative(spec.Replicas, path.Child("replicas")),
		rule.RequiredSelector(spec.Selector, "deployment", path.Child("selector")),
	)
	if _, err := metav1.LabelSelectorAsSelector(spec.Selector); err != nil {
		errs = append(errs, field.Invalid(path.Child("selector"), spec.Selector, "invalid label selector"))
	} else {
		errs = append(errs, replicaTemplate(&spec.Template, spec.Selector, "ReplicaSet", path.Child("template"))...)
	}
	errs = append(errs, rule.All(
		deploymentStrategy(&spec.Strategy, path.Child("strategy")),
		rule.NonNegative(spec.MinReadySeconds, path.Child("minReadySeconds")),
		rule.OptionalNonNegative(spec.RevisionHistoryLimit, path.Child("revisionHistoryLimit")),
		rule.OptionalNonNegative(spec.ProgressDeadlineSeconds, path.Child("progressDeadlineSeconds")),
	)...)
	if p := spec.ProgressDeadlineSeconds; p != nil && *p <= spec.MinReadySeconds {
		errs = append(errs, field.Invalid(path.Child("progressDeadlineSeconds"), *p, "must be greater than minReadySeconds"))
	}
	return errs
}

// replicaTemplate checks the template of a workload whose pods run until they
// are removed.
func replicaTemplate(t *corev1.PodTemplateSpec, selector *metav1.LabelSelector, kind string, path *field.Path) field.ErrorList {
	return rule.All(
		rule.SelectsTemplate(selector, t, path),
		pod.Template(t, path),
		runsForever(t, kind, path),
	)
}

// runsForever checks the two fields that would let a pod end by itself.
func runsForever(t *corev1.PodTemplateSpec, kind string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if t.Spec.RestartPolicy != corev1.RestartPolicyAlways {
		errs = append(errs, field.NotSupported(path.Child("spec", "restartPolicy"), t.Spec.RestartPolicy, []corev1.RestartPolicy{corev1.RestartPolicyAlways}))
	}
	if t.Spec.ActiveDeadlineSeconds != nil {
		errs = append(errs, field.Forbidden(path.Child("spec", "activeDeadlineSeconds"), "activeDeadlineSeconds in "+kind+" is not Supported"))
	}
	return errs
}

func deploymentStrategy(s *appsv1.DeploymentStrategy, path *field.Path) field.ErrorList {
	rolling := path.Child("rollingUpdate")
	switch s.Type {
	case appsv1.RecreateDeploymentStrategyType:
		if s.RollingUpdate != nil {
			return field.ErrorList{field.Forbidden(rolling, "may not be specified when strategy `type` is '"+string(appsv1.RecreateDeploymentStrategyType)+"'")}
		}
		return nil
	case appsv1.RollingUpdateDeploymentStrategyType:
		if s.RollingUpdate == nil {
			return field.ErrorList{field.Required(rolling, "this should be defaulted and never be nil")}
		}
		return rollingDeployment(s.RollingUpdate, rolling)
	}
	return field.ErrorList{field.NotSupported(path, s.Type, []appsv1.DeploymentStrategyType{
		appsv1.RecreateDeploymentStrategyType, appsv1.RollingUpdateDeploymentStrategyType,
	})}
}

func rollingDeployment(r *appsv1.RollingUpdateDeployment, path *field.Path) field.ErrorList {
	unavailable, surge := orZero(r.MaxUnavailable), orZero(r.MaxSurge)
	errs := rule.All(
		rule.IntOrPercent(unavailable, path.Child("maxUnavailable")),
		rule.IntOrPercent(surge, path.Child("maxSurge")),
	)
	if rule.Amount(unavailable) == 0 && rule.Amount(surge) == 0 {
		errs = append(errs, field.Invalid(path.Child("maxUnavailable"), unavailable, "may not be 0 when `maxSurge` is 0"))
	}
	return append(errs, rule.AtMostAll(unavailable, path.Child("maxUnavailable"))...)
}

func deploymentStatus(s *appsv1.DeploymentStatus, path *field.Path) field.ErrorList {
	errs := rule.All(
		rule.NonNegative(s.ObservedGeneration, path.Child("observedGeneration")),
		rule.NonNegative(s.Replicas, path.Child("replicas")),
		rule.NonNegative(s.UpdatedReplicas, path.Child("updatedReplicas")),
		rule.NonNegative(s.ReadyReplicas, path.Child("readyReplicas")),
		rule.NonNegative(s.AvailableReplicas, path.Child("availableReplicas")),
		rule.NonNegative(s.UnavailableReplicas, path.Child("unavailableReplicas")),
		rule.OptionalNonNegative(s.TerminatingReplicas, path.Child("terminatingReplicas")),
		rule.OptionalNonNegative(s.CollisionCount, path.Child("collisionCount")),
		rule.NotAbove(s.UpdatedReplicas, s.Replicas, "status.replicas", path.Child("updatedReplicas")),
		rule.NotAbove(s.ReadyReplicas, s.Replicas, "status.replicas", path.Child("readyReplicas")),
		rule.NotAbove(s.AvailableReplicas, s.Replicas, "status.replicas", path.Child("availableReplicas")),
		rule.NotAbove(s.AvailableReplicas, s.ReadyReplicas, "readyReplicas", path.Child("availableReplicas")),
	)
	return errs
}
