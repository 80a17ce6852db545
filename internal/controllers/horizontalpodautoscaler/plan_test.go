package horizontalpodautoscaler

import (
	"errors"
	"fmt"
	"testing"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"
)

var now = time.Unix(100_000, 0)

// pod is an old pod that is ready and requests one processor.
func pod(name string, change ...func(*corev1.Pod)) *corev1.Pod {
	long := metav1.NewTime(now.Add(-time.Hour))
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("1Gi")},
		}}}},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, StartTime: &long,
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: long}},
		},
	}
	for _, f := range change {
		f(p)
	}
	return p
}

func pending(p *corev1.Pod) { p.Status.Phase = corev1.PodPending }
func broke(p *corev1.Pod)   { p.Status.Phase = corev1.PodFailed }
func deleted(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: now} }
func unready(p *corev1.Pod) { p.Status.Conditions[0].Status = corev1.ConditionFalse }
func justNow(p *corev1.Pod) {
	p.Status.StartTime = &metav1.Time{Time: now.Add(-10 * time.Second)}
	p.Status.Conditions[0].LastTransitionTime = metav1.NewTime(now.Add(-2 * time.Second))
}
func modest(p *corev1.Pod) { p.Spec.Containers[0].Resources.Requests = nil }

// cpu is 50 % utilization.
func cpu(percent int32) autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
		Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &percent},
	}}
}

// world is a snapshot of an autoscaler of 1 to 10 pods.
func world(replicas int32, metrics ...autoscalingv2.MetricSpec) snapshot {
	s := snapshot{
		hpa: &autoscalingv2.HorizontalPodAutoscaler{Spec: autoscalingv2.HorizontalPodAutoscalerSpec{MinReplicas: ptr.To[int32](1), MaxReplicas: 10, Metrics: metrics}},
		scale: &autoscalingv1.Scale{
			Spec: autoscalingv1.ScaleSpec{Replicas: replicas}, Status: autoscalingv1.ScaleStatus{Replicas: replicas, Selector: "app=a"},
		},
		// It began long ago.
		memory: memory{wishes: []wish{{at: now.Add(-time.Hour), replicas: replicas}}},
	}
	s.readings = make([]reading, len(metrics))
	for i := range replicas {
		s.pods = append(s.pods, pod(fmt.Sprint("p", i)))
	}
	return s
}

// using gives pods p0, p1, … what they use of the i-th metric; below 0: nobody
// knows.
func (s snapshot) using(i int, milli ...int64) snapshot {
	pods := map[string]podMetric{}
	for n, value := range milli {
		if value >= 0 {
			pods[fmt.Sprint("p", n)] = podMetric{at: now, window: 5 * time.Second, value: value}
		}
	}
	s.readings[i] = reading{pods: pods}
	return s
}

func (s snapshot) change(i int, f ...func(*corev1.Pod)) snapshot {
	s.pods[i] = pod(s.pods[i].Name, f...)
	return s
}

func (s snapshot) behaving(b autoscalingv2.HorizontalPodAutoscalerBehavior) snapshot {
	s.hpa.Spec.Behavior = &b
	return s
}

func container(name string, target autoscalingv2.MetricTarget) autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{Type: autoscalingv2.ContainerResourceMetricSourceType, ContainerResource: &autoscalingv2.ContainerResourceMetricSource{
		Name: corev1.ResourceCPU, Container: name, Target: target,
	}}
}

// whole gives the pod a request of its own.
func whole(name corev1.ResourceName) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Resources = &corev1.ResourceRequirements{Requests: corev1.ResourceList{name: resource.MustParse("4")}}
	}
}

