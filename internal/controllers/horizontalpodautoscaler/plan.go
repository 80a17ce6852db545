package horizontalpodautoscaler

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// snapshot is what a decision is made from.
type snapshot struct {
	hpa   *autoscalingv2.HorizontalPodAutoscaler
	scale *autoscalingv1.Scale
	// selectorError says why the scale's selector cannot be read.
	selectorError error
	// pods are those that the scale selects.
	pods []*corev1.Pod
	// rivals are all autoscalers that select some of these pods, by name.
	rivals []string
	// readings belong to the metrics of the spec, one each.
	readings []reading
	memory   memory
}

// reading is what was read for one metric.
type reading struct {
	pods  map[string]podMetric // of metrics that pods have
	value int64                // of metrics that one object or nobody has, in thousandths
	err   error
}

// podMetric is what one pod uses, in thousandths.
type podMetric struct {
	at     time.Time
	window time.Duration
	value  int64
}

// outcome is what to do.
type outcome struct {
	status   autoscalingv2.HorizontalPodAutoscalerStatus
	replicas int32
	desired  int32 // what was desired before
	rescale  bool
	reason   string // of rescaling
	events   []event
	memory   memory
	err      error // what of the metrics could not be used
}

type event struct{ kind, reason, message string }

// verdict collects an outcome.
type verdict struct {
	outcome
	now time.Time
}

func (v *verdict) condition(kind autoscalingv2.HorizontalPodAutoscalerConditionType, ok bool, reason, message string) {
	v.status.Conditions = setCondition(v.status.Conditions, kind, ok, reason, message, v.now)
}

func (v *verdict) warn(reason, message string) {
	v.events = append(v.events, event{corev1.EventTypeWarning, reason, message})
}

func begin(hpa *autoscalingv2.HorizontalPodAutoscaler, now time.Time) *verdict {
	v := &verdict{now: now}
	v.status = *hpa.Status.DeepCopy()
	v.status.ObservedGeneration = &hpa.Generation
	return v
}

// unreachable is the outcome when the target's scale cannot be read.
func unreachable(hpa *autoscalingv2.HorizontalPodAutoscaler, m memory, cause error, now time.Time) outcome {
	v := begin(hpa, now)
	v.status.ObservedGeneration = hpa.Status.ObservedGeneration // nothing of the spec was done
	v.memory = m
	v.warn("FailedGetScale", cause.Error())
	v.condition(autoscalingv2.AbleToScale, false, "FailedGetScale", "the HPA controller was unable to get the target's current scale: "+cause.Error())
	return v.outcome
}

// least is how few pods the autoscaler may ask for.
func least(hpa *autoscalingv2.HorizontalPodAutoscaler) int32 {
	if hpa.Spec.MinReplicas != nil {
		return *hpa.Spec.MinReplicas
	}
	return 1
}

// byMetrics says whether metrics decide; out of bounds they do not.
func byMetrics(hpa *autoscalingv2.HorizontalPodAutoscaler, scale *autoscalingv1.Scale) bool {
	n := scale.Spec.Replicas
	if n == 0 {
		return wakes(hpa)
	}
	return n <= hpa.Spec.MaxReplicas && n >= least(hpa)
}

// wakes says whether metrics may bring a target back that has no pods. One that
// somebody else scaled to zero stays there.
func wakes(hpa *autoscalingv2.HorizontalPodAutoscaler) bool {
	return sleeps(hpa) && (least(hpa) != 0 || seesFromOutside(hpa))
}

// sleeps says whether the target has no pods because its autoscaler had it so.
func sleeps(hpa *autoscalingv2.HorizontalPodAutoscaler) bool {
	return slices.ContainsFunc(hpa.Status.Conditions, func(c autoscalingv2.HorizontalPodAutoscalerCondition) bool {
		return c.Type == autoscalingv2.ScaledToZero && c.Status == corev1.ConditionTrue
	})
}

