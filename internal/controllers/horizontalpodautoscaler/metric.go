package horizontalpodautoscaler

import (
	"errors"
	"fmt"
	"math"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/sinawi/sinawi/internal/controllers/workload"
)

// proposal is what one metric asks for.
type proposal struct {
	replicas int32
	name     string
	status   autoscalingv2.MetricStatus
}

// failure is why a metric cannot be used: cause for whoever looks at this
// metric, err for whoever looks at all.
type failure struct {
	reason     string
	cause, err error
}

func failed(reason string, cause error, what string) *failure {
	return &failure{reason: reason, cause: cause, err: fmt.Errorf("failed to get %s: %w", what, cause)}
}

// propose asks the i-th metric.
func propose(s snapshot, i int, now time.Time) (proposal, *failure) {
	spec, r := &s.hpa.Spec.Metrics[i], &s.readings[i]
	c := calculation{snapshot: s, reading: r, tolerances: tolerancesOf(s.hpa), now: now}
	switch {
	case spec.Type == autoscalingv2.ResourceMetricSourceType && spec.Resource != nil:
		c.resource = spec.Resource.Name
		current, p, err := c.used(&spec.Resource.Target, "")
		if err != nil {
			return p, failed("FailedGetResourceMetric", err, string(c.resource)+" resource metric value")
		}
		p.status = autoscalingv2.MetricStatus{Type: spec.Type, Resource: &autoscalingv2.ResourceMetricStatus{Name: c.resource, Current: current}}
		return p, nil
	case spec.Type == autoscalingv2.ContainerResourceMetricSourceType && spec.ContainerResource != nil:
		c.resource = spec.ContainerResource.Name
		current, p, err := c.used(&spec.ContainerResource.Target, spec.ContainerResource.Container)
		if err != nil {
			return p, failed("FailedGetContainerResourceMetric", err, spec.ContainerResource.Container+" container metric value")
		}
		p.status = autoscalingv2.MetricStatus{Type: spec.Type, ContainerResource: &autoscalingv2.ContainerResourceMetricStatus{
			Name: c.resource, Container: spec.ContainerResource.Container, Current: current,
		}}
		return p, nil
	case spec.Type == autoscalingv2.PodsMetricSourceType && spec.Pods != nil:
		return c.ofPods(spec.Pods)
	case spec.Type == autoscalingv2.ObjectMetricSourceType && spec.Object != nil:
		return c.ofObject(spec.Object)
	case spec.Type == autoscalingv2.ExternalMetricSourceType && spec.External != nil:
		return c.external(spec.External)
	}
	err := fmt.Errorf("unknown metric source type %q", spec.Type)
	return proposal{}, &failure{reason: "InvalidMetricSourceType", cause: err, err: err}
}

// calculation is of one metric.
type calculation struct {
	snapshot
	reading    *reading
	resource   corev1.ResourceName // none: no resource
	tolerances tolerances
	now        time.Time
}

// used is for what pods or a container of them use of a resource.
func (c *calculation) used(target *autoscalingv2.MetricTarget, container string) (autoscalingv2.MetricValueStatus, proposal, error) {
	var current autoscalingv2.MetricValueStatus
	switch {
	case target.AverageValue != nil:
		n, average, err := c.average(target.AverageValue.MilliValue())
		if err != nil {
			return current, proposal{}, fmt.Errorf("failed to get %s usage: %w", c.resource, err)
		}
		current.AverageValue = c.quantity(average)
		return current, proposal{replicas: n, name: string(c.resource) + " resource"}, nil
	case target.AverageUtilization != nil:
		n, percent, average, err := c.utilization(*target.AverageUtilization, container)
		if err != nil {
			return current, proposal{}, fmt.Errorf("failed to get %s utilization: %w", c.resource, err)
		}
		current.AverageUtilization, current.AverageValue = &percent, c.quantity(average)
		what := string(c.resource) + " resource"
		if container != "" {
			what = string(c.resource) + " container resource"
		}
		return current, proposal{replicas: n, name: what + " utilization (percentage of request)"}, nil
	}
	return current, proposal{}, errors.New("invalid resource metric source: neither an average utilization target nor an average value (usage) target was set")
}

func (c *calculation) ofPods(spec *autoscalingv2.PodsMetricSource) (proposal, *failure) {
	n, average, err := c.average(spec.Target.AverageValue.MilliValue())
	if err != nil {
		return proposal{}, failed("FailedGetPodsMetric", err, "pods metric value")
	}
	return proposal{replicas: n, name: "pods metric " + spec.Metric.Name, status: autoscalingv2.MetricStatus{
		Type: autoscalingv2.PodsMetricSourceType,
		Pods: &autoscalingv2.PodsMetricStatus{Metric: spec.Metric, Current: autoscalingv2.MetricValueStatus{AverageValue: milli(average)}},
	}}, nil
}

