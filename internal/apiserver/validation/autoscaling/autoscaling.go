// Package autoscaling decides whether autoscalers are valid, in the field paths
// and words that Kubernetes uses. Its functions are pure.
package autoscaling

import (
	"fmt"
	"slices"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
	"github.com/sinawi/sinawi/internal/apiserver/validation/rule"
)

// HorizontalPodAutoscaler checks a new autoscaler.
func HorizontalPodAutoscaler(h *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	l := check.List{Errors: rule.Namespaced(&h.ObjectMeta, rule.Subdomain)}
	ref := h.Spec.ScaleTargetRef
	// Replication controllers are the only kind of the core group that scales.
	spec(&l, &h.Spec, field.NewPath("spec"), groups{core: ref.Kind == "ReplicationController"}, groups{core: true})
	return l.Errors
}

// HorizontalPodAutoscalerUpdate checks a changed autoscaler.
func HorizontalPodAutoscalerUpdate(h, old *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	l := check.List{Errors: rule.MetaUpdate(&h.ObjectMeta, &old.ObjectMeta)}
	ref, before := h.Spec.ScaleTargetRef, old.Spec.ScaleTargetRef
	scales := groups{core: ref.Kind == "ReplicationController", any: ref.Kind == before.Kind && ref.APIVersion == before.APIVersion}
	describes := groups{core: true}
	for i := range old.Spec.Metrics {
		if m := &old.Spec.Metrics[i]; m.Type == autoscalingv2.ObjectMetricSourceType && m.Object != nil {
			_, err := schema.ParseGroupVersion(m.Object.DescribedObject.APIVersion)
			describes.any = describes.any || err != nil
		}
	}
	spec(&l, &h.Spec, field.NewPath("spec"), scales, describes)
	return l.Errors
}

// HorizontalPodAutoscalerStatusUpdate checks a changed status.
func HorizontalPodAutoscalerStatusUpdate(h, old *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	at := field.NewPath("status")
	l := check.List{Errors: rule.MetaUpdate(&h.ObjectMeta, &old.ObjectMeta)}
	for i := range h.Status.Conditions {
		l.Add(rule.OptionalNonNegative(h.Status.Conditions[i].ObservedGeneration, at.Child("conditions").Index(i).Child("observedGeneration"))...)
	}
	l.Add(rule.NonNegative(h.Status.CurrentReplicas, at.Child("currentReplicas"))...)
	l.Add(rule.NonNegative(h.Status.DesiredReplicas, at.Child("desiredReplicas"))...)
	return l.Errors
}

// groups says of which API groups what is referred to may be: of the core group,
// of any even if its version does not read as one.
type groups struct{ core, any bool }

func spec(l *check.List, s *autoscalingv2.HorizontalPodAutoscalerSpec, at *field.Path, scales, describes groups) {
	if n := s.MinReplicas; n != nil && *n < 0 {
		l.Invalid(at.Child("minReplicas"), *n, "must be greater than or equal to 0")
	}
	switch {
	case s.MaxReplicas == 0:
		l.Required(at.Child("maxReplicas"), "")
	case s.MaxReplicas < 0:
		l.Invalid(at.Child("maxReplicas"), s.MaxReplicas, "must be greater than or equal to 1")
	}
	if n := s.MinReplicas; n != nil && s.MaxReplicas < *n {
		l.Invalid(at.Child("maxReplicas"), s.MaxReplicas, "must be greater than or equal to `minReplicas`")
	}
	target(l, s.ScaleTargetRef, scales, at.Child("scaleTargetRef"))
	for i := range s.Metrics {
		metric(l, &s.Metrics[i], at.Child("metrics").Index(i), describes)
	}
	// Nothing runs that pods or resources could be measured of.
	outside := func(m autoscalingv2.MetricSpec) bool {
		return m.Type == autoscalingv2.ObjectMetricSourceType || m.Type == autoscalingv2.ExternalMetricSourceType
	}
	if s.MinReplicas != nil && *s.MinReplicas == 0 && !slices.ContainsFunc(s.Metrics, outside) {
		l.Forbidden(at.Child("metrics"), "must specify at least one Object or External metric to support scaling to zero replicas")
	}
	if b := s.Behavior; b != nil {
		scalingRules(l, b.ScaleUp, at.Child("behavior", "scaleUp"))
		scalingRules(l, b.ScaleDown, at.Child("behavior", "scaleDown"))
	}
}

// target checks what is referred to.
func target(l *check.List, ref autoscalingv2.CrossVersionObjectReference, of groups, at *field.Path) {
	segment(l, ref.Kind, "", at.Child("kind"))
	segment(l, ref.Name, "", at.Child("name"))
	if of.any {
		return
	}
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	switch {
	case err != nil:
		l.Invalid(at.Child("apiVersion"), ref.APIVersion, err.Error())
	case gv.Group == "" && !of.core:
		l.Invalid(at.Child("apiVersion"), ref.APIVersion, "apiVersion must specify API group")
	}
}

// segment checks what becomes part of the path of a request.
func segment(l *check.List, value, missing string, at *field.Path) {
	if value == "" {
		l.Required(at, missing)
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
		if *n < 0 {
			l.Invalid(at.Child("stabilizationWindowSeconds"), *n, "must be greater than or equal to zero")
		}
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
		l.Invalid(at.Child("tolerance"), t.String(), check.MustNotBeNegative)
	}
}

