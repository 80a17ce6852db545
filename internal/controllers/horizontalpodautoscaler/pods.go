package horizontalpodautoscaler

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcehelpers "k8s.io/component-helpers/resource"

	"github.com/sinawi/sinawi/internal/controllers/workload"
)

const (
	// initialization is how long after its start a pod's processor time may
	// mean that it starts and not that it works.
	initialization = 5 * time.Minute
	// firstReadiness is how long after its start a pod that was never ready may
	// have got its first word about readiness.
	firstReadiness = 30 * time.Second
)

// group sorts pods by what their metrics say.
type group struct {
	ready   int
	gone    map[string]bool // whatever they still use
	ignored map[string]bool // too young to count
	missing map[string]bool // nobody knows what they use
}

func sortPods(pods []*corev1.Pod, metrics map[string]podMetric, name corev1.ResourceName, now time.Time) group {
	g := group{gone: map[string]bool{}, ignored: map[string]bool{}, missing: map[string]bool{}}
	for _, p := range pods {
		metric, known := metrics[p.Name]
		switch {
		case gone(p):
			g.gone[p.Name] = true
		case p.Status.Phase == corev1.PodPending:
			g.ignored[p.Name] = true
		case !known:
			g.missing[p.Name] = true
		case name == corev1.ResourceCPU && starting(p, metric, now):
			g.ignored[p.Name] = true
		default:
			g.ready++
		}
	}
	return g
}

func gone(p *corev1.Pod) bool {
	return p.DeletionTimestamp != nil || p.Status.Phase == corev1.PodFailed
}

// starting says that a pod's processor time is that of its start.
func starting(p *corev1.Pod, metric podMetric, now time.Time) bool {
	ready := workload.Condition(p, corev1.PodReady)
	if ready == nil || p.Status.StartTime == nil {
		return true
	}
	unready := ready.Status == corev1.ConditionFalse
	since := ready.LastTransitionTime.Time
	if p.Status.StartTime.Add(initialization).After(now) {
		return unready || metric.at.Before(since.Add(metric.window))
	}
	return unready && p.Status.StartTime.Add(firstReadiness).After(since)
}

// requests are what pods, or one container of each, ask for, in thousandths.
// What a pod asks for as a whole counts for more than its containers' words.
func requests(pods []*corev1.Pod, container string, name corev1.ResourceName) (map[string]int64, error) {
	out := make(map[string]int64, len(pods))
	for _, p := range pods {
		if container == "" && resourcehelpers.IsPodLevelRequestsSet(p) {
			q, ok := resourcehelpers.PodRequests(p, resourcehelpers.PodResourcesOptions{})[name]
			if !ok {
				return nil, fmt.Errorf("missing pod-level request for %s in Pod %s", name, p.Name)
			}
			out[p.Name] = q.MilliValue()
			continue
		}
		sum, err := requestsOfContainers(p, container, name)
		if err != nil {
			return nil, err
		}
		out[p.Name] = sum
	}
	return out, nil
}

func requestsOfContainers(p *corev1.Pod, container string, name corev1.ResourceName) (int64, error) {
	var sum int64
	found := container == ""
	for c := range workload.LongRunning(p) {
		if container != "" && c.Name != container {
			continue
		}
		found = true
		q, ok := c.Resources.Requests[name]
		if !ok {
			return 0, fmt.Errorf("missing request for %s in container %s of Pod %s", name, c.Name, p.Name)
		}
		sum += q.MilliValue()
	}
	if !found {
		return 0, fmt.Errorf("container %s not found in Pod %s", container, p.Name)
	}
	return sum, nil
}

// usage compares what pods use with what they should.
type usage interface {
	// begin says whether there is something to compare use with.
	begin(pods []*corev1.Pod) error
	// ratio of use to target.
	ratio(metrics map[string]podMetric) (float64, error)
	// full is what the pod would use at the least that asks for no fewer pods.
	full(pod string) int64
}

