package resources

import (
	"fmt"
	"strings"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Autoscaling returns the rows of the group autoscaling.
func Autoscaling() []Resource {
	r := row[autoscalingv2.HorizontalPodAutoscaler, autoscalingv2.HorizontalPodAutoscalerList](
		autoscalingv2.SchemeGroupVersion, "HorizontalPodAutoscaler", "horizontalpodautoscalers", "hpa")
	r.Categories = []string{"all"}
	r.ServedAs = []schema.GroupVersion{autoscalingv1.SchemeGroupVersion}
	r.Columns = []metav1.TableColumnDefinition{
		nameColumn(),
		docColumn("Reference", "string", autoscalingv2.HorizontalPodAutoscalerSpec{}, "scaleTargetRef"),
		docColumn("Targets", "string", autoscalingv2.HorizontalPodAutoscalerSpec{}, "metrics"),
		docColumn("MinPods", "string", autoscalingv2.HorizontalPodAutoscalerSpec{}, "minReplicas"),
		docColumn("MaxPods", "string", autoscalingv2.HorizontalPodAutoscalerSpec{}, "maxReplicas"),
		docColumn("Replicas", "string", autoscalingv2.HorizontalPodAutoscalerStatus{}, "currentReplicas"),
		ageColumn(),
	}
	r.Cells = cells(func(h *autoscalingv2.HorizontalPodAutoscaler) []any {
		minPods := "<unset>"
		if h.Spec.MinReplicas != nil {
			minPods = fmt.Sprint(*h.Spec.MinReplicas)
		}
		return []any{
			h.Name, h.Spec.ScaleTargetRef.Kind + "/" + h.Spec.ScaleTargetRef.Name,
			hpaMetrics(h.Spec.Metrics, h.Status.CurrentMetrics), minPods,
			int64(h.Spec.MaxReplicas), int64(h.Status.CurrentReplicas), since(h.CreationTimestamp),
		}
	})
	r.Strategy = hpaStrategy()
	r.Status = hpaStatusStrategy()
	return []Resource{r}
}

// hpaMetrics renders "current/target" for the first two metrics.
func hpaMetrics(specs []autoscalingv2.MetricSpec, statuses []autoscalingv2.MetricStatus) string {
	if len(specs) == 0 {
		return "<none>"
	}
	const shown = 2
	list := make([]string, 0, len(specs))
	for i := range specs {
		var status autoscalingv2.MetricStatus
		if i < len(statuses) {
			status = statuses[i]
		}
		list = append(list, hpaMetric(specs[i], status))
	}
	if len(list) > shown {
		return fmt.Sprintf("%s + %d more...", strings.Join(list[:shown], ", "), len(list)-shown)
	}
	return strings.Join(list, ", ")
}

func hpaMetric(spec autoscalingv2.MetricSpec, status autoscalingv2.MetricStatus) string {
	var target *autoscalingv2.MetricTarget
	var current *autoscalingv2.MetricValueStatus
	prefix := ""
	switch {
	case spec.Type == autoscalingv2.ExternalMetricSourceType && spec.External != nil:
		target = &spec.External.Target
		if status.External != nil {
			current = &status.External.Current
		}
	case spec.Type == autoscalingv2.ObjectMetricSourceType && spec.Object != nil:
		target = &spec.Object.Target
		if status.Object != nil {
			current = &status.Object.Current
		}
	case spec.Type == autoscalingv2.PodsMetricSourceType && spec.Pods != nil:
		if status.Pods != nil {
			current = &status.Pods.Current
		}
		return averageOf(current) + "/" + quantityText(spec.Pods.Target.AverageValue)
	case spec.Type == autoscalingv2.ResourceMetricSourceType && spec.Resource != nil:
		target, prefix = &spec.Resource.Target, spec.Resource.Name.String()
		if status.Resource != nil {
			current = &status.Resource.Current
		}
		return prefix + ": " + resourceMetric(target, current)
	case spec.Type == autoscalingv2.ContainerResourceMetricSourceType && spec.ContainerResource != nil:
		target, prefix = &spec.ContainerResource.Target, spec.ContainerResource.Name.String()
		if status.ContainerResource != nil {
			current = &status.ContainerResource.Current
		}
		return prefix + ": " + resourceMetric(target, current)
	default:
		return "<unknown type>"
	}
	if target.AverageValue != nil {
		return averageOf(current) + "/" + target.AverageValue.String() + " (avg)"
	}
	now := "<unknown>"
	if current != nil {
		now = quantityText(current.Value)
	}
	return now + "/" + quantityText(target.Value)
}

func resourceMetric(target *autoscalingv2.MetricTarget, current *autoscalingv2.MetricValueStatus) string {
	if target.AverageValue != nil {
		return averageOf(current) + "/" + target.AverageValue.String()
	}
	now, want := "<unknown>", "<auto>"
	if current != nil && current.AverageUtilization != nil {
		now = fmt.Sprintf("%d%%", *current.AverageUtilization)
	}
	if target.AverageUtilization != nil {
		want = fmt.Sprintf("%d%%", *target.AverageUtilization)
	}
	return now + "/" + want
}

func averageOf(current *autoscalingv2.MetricValueStatus) string {
	if current == nil || current.AverageValue == nil {
		return "<unknown>"
	}
	return current.AverageValue.String()
}

func quantityText(q *resource.Quantity) string {
	if q == nil {
		return "<nil>"
	}
	return q.String()
}
