package engine

import (
	"encoding/binary"
	"slices"
)

// class is a set of pods that ask for the same. It keeps the nodes that are
// feasible for it in groups: within a group every rule between pods, and every
// score but that of the node's own resources, says the same of every node, so
// the best node of a group is the top of its heap.
//
// Nodes that are not feasible are in verdicts, by what they say.
//
// Invariants: a slot is in a group exactly when its node was feasible by its own
// state when the class last caught up; slots[s].seen is the version of the node
// that this was computed from; spots hold what each slot contributes to the
// counts of spread rules.
type class struct {
	key  Key
	req  *request
	next uint64 // sequence number of the first change that it has not read
	used uint64 // when it was last asked for, for dropping the least used

	between
	slots  []slotState
	spots  []spot // len(spreads) a slot
	groups map[string]*group
	sig    []byte // scratch
	bulk   bool   // heaps are put in order at the end

	verdicts map[string]*verdict // by signature
	unasked  verdict             // of nodes that have changed since they were asked
	loose    verdict             // of nodes that every pod asks: what they say follows from more than themselves
	weighed  []weighed           // by slot; nil until the class preempts
}

type slotState struct {
	seen        uint64
	objects     uint64 // version of the node's object that the next fields follow from
	score       float64
	group       *group
	verdict     *verdict
	position    int32 // in the group's heap, or in the verdict
	prefer      int32
	images      uint32
	eligible    uint32 // bit i: counts for spreads[i]
	intolerable int16
	fits        bool // by the object alone
}

// group is a set of feasible nodes that rules between pods cannot tell apart.
type group struct {
	values      []int32 // by dim: the node's domain, 0 when it has none
	counts      []int32 // by dim: pods counted on the node, where the node is the domain
	prefer      int32
	images      uint32
	intolerable int16
	heap        []int // slots, best first
}

// spot is what a slot contributes to a spread rule: nothing when value is 0.
type spot struct{ value, count int32 }

func newClass(key Key, req *request) *class {
	return &class{key: key, req: req, groups: map[string]*group{}, verdicts: map[string]*verdict{}}
}

func (c *class) grow(n int) {
	if len(c.slots) >= n {
		return
	}
	c.slots = append(c.slots, make([]slotState, n-len(c.slots))...)
	if want := n * len(c.spreads); len(c.spots) < want {
		c.spots = append(c.spots, make([]spot, want-len(c.spots))...)
	}
}

// reset forgets all nodes, because the rules between pods have changed.
func (c *class) reset() {
	clear(c.slots)
	clear(c.groups)
	clear(c.verdicts)
	c.unasked, c.loose, c.weighed = verdict{}, verdict{}, nil
	c.spots = make([]spot, len(c.slots)*len(c.spreads))
	for _, s := range c.spreads {
		s.domains = newDomains()
	}
}

// refresh brings what the class knows of one slot up to date.
func (c *class) refresh(slot int, n *node) {
	c.grow(slot + 1)
	st := &c.slots[slot]
	if n == nil || n.object == nil {
		if st.seen != 0 {
			c.leave(slot)
			c.moveSpots(slot, nil)
			*st = slotState{}
		}
		return
	}
	if st.seen == n.version {
		return
	}
	st.seen = n.version
	if st.objects != n.objects {
		c.study(st, n)
		if st.verdict != nil {
			c.refuse(slot)
		}
	}
	c.moveSpots(slot, n)
	if st.verdict != nil && st.verdict.static {
		return // whatever is on the node
	}
	if !st.fits || !c.takes(n) {
		c.refuse(slot)
		return
	}
	score := n.score(c.req)
	g := c.groupOf(st, n)
	switch {
	case st.group != g:
		c.leave(slot)
		st.score = score
		c.join(slot, g)
	case score != st.score:
		better := score > st.score
		st.score = score
		if better {
			c.up(g, int(st.position))
		} else {
			c.down(g, int(st.position))
		}
	}
}

// takes reports whether what is on the node leaves room for the class.
func (c *class) takes(n *node) bool {
	off := c.req.profile.Off
	return (off[RulePorts] || !n.portsTaken(c.req.ports)) && (off[RuleResources] || n.roomFor(c.req))
}

// study computes what follows from a node's object alone.
func (c *class) study(st *slotState, n *node) {
	st.objects = n.objects
	st.fits = len(n.staticRefusals(c.req, false)) == 0 && !n.lacksFeatures(c.req)
	st.prefer = n.preference(c.req)
	st.intolerable = n.intolerablePreferences(c.req)
	st.images = n.presentImages(c.req)
	st.eligible = 0
	for i, s := range c.spreads {
		if c.eligible(s, n) {
			st.eligible |= 1 << i
		}
	}
}

