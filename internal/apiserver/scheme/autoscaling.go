package scheme

import (
	"encoding/json"
	"maps"
	"slices"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
)

// What version 1 has no fields for is carried in annotations, as upstream does.
const (
	metricsAnnotation        = "autoscaling.alpha.kubernetes.io/metrics"
	currentMetricsAnnotation = "autoscaling.alpha.kubernetes.io/current-metrics"
	conditionsAnnotation     = "autoscaling.alpha.kubernetes.io/conditions"
	behaviorAnnotation       = "autoscaling.alpha.kubernetes.io/behavior"
)

// addAutoscaling makes autoscaling/v2 the hub of autoscaling/v1.
func addAutoscaling(s *runtime.Scheme) error {
	for _, c := range []struct {
		from, to any
		convert  conversion.ConversionFunc
	}{
		{(*autoscalingv1.HorizontalPodAutoscaler)(nil), (*autoscalingv2.HorizontalPodAutoscaler)(nil), func(from, to any, _ conversion.Scope) error {
			return autoscalerToV2(from.(*autoscalingv1.HorizontalPodAutoscaler), to.(*autoscalingv2.HorizontalPodAutoscaler))
		}},
		{(*autoscalingv2.HorizontalPodAutoscaler)(nil), (*autoscalingv1.HorizontalPodAutoscaler)(nil), func(from, to any, _ conversion.Scope) error {
			return autoscalerToV1(from.(*autoscalingv2.HorizontalPodAutoscaler), to.(*autoscalingv1.HorizontalPodAutoscaler))
		}},
		{(*autoscalingv1.HorizontalPodAutoscalerList)(nil), (*autoscalingv2.HorizontalPodAutoscalerList)(nil), func(from, to any, _ conversion.Scope) error {
			in, out := from.(*autoscalingv1.HorizontalPodAutoscalerList), to.(*autoscalingv2.HorizontalPodAutoscalerList)
			out.ListMeta = in.ListMeta
			return convertEach(in.Items, &out.Items, autoscalerToV2)
		}},
		{(*autoscalingv2.HorizontalPodAutoscalerList)(nil), (*autoscalingv1.HorizontalPodAutoscalerList)(nil), func(from, to any, _ conversion.Scope) error {
			in, out := from.(*autoscalingv2.HorizontalPodAutoscalerList), to.(*autoscalingv1.HorizontalPodAutoscalerList)
			out.ListMeta = in.ListMeta
			return convertEach(in.Items, &out.Items, autoscalerToV1)
		}},
	} {
		if err := s.AddConversionFunc(c.from, c.to, c.convert); err != nil {
			return err
		}
	}
	return nil
}

func convertEach[F, T any](in []F, out *[]T, convert func(*F, *T) error) error {
	*out = make([]T, len(in))
	for i := range in {
		if err := convert(&in[i], &(*out)[i]); err != nil {
			return err
		}
	}
	return nil
}

func autoscalerToV2(in *autoscalingv1.HorizontalPodAutoscaler, out *autoscalingv2.HorizontalPodAutoscaler) error {
	*out = autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: in.ObjectMeta,
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference(in.Spec.ScaleTargetRef),
			MinReplicas:    in.Spec.MinReplicas,
			MaxReplicas:    in.Spec.MaxReplicas,
		},
		Status: autoscalingv2.HorizontalPodAutoscalerStatus{
			ObservedGeneration: in.Status.ObservedGeneration,
			LastScaleTime:      in.Status.LastScaleTime,
			CurrentReplicas:    in.Status.CurrentReplicas,
			DesiredReplicas:    in.Status.DesiredReplicas,
		},
	}
	if percent := in.Spec.TargetCPUUtilizationPercentage; percent != nil {
		out.Spec.Metrics = append(out.Spec.Metrics, autoscalingv2.MetricSpec{
			Type: autoscalingv2.ResourceMetricSourceType,
			Resource: &autoscalingv2.ResourceMetricSource{
				Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: percent},
			},
		})
	}
	if percent := in.Status.CurrentCPUUtilizationPercentage; percent != nil {
		out.Status.CurrentMetrics = append(out.Status.CurrentMetrics, autoscalingv2.MetricStatus{
			Type: autoscalingv2.ResourceMetricSourceType,
			Resource: &autoscalingv2.ResourceMetricStatus{
				Name: corev1.ResourceCPU, Current: autoscalingv2.MetricValueStatus{AverageUtilization: percent},
			},
		})
	}
	fromAnnotations(in.Annotations, out)
	out.Annotations = withoutCarried(in.Annotations)
	return nil
}

