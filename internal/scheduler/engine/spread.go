package engine

// spreadRule is a topology spread constraint of a class, with the pods that it
// counts in every domain.
type spreadRule struct {
	key           string
	dim           int
	hard          bool
	byNode        bool // a preference over nodes: counted on the node, not by domain
	maxSkew       int
	minDomains    int
	self          int // 1 when the pod counts itself
	honorAffinity bool
	honorTaints   bool
	tally         *tally
	*domains
}

// domains counts pods and nodes by domain, and knows the emptiest one.
//
// Invariant: having[k] is the number of domains with k pods.
type domains struct {
	count  map[int32]int32
	nodes  map[int32]int32
	having map[int32]int32
}

func newDomains() *domains {
	return &domains{count: map[int32]int32{}, nodes: map[int32]int32{}, having: map[int32]int32{}}
}

// move replaces what one node contributes.
func (d *domains) move(from, to spot) {
	if from.value == to.value && from.value != 0 {
		d.set(to.value, to.count-from.count, 0)
		return
	}
	if from.value != 0 {
		d.set(from.value, -from.count, -1)
	}
	if to.value != 0 {
		d.set(to.value, to.count, 1)
	}
}

func (d *domains) set(value, pods, nodes int32) {
	if d.nodes[value] > 0 {
		if d.having[d.count[value]]--; d.having[d.count[value]] == 0 {
			delete(d.having, d.count[value])
		}
	}
	d.count[value] += pods
	if d.nodes[value] += nodes; d.nodes[value] == 0 {
		delete(d.nodes, value)
		delete(d.count, value)
		return
	}
	d.having[d.count[value]]++
}

// least is how many pods the emptiest domain has.
func (s *spreadRule) least() int {
	if len(s.nodes) < s.minDomains {
		return 0
	}
	first, least := true, int32(0)
	for count := range s.having {
		if first || count < least {
			first, least = false, count
		}
	}
	return int(least)
}

// inDomain is how many pods count in a group's domain.
func (c *class) inDomain(g *group, s *spreadRule) int32 {
	if c.dims[s.dim].byNode {
		return g.counts[s.dim]
	}
	return s.count[g.values[s.dim]]
}

// skew is how far a group's domain would be above the emptiest one.
func (c *class) skew(g *group, s *spreadRule) int {
	return int(c.inDomain(g, s)) + s.self - s.least()
}

// skewOn is skew for a node of the group, whose own pods do not count where the node
// itself does not. Such a node is always refused; this is for the words.
func (c *class) skewOn(g *group, s *spreadRule, n *node) int {
	out := c.skew(g, s)
	if c.dims[s.dim].byNode && !c.eligible(s, n) {
		out -= int(c.inDomain(g, s))
	}
	return out
}

// eligible says whether a node counts for a spread rule: it has the labels of
// all constraints of the kind, and passes the constraint's node policies.
func (c *class) eligible(s *spreadRule, n *node) bool {
	if s.hard || c.needsAllKeys() {
		for _, other := range c.spreads {
			if other.hard == s.hard && n.domain(other.key) == 0 {
				return false
			}
		}
	}
	if s.honorAffinity {
		if ok, err := c.req.required.Match(n.object); err != nil || !ok {
			return false
		}
	}
	return !s.honorTaints || n.refusalByTaints(c.req) == nil
}

// needsAllKeys says whether a node must have every label of the preferences to
// be judged by them. The system's own constraints do without zones.
func (c *class) needsAllKeys() bool { return c.req.ownSpread || !c.req.profile.SystemSpread }
