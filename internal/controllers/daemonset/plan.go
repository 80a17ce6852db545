package daemonset

import (
	"cmp"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/sinawi/sinawi/internal/controllers/workload"
)

// burst is the most pods created or deleted in one go.
const burst = 250

// snapshot is what a decision is made from.
type snapshot struct {
	set   *appsv1.DaemonSet
	nodes []*corev1.Node
	// pods are all pods that the set controls.
	pods []*corev1.Pod
	// hash is that of the template.
	hash string
}

// plan is what to do for one DaemonSet.
type plan struct {
	create []string // nodes
	remove []*corev1.Pod
	// ended are pods of remove that ended by themselves: they are made anew, but
	// not faster and faster.
	ended  []*corev1.Pod
	status appsv1.DaemonSetStatus
	again  time.Duration
}

// place is one node with the set's pods on it.
type place struct {
	node      string
	run, stay bool
	old       *corev1.Pod // oldest active pod of another template
	fresh     *corev1.Pod // oldest active pod of this template
	surplus   []*corev1.Pod
	ended     []*corev1.Pod
	first     *corev1.Pod // the one that counts for the status: scheduled, then oldest
}

// decide says how to bring the set nearer to its spec.
func decide(s snapshot, now time.Time) plan {
	y := &state{snapshot: s, now: now}
	y.sort()
	if s.set.DeletionTimestamp == nil {
		y.manage()
		if s.set.Spec.UpdateStrategy.Type != appsv1.OnDeleteDaemonSetStrategyType {
			y.roll()
		}
		y.create = y.create[:min(len(y.create), burst)]
		y.remove = y.remove[:min(len(y.remove), burst)]
	}
	y.count()
	return y.plan
}

type state struct {
	plan
	snapshot
	now    time.Time
	places []*place
	lost   []*corev1.Pod // on nodes that do not exist
}

func (y *state) sort() {
	byNode := map[string]*place{}
	for _, node := range y.nodes {
		p := &place{node: node.Name}
		p.run, p.stay = fit(y.set, node)
		byNode[node.Name] = p
		y.places = append(y.places, p)
	}
	pods := slices.Clone(y.pods)
	slices.SortFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(compareScheduled(a, b), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	for _, pod := range pods {
		p := byNode[target(pod)]
		switch {
		case p == nil:
			y.lost = append(y.lost, pod)
			continue
		case pod.DeletionTimestamp != nil:
		case workload.Finished(pod):
			p.ended = append(p.ended, pod)
		case y.fresh(pod) && p.fresh == nil:
			p.fresh = pod
		case !y.fresh(pod) && p.old == nil:
			p.old = pod
		default:
			p.surplus = append(p.surplus, pod)
		}
		if p.first == nil && !(pod.DeletionTimestamp != nil && workload.Finished(pod)) {
			p.first = pod
		}
	}
}

// compareScheduled puts pods with a node first.
func compareScheduled(a, b *corev1.Pod) int {
	switch {
	case (a.Spec.NodeName == "") == (b.Spec.NodeName == ""):
		return 0
	case b.Spec.NodeName == "":
		return -1
	default:
		return 1
	}
}

func (y *state) fresh(pod *corev1.Pod) bool {
	return pod.Labels[appsv1.DefaultDaemonSetUniqueLabelKey] == y.hash
}

// available also notes when a ready pod will have been so for long enough.
func (y *state) available(pod *corev1.Pod) bool {
	wait, ready := workload.AvailableIn(pod, y.set.Spec.MinReadySeconds, y.now)
	if ready && wait > 0 && (y.again == 0 || wait < y.again) {
		y.again = wait
	}
	return ready && wait == 0
}

// manage makes the pods that are missing and removes those too many.
func (y *state) manage() {
	for _, p := range y.places {
		if !p.stay {
			for _, pod := range slices.Concat([]*corev1.Pod{p.old, p.fresh}, p.surplus, p.ended) {
				if pod != nil {
					y.remove = append(y.remove, pod)
				}
			}
			continue
		}
		y.remove = append(y.remove, p.surplus...)
		y.remove = append(y.remove, p.ended...)
		y.ended = append(y.ended, p.ended...)
		if p.old != nil && p.fresh != nil && !y.surging(p) {
			y.remove = append(y.remove, p.old)
		}
		if p.run && p.first == nil {
			y.create = append(y.create, p.node)
		}
	}
	for _, pod := range y.lost {
		if pod.Spec.NodeName == "" && target(pod) != "" && pod.DeletionTimestamp == nil {
			y.remove = append(y.remove, pod) // it would wait for its node for ever
		}
	}
}

// surging says that an old pod stays until its successor is available.
func (y *state) surging(p *place) bool {
	surge, _ := y.limits()
	return surge > 0 && !y.available(p.fresh) && y.available(p.old)
}

// limits are how many nodes may have two pods, and how many none, in a rollout.
func (y *state) limits() (surge, unavailable int) {
	rolling := y.set.Spec.UpdateStrategy.RollingUpdate
	if rolling == nil || y.set.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType {
		return 0, 1
	}
	desired := 0
	for _, p := range y.places {
		if p.run {
			desired++
		}
	}
	resolve := func(v *intstr.IntOrString) int {
		n, err := intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(v, intstr.FromInt32(0)), desired, true)
		if err != nil {
			return 0
		}
		return n
	}
	surge, unavailable = resolve(rolling.MaxSurge), resolve(rolling.MaxUnavailable)
	if surge == 0 && unavailable == 0 {
		unavailable = 1
	}
	return surge, unavailable
}

// roll replaces pods of other templates.
func (y *state) roll() {
	surge, unavailable := y.limits()
	var broken, working []*place
	for _, p := range y.places {
		switch {
		case !p.stay || p.old == nil && p.fresh == nil:
			if p.run {
				unavailable--
			}
		case p.old != nil && p.fresh != nil:
			surge--
		case p.fresh != nil:
			if !y.available(p.fresh) {
				unavailable--
			}
		case y.available(p.old):
			working = append(working, p)
		default:
			unavailable--
			broken = append(broken, p)
		}
	}
	s, _ := y.limits()
	for _, p := range broken { // nothing is lost by replacing these
		if s > 0 && p.run {
			y.create = append(y.create, p.node)
		} else {
			y.remove = append(y.remove, p.old)
		}
	}
	if s > 0 {
		for _, p := range working[:max(min(surge-len(broken), len(working)), 0)] {
			if p.run {
				y.create = append(y.create, p.node)
			}
		}
		return
	}
	for _, p := range working[:max(min(unavailable, len(working)), 0)] {
		y.remove = append(y.remove, p.old)
	}
}

func (y *state) count() {
	st := *y.set.Status.DeepCopy()
	st.DesiredNumberScheduled, st.CurrentNumberScheduled, st.NumberMisscheduled = 0, 0, 0
	st.NumberReady, st.UpdatedNumberScheduled, st.NumberAvailable, st.NumberUnavailable = 0, 0, 0, 0
	for _, p := range y.places {
		if !p.run {
			if p.first != nil {
				st.NumberMisscheduled++
			}
			continue
		}
		st.DesiredNumberScheduled++
		if p.first == nil {
			continue
		}
		st.CurrentNumberScheduled++
		if workload.Ready(p.first) {
			st.NumberReady++
			if y.available(p.first) {
				st.NumberAvailable++
			}
		}
		if y.fresh(p.first) {
			st.UpdatedNumberScheduled++
		}
	}
	st.NumberUnavailable = st.DesiredNumberScheduled - st.NumberAvailable
	st.ObservedGeneration = y.set.Generation
	y.status = st
}