// seesFromOutside says whether some metric has a value without any pod.
func seesFromOutside(hpa *autoscalingv2.HorizontalPodAutoscaler) bool {
	return slices.ContainsFunc(hpa.Spec.Metrics, func(m autoscalingv2.MetricSpec) bool {
		return m.Type == autoscalingv2.ObjectMetricSourceType || m.Type == autoscalingv2.ExternalMetricSourceType
	})
}

// decide says how many pods there shall be.
func decide(s snapshot, now time.Time) outcome {
	v := begin(s.hpa, now)
	v.memory = s.memory.began(s.scale.Spec.Replicas, now)
	v.condition(autoscalingv2.AbleToScale, true, "SucceededGetScale", "the HPA controller was able to get the target's current scale")
	current := s.scale.Spec.Replicas
	v.status.CurrentReplicas = current
	v.replicas = current
	switch lowest := least(s.hpa); {
	case current == 0 && !wakes(s.hpa):
		v.replicas = 0
		v.condition(autoscalingv2.ScalingActive, false, "ScalingDisabled", "scaling is disabled since the replica count of the target is zero")
		v.status.CurrentMetrics = nil
	case current > s.hpa.Spec.MaxReplicas:
		v.replicas, v.reason = s.hpa.Spec.MaxReplicas, "Current number of replicas above Spec.MaxReplicas"
		v.status.CurrentMetrics = nil
	case current != 0 && current < lowest:
		v.replicas, v.reason = lowest, "Current number of replicas below Spec.MinReplicas"
		v.status.CurrentMetrics = nil
	default:
		if !v.measured(s) {
			return v.outcome
		}
		if current == 0 && v.replicas < lowest {
			v.replicas = lowest
			v.reason = cmp.Or(v.reason, "Current number of replicas below Spec.MinReplicas")
		}
	}
	v.rescale, v.desired = v.replicas != current, v.status.DesiredReplicas
	v.status.DesiredReplicas = v.replicas
	return v.outcome
}

// measured lets the metrics decide; false is that they cannot.
func (v *verdict) measured(s snapshot) bool {
	if !v.selectable(s) {
		v.status.CurrentMetrics = nil
		v.warn("FailedComputeMetricsReplicas", v.err.Error())
		return false
	}
	wish, name := v.wish(s)
	if wish < 0 {
		v.warn("FailedComputeMetricsReplicas", v.err.Error())
		return false
	}
	current := s.scale.Spec.Replicas
	switch {
	case wish > current:
		v.reason = name + " above target"
	case wish < current:
		v.reason = "All metrics below target"
	}
	v.replicas = v.normalize(s.hpa, current, wish)
	return true
}

// selectable says whether it is known which pods are the target's own.
func (v *verdict) selectable(s snapshot) bool {
	switch {
	case s.scale.Status.Selector == "":
		v.err = fmt.Errorf("selector is required")
		v.warn("SelectorRequired", v.err.Error())
		v.condition(autoscalingv2.ScalingActive, false, "InvalidSelector", "the HPA target's scale is missing a selector")
	case s.selectorError != nil:
		v.err = fmt.Errorf("couldn't convert selector into a corresponding internal selector object: %w", s.selectorError)
		v.warn("InvalidSelector", v.err.Error())
		v.condition(autoscalingv2.ScalingActive, false, "InvalidSelector", v.err.Error())
	case len(s.rivals) > 1:
		v.err = fmt.Errorf("pods by selector %s are controlled by more than one HPA (e.g. [%s])", s.scale.Status.Selector, strings.Join(s.rivals[:2], " "))
		v.warn("AmbiguousSelector", v.err.Error())
		v.condition(autoscalingv2.ScalingActive, false, "AmbiguousSelector", v.err.Error())
	default:
		return true
	}
	return false
}