func (c *calculation) ofObject(spec *autoscalingv2.ObjectMetricSource) (proposal, *failure) {
	name := fmt.Sprintf("%s metric %s", spec.DescribedObject.Kind, spec.Metric.Name)
	if perPod(&spec.Target) {
		name = externalName(spec.Metric)
	}
	n, current, err := c.whole(&spec.Target)
	if err != nil {
		if c.reading.err == nil && current == nil {
			err = fmt.Errorf("invalid object metric source: %w", err)
		}
		fail := failed("FailedGetObjectMetric", err, "object metric value")
		if perPod(&spec.Target) {
			fail.err = fmt.Errorf("failed to get object metric value: failed to get %s object metric: %w", spec.Metric.Name, err)
		}
		return proposal{}, fail
	}
	return proposal{replicas: n, name: name, status: autoscalingv2.MetricStatus{
		Type:   autoscalingv2.ObjectMetricSourceType,
		Object: &autoscalingv2.ObjectMetricStatus{DescribedObject: spec.DescribedObject, Metric: spec.Metric, Current: *current},
	}}, nil
}

func (c *calculation) external(spec *autoscalingv2.ExternalMetricSource) (proposal, *failure) {
	n, current, err := c.whole(&spec.Target)
	if err != nil {
		if c.reading.err == nil && current == nil {
			err = fmt.Errorf("invalid external metric source: %w", err)
		}
		fail := failed("FailedGetExternalMetric", err, spec.Metric.Name+" external metric value")
		what := "external metric " + spec.Metric.Name
		if perPod(&spec.Target) {
			what = spec.Metric.Name + " external metric"
		}
		fail.err = fmt.Errorf("failed to get %s external metric value: failed to get %s: %w", spec.Metric.Name, what, err)
		return proposal{}, fail
	}
	return proposal{replicas: n, name: externalName(spec.Metric), status: autoscalingv2.MetricStatus{
		Type:     autoscalingv2.ExternalMetricSourceType,
		External: &autoscalingv2.ExternalMetricStatus{Metric: spec.Metric, Current: *current},
	}}, nil
}

// externalName is what events and conditions call a metric of nobody, and one
// of an object that is divided among the pods.
func externalName(m autoscalingv2.MetricIdentifier) string {
	return fmt.Sprintf("external metric %s(%+v)", m.Name, m.Selector)
}

// perPod says whether the value is divided among the pods.
func perPod(target *autoscalingv2.MetricTarget) bool {
	return target.Type != autoscalingv2.ValueMetricType && target.AverageValue != nil
}

// whole is for a metric with one value, which is compared with a target for
// all pods or divided among them.
func (c *calculation) whole(target *autoscalingv2.MetricTarget) (int32, *autoscalingv2.MetricValueStatus, error) {
	if c.reading.err != nil {
		return 0, nil, c.reading.err
	}
	value := c.reading.value
	switch {
	case perPod(target):
		n, each := c.divided(value, target.AverageValue.MilliValue())
		return n, &autoscalingv2.MetricValueStatus{AverageValue: milli(each)}, nil
	case target.Value != nil:
		n, err := c.proportional(float64(value) / float64(target.Value.MilliValue()))
		return n, &autoscalingv2.MetricValueStatus{Value: milli(value)}, err
	}
	return 0, nil, errors.New("neither a value target nor an average value target was set")
}

// divided is how many pods share value so that each has the target, and what
// each has now.
func (c *calculation) divided(value, target int64) (int32, int64) {
	n := c.scale.Status.Replicas
	ratio := float64(value) / (float64(target) * float64(n))
	if !c.tolerances.within(ratio) {
		n = ceil(float64(value) / float64(target))
	}
	if c.scale.Status.Replicas == 0 || value == math.MaxInt64 {
		return n, value
	}
	return n, int64(math.Ceil(float64(value) / float64(c.scale.Status.Replicas)))
}

// proportional multiplies the ready pods.
func (c *calculation) proportional(ratio float64) (int32, error) {
	current := c.scale.Spec.Replicas
	if current == 0 {
		return ceil(ratio), nil // zero or some: there are no pods to count
	}
	if c.tolerances.within(ratio) {
		return current, nil
	}
	if len(c.pods) == 0 {
		return 0, errors.New("unable to calculate ready pods: no pods returned by selector while calculating replica count")
	}
	ready := 0
	for _, p := range c.pods {
		if p.Status.Phase == corev1.PodRunning && workload.Ready(p) {
			ready++
		}
	}
	return ceil(ratio * float64(ready)), nil
}

// quantity writes memory as metrics of pods do.
func (c *calculation) quantity(n int64) *resource.Quantity {
	if c.resource == corev1.ResourceMemory {
		return resource.NewMilliQuantity(n, resource.BinarySI)
	}
	return milli(n)
}

func milli(n int64) *resource.Quantity { return resource.NewMilliQuantity(n, resource.DecimalSI) }

func ceil(f float64) int32 {
	if f = math.Ceil(f); f < math.MaxInt32 {
		return int32(f)
	}
	return math.MaxInt32
}

// tolerances are the ratios of usage to target at which nothing is done.
type tolerances struct{ up, down float64 }

const defaultTolerance = 0.1

func tolerancesOf(hpa *autoscalingv2.HorizontalPodAutoscaler) tolerances {
	t := tolerances{up: defaultTolerance, down: defaultTolerance}
	if b := hpa.Spec.Behavior; b != nil {
		if b.ScaleUp != nil && b.ScaleUp.Tolerance != nil {
			t.up = b.ScaleUp.Tolerance.AsApproximateFloat64()
		}
		if b.ScaleDown != nil && b.ScaleDown.Tolerance != nil {
			t.down = b.ScaleDown.Tolerance.AsApproximateFloat64()
		}
	}
	return t
}

func (t tolerances) within(ratio float64) bool { return 1-t.down <= ratio && ratio <= 1+t.up }
