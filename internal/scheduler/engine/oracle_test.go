package engine

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// world is the naive oracle: plain maps of objects, everything computed again
// when asked, straight from the words of the API's documentation. It shares no
// code with the engine.
type world struct {
	nodes      map[string]*corev1.Node
	pods       map[types.UID]*corev1.Pod
	where      map[types.UID]string
	nominated  map[types.UID]string
	namespaces map[string]map[string]string
	delegated  map[corev1.ResourceName]bool // can be had as devices where a node has none
}

func newWorld() *world {
	return &world{
		nodes: map[string]*corev1.Node{}, pods: map[types.UID]*corev1.Pod{},
		where: map[types.UID]string{}, nominated: map[types.UID]string{},
		namespaces: map[string]map[string]string{"default": {"team": "a"}, "other": {"team": "b"}},
	}
}

func (w *world) clone() *world {
	return &world{maps.Clone(w.nodes), maps.Clone(w.pods), maps.Clone(w.where), maps.Clone(w.nominated), w.namespaces, w.delegated}
}

// possible is where a pod may go.
func (w *world) possible(pod *corev1.Pod) map[string]bool {
	out := map[string]bool{}
	for name, n := range w.nodes {
		if w.fits(pod, n) {
			out[name] = true
		}
	}
	return out
}

// fits asks twice when pods that matter as much wait for the node: with them and
// without.
func (w *world) fits(pod *corev1.Pod, n *corev1.Node) bool {
	with := w.clone()
	guests := 0
	for uid, node := range w.nominated {
		if node == n.Name && uid != pod.UID && priorityOf(w.pods[uid]) >= priorityOf(pod) {
			with.where[uid] = node
			guests++
		}
	}
	return w.fitsNow(pod, n) && (guests == 0 || with.fitsNow(pod, n))
}

func (w *world) fitsNow(pod *corev1.Pod, n *corev1.Node) bool {
	return w.fitsAlone(pod, n) && w.fitsAffinity(pod, n) && w.fitsAnti(pod, n) && w.fitsSpread(pod, n)
}

func tolerates(pod *corev1.Pod, n *corev1.Node) bool {
	for _, t := range n.Spec.Taints {
		ok := t.Effect == corev1.TaintEffectPreferNoSchedule
		for _, tol := range pod.Spec.Tolerations {
			ok = ok || tol.Key == t.Key
		}
		if !ok {
			return false
		}
	}
	return true
}

func selects(pod *corev1.Pod, n *corev1.Node) bool {
	for k, v := range pod.Spec.NodeSelector {
		if n.Labels[k] != v {
			return false
		}
	}
	return true
}

func (w *world) fitsAlone(pod *corev1.Pod, n *corev1.Node) bool {
	if n.Spec.Unschedulable || !tolerates(pod, n) || !selects(pod, n) {
		return false
	}
	used, gpus, count := int64(0), int64(0), int64(0)
	for uid, where := range w.where {
		if where != n.Name {
			continue
		}
		count++
		other := w.pods[uid]
		used += cpuOf(other)
		gpus += gpusOf(other)
		for _, p := range pod.Spec.Containers[0].Ports {
			for _, q := range other.Spec.Containers[0].Ports {
				if p.HostPort == q.HostPort && (p.HostIP == "" || q.HostIP == "" || p.HostIP == q.HostIP) {
					return false
				}
			}
		}
	}
	cpu, gpu := cpuOf(pod), gpusOf(pod)
	allGPUs := n.Status.Allocatable["example.com/gpu"]
	return count < n.Status.Allocatable.Pods().Value() && (cpu == 0 || used+cpu <= n.Status.Allocatable.Cpu().MilliValue()) &&
		(gpu == 0 || gpus+gpu <= allGPUs.Value() || allGPUs.IsZero() && w.delegated["example.com/gpu"])
}

func cpuOf(p *corev1.Pod) int64 { return p.Spec.Containers[0].Resources.Requests.Cpu().MilliValue() }