func TestResource(t *testing.T) {
	usage := autoscalingv2.MetricSpec{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
		Name: corev1.ResourceMemory, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: resource.NewMilliQuantity(200, resource.DecimalSI)},
	}}
	for name, c := range map[string]struct {
		snapshot
		want int32
	}{
		"as it should be":    {world(2, cpu(50)).using(0, 500, 500), 2},
		"too much":           {world(2, cpu(50)).using(0, 900, 1000), 4},
		"too little":         {world(4, cpu(50)).using(0, 250, 250, 250, 250), 2},
		"within tolerance":   {world(2, cpu(50)).using(0, 540, 540), 2},
		"an average":         {world(2, usage).using(0, 300, 500), 4},
		"the highest of two": {world(2, cpu(50), usage).using(0, 500, 500).using(1, 300, 300), 3},
		"a pod without metrics holds growth back": {world(3, cpu(50)).using(0, 1000, 1000, -1), 4},
		"a pod without metrics holds decline up":  {world(3, cpu(50)).using(0, 100, 100, -1), 3},
		"a pending pod counts as idle in growth":  {world(3, cpu(50)).using(0, 1000, 1000).change(2, pending), 4},
		"a pending pod does not count in decline": {world(3, cpu(50)).using(0, 100, 100).change(2, pending), 1},
		"a deleted pod does not count":            {world(3, cpu(50)).using(0, 1000, 1000).change(2, deleted), 4},
		"what a deleted pod uses does not count":  {world(2, cpu(50)).using(0, 5000, 500).change(0, deleted), 2},
		"what a failed pod uses does not count":   {world(2, cpu(50)).using(0, 5000, 500).change(0, broke), 2},
		"a pod that just got ready is starting":   {world(2, cpu(50)).using(0, 500, 1000).change(1, justNow), 2},
		"memory of a starting pod counts":         {world(2, usage).using(0, 200, 600).change(1, justNow), 4},
		"a pod that was ready once counts":        {world(2, cpu(50)).using(0, 1000, 1000).change(1, unready, func(p *corev1.Pod) { p.Status.Conditions[0].LastTransitionTime = metav1.NewTime(now.Add(-time.Minute)) }), 4},
		"a pod that never was ready does not":     {world(2, cpu(50)).using(0, 1000, 1000).change(1, unready), 2},
		"nothing known":                           {world(2, cpu(50)).using(0), 2},
		"no request":                              {world(2, cpu(50)).using(0, 1000, 1000).change(0, modest), 2},
		"request of the pod":                      {world(1, cpu(50)).using(0, 4000).change(0, modest, whole(corev1.ResourceCPU)), 2},
		"more than allowed":                       {world(4, cpu(10)).using(0, 1000, 1000, 1000, 1000), 8},
		"more than the maximum":                   {world(8, cpu(50)).using(0, 900, 900, 900, 900, 900, 900, 900, 900), 10},
		"none is not scaled":                      {world(0, cpu(50)), 0},
		"above the maximum":                       {world(12, cpu(50)), 10},
		"one broken metric, no decline":           {broken(world(4, cpu(50), usage).using(0, 100, 100, 100, 100), 1), 4},
		"one broken metric, growth":               {broken(world(2, cpu(50), usage).using(0, 1000, 1000), 1), 4},
		"own tolerance":                           {world(2, cpu(50)).using(0, 540, 540).behaving(autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: &autoscalingv2.HPAScalingRules{Tolerance: ptr.To(resource.MustParse("0.05"))}}), 3},
		"own tolerance, the other direction":      {world(4, cpu(50)).using(0, 460, 460, 460, 460).behaving(autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: &autoscalingv2.HPAScalingRules{Tolerance: ptr.To(resource.MustParse("0.05"))}}), 4},
	} {
		t.Run(name, func(t *testing.T) {
			out := decide(c.snapshot, now)
			if out.replicas != c.want || out.rescale != (c.want != c.scale.Spec.Replicas) {
				t.Errorf("%d replicas (rescale %v), want %d; %v %+v", out.replicas, out.rescale, c.want, out.err, out.status.Conditions)
			}
		})
	}
}

func broken(s snapshot, i int) snapshot {
	s.readings[i] = reading{err: errors.New("no answer")}
	return s
}

