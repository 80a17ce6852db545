// Package autoscaling decides whether autoscalers are valid, in the field paths
// and words that Kubernetes uses. Its functions are pure.
package autoscaling

import (
	"fmt"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
	"github.com/sinawi/sinawi/internal/apiserver/validation/rule"
)

// HorizontalPodAutoscaler checks a new autoscaler.
func HorizontalPodAutoscaler(h *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	l := check.List{Errors: rule.Namespaced(&h.ObjectMeta, rule.Subdomain)}
	spec(&l, &h.Spec, field.NewPath("spec"))
	return l.Errors
}

// HorizontalPodAutoscalerUpdate checks a changed autoscaler.
func HorizontalPodAutoscalerUpdate(h, old *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	l := check.List{Errors: rule.MetaUpdate(&h.ObjectMeta, &old.ObjectMeta)}
	spec(&l, &h.Spec, field.NewPath("spec"))
	return l.Errors
}

// HorizontalPodAutoscalerStatusUpdate checks a changed status.
func HorizontalPodAutoscalerStatusUpdate(h, old *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	at := field.NewPath("status")
	return rule.All(
		rule.MetaUpdate(&h.ObjectMeta, &old.ObjectMeta),
		rule.NonNegative(h.Status.CurrentReplicas, at.Child("currentReplicas")),
		rule.NonNegative(h.Status.DesiredReplicas, at.Child("desiredReplicas")),
	)
}

func spec(l *check.List, s *autoscalingv2.HorizontalPodAutoscalerSpec, at *field.Path) {
	if n := s.MinReplicas; n != nil && *n < 1 {
		l.Invalid(at.Child("minReplicas"), *n, "must be greater than or equal to 1")
	}
	if s.MaxReplicas < 1 {
		l.Invalid(at.Child("maxReplicas"), s.MaxReplicas, "must be greater than 0")
	}
	if n := s.MinReplicas; n != nil && s.MaxReplicas < *n {
		l.Invalid(at.Child("maxReplicas"), s.MaxReplicas, "must be greater than or equal to `minReplicas`")
	}
	// Replication controllers are the only kind of the core group that scales.
	target(l, s.ScaleTargetRef, s.ScaleTargetRef.Kind == "ReplicationController", at.Child("scaleTargetRef"))
	for i := range s.Metrics {
		metric(l, &s.Metrics[i], at.Child("metrics").Index(i))
	}
	if s.MinReplicas != nil && *s.MinReplicas == 0 {
		l.Forbidden(at.Child("metrics"), "must specify at least one Object or External metric to support scaling to zero replicas")
	}
	if b := s.Behavior; b != nil {
		scalingRules(l, b.ScaleUp, at.Child("behavior", "scaleUp"))
		scalingRules(l, b.ScaleDown, at.Child("behavior", "scaleDown"))
	}
}

// target checks what is referred to; core says that it may be of the core group.
func target(l *check.List, ref autoscalingv2.CrossVersionObjectReference, core bool, at *field.Path) {
	segment(l, ref.Kind, at.Child("kind"))
	segment(l, ref.Name, at.Child("name"))
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	switch {
	case err != nil:
		l.Invalid(at.Child("apiVersion"), ref.APIVersion, err.Error())
	case gv.Group == "" && !core:
		l.Invalid(at.Child("apiVersion"), ref.APIVersion, "apiVersion must specify API group")
	}
}

// segment checks what becomes part of the path of a request.
func segment(l *check.List, value string, at *field.Path) {
	if value == "" {
		l.Required(at, "")
		return
	}
	l.Messages(at, value, path.IsValidPathSegmentName(value))
}

// The longest that scaling may look back, and that a policy may count over.
const (
	maxWindow = 3600
	maxPeriod = 1800
)

func scalingRules(l *check.List, r *autoscalingv2.HPAScalingRules, at *field.Path) {
	if r == nil {
		return
	}
	if n := r.StabilizationWindowSeconds; n != nil {
		l.NonNegative(at.Child("stabilizationWindowSeconds"), int64(*n))
		if *n > maxWindow {
			l.Invalid(at.Child("stabilizationWindowSeconds"), *n, fmt.Sprintf("must be less than or equal to %v", maxWindow))
		}
	}
	if p := r.SelectPolicy; p != nil {
		check.OneOf(l, at.Child("selectPolicy"), *p, autoscalingv2.DisabledPolicySelect, autoscalingv2.MaxChangePolicySelect, autoscalingv2.MinChangePolicySelect)
	}
	policies := at.Child("policies")
	if len(r.Policies) == 0 {
		l.Required(policies, "must specify at least one Policy")
	}
	for i, p := range r.Policies {
		pp := policies.Index(i)
		check.OneOf(l, pp.Child("type"), p.Type, autoscalingv2.PercentScalingPolicy, autoscalingv2.PodsScalingPolicy)
		if p.Value <= 0 {
			l.Invalid(pp.Child("value"), p.Value, "must be greater than zero")
		}
		if p.PeriodSeconds <= 0 {
			l.Invalid(pp.Child("periodSeconds"), p.PeriodSeconds, "must be greater than zero")
		}
		if p.PeriodSeconds > maxPeriod {
			l.Invalid(pp.Child("periodSeconds"), p.PeriodSeconds, fmt.Sprintf("must be less than or equal to %v", maxPeriod))
		}
	}
	if t := r.Tolerance; t != nil && t.Sign() < 0 {
		l.Invalid(at.Child("tolerance"), t.String(), "must be greater or equal to zero")
	}
}