// wish is the highest number of pods that a metric asks for, and what that
// metric is called. It is -1 when no metric can be used, or when some cannot
// and the others would have fewer pods.
func (v *verdict) wish(s snapshot) (int32, string) {
	var first *failure
	broken := 0
	wish, name := int32(0), ""
	v.status.CurrentMetrics = make([]autoscalingv2.MetricStatus, len(s.hpa.Spec.Metrics))
	for i := range s.hpa.Spec.Metrics {
		p, fail := propose(s, i, v.now)
		if fail != nil {
			broken++
			v.warn(fail.reason, fail.cause.Error())
			if first == nil {
				first = fail
			}
			continue
		}
		v.status.CurrentMetrics[i] = p.status
		if wish == 0 || p.replicas > wish {
			wish, name = p.replicas, p.name
		}
	}
	if first != nil {
		v.err = fmt.Errorf("invalid metrics (%d invalid out of %d), first error is: %w", broken, len(s.hpa.Spec.Metrics), first.err)
		if broken == len(s.hpa.Spec.Metrics) || wish < s.scale.Spec.Replicas {
			v.condition(autoscalingv2.ScalingActive, false, first.reason, "the HPA was unable to compute the replica count: "+first.cause.Error())
			return -1, ""
		}
	}
	v.condition(autoscalingv2.ScalingActive, true, "ValidMetricFound", "the HPA was able to successfully calculate a replica count from "+name)
	return wish, name
}

// scaled notes that the target has the new size.
func (o *outcome) scaled(hpa *autoscalingv2.HorizontalPodAutoscaler, now time.Time) {
	was := o.status.CurrentReplicas
	message := fmt.Sprintf("the HPA controller was able to update the target scale to %d", o.replicas)
	o.status.Conditions = setCondition(o.status.Conditions, autoscalingv2.AbleToScale, true, "SucceededRescale", message, now)
	if was > 0 && o.replicas == 0 && least(hpa) == 0 && seesFromOutside(hpa) {
		o.status.Conditions = setCondition(o.status.Conditions, autoscalingv2.ScaledToZero, true, "ScaledToZero", "the HPA controller scaled the workload to zero", now)
	} else {
		o.status.Conditions = setCondition(o.status.Conditions, autoscalingv2.ScaledToZero, false, "NotScaledToZero", "the HPA controller did not scale the workload to zero", now)
	}
	o.status.LastScaleTime = &metav1.Time{Time: now}
	o.events = append(o.events, event{corev1.EventTypeNormal, "SuccessfulRescale", fmt.Sprintf("New size: %d; reason: %s", o.replicas, o.reason)})
	o.memory = o.memory.scaled(hpa.Spec.Behavior, was, o.replicas, now)
}

// unscaled notes that the target could not be given its new size.
func (o *outcome) unscaled(cause error, now time.Time) {
	o.status.DesiredReplicas = o.desired // nothing came of the wish
	message := "the HPA controller was unable to update the target scale: " + cause.Error()
	o.status.Conditions = setCondition(o.status.Conditions, autoscalingv2.AbleToScale, false, "FailedUpdateScale", message, now)
	o.events = append(o.events, event{corev1.EventTypeWarning, "FailedRescale", fmt.Sprintf("New size: %d; reason: %s; error: %v", o.replicas, o.reason, cause)})
}

func setCondition(list []autoscalingv2.HorizontalPodAutoscalerCondition, kind autoscalingv2.HorizontalPodAutoscalerConditionType, ok bool, reason, message string, now time.Time) []autoscalingv2.HorizontalPodAutoscalerCondition {
	status := corev1.ConditionFalse
	if ok {
		status = corev1.ConditionTrue
	}
	i := slices.IndexFunc(list, func(c autoscalingv2.HorizontalPodAutoscalerCondition) bool { return c.Type == kind })
	if i < 0 {
		i = len(list)
		list = append(list, autoscalingv2.HorizontalPodAutoscalerCondition{Type: kind})
	}
	c := &list[i]
	if c.Status != status {
		c.LastTransitionTime = metav1.NewTime(now)
	}
	c.Status, c.Reason, c.Message = status, reason, message
	return list
}