func TestWholeMetrics(t *testing.T) {
	q := func(n int64) *resource.Quantity { return resource.NewQuantity(n, resource.DecimalSI) }
	value := autoscalingv2.MetricTarget{Type: autoscalingv2.ValueMetricType, Value: q(100)}
	each := autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: q(100)}
	object := func(target autoscalingv2.MetricTarget) autoscalingv2.MetricSpec {
		return autoscalingv2.MetricSpec{Type: autoscalingv2.ObjectMetricSourceType, Object: &autoscalingv2.ObjectMetricSource{
			DescribedObject: autoscalingv2.CrossVersionObjectReference{Kind: "Ingress", Name: "i"}, Target: target, Metric: autoscalingv2.MetricIdentifier{Name: "requests"},
		}}
	}
	external := func(target autoscalingv2.MetricTarget) autoscalingv2.MetricSpec {
		return autoscalingv2.MetricSpec{Type: autoscalingv2.ExternalMetricSourceType, External: &autoscalingv2.ExternalMetricSource{
			Target: target, Metric: autoscalingv2.MetricIdentifier{Name: "queue"},
		}}
	}
	for name, c := range map[string]struct {
		snapshot
		value int64
		want  int32
	}{
		"object, value":           {world(2, object(value)), 200, 4},
		"object, value, less":     {world(4, object(value)), 25, 1},
		"object, value, near":     {world(2, object(value)), 105, 2},
		"object, each":            {world(2, object(each)), 300, 3},
		"external, value":         {world(3, external(value)), 200, 6},
		"external, each":          {world(1, external(each)), 350, 4},
		"external, each, as many": {world(4, external(each)), 390, 4},
	} {
		t.Run(name, func(t *testing.T) {
			c.readings[0] = reading{value: c.value * 1000}
			out := decide(c.snapshot, now)
			if out.replicas != c.want {
				t.Errorf("%d replicas, want %d; %v", out.replicas, c.want, out.err)
			}
			if len(out.status.CurrentMetrics) != 1 || out.status.CurrentMetrics[0].Type != c.hpa.Spec.Metrics[0].Type {
				t.Errorf("metrics: %+v", out.status.CurrentMetrics)
			}
		})
	}
	t.Run("from none", func(t *testing.T) {
		s := world(0, external(each))
		s.hpa.Spec.MinReplicas = ptr.To[int32](0)
		s.hpa.Status.Conditions = []autoscalingv2.HorizontalPodAutoscalerCondition{{Type: autoscalingv2.ScaledToZero, Status: corev1.ConditionTrue}}
		s.readings[0] = reading{value: 150_000}
		if out := decide(s, now); out.replicas != 2 {
			t.Errorf("%d replicas, want 2; %v", out.replicas, out.err)
		}
	})
}

func TestStabilization(t *testing.T) {
	low := world(4, cpu(50)).using(0, 100, 100, 100, 100)
	low.memory = memory{wishes: []wish{{now.Add(-time.Hour), 9}, {now.Add(-2 * time.Minute), 4}, {now.Add(-time.Minute), 3}}}
	out := decide(low, now)
	if out.replicas != 4 || reason(out, autoscalingv2.AbleToScale) != "ScaleDownStabilized" {
		t.Errorf("%d replicas, %+v", out.replicas, out.status.Conditions)
	}
	if n := len(out.memory.wishes); n != 3 { // the oldest is forgotten
		t.Errorf("%d recommendations remembered", n)
	}
	low.memory = out.memory
	if out := decide(low, now.Add(5*time.Minute)); out.replicas != 1 {
		t.Errorf("later: %d replicas, %+v", out.replicas, out.status.Conditions)
	}

	high := world(2, cpu(50)).using(0, 1000, 1000).behaving(autoscalingv2.HorizontalPodAutoscalerBehavior{
		ScaleUp: &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: ptr.To[int32](60)},
	})
	high.memory = memory{wishes: []wish{{now.Add(-time.Hour), 1}, {now.Add(-30 * time.Second), 3}}}
	out = decide(high, now)
	if out.replicas != 3 || reason(out, autoscalingv2.AbleToScale) != "ScaleUpStabilized" {
		t.Errorf("%d replicas, %+v", out.replicas, out.status.Conditions)
	}
	low = world(4, cpu(50)).using(0, 100, 100, 100, 100).behaving(autoscalingv2.HorizontalPodAutoscalerBehavior{
		ScaleDown: &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: ptr.To[int32](0)},
	})
	low.memory = memory{}
	if out := decide(low, now); out.replicas != 1 {
		t.Errorf("without a window: %d replicas", out.replicas)
	}
}