// fromAnnotations reads what is carried. What does not parse is a user's
// mistake, and ignored as upstream does.
func fromAnnotations(annotations map[string]string, out *autoscalingv2.HorizontalPodAutoscaler) {
	var metrics []autoscalingv1.MetricSpec
	if read(annotations[metricsAnnotation], &metrics) {
		for _, m := range metrics {
			out.Spec.Metrics = append(out.Spec.Metrics, metricToV2(m))
		}
	}
	var current []autoscalingv1.MetricStatus
	if read(annotations[currentMetricsAnnotation], &current) {
		for _, m := range current {
			out.Status.CurrentMetrics = append(out.Status.CurrentMetrics, metricStatusToV2(m))
		}
	}
	var conditions []autoscalingv1.HorizontalPodAutoscalerCondition
	if read(annotations[conditionsAnnotation], &conditions) {
		for _, c := range conditions {
			out.Status.Conditions = append(out.Status.Conditions, autoscalingv2.HorizontalPodAutoscalerCondition{
				Type: autoscalingv2.HorizontalPodAutoscalerConditionType(c.Type), Status: c.Status,
				LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message,
			})
		}
	}
	var behavior autoscalingv2.HorizontalPodAutoscalerBehavior
	if read(annotations[behaviorAnnotation], &behavior) {
		out.Spec.Behavior = &behavior
	}
}

func read(text string, into any) bool {
	return text != "" && json.Unmarshal([]byte(text), into) == nil
}

// withoutCarried leaves the map as it is when nothing is carried: it may be
// shared.
func withoutCarried(annotations map[string]string) map[string]string {
	carried := []string{metricsAnnotation, currentMetricsAnnotation, conditionsAnnotation, behaviorAnnotation}
	if !slices.ContainsFunc(carried, func(k string) bool { _, ok := annotations[k]; return ok }) {
		return annotations
	}
	out := maps.Clone(annotations)
	for _, k := range carried {
		delete(out, k)
	}
	return out
}

func autoscalerToV1(in *autoscalingv2.HorizontalPodAutoscaler, out *autoscalingv1.HorizontalPodAutoscaler) error {
	*out = autoscalingv1.HorizontalPodAutoscaler{
		ObjectMeta: in.ObjectMeta,
		Spec: autoscalingv1.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv1.CrossVersionObjectReference(in.Spec.ScaleTargetRef),
			MinReplicas:    in.Spec.MinReplicas,
			MaxReplicas:    in.Spec.MaxReplicas,
		},
		Status: autoscalingv1.HorizontalPodAutoscalerStatus{
			ObservedGeneration: in.Status.ObservedGeneration,
			LastScaleTime:      in.Status.LastScaleTime,
			CurrentReplicas:    in.Status.CurrentReplicas,
			DesiredReplicas:    in.Status.DesiredReplicas,
		},
	}
	out.Annotations = withoutCarried(in.Annotations)
	return toAnnotations(in, out)
}

// toAnnotations carries what has no field: all metrics but the first of CPU
// utilization, which has.
func toAnnotations(in *autoscalingv2.HorizontalPodAutoscaler, out *autoscalingv1.HorizontalPodAutoscaler) error {
	carried := map[string]any{}
	var metrics []autoscalingv1.MetricSpec
	for _, m := range in.Spec.Metrics {
		if r := m.Resource; r != nil && r.Name == corev1.ResourceCPU && r.Target.AverageUtilization != nil && out.Spec.TargetCPUUtilizationPercentage == nil {
			out.Spec.TargetCPUUtilizationPercentage = r.Target.AverageUtilization
			continue
		}
		metrics = append(metrics, metricToV1(m))
	}
	if len(metrics) != 0 {
		carried[metricsAnnotation] = metrics
	}
	var current []autoscalingv1.MetricStatus
	for _, m := range in.Status.CurrentMetrics {
		if r := m.Resource; r != nil && r.Name == corev1.ResourceCPU && r.Current.AverageUtilization != nil && out.Status.CurrentCPUUtilizationPercentage == nil {
			out.Status.CurrentCPUUtilizationPercentage = r.Current.AverageUtilization
			continue
		}
		current = append(current, metricStatusToV1(m))
	}
	if len(current) != 0 {
		carried[currentMetricsAnnotation] = current
	}
	if len(in.Status.Conditions) != 0 {
		carried[conditionsAnnotation] = in.Status.Conditions // the same fields in both versions
	}
	if in.Spec.Behavior != nil {
		carried[behaviorAnnotation] = in.Spec.Behavior
	}
	if len(carried) == 0 {
		return nil
	}
	annotations := maps.Clone(out.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	for key, value := range carried {
		data, err := json.Marshal(value)
		if err != nil {
			return err
		}
		annotations[key] = string(data)
	}
	out.Annotations = annotations
	return nil
}
