package engine

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// between are the rules between pods that apply to a class. They are asked of
// groups, not of nodes. Every rule looks at one dimension of a group.
type between struct {
	dims []dim

	together  []int // dims of required affinity: each domain must have a pod that all terms accept
	affine    bool  // the pod itself is such a pod: the first one may go anywhere
	apart     []int // dims of required anti-affinity
	blocked   []int // dims of placed pods' required anti-affinity to this one
	pleasures []pleasure
	spreads   []*spreadRule

	tallies     []*tally // to be released
	held        []*held
	heldVersion uint64
}

// pleasure is a preference: every pod counted in the node's domain weighs so much.
type pleasure struct {
	dim    int
	weight int64
}

// dim is what groups differ by: the node's domain under a topology key, and
// where the node is the whole domain, the pods counted there.
type dim struct {
	view   *view
	byNode bool
	limit  int32 // counts above are the same to the rule; 0: none are
}

func (d *dim) of(n *node) (value, count int32) {
	value = n.domain(d.view.key)
	if !d.byNode || value == 0 {
		return value, 0
	}
	count = d.view.from.onNode[n]
	if d.limit > 0 {
		count = min(count, d.limit)
	}
	return 1, count
}

func (b *between) count(g *group, i int) int32 {
	if b.dims[i].byNode {
		return g.counts[i]
	}
	return b.dims[i].view.count[g.values[i]]
}

func (b *between) add(v *view, byNode bool, limit int32) int {
	b.dims = append(b.dims, dim{v, byNode, limit})
	return len(b.dims) - 1
}

// setBetween compiles the rules between pods of a class.
func (e *Engine) setBetween(c *class) {
	old := c.tallies
	c.between = between{heldVersion: e.terms.heldVersion}
	r, b := c.req, &c.between
	// A label set that is nobody's, to ask what would count the pod itself.
	self := &labelSet{namespace: r.pod.Namespace, labels: r.pod.Labels}
	b.held = e.terms.heldFor(self.namespace, self.labels)
	take := func(living bool, all ...matcher) *tally {
		t := e.terms.tally(all, living)
		b.tallies = append(b.tallies, t)
		return t
	}
	if !r.profile.Off[RuleInterPod] {
		if list := r.terms.affinity; len(list) > 0 {
			all := make([]matcher, len(list))
			for i := range list {
				all[i] = list[i].matcher
			}
			t := take(false, all...)
			b.affine = t.matches(self, e.namespaces)
			for i := range list {
				b.together = append(b.together, b.add(t.view(list[i].key), e.isNode(list[i].key), 1))
			}
		}
		for _, t := range r.terms.anti {
			b.apart = append(b.apart, b.add(take(false, t.matcher).view(t.key), e.isNode(t.key), 1))
		}
		for _, h := range b.held {
			if h.kind == heldAnti {
				b.blocked = append(b.blocked, b.add(h.view(h.key), e.isNode(h.key), 1))
			}
		}
	}
	if r.profile.Weights[RuleInterPod] != 0 {
		e.addPleasures(b, r, take)
	}
	e.addSpreads(b, r, self, take)
	for _, t := range old {
		e.terms.release(t)
	}
}

func (e *Engine) addPleasures(b *between, r *request, take func(bool, ...matcher) *tally) {
	for _, t := range r.terms.preferAffinity {
		b.pleasures = append(b.pleasures, pleasure{b.add(take(false, t.matcher).view(t.key), e.isNode(t.key), 0), t.weight})
	}
	for _, t := range r.terms.preferAnti {
		b.pleasures = append(b.pleasures, pleasure{b.add(take(false, t.matcher).view(t.key), e.isNode(t.key), 0), -t.weight})
	}
	ignore := r.profile.IgnorePreferencesOfOld && len(r.terms.preferAffinity)+len(r.terms.preferAnti) == 0
	for _, h := range b.held {
		weight := int64(0)
		switch h.kind {
		case heldAffinity:
			weight = r.profile.HardAffinityWeight
		case heldPreferAffinity:
			weight = h.weight
		case heldPreferAnti:
			weight = -h.weight
		}
		if weight != 0 && !ignore {
			b.pleasures = append(b.pleasures, pleasure{b.add(h.view(h.key), e.isNode(h.key), 0), weight})
		}
	}
}

// maxSpreads bounds a bit set; nobody writes so many constraints.
const maxSpreads = 32

