package horizontalpodautoscaler

import (
	"math"
	"testing"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	customv1beta2 "k8s.io/metrics/pkg/apis/custom_metrics/v1beta2"
	externalv1beta1 "k8s.io/metrics/pkg/apis/external_metrics/v1beta1"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
	"k8s.io/metrics/pkg/client/custom_metrics"
)

func TestSum(t *testing.T) {
	of := func(milli ...int64) (out []externalv1beta1.ExternalMetricValue) {
		for _, m := range milli {
			out = append(out, externalv1beta1.ExternalMetricValue{Value: *resource.NewMilliQuantity(m, resource.DecimalSI)})
		}
		return out
	}
	if got := sum(of(5, 7, -2)); got != 10 {
		t.Errorf("sum is %d", got)
	}
	if got := sum(of(math.MaxInt64, 7)); got != math.MaxInt64 {
		t.Errorf("what does not fit is %d", got)
	}
}

// TestContainerOfNoPod: that no pod has such a container is said of the pods.
func TestContainerOfNoPod(t *testing.T) {
	list := func() (*metricsv1beta1.PodMetricsList, error) {
		return &metricsv1beta1.PodMetricsList{Items: []metricsv1beta1.PodMetrics{{Containers: []metricsv1beta1.ContainerMetrics{{Name: "c"}}}}}, nil
	}
	if r := ofResource(list, corev1.ResourceCPU, "other"); r.err != nil || len(r.pods) > 0 {
		t.Errorf("%+v", r)
	}
}

// asked notes which object was asked for.
type asked struct {
	custom_metrics.MetricsInterface
	name string
}

func (a *asked) RootScopedMetrics() custom_metrics.MetricsInterface                 { return a }
func (a *asked) NamespacedMetrics(namespace string) custom_metrics.MetricsInterface { return a }

func (a *asked) GetForObject(_ schema.GroupKind, name, _ string, _ labels.Selector) (*customv1beta2.MetricValue, error) {
	a.name = name
	return &customv1beta2.MetricValue{}, nil
}

// TestOwnNamespace: a metric of a namespace is that of the autoscaler's own.
func TestOwnNamespace(t *testing.T) {
	for kind, want := range map[string]string{"Namespace": "mine", "Service": "other"} {
		a := &asked{}
		(&metrics{custom: a}).ofObject("mine", &autoscalingv2.ObjectMetricSource{
			DescribedObject: autoscalingv2.CrossVersionObjectReference{APIVersion: "v1", Kind: kind, Name: "other"},
			Metric:          autoscalingv2.MetricIdentifier{Name: "m", Selector: &metav1.LabelSelector{}},
		})
		if a.name != want {
			t.Errorf("%s: asked for %q, want %q", kind, a.name, want)
		}
	}
}
