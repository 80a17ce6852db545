package engine

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

// Reasons of the rules between pods, in kube-scheduler's words.
const (
	reasonPodAffinity     = "node(s) didn't match pod affinity rules"
	reasonPodAnti         = "node(s) didn't match pod anti-affinity rules"
	reasonExistingAnti    = "node(s) didn't satisfy existing pods anti-affinity rules"
	reasonSpread          = "node(s) didn't match pod topology spread constraints"
	reasonSpreadNoLabel   = "node(s) didn't match pod topology spread constraints (missing required label)"
	weightInterPodScoring = 2
)

// rules are the rules between pods that apply to one pod, with all that they
// need counted, so that asking a node is cheap.
type rules struct {
	affinity  []*counted
	anti      []*counted
	first     bool // no pod matches the affinity terms but the pod itself: any domain will do
	blocked   map[domain]bool
	spread    []*spreadRule
	preferred []preference
	prefMax   float64
}

// domain is one value of a topology label: {topology.kubernetes.io/zone, a}.
type domain struct{ key, value string }

// counted is an affinity term with the number of matching pods a domain.
type counted struct {
	key   string
	count map[string]int
}

type preference struct {
	*counted
	weight float64
}

// podTerm is an affinity term made ready to match pods.
type podTerm struct {
	key        string
	selector   labels.Selector
	namespaces []string
	nsSelector labels.Selector // nil: namespaces alone count
}

func antiAffinityTerms(pod *corev1.Pod) []corev1.PodAffinityTerm {
	if a := pod.Spec.Affinity; a != nil && a.PodAntiAffinity != nil {
		return a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	}
	return nil
}

func (e *Engine) rulesFor(pod *corev1.Pod) *rules {
	r := &rules{blocked: e.blockedByOthers(pod)}
	if a := pod.Spec.Affinity; a != nil {
		if p := a.PodAffinity; p != nil {
			e.addAffinity(r, pod, p)
		}
		for _, t := range antiAffinityTerms(pod) {
			r.anti = append(r.anti, e.count(compileTerm(pod, t)))
		}
		if p := a.PodAntiAffinity; p != nil {
			e.addPreferences(r, pod, p.PreferredDuringSchedulingIgnoredDuringExecution, -1)
		}
	}
	for i := range pod.Spec.TopologySpreadConstraints {
		r.spread = append(r.spread, e.spreadRule(pod, &pod.Spec.TopologySpreadConstraints[i]))
	}
	if len(r.affinity)+len(r.anti)+len(r.blocked)+len(r.spread)+len(r.preferred) == 0 {
		return nil
	}
	return r
}

func (e *Engine) addAffinity(r *rules, pod *corev1.Pod, p *corev1.PodAffinity) {
	selfOnly := true
	for _, t := range p.RequiredDuringSchedulingIgnoredDuringExecution {
		term := compileTerm(pod, t)
		c := e.count(term)
		r.affinity = append(r.affinity, c)
		selfOnly = selfOnly && len(c.count) == 0 && e.matches(term, pod)
	}
	r.first = selfOnly && len(r.affinity) > 0
	e.addPreferences(r, pod, p.PreferredDuringSchedulingIgnoredDuringExecution, 1)
}

func (e *Engine) addPreferences(r *rules, pod *corev1.Pod, terms []corev1.WeightedPodAffinityTerm, sign float64) {
	for _, t := range terms {
		c := e.count(compileTerm(pod, t.PodAffinityTerm))
		r.preferred = append(r.preferred, preference{c, sign * float64(t.Weight)})
		r.prefMax += float64(t.Weight)
	}
}

// refusal says which rule forbids n, or "".
func (r *rules) refusal(n *node) string {
	for _, c := range r.affinity {
		value, ok := n.object.Labels[c.key]
		if !ok || (!r.first && c.count[value] == 0) {
			return reasonPodAffinity
		}
	}
	for _, c := range r.anti {
		if value, ok := n.object.Labels[c.key]; ok && c.count[value] > 0 {
			return reasonPodAnti
		}
	}
	for d := range r.blocked {
		if value, ok := n.object.Labels[d.key]; ok && value == d.value {
			return reasonExistingAnti
		}
	}
	for _, s := range r.spread {
		if reason := s.refusal(n); reason != "" {
			return reason
		}
	}
	return ""
}

func (r *rules) score(n *node) float64 {
	total := 0.0
	if r.prefMax > 0 {
		sum := 0.0
		for _, p := range r.preferred {
			if value, ok := n.object.Labels[p.key]; ok && p.count[value] > 0 {
				sum += p.weight
			}
		}
		total += weightInterPodScoring * 100 * sum / r.prefMax
	}
	for _, s := range r.spread {
		total += weightSpread * 100 / float64(1+s.count[n.object.Labels[s.key]])
	}
	return total
}

// blockedByOthers returns the domains that required anti-affinity of pods
// already placed closes to this pod.
func (e *Engine) blockedByOthers(pod *corev1.Pod) map[domain]bool {
	var out map[domain]bool
	for _, p := range e.anti {
		if p.node.object == nil {
			continue
		}
		for _, t := range antiAffinityTerms(p.pod) {
			term := compileTerm(p.pod, t)
			value, ok := p.node.object.Labels[term.key]
			if !ok || !e.matches(term, pod) {
				continue
			}
			if out == nil {
				out = map[domain]bool{}
			}
			out[domain{term.key, value}] = true
		}
	}
	return out
}