func TestPolicies(t *testing.T) {
	policy := func(kind autoscalingv2.HPAScalingPolicyType, value int32) autoscalingv2.HPAScalingPolicy {
		return autoscalingv2.HPAScalingPolicy{Type: kind, Value: value, PeriodSeconds: 60}
	}
	pods, percent := autoscalingv2.PodsScalingPolicy, autoscalingv2.PercentScalingPolicy
	rules := func(selected autoscalingv2.ScalingPolicySelect, p ...autoscalingv2.HPAScalingPolicy) *autoscalingv2.HPAScalingRules {
		return &autoscalingv2.HPAScalingRules{SelectPolicy: &selected, Policies: p, StabilizationWindowSeconds: ptr.To[int32](0)}
	}
	maximum, minimum, disabled := autoscalingv2.MaxChangePolicySelect, autoscalingv2.MinChangePolicySelect, autoscalingv2.DisabledPolicySelect
	busy := func() snapshot { return world(4, cpu(10)).using(0, 1000, 1000, 1000, 1000) }
	idle := func() snapshot {
		s := world(8, cpu(50)).using(0, 1, 1, 1, 1, 1, 1, 1, 1)
		s.memory = memory{}
		return s
	}
	for name, c := range map[string]struct {
		snapshot
		rules  *autoscalingv2.HPAScalingRules
		before memory
		want   int32
		reason string
	}{
		"up, pods":                {busy(), rules(maximum, policy(pods, 1)), memory{}, 5, "ScaleUpLimit"},
		"up, percent rounds up":   {busy(), rules(maximum, policy(percent, 10)), memory{}, 5, "ScaleUpLimit"},
		"up, the most":            {busy(), rules(maximum, policy(pods, 1), policy(percent, 100)), memory{}, 8, "ScaleUpLimit"},
		"up, the least":           {busy(), rules(minimum, policy(pods, 1), policy(percent, 100)), memory{}, 5, "ScaleUpLimit"},
		"up, not at all":          {busy(), rules(disabled), memory{}, 4, "ScaleUpLimit"},
		"up, spent already":       {busy(), rules(maximum, policy(pods, 2)), memory{ups: []change{{now.Add(-30 * time.Second), 2}}}, 4, "ScaleUpLimit"},
		"up, spent long ago":      {busy(), rules(maximum, policy(pods, 2)), memory{ups: []change{{now.Add(-90 * time.Second), 2}}}, 6, "ScaleUpLimit"},
		"up, regained":            {busy(), rules(maximum, policy(pods, 2)), memory{downs: []change{{now.Add(-30 * time.Second), 2}}}, 8, "ScaleUpLimit"},
		"up, to the maximum":      {busy(), rules(maximum, policy(pods, 100)), memory{}, 10, "TooManyReplicas"},
		"down, pods":              {idle(), rules(maximum, policy(pods, 3)), memory{}, 5, "ScaleDownLimit"},
		"down, percent":           {idle(), rules(maximum, policy(percent, 50)), memory{}, 4, "ScaleDownLimit"},
		"down, the most":          {idle(), rules(maximum, policy(pods, 3), policy(percent, 50)), memory{}, 4, "ScaleDownLimit"},
		"down, the least":         {idle(), rules(minimum, policy(pods, 3), policy(percent, 50)), memory{}, 5, "ScaleDownLimit"},
		"down, not at all":        {idle(), rules(disabled), memory{}, 8, "ScaleDownLimit"},
		"down, spent already":     {idle(), rules(maximum, policy(pods, 3)), memory{downs: []change{{now.Add(-30 * time.Second), 3}}}, 8, "ScaleDownLimit"},
		"down, as far as it goes": {idle(), rules(maximum, policy(percent, 100)), memory{}, 1, "TooFewReplicas"},
	} {
		t.Run(name, func(t *testing.T) {
			b := autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: c.rules, ScaleDown: c.rules}
			c.memory = c.before
			out := decide(c.behaving(b), now)
			if out.replicas != c.want || reason(out, autoscalingv2.ScalingLimited) != c.reason {
				t.Errorf("%d replicas, %+v; want %d, %s", out.replicas, out.status.Conditions, c.want, c.reason)
			}
		})
	}
}