func gpusOf(p *corev1.Pod) int64 {
	q := p.Spec.Containers[0].Resources.Requests["example.com/gpu"]
	return q.Value()
}

func priorityOf(p *corev1.Pod) int32 {
	if p.Spec.Priority == nil {
		return 0
	}
	return *p.Spec.Priority
}

func mustSelect(s *metav1.LabelSelector) labels.Selector {
	out, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		panic(err)
	}
	return out
}

// termMatches says whether a term of owner speaks of pod.
func (w *world) termMatches(owner *corev1.Pod, t corev1.PodAffinityTerm, pod *corev1.Pod) bool {
	in := slices.Contains(t.Namespaces, pod.Namespace)
	if t.NamespaceSelector != nil {
		in = in || mustSelect(t.NamespaceSelector).Matches(labels.Set(w.namespaces[pod.Namespace]))
	} else if len(t.Namespaces) == 0 {
		in = pod.Namespace == owner.Namespace
	}
	for _, k := range t.MatchLabelKeys {
		if v, ok := owner.Labels[k]; ok && pod.Labels[k] != v {
			return false
		}
	}
	for _, k := range t.MismatchLabelKeys {
		if v, ok := owner.Labels[k]; ok && pod.Labels[k] == v {
			return false
		}
	}
	return in && mustSelect(t.LabelSelector).Matches(labels.Set(pod.Labels))
}

// same says whether two nodes are in the same domain.
func same(a, b *corev1.Node, key string) bool {
	x, ok := a.Labels[key]
	y, also := b.Labels[key]
	return ok && also && x == y
}

func affinityOf(p *corev1.Pod) []corev1.PodAffinityTerm {
	if p.Spec.Affinity == nil || p.Spec.Affinity.PodAffinity == nil {
		return nil
	}
	return p.Spec.Affinity.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution
}

func antiOf(p *corev1.Pod) []corev1.PodAffinityTerm {
	if p.Spec.Affinity == nil || p.Spec.Affinity.PodAntiAffinity == nil {
		return nil
	}
	return p.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution
}

func (w *world) fitsAffinity(pod *corev1.Pod, n *corev1.Node) bool {
	all := affinityOf(pod)
	if len(all) == 0 {
		return true
	}
	matchesAll := func(other *corev1.Pod) bool {
		for _, t := range all {
			if !w.termMatches(pod, t, other) {
				return false
			}
		}
		return true
	}
	ok, any := true, false
	for _, t := range all {
		if _, has := n.Labels[t.TopologyKey]; !has {
			return false
		}
		met := false
		for uid, where := range w.where {
			on := w.nodes[where]
			if on == nil || !matchesAll(w.pods[uid]) {
				continue
			}
			if _, has := on.Labels[t.TopologyKey]; has {
				any = true
			}
			met = met || same(on, n, t.TopologyKey)
		}
		ok = ok && met
	}
	return ok || (!any && matchesAll(pod))
}

func (w *world) fitsAnti(pod *corev1.Pod, n *corev1.Node) bool {
	for uid, where := range w.where {
		on, other := w.nodes[where], w.pods[uid]
		if on == nil {
			continue
		}
		for _, t := range antiOf(pod) {
			if same(on, n, t.TopologyKey) && w.termMatches(pod, t, other) {
				return false
			}
		}
		for _, t := range antiOf(other) {
			if same(on, n, t.TopologyKey) && w.termMatches(other, t, pod) {
				return false
			}
		}
	}
	return true
}