func compileTerm(owner *corev1.Pod, t corev1.PodAffinityTerm) podTerm {
	out := podTerm{key: t.TopologyKey, namespaces: t.Namespaces, selector: labels.Nothing()}
	// A malformed selector was refused by validation; here it matches nothing.
	if s, err := metav1.LabelSelectorAsSelector(t.LabelSelector); err == nil {
		out.selector = withLabelKeys(s, owner, t.MatchLabelKeys, t.MismatchLabelKeys)
	}
	if t.NamespaceSelector != nil {
		if s, err := metav1.LabelSelectorAsSelector(t.NamespaceSelector); err == nil {
			out.nsSelector = s
		}
	}
	if len(out.namespaces) == 0 && t.NamespaceSelector == nil {
		out.namespaces = []string{owner.Namespace}
	}
	return out
}

// withLabelKeys narrows a selector to pods that have (or have not) the same
// value as owner under the given keys.
func withLabelKeys(s labels.Selector, owner *corev1.Pod, same, other []string) labels.Selector {
	narrow := func(keys []string, op selection.Operator) {
		for _, key := range keys {
			value, ok := owner.Labels[key]
			if !ok {
				continue
			}
			if req, err := labels.NewRequirement(key, op, []string{value}); err == nil {
				s = s.Add(*req)
			}
		}
	}
	narrow(same, selection.In)
	narrow(other, selection.NotIn)
	return s
}

func (e *Engine) matches(t podTerm, pod *corev1.Pod) bool {
	inNamespace := slices.Contains(t.namespaces, pod.Namespace) ||
		(t.nsSelector != nil && t.nsSelector.Matches(labels.Set(e.namespaces(pod.Namespace))))
	return inNamespace && t.selector.Matches(labels.Set(pod.Labels))
}

// count counts the pods that match a term, per domain.
func (e *Engine) count(t podTerm) *counted {
	c := &counted{key: t.key, count: map[string]int{}}
	for _, p := range e.pods {
		if p.node.object == nil {
			continue
		}
		if value, ok := p.node.object.Labels[t.key]; ok && e.matches(t, p.pod) {
			c.count[value]++
		}
	}
	return c
}

// spreadRule is a topology spread constraint with the matching pods counted.
type spreadRule struct {
	counted
	hard    bool
	maxSkew int
	self    int // 1 when the pod matches its own selector
	least   int // fewest matching pods in any eligible domain
}

func (s *spreadRule) refusal(n *node) string {
	if !s.hard {
		return ""
	}
	value, ok := n.object.Labels[s.key]
	if !ok {
		return reasonSpreadNoLabel
	}
	if s.count[value]+s.self-s.least > s.maxSkew {
		return reasonSpread
	}
	return ""
}

func (e *Engine) spreadRule(pod *corev1.Pod, c *corev1.TopologySpreadConstraint) *spreadRule {
	s := &spreadRule{
		counted: counted{key: c.TopologyKey, count: map[string]int{}},
		hard:    c.WhenUnsatisfiable == corev1.DoNotSchedule,
		maxSkew: int(c.MaxSkew),
	}
	selector, err := metav1.LabelSelectorAsSelector(c.LabelSelector)
	if err != nil {
		selector = labels.Nothing()
	}
	selector = withLabelKeys(selector, pod, c.MatchLabelKeys, nil)
	if selector.Matches(labels.Set(pod.Labels)) {
		s.self = 1
	}
	r := compile(Ask{Pod: pod})
	for _, n := range e.slots {
		if n == nil || n.object == nil || !eligible(n, &r, pod, c) {
			continue
		}
		value := n.object.Labels[c.TopologyKey]
		s.count[value] += 0 // a domain without a pod counts as a domain
		for _, p := range n.pods {
			if p.pod.Namespace == pod.Namespace && p.pod.DeletionTimestamp == nil && selector.Matches(labels.Set(p.pod.Labels)) {
				s.count[value]++
			}
		}
	}
	s.least = leastOf(s.count)
	if c.MinDomains != nil && len(s.count) < int(*c.MinDomains) {
		s.least = 0
	}
	return s
}

// eligible says whether a node's domain counts for a constraint: it has the
// labels of every hard constraint and passes the constraint's node policies.
func eligible(n *node, r *request, pod *corev1.Pod, c *corev1.TopologySpreadConstraint) bool {
	for i := range pod.Spec.TopologySpreadConstraints {
		other := &pod.Spec.TopologySpreadConstraints[i]
		if other.WhenUnsatisfiable != c.WhenUnsatisfiable {
			continue
		}
		if _, ok := n.object.Labels[other.TopologyKey]; !ok {
			return false
		}
	}
	if c.NodeAffinityPolicy == nil || *c.NodeAffinityPolicy == corev1.NodeInclusionPolicyHonor {
		if ok, err := r.required.Match(n.object); err != nil || !ok {
			return false
		}
	}
	return c.NodeTaintsPolicy == nil || *c.NodeTaintsPolicy == corev1.NodeInclusionPolicyIgnore || n.refusalByTaints(r) == ""
}

func leastOf(count map[string]int) int {
	least := -1
	for _, n := range count {
		if least < 0 || n < least {
			least = n
		}
	}
	return max(least, 0)
}