func reason(o outcome, kind autoscalingv2.HorizontalPodAutoscalerConditionType) string {
	for _, c := range o.status.Conditions {
		if c.Type == kind {
			return c.Reason
		}
	}
	return ""
}

func TestWords(t *testing.T) {
	for name, c := range map[string]struct {
		snapshot
		active  string // reason of ScalingActive
		message string
		event   string
	}{
		"fine": {world(2, cpu(50)).using(0, 500, 500), "ValidMetricFound",
			"the HPA was able to successfully calculate a replica count from cpu resource utilization (percentage of request)", ""},
		"no selector": {func() snapshot { s := world(2, cpu(50)); s.scale.Status.Selector = ""; return s }(), "InvalidSelector",
			"the HPA target's scale is missing a selector", "SelectorRequired: selector is required"},
		"two autoscalers": {func() snapshot { s := world(2, cpu(50)); s.rivals = []string{"n/a", "n/b"}; return s }(), "AmbiguousSelector",
			"pods by selector app=a are controlled by more than one HPA (e.g. [n/a n/b])", "AmbiguousSelector: pods by selector app=a are controlled by more than one HPA (e.g. [n/a n/b])"},
		"no answer": {broken(world(2, cpu(50)), 0), "FailedGetResourceMetric",
			"the HPA was unable to compute the replica count: failed to get cpu utilization: no answer", "FailedGetResourceMetric: failed to get cpu utilization: no answer"},
		"no request": {world(1, cpu(50)).using(0, 1).change(0, modest), "FailedGetResourceMetric",
			"the HPA was unable to compute the replica count: failed to get cpu utilization: missing request for cpu in container c of Pod p0", "FailedGetResourceMetric: failed to get cpu utilization: missing request for cpu in container c of Pod p0"},
		"no request of the whole pod": {world(1, cpu(50)).using(0, 1).change(0, modest, whole(corev1.ResourceMemory)), "FailedGetResourceMetric",
			"the HPA was unable to compute the replica count: failed to get cpu utilization: missing pod-level request for cpu in Pod p0", "FailedGetResourceMetric: failed to get cpu utilization: missing pod-level request for cpu in Pod p0"},
		"no metrics before no request": {world(1, cpu(50)).using(0).change(0, modest), "FailedGetResourceMetric",
			"the HPA was unable to compute the replica count: failed to get cpu utilization: did not receive metrics for targeted pods (pods might be unready)", "FailedGetResourceMetric: failed to get cpu utilization: did not receive metrics for targeted pods (pods might be unready)"},
		"no such container": {world(1, container("other", autoscalingv2.MetricTarget{AverageUtilization: ptr.To[int32](50)})).using(0, 1), "FailedGetContainerResourceMetric",
			"the HPA was unable to compute the replica count: failed to get cpu utilization: container other not found in Pod p0", "FailedGetContainerResourceMetric: failed to get cpu utilization: container other not found in Pod p0"},
		"a container's share": {world(1, container("c", autoscalingv2.MetricTarget{AverageUtilization: ptr.To[int32](50)})).using(0, 500), "ValidMetricFound",
			"the HPA was able to successfully calculate a replica count from cpu container resource utilization (percentage of request)", ""},
		"a container's use": {world(1, container("c", autoscalingv2.MetricTarget{AverageValue: resource.NewMilliQuantity(500, resource.DecimalSI)})).using(0, 500), "ValidMetricFound",
			"the HPA was able to successfully calculate a replica count from cpu resource", ""},
		"none": {world(0, cpu(50)), "ScalingDisabled", "scaling is disabled since the replica count of the target is zero", ""},
	} {
		t.Run(name, func(t *testing.T) {
			out := decide(c.snapshot, now)
			for _, cond := range out.status.Conditions {
				if cond.Type == autoscalingv2.ScalingActive && (cond.Reason != c.active || cond.Message != c.message) {
					t.Errorf("%s: %s", cond.Reason, cond.Message)
				}
			}
			got := ""
			if len(out.events) > 0 {
				got = out.events[0].reason + ": " + out.events[0].message
			}
			if got != c.event {
				t.Errorf("event %q, want %q", got, c.event)
			}
		})
	}
	out := decide(world(2, cpu(50)).using(0, 1000, 1000), now)
	s := world(2, cpu(50))
	out.scaled(s.hpa, now)
	want := event{corev1.EventTypeNormal, "SuccessfulRescale", "New size: 4; reason: cpu resource utilization (percentage of request) above target"}
	if out.events[0] != want || out.status.LastScaleTime == nil {
		t.Errorf("event %+v", out.events)
	}
}