// source is one of the places that a metric may come from.
type source struct {
	name  string
	kind  autoscalingv2.MetricSourceType
	set   bool
	check func(at *field.Path)
}

func sources(l *check.List, m *autoscalingv2.MetricSpec, describes groups) []source {
	return []source{
		{"object", autoscalingv2.ObjectMetricSourceType, m.Object != nil, func(at *field.Path) {
			target(l, m.Object.DescribedObject, describes, at.Child("describedObject"))
			identifier(l, m.Object.Metric, at.Child("metric"))
			targetType(l, m.Object.Target, at.Child("target"))
			if m.Object.Target.Value == nil && m.Object.Target.AverageValue == nil {
				l.Required(at.Child("target", "averageValue"), "must set either a target value or averageValue")
			}
		}},
		{"external", autoscalingv2.ExternalMetricSourceType, m.External != nil, func(at *field.Path) {
			identifier(l, m.External.Metric, at.Child("metric"))
			oneTarget(l, m.External.Target, at.Child("target"))
		}},
		{"pods", autoscalingv2.PodsMetricSourceType, m.Pods != nil, func(at *field.Path) {
			identifier(l, m.Pods.Metric, at.Child("metric"))
			average(l, m.Pods.Target, at.Child("target"))
		}},
		{"resource", autoscalingv2.ResourceMetricSourceType, m.Resource != nil, func(at *field.Path) {
			if m.Resource.Name == "" {
				l.Required(at.Child("name"), "must specify a resource name")
			}
			resource(l, m.Resource.Target, at.Child("target"))
		}},
		{"containerResource", autoscalingv2.ContainerResourceMetricSourceType, m.ContainerResource != nil, func(at *field.Path) {
			if name := m.ContainerResource.Name; name == "" {
				l.Required(at.Child("name"), "must specify a resource name")
			} else {
				l.ContainerResourceName(at.Child("name"), name)
			}
			if m.ContainerResource.Container == "" {
				l.Required(at.Child("container"), "must specify a container")
			} else {
				l.Label(at.Child("container"), m.ContainerResource.Container)
			}
			resource(l, m.ContainerResource.Target, at.Child("target"))
		}},
	}
}

// metric checks one metric. Only the first of its sources is looked into.
func metric(l *check.List, m *autoscalingv2.MetricSpec, at *field.Path, describes groups) {
	if m.Type == "" {
		l.Required(at.Child("type"), "must specify a metric source type")
	}
	all := sources(l, m, describes)
	kinds := []autoscalingv2.MetricSourceType{autoscalingv2.ContainerResourceMetricSourceType, autoscalingv2.ExternalMetricSourceType,
		autoscalingv2.ObjectMetricSourceType, autoscalingv2.PodsMetricSourceType, autoscalingv2.ResourceMetricSourceType}
	if !slices.Contains(kinds, m.Type) {
		// Kubernetes says so twice.
		l.Add(field.NotSupported(at.Child("type"), m.Type, kinds), field.NotSupported(at.Child("type"), m.Type, kinds))
	}
	count := 0
	for _, s := range all {
		if s.set {
			if count++; count == 1 {
				s.check(at.Child(s.name))
			}
		}
	}
	for _, s := range all {
		switch {
		case s.kind == m.Type && !s.set:
			l.Required(at.Child(s.name), "must populate information for the given metric source")
		case s.kind != m.Type && s.set && count > 1:
			l.Forbidden(at.Child(s.name), "must populate the given metric source only")
		}
	}
}

func identifier(l *check.List, m autoscalingv2.MetricIdentifier, at *field.Path) {
	segment(l, m.Name, "must specify a metric name", at.Child("name"))
}

// oneTarget checks a target that is a value or an average.
func oneTarget(l *check.List, t autoscalingv2.MetricTarget, at *field.Path) {
	targetType(l, t, at)
	switch {
	case t.Value != nil && t.AverageValue != nil:
		l.Forbidden(at.Child("value"), "may not set both a target value for metric and a per-pod target")
	case t.Value == nil && t.AverageValue == nil:
		l.Required(at.Child("averageValue"), "must set either a target value for metric or a per-pod target")
	}
}

func average(l *check.List, t autoscalingv2.MetricTarget, at *field.Path) {
	targetType(l, t, at)
	if t.AverageValue == nil {
		l.Required(at.Child("averageValue"), "must specify a positive target averageValue")
	}
}

func resource(l *check.List, t autoscalingv2.MetricTarget, at *field.Path) {
	targetType(l, t, at)
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
	}
	if t.Type != autoscalingv2.UtilizationMetricType && t.Type != autoscalingv2.ValueMetricType && t.Type != autoscalingv2.AverageValueMetricType {
		l.Invalid(at.Child("type"), t.Type, "must be either Utilization, Value, or AverageValue")
	}
	if t.Value != nil && t.Value.Sign() <= 0 {
		l.Invalid(at.Child("value"), t.Value.String(), "must be positive")
	}
	if t.AverageValue != nil && t.AverageValue.Sign() <= 0 {
		l.Invalid(at.Child("averageValue"), t.AverageValue.String(), "must be positive")
	}
	if n := t.AverageUtilization; n != nil && *n < 1 {
		l.Invalid(at.Child("averageUtilization"), *n, "must be greater than 0")
	}
}