func (e *Engine) addSpreads(b *between, r *request, self *labelSet, take func(bool, ...matcher) *tally) {
	for i := range r.spread {
		c := &r.spread[i]
		hard := c.WhenUnsatisfiable == corev1.DoNotSchedule
		if len(b.spreads) == maxSpreads || (hard && r.profile.Off[RuleSpread]) || (!hard && r.profile.Weights[RuleSpread] == 0) {
			continue
		}
		s := &spreadRule{
			key: c.TopologyKey, hard: hard, maxSkew: int(c.MaxSkew), minDomains: 1,
			honorAffinity: isHonor(c.NodeAffinityPolicy, true), honorTaints: isHonor(c.NodeTaintsPolicy, false),
			domains: newDomains(),
		}
		selects := spreadMatcher(r.pod, c, r.byOwner)
		s.tally = take(true, selects.counted())
		if c.MinDomains != nil {
			s.minDomains = int(*c.MinDomains)
		}
		if selects.matches(self.namespace, self.labels, e.namespaces) {
			s.self = 1
		}
		s.byNode = !hard && c.TopologyKey == corev1.LabelHostname
		s.dim = b.add(s.tally.view(s.key), s.byNode || e.isNode(s.key), 0)
		b.spreads = append(b.spreads, s)
	}
}

// isNode reports whether the domains of a topology key are single nodes.
func (e *Engine) isNode(key string) bool {
	return key == corev1.LabelHostname && e.sharedHostnames == 0
}

// heldChanged reports whether other placed pods' terms speak of the class than
// when it was compiled.
func (e *Engine) heldChanged(c *class) bool {
	if c.heldVersion == e.terms.heldVersion {
		return false
	}
	c.heldVersion = e.terms.heldVersion
	return !slices.Equal(c.held, e.terms.heldFor(c.req.pod.Namespace, c.req.pod.Labels))
}

// binds reports whether any rule between pods does more than prefer.
func (b *between) binds() bool {
	return len(b.together)+len(b.apart)+len(b.blocked) > 0 ||
		slices.ContainsFunc(b.spreads, func(s *spreadRule) bool { return s.hard })
}

// allows reports whether no rule between pods keeps the class off a group.
func (c *class) allows(g *group) bool {
	if len(c.dims) == 0 {
		return true
	}
	for _, s := range c.spreads {
		if s.hard && (g.values[s.dim] == 0 || c.skew(g, s) > s.maxSkew) {
			return false
		}
	}
	if len(c.together) > 0 && c.affinityRefusal(g) >= 0 {
		return false
	}
	for _, list := range [...][]int{c.apart, c.blocked} {
		for _, i := range list {
			if g.values[i] != 0 && c.count(g, i) > 0 {
				return false
			}
		}
	}
	return true
}

// affinityRefusal returns the dim that fails, or -1.
func (c *class) affinityRefusal(g *group) int {
	nobody := c.affine
	for _, i := range c.together {
		nobody = nobody && len(c.dims[i].view.count) == 0
	}
	for _, i := range c.together {
		if g.values[i] == 0 || (!nobody && c.count(g, i) == 0) {
			return i
		}
	}
	return -1
}

// betweenRefusals says which rules between pods keep the class off a node.
func (c *class) betweenRefusals(g *group, n *node, all bool) []Refusal {
	var out []Refusal
	refuse := func(rule Rule, reason, key string, final bool) *Refusal {
		out = append(out, Refusal{Rule: rule, Reason: reason, Final: final, Key: key, Value: n.object.Labels[key]})
		return &out[len(out)-1]
	}
	for _, s := range c.spreads {
		if !s.hard {
			continue
		}
		if g.values[s.dim] == 0 {
			refuse(RuleSpread, reasonSpreadNoLabel, s.key, true)
		} else if skew := c.skewOn(g, s, n); skew > s.maxSkew {
			x := refuse(RuleSpread, reasonSpread, s.key, false)
			x.Count, x.Limit = skew, s.maxSkew
		}
		if len(out) > 0 && !all {
			return out
		}
	}
	if len(c.together) > 0 {
		if i := c.affinityRefusal(g); i >= 0 {
			refuse(RuleInterPod, reasonPodAffinity, c.dims[i].view.key, true)
			if !all {
				return out
			}
		}
	}
	for _, x := range [...]struct {
		list   []int
		reason string
	}{{c.apart, reasonPodAnti}, {c.blocked, reasonExistingAnti}} {
		for _, i := range x.list {
			if g.values[i] != 0 && c.count(g, i) > 0 {
				refuse(RuleInterPod, x.reason, c.dims[i].view.key, false)
				if !all {
					return out
				}
				break
			}
		}
	}
	return out
}