// TestFailures is about what all metrics together say when one cannot be used.
func TestFailures(t *testing.T) {
	each := autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: resource.NewQuantity(1, resource.DecimalSI)}
	value := autoscalingv2.MetricTarget{Type: autoscalingv2.ValueMetricType, Value: resource.NewQuantity(1, resource.DecimalSI)}
	object := func(target autoscalingv2.MetricTarget) autoscalingv2.MetricSpec {
		return autoscalingv2.MetricSpec{Type: autoscalingv2.ObjectMetricSourceType, Object: &autoscalingv2.ObjectMetricSource{Target: target, Metric: autoscalingv2.MetricIdentifier{Name: "m"}}}
	}
	external := func(target autoscalingv2.MetricTarget) autoscalingv2.MetricSpec {
		return autoscalingv2.MetricSpec{Type: autoscalingv2.ExternalMetricSourceType, External: &autoscalingv2.ExternalMetricSource{Target: target, Metric: autoscalingv2.MetricIdentifier{Name: "m"}}}
	}
	for _, c := range []struct {
		metric autoscalingv2.MetricSpec
		want   string
	}{
		{cpu(50), "failed to get cpu resource metric value: failed to get cpu utilization: no answer"},
		{container("c", autoscalingv2.MetricTarget{AverageUtilization: ptr.To[int32](50)}), "failed to get c container metric value: failed to get cpu utilization: no answer"},
		{object(value), "failed to get object metric value: no answer"},
		{object(each), "failed to get object metric value: failed to get m object metric: no answer"},
		{external(value), "failed to get m external metric value: failed to get external metric m: no answer"},
		{external(each), "failed to get m external metric value: failed to get m external metric: no answer"},
	} {
		out := decide(broken(world(2, c.metric), 0), now)
		last := out.events[len(out.events)-1]
		if want := "invalid metrics (1 invalid out of 1), first error is: " + c.want; last.reason != "FailedComputeMetricsReplicas" || last.message != want {
			t.Errorf("%s: %q, want %q", last.reason, last.message, want)
		}
	}
}

// TestNotRescaled: what was desired stays when the target cannot be changed.
func TestNotRescaled(t *testing.T) {
	s := world(2, cpu(50)).using(0, 1000, 1000)
	s.hpa.Status.DesiredReplicas = 2
	out := decide(s, now)
	out.unscaled(errors.New("no"), now)
	if !out.rescale || out.status.DesiredReplicas != 2 {
		t.Errorf("%d desired", out.status.DesiredReplicas)
	}
}