// replicas is how many pods make the ratio one. Of pods about which nothing is
// known the worst is assumed: that they would change the direction.
func (c *calculation) replicas(u usage) (int32, error) {
	current := c.scale.Spec.Replicas
	g := sortPods(c.pods, c.reading.pods, c.resource, c.now)
	metrics := maps.Clone(c.reading.pods)
	maps.DeleteFunc(metrics, func(pod string, _ podMetric) bool { return g.gone[pod] || g.ignored[pod] })
	if len(metrics) == 0 {
		return 0, errors.New("did not receive metrics for targeted pods (pods might be unready)")
	}
	if err := u.begin(c.pods); err != nil {
		return 0, err
	}
	ratio, err := u.ratio(metrics)
	if err != nil {
		return 0, err
	}
	counted := len(g.ignored) > 0 && ratio > 1
	if !counted && len(g.missing) == 0 {
		if c.tolerances.within(ratio) {
			return current, nil
		}
		return ceil(ratio * float64(g.ready)), nil
	}
	for pod := range g.missing {
		switch {
		case ratio < 1:
			metrics[pod] = podMetric{value: u.full(pod)}
		case ratio > 1:
			metrics[pod] = podMetric{}
		}
	}
	if counted {
		for pod := range g.ignored {
			metrics[pod] = podMetric{}
		}
	}
	adjusted, err := u.ratio(metrics)
	if err != nil {
		return 0, err
	}
	if c.tolerances.within(adjusted) || ratio < 1 && adjusted > 1 || ratio > 1 && adjusted < 1 {
		return current, nil
	}
	n := ceil(adjusted * float64(len(metrics)))
	if adjusted < 1 && n > current || adjusted > 1 && n < current {
		return current, nil
	}
	return n, nil
}

// average is for a metric whose average over the pods is to be the target. It
// also returns what the average is now.
func (c *calculation) average(target int64) (int32, int64, error) {
	if err := c.comparable(); err != nil {
		return 0, 0, err
	}
	u := &averaged{target: target}
	n, err := c.replicas(u)
	return n, u.first, err
}

type averaged struct {
	target int64
	first  int64 // the average before anything was assumed
	asked  bool
}

func (u *averaged) begin([]*corev1.Pod) error { return nil }

func (u *averaged) ratio(metrics map[string]podMetric) (float64, error) {
	var sum int64
	for _, m := range metrics {
		sum += m.value
	}
	average := sum / int64(len(metrics))
	if !u.asked {
		u.first, u.asked = average, true
	}
	return float64(average) / float64(u.target), nil
}

func (u *averaged) full(string) int64 { return u.target }

// utilization is for a resource of which pods shall use so many percent of what
// they request. It also returns the percentage and the average now.
func (c *calculation) utilization(target int32, container string) (n, percent int32, average int64, err error) {
	if err := c.comparable(); err != nil {
		return 0, 0, 0, err
	}
	u := &requested{target: target, container: container, resource: c.resource}
	n, err = c.replicas(u)
	return n, u.percent, u.average, err
}

type requested struct {
	target    int32
	container string
	resource  corev1.ResourceName
	requests  map[string]int64
	// What was used before anything was assumed.
	percent int32
	average int64
	asked   bool
}

func (u *requested) begin(pods []*corev1.Pod) (err error) {
	u.requests, err = requests(pods, u.container, u.resource)
	return err
}

func (u *requested) ratio(metrics map[string]podMetric) (float64, error) {
	var used, requested, n int64
	for pod, m := range metrics {
		if request, ok := u.requests[pod]; ok {
			used += m.value
			requested += request
			n++
		}
	}
	if requested == 0 {
		return 0, errors.New("no metrics returned matched known pods")
	}
	percent := int32(min(used*100/requested, math.MaxInt32))
	if !u.asked {
		u.percent, u.average, u.asked = percent, used/n, true
	}
	return float64(percent) / float64(u.target), nil
}

func (u *requested) full(pod string) int64 { return u.requests[pod] * int64(max(u.target, 100)) / 100 }

// comparable says whether there is something to compare.
func (c *calculation) comparable() error {
	switch {
	case c.reading.err != nil:
		return c.reading.err
	case len(c.pods) == 0:
		return errors.New("no pods returned by selector while calculating replica count")
	}
	return nil
}