// moveSpots brings the contribution of a slot to all spread rules up to date.
func (c *class) moveSpots(slot int, n *node) {
	for i, s := range c.spreads {
		if s.byNode {
			continue
		}
		now := spot{}
		if n != nil && c.slots[slot].eligible&(1<<i) != 0 {
			now = spot{n.domain(s.key), s.tally.onNode[n]}
		}
		at := &c.spots[slot*len(c.spreads)+i]
		if *at != now {
			s.move(*at, now)
			*at = now
		}
	}
}

// groupOf returns the group that a node belongs to, made if need be.
func (c *class) groupOf(st *slotState, n *node) *group {
	b := c.sig[:0]
	for i := range c.dims {
		value, count := c.dims[i].of(n)
		b = binary.AppendVarint(b, int64(value))
		b = binary.AppendVarint(b, int64(count))
	}
	b = binary.AppendVarint(b, int64(st.prefer))
	b = binary.AppendVarint(b, int64(st.intolerable))
	b = binary.AppendUvarint(b, uint64(st.images))
	c.sig = b
	g := c.groups[string(b)]
	if g == nil {
		g = c.describe(st, n)
		c.groups[string(b)] = g
	}
	return g
}

func (c *class) describe(st *slotState, n *node) *group {
	g := &group{
		values: make([]int32, len(c.dims)), counts: make([]int32, len(c.dims)),
		prefer: st.prefer, intolerable: st.intolerable, images: st.images,
	}
	for i := range c.dims {
		g.values[i], g.counts[i] = c.dims[i].of(n)
	}
	return g
}

// dropEmptyGroups frees groups that nodes have left for good.
func (c *class) dropEmptyGroups() {
	if len(c.groups) < 64 {
		return
	}
	empty := 0
	for _, g := range c.groups {
		if len(g.heap) == 0 {
			empty++
		}
	}
	if empty*2 < len(c.groups) {
		return
	}
	for sig, g := range c.groups {
		if len(g.heap) == 0 {
			delete(c.groups, sig)
		}
	}
}

func (c *class) join(slot int, g *group) {
	c.slots[slot].group = g
	c.slots[slot].position = int32(len(g.heap))
	g.heap = append(g.heap, slot)
	if !c.bulk {
		c.up(g, len(g.heap)-1)
	}
}

func (c *class) leave(slot int) {
	st := &c.slots[slot]
	if st.verdict != nil {
		c.depart(slot)
	}
	g := st.group
	if g == nil {
		return
	}
	st.group = nil
	i, last := int(st.position), len(g.heap)-1
	if i != last {
		c.put(g, i, g.heap[last])
	}
	g.heap = g.heap[:last]
	if i != last && !c.bulk {
		c.down(g, i)
		c.up(g, i)
	}
}

// order puts all heaps in order after a bulk of joins.
func (c *class) order() {
	for _, g := range c.groups {
		for i := len(g.heap)/2 - 1; i >= 0; i-- {
			c.down(g, i)
		}
	}
}

// better orders nodes of a group: the higher score, then the lower slot, so that
// decisions can be repeated.
func (c *class) better(a, b int) bool {
	if c.slots[a].score != c.slots[b].score {
		return c.slots[a].score > c.slots[b].score
	}
	return a < b
}

func (c *class) put(g *group, i, slot int) {
	g.heap[i] = slot
	c.slots[slot].position = int32(i)
}

func (c *class) up(g *group, i int) {
	slot := g.heap[i]
	for i > 0 {
		parent := (i - 1) / 2
		if !c.better(slot, g.heap[parent]) {
			break
		}
		c.put(g, i, g.heap[parent])
		i = parent
	}
	c.put(g, i, slot)
}

func (c *class) down(g *group, i int) {
	slot := g.heap[i]
	for {
		child := 2*i + 1
		if child >= len(g.heap) {
			break
		}
		if child+1 < len(g.heap) && c.better(g.heap[child+1], g.heap[child]) {
			child++
		}
		if !c.better(g.heap[child], slot) {
			break
		}
		c.put(g, i, g.heap[child])
		i = child
	}
	c.put(g, i, slot)
}

// open returns the groups that have nodes and that no rule between pods closes.
func (c *class) open() []*group {
	out := make([]*group, 0, len(c.groups))
	for _, g := range c.groups {
		if len(g.heap) > 0 && c.allows(g) {
			out = append(out, g)
		}
	}
	// Sums of scores must not depend on the order of a map.
	slices.SortFunc(out, func(a, b *group) int { return a.heap[0] - b.heap[0] })
	return out
}
