package horizontalpodautoscaler

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
	externalv1beta1 "k8s.io/metrics/pkg/apis/external_metrics/v1beta1"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
	"k8s.io/metrics/pkg/client/clientset/versioned"
	"k8s.io/metrics/pkg/client/custom_metrics"
	"k8s.io/metrics/pkg/client/external_metrics"
)

// metrics reads what the three groups of metrics say.
type metrics struct {
	resource versioned.Interface
	custom   custom_metrics.CustomMetricsClient
	external external_metrics.ExternalMetricsClient
	versions custom_metrics.AvailableAPIsGetter
}

func newMetrics(config *rest.Config, d discovery.DiscoveryInterface, mapper meta.RESTMapper) (*metrics, error) {
	// Servers of metrics that users run speak JSON for sure.
	config = rest.CopyConfig(config)
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	resource, err := versioned.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("build client of resource metrics: %w", err)
	}
	external, err := external_metrics.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("build client of external metrics: %w", err)
	}
	versions := custom_metrics.NewAvailableAPIsGetter(d)
	return &metrics{
		resource: resource, external: external, versions: versions,
		custom: custom_metrics.NewForConfig(config, mapper, versions),
	}, nil
}

// read reads all metrics of an autoscaler.
func (m *metrics) read(ctx context.Context, hpa *autoscalingv2.HorizontalPodAutoscaler, selector labels.Selector) []reading {
	out := make([]reading, len(hpa.Spec.Metrics))
	pods := sync.OnceValues(func() (*metricsv1beta1.PodMetricsList, error) {
		return m.resource.MetricsV1beta1().PodMetricses(hpa.Namespace).List(ctx, metav1.ListOptions{LabelSelector: selector.String()})
	})
	for i := range hpa.Spec.Metrics {
		spec := &hpa.Spec.Metrics[i]
		switch {
		case spec.Resource != nil:
			out[i] = ofResource(pods, spec.Resource.Name, "")
		case spec.ContainerResource != nil:
			out[i] = ofResource(pods, spec.ContainerResource.Name, spec.ContainerResource.Container)
		case spec.Pods != nil:
			out[i] = m.ofPods(hpa.Namespace, spec.Pods, selector)
		case spec.Object != nil:
			out[i] = m.ofObject(hpa.Namespace, spec.Object)
		case spec.External != nil:
			out[i] = m.ofExternal(hpa.Namespace, spec.External)
		}
	}
	return out
}

// ofResource sums what the containers of pods use, or takes the one named.
func ofResource(list func() (*metricsv1beta1.PodMetricsList, error), name corev1.ResourceName, container string) reading {
	all, err := list()
	switch {
	case err != nil:
		return reading{err: fmt.Errorf("unable to get metrics for resource %s: unable to fetch metrics from resource metrics API: %w", name, err)}
	case len(all.Items) == 0:
		return reading{err: fmt.Errorf("unable to get metrics for resource %s: no metrics returned from resource metrics API", name)}
	}
	out := make(map[string]podMetric, len(all.Items))
	for i := range all.Items {
		pod := &all.Items[i]
		if value, ok := used(pod, name, container); ok {
			out[pod.Name] = podMetric{at: pod.Timestamp.Time, window: pod.Window.Duration, value: value}
		}
	}
	return reading{pods: out}
}

func used(pod *metricsv1beta1.PodMetrics, name corev1.ResourceName, container string) (int64, bool) {
	var sum int64
	some := false
	for i := range pod.Containers {
		c := &pod.Containers[i]
		if container != "" && c.Name != container {
			continue
		}
		q, ok := c.Usage[name]
		if !ok {
			return 0, false
		}
		sum += q.MilliValue()
		some = true
	}
	return sum, some
}

// defaultWindow is that of custom metrics that name none.
const defaultWindow = time.Minute

func (m *metrics) ofPods(namespace string, spec *autoscalingv2.PodsMetricSource, selector labels.Selector) reading {
	fail := func(err error) reading {
		return reading{err: fmt.Errorf("unable to get metric %s: %w", spec.Metric.Name, err)}
	}
	which, err := selectorOf(spec.Metric.Selector)
	if err != nil {
		return fail(err)
	}
	list, err := m.custom.NamespacedMetrics(namespace).GetForObjects(schema.GroupKind{Kind: "Pod"}, selector, spec.Metric.Name, which)
	switch {
	case err != nil:
		m.versions.Invalidate() // the group may have come or gone
		return fail(fmt.Errorf("unable to fetch metrics from custom metrics API: %w", err))
	case len(list.Items) == 0:
		return fail(errors.New("no metrics returned from custom metrics API"))
	}
	out := make(map[string]podMetric, len(list.Items))
	for i := range list.Items {
		item := &list.Items[i]
		window := defaultWindow
		if item.WindowSeconds != nil {
			window = time.Duration(*item.WindowSeconds) * time.Second
		}
		out[item.DescribedObject.Name] = podMetric{at: item.Timestamp.Time, window: window, value: item.Value.MilliValue()}
	}
	return reading{pods: out}
}

func (m *metrics) ofObject(namespace string, spec *autoscalingv2.ObjectMetricSource) reading {
	object := &spec.DescribedObject
	fail := func(err error) reading {
		return reading{err: fmt.Errorf("unable to get metric %s on %s %s/%s: %w", spec.Metric.Name, object.Kind, namespace, object.Name, err)}
	}
	which, err := selectorOf(spec.Metric.Selector)
	if err != nil {
		return fail(err)
	}
	gv, err := schema.ParseGroupVersion(object.APIVersion)
	if err != nil {
		return fail(err)
	}
	kind := gv.WithKind(object.Kind).GroupKind()
	get, name := m.custom.NamespacedMetrics(namespace).GetForObject, object.Name
	if kind == (schema.GroupKind{Kind: "Namespace"}) {
		// Whatever its name: nobody may look at another namespace.
		get, name = m.custom.RootScopedMetrics().GetForObject, namespace
	}
	value, err := get(kind, name, spec.Metric.Name, which)
	if err != nil {
		m.versions.Invalidate() // the group may have come or gone
		return fail(fmt.Errorf("unable to fetch metrics from custom metrics API: %w", err))
	}
	return reading{value: value.Value.MilliValue()}
}

func (m *metrics) ofExternal(namespace string, spec *autoscalingv2.ExternalMetricSource) reading {
	fail := func(err error) reading {
		return reading{err: fmt.Errorf("unable to get external metric %s/%s/%+v: %w", namespace, spec.Metric.Name, spec.Metric.Selector, err)}
	}
	which, err := selectorOf(spec.Metric.Selector)
	if err != nil {
		return fail(err)
	}
	list, err := m.external.NamespacedMetrics(namespace).List(spec.Metric.Name, which)
	switch {
	case err != nil:
		return fail(fmt.Errorf("unable to fetch metrics from external metrics API: %w", err))
	case len(list.Items) == 0:
		return fail(errors.New("no metrics returned from external metrics API"))
	}
	return reading{value: sum(list.Items)}
}

// sum is that of all values, or the largest number if it does not fit.
func sum(items []externalv1beta1.ExternalMetricValue) int64 {
	var all int64
	for i := range items {
		value := items[i].Value.MilliValue()
		if value > 0 && all > math.MaxInt64-value {
			return math.MaxInt64
		}
		all += value
	}
	return all
}

// selectorOf matches all where no selector is given.
func selectorOf(given *metav1.LabelSelector) (labels.Selector, error) {
	if given == nil {
		return labels.Everything(), nil
	}
	return metav1.LabelSelectorAsSelector(given)
}