func TestMemoryIsCountedInBinary(t *testing.T) {
	s := world(1, autoscalingv2.MetricSpec{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
		Name: corev1.ResourceMemory, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: ptr.To(resource.MustParse("1Gi"))},
	}}).using(0, 512<<20*1000)
	if got := decide(s, now).status.CurrentMetrics[0].Resource.Current.AverageValue.String(); got != "512Mi" {
		t.Errorf("%s in use", got)
	}
}

// TestBounds: whatever is measured and remembered, the wish stays in bounds and
// nothing panics.
func TestBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := world(rapid.Int32Range(0, 15).Draw(t, "replicas"), cpu(rapid.Int32Range(1, 200).Draw(t, "target")))
		values := rapid.SliceOfN(rapid.Int64Range(-1, 1<<40), 0, 15).Draw(t, "use")
		s = s.using(0, values...)
		for i := range s.pods {
			if rapid.Bool().Draw(t, "changed") {
				s.change(i, rapid.SampledFrom([]func(*corev1.Pod){pending, deleted, unready, justNow}).Draw(t, "how"))
			}
		}
		if rapid.Bool().Draw(t, "behaving") {
			policy := autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PercentScalingPolicy, Value: rapid.Int32Range(1, 1000).Draw(t, "percent"), PeriodSeconds: 60}
			s = s.behaving(autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: &autoscalingv2.HPAScalingRules{Policies: []autoscalingv2.HPAScalingPolicy{policy}}})
			s.memory.ups = []change{{now.Add(-time.Second), rapid.Int32Range(1, 9).Draw(t, "grew")}}
		}
		out := decide(s, now)
		if s.scale.Spec.Replicas == 0 {
			if out.replicas != 0 {
				t.Fatalf("%d replicas of what is switched off", out.replicas)
			}
			return
		}
		if out.replicas < 1 || out.replicas > 10 {
			t.Fatalf("%d replicas", out.replicas)
		}
	})
}

// TestZero is about targets without pods: only one that its autoscaler scaled
// down comes back by itself.
func TestZero(t *testing.T) {
	external := autoscalingv2.MetricSpec{Type: autoscalingv2.ExternalMetricSourceType}
	for name, tt := range map[string]struct {
		least  int32
		metric autoscalingv2.MetricSpec
		slept  corev1.ConditionStatus
		want   bool
	}{
		"somebody else's doing":              {0, external, corev1.ConditionFalse, false},
		"its own":                            {0, external, corev1.ConditionTrue, true},
		"its own, but blind":                 {0, cpu(50), corev1.ConditionTrue, false},
		"its own, before the minimum rose":   {2, cpu(50), corev1.ConditionTrue, true},
		"somebody else's, below the minimum": {2, cpu(50), corev1.ConditionFalse, false},
	} {
		s := world(0, tt.metric)
		s.hpa.Spec.MinReplicas = &tt.least
		s.hpa.Status.Conditions = []autoscalingv2.HorizontalPodAutoscalerCondition{{Type: autoscalingv2.ScaledToZero, Status: tt.slept}}
		if got := byMetrics(s.hpa, s.scale); got != tt.want {
			t.Errorf("%s: metrics decide: %v, want %v", name, got, tt.want)
		}
	}
	for name, tt := range map[string]struct {
		was, is int32
		want    corev1.ConditionStatus
	}{"to none": {2, 0, corev1.ConditionTrue}, "to some": {2, 1, corev1.ConditionFalse}} {
		s := world(tt.was, external)
		s.hpa.Spec.MinReplicas = ptr.To[int32](0)
		o := outcome{replicas: tt.is}
		o.status.CurrentReplicas = tt.was
		o.scaled(s.hpa, now)
		for _, c := range o.status.Conditions {
			if c.Type == autoscalingv2.ScaledToZero && c.Status != tt.want {
				t.Errorf("%s: scaled to zero: %s, want %s", name, c.Status, tt.want)
			}
		}
	}
}