func (w *world) fitsSpread(pod *corev1.Pod, n *corev1.Node) bool {
	for _, c := range pod.Spec.TopologySpreadConstraints {
		if c.WhenUnsatisfiable != corev1.DoNotSchedule {
			continue
		}
		if _, ok := n.Labels[c.TopologyKey]; !ok {
			return false
		}
		selector := mustSelect(c.LabelSelector)
		matches := func(p *corev1.Pod) bool {
			for _, k := range c.MatchLabelKeys {
				if v, ok := pod.Labels[k]; ok && p.Labels[k] != v {
					return false
				}
			}
			return p.Namespace == pod.Namespace && selector.Matches(labels.Set(p.Labels))
		}
		// A constraint that selects every pod counts none that is there.
		everybody := selector.Empty() && !slices.ContainsFunc(c.MatchLabelKeys, func(k string) bool { _, ok := pod.Labels[k]; return ok })
		count := map[string]int{}
		for _, m := range w.nodes {
			if !w.counts(pod, c, m) {
				continue
			}
			value := m.Labels[c.TopologyKey]
			count[value] += 0
			for uid, where := range w.where {
				if p := w.pods[uid]; where == m.Name && p.DeletionTimestamp == nil && !everybody && matches(p) {
					count[value]++
				}
			}
		}
		least := 1 << 30
		for _, k := range count {
			least = min(least, k)
		}
		if len(count) == 0 || (c.MinDomains != nil && len(count) < int(*c.MinDomains)) {
			least = 0
		}
		self := 0
		if matches(pod) {
			self = 1
		}
		if count[n.Labels[c.TopologyKey]]+self-least > int(c.MaxSkew) {
			return false
		}
	}
	return true
}

// counts says whether a node's pods count for a constraint.
func (w *world) counts(pod *corev1.Pod, c corev1.TopologySpreadConstraint, n *corev1.Node) bool {
	for _, other := range pod.Spec.TopologySpreadConstraints {
		if _, ok := n.Labels[other.TopologyKey]; !ok && other.WhenUnsatisfiable == corev1.DoNotSchedule {
			return false
		}
	}
	if (c.NodeAffinityPolicy == nil || *c.NodeAffinityPolicy == corev1.NodeInclusionPolicyHonor) && !selects(pod, n) {
		return false
	}
	return c.NodeTaintsPolicy == nil || *c.NodeTaintsPolicy == corev1.NodeInclusionPolicyIgnore || tolerates(pod, n)
}

// without is the world when pods have left.
func (w *world) without(pods ...*corev1.Pod) *world {
	out := w.clone()
	for _, p := range pods {
		delete(out.where, p.UID)
	}
	return out
}

// victims is what must go from a node for a pod to fit, found by giving every
// pod back that can be, and how many budgets that breaks; false when nothing helps.
func (w *world) victims(pod *corev1.Pod, n *corev1.Node, budgets []Budget) (out []*corev1.Pod, violations int, ok bool) {
	for uid, where := range w.where {
		if where == n.Name && priorityOf(w.pods[uid]) < priorityOf(pod) {
			out = append(out, w.pods[uid])
		}
	}
	if len(out) == 0 || !w.without(out...).fits(pod, n) {
		return nil, 0, false
	}
	slices.SortFunc(out, func(a, b *corev1.Pod) int {
		if d := priorityOf(b) - priorityOf(a); d != 0 {
			return int(d)
		}
		return slices.Compare([]byte(a.UID), []byte(b.UID))
	})
	left := make([]int32, len(budgets))
	for i, b := range budgets {
		left[i] = b.Allowed
	}
	breaks := map[types.UID]bool{}
	for _, p := range out {
		for i, b := range budgets {
			if b.Namespace == p.Namespace && b.Selector.Matches(labels.Set(p.Labels)) {
				if left[i]--; left[i] < 0 {
					breaks[p.UID] = true
					break
				}
			}
		}
	}
	order := slices.Clone(out)
	slices.SortStableFunc(order, func(a, b *corev1.Pod) int { return number(breaks[b.UID]) - number(breaks[a.UID]) })
	for _, p := range order {
		fewer := slices.DeleteFunc(slices.Clone(out), func(v *corev1.Pod) bool { return v == p })
		if w.without(fewer...).fits(pod, n) {
			out = fewer
		} else if breaks[p.UID] {
			violations++
		}
	}
	return out, violations, true
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}