func metric(l *check.List, m *autoscalingv2.MetricSpec, at *field.Path) {
	if m.Type == "" {
		l.Required(at.Child("type"), "must specify a metric source type")
		return
	}
	check.OneOf(l, at.Child("type"), m.Type, autoscalingv2.ContainerResourceMetricSourceType, autoscalingv2.ExternalMetricSourceType,
		autoscalingv2.ObjectMetricSourceType, autoscalingv2.PodsMetricSourceType, autoscalingv2.ResourceMetricSourceType)
	seen := false
	for _, s := range []struct {
		name  string
		kind  autoscalingv2.MetricSourceType
		set   bool
		check func(at *field.Path)
	}{
		{"object", autoscalingv2.ObjectMetricSourceType, m.Object != nil, func(at *field.Path) {
			target(l, m.Object.DescribedObject, true, at.Child("describedObject"))
			identifier(l, m.Object.Metric, at.Child("metric"))
			oneTarget(l, m.Object.Target, at.Child("target"))
		}},
		{"pods", autoscalingv2.PodsMetricSourceType, m.Pods != nil, func(at *field.Path) {
			identifier(l, m.Pods.Metric, at.Child("metric"))
			average(l, m.Pods.Target, at.Child("target"))
		}},
		{"resource", autoscalingv2.ResourceMetricSourceType, m.Resource != nil, func(at *field.Path) {
			resource(l, m.Resource.Name, m.Resource.Target, at)
		}},
		{"containerResource", autoscalingv2.ContainerResourceMetricSourceType, m.ContainerResource != nil, func(at *field.Path) {
			if m.ContainerResource.Container == "" {
				l.Required(at.Child("container"), "must specify a container")
			} else {
				l.Label(at.Child("container"), m.ContainerResource.Container)
			}
			resource(l, m.ContainerResource.Name, m.ContainerResource.Target, at)
		}},
		{"external", autoscalingv2.ExternalMetricSourceType, m.External != nil, func(at *field.Path) {
			identifier(l, m.External.Metric, at.Child("metric"))
			oneTarget(l, m.External.Target, at.Child("target"))
		}},
	} {
		sp := at.Child(s.name)
		switch {
		case s.set && seen:
			l.Forbidden(sp, "must populate the given metric source only")
		case s.set:
			seen = true
			s.check(sp)
		}
		switch {
		case s.kind == m.Type && !s.set:
			l.Required(sp, "must populate information for the given metric source")
		case s.kind != m.Type && s.set:
			l.Forbidden(sp, "must populate the given metric source only")
		}
	}
}

func identifier(l *check.List, m autoscalingv2.MetricIdentifier, at *field.Path) {
	segment(l, m.Name, at.Child("name"))
}

// oneTarget checks a target that is a value or an average.
func oneTarget(l *check.List, t autoscalingv2.MetricTarget, at *field.Path) {
	targetType(l, t, at)
	switch {
	case t.Value != nil && t.AverageValue != nil:
		l.Forbidden(at.Child("averageValue"), "may not set both a target value for metric and a per-pod target")
	case t.Value == nil && t.AverageValue == nil:
		l.Required(at.Child("averageValue"), "must set either a target value for metric or a per-pod target")
	}
}

func average(l *check.List, t autoscalingv2.MetricTarget, at *field.Path) {
	targetType(l, t, at)
	if t.AverageValue == nil || t.AverageValue.Sign() <= 0 {
		l.Required(at.Child("averageValue"), "must specify a positive target averageValue")
	}
}

func resource(l *check.List, name corev1.ResourceName, t autoscalingv2.MetricTarget, at *field.Path) {
	if name == "" {
		l.Required(at.Child("name"), "must specify a resource name")
	}
	at = at.Child("target")
	targetType(l, t, at)
	if n := t.AverageUtilization; n != nil && *n < 1 {
		l.Invalid(at.Child("averageUtilization"), *n, "must be greater than 0")
	}
	switch {
	case t.AverageUtilization == nil && t.AverageValue == nil:
		l.Required(at.Child("averageUtilization"), "must set either a target raw value or a target utilization")
	case t.AverageUtilization != nil && t.AverageValue != nil:
		l.Forbidden(at.Child("averageValue"), "may not set both a target raw value and a target utilization")
	}
}

func targetType(l *check.List, t autoscalingv2.MetricTarget, at *field.Path) {
	if t.Type == "" {
		l.Required(at.Child("type"), "must specify a metric target type")
	} else if t.Type != autoscalingv2.UtilizationMetricType && t.Type != autoscalingv2.ValueMetricType && t.Type != autoscalingv2.AverageValueMetricType {
		l.Invalid(at.Child("type"), t.Type, "must be either Utilization, Value, or AverageValue")
	}
	if t.Value != nil && t.Value.Sign() <= 0 {
		l.Invalid(at.Child("value"), t.Value.String(), "must be positive")
	}
	if t.AverageValue != nil && t.AverageValue.Sign() <= 0 {
		l.Invalid(at.Child("averageValue"), t.AverageValue.String(), "must be positive")
	}
}
