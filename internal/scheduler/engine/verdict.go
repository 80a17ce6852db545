package engine

import (
	"slices"
	"strings"
)

// verdict is what nodes say against a class for themselves: by their own state and by
// what is on them, pods that are nominated to them included. It holds for every pod of
// the class that is not nominated there itself.
//
// Invariant: a slot with a node is in a group or in a verdict, and in no more than one
// of them.
type verdict struct {
	refusals []Refusal // what nodes share: not amounts, nor domains; nil when they must be asked
	static   bool      // follows from the node's object alone
	slots    []int
	first    []int // of them, the first by name of their nodes; nil when that is not known
}

// enter puts a slot that is nowhere into a verdict.
func (c *class) enter(slot int, v *verdict) {
	c.slots[slot].verdict = v
	c.slots[slot].position = int32(len(v.slots))
	v.slots = append(v.slots, slot)
}

func (c *class) depart(slot int) {
	st := &c.slots[slot]
	v := st.verdict
	st.verdict = nil
	last := len(v.slots) - 1
	moved := v.slots[last]
	v.slots[st.position] = moved
	c.slots[moved].position = st.position
	v.slots = v.slots[:last]
	if slices.Contains(v.first, slot) {
		v.first = nil
	}
}

// admit is enter for a verdict whose first slots are kept.
func (e *Engine) admit(c *class, slot int, v *verdict) {
	c.enter(slot, v)
	if v.first != nil {
		v.first = e.amongFirst(v.first, slot)
	}
}

// firstOf returns the first slots of a verdict.
func (e *Engine) firstOf(v *verdict) []int {
	if v.first == nil {
		for _, slot := range v.slots {
			v.first = e.amongFirst(v.first, slot)
		}
	}
	return v.first
}

// mostNamed is how many nodes are named that say the same.
const mostNamed = 5

// amongFirst adds a slot to the first ones by name.
func (e *Engine) amongFirst(slots []int, slot int) []int {
	byName := func(s int, name string) int { return strings.Compare(e.slots[s].name, name) }
	name := e.slots[slot].name
	if last := len(slots) - 1; last+1 == mostNamed {
		if byName(slots[last], name) < 0 {
			return slots
		}
		slots = slots[:last]
	}
	at, _ := slices.BinarySearchFunc(slots, name, byName)
	return slices.Insert(slots, at, slot)
}

// refuse notes that a slot's node does not take the class. Why it is asked when
// somebody wants to know.
func (c *class) refuse(slot int) {
	c.leave(slot)
	c.enter(slot, &c.unasked)
}

// verdictOf returns the verdict of refusals, made if need be.
func (c *class) verdictOf(refusals []Refusal) *verdict {
	c.sig = signature(c.sig[:0], refusals)
	v := c.verdicts[string(c.sig)]
	if v == nil {
		v = &verdict{refusals: shared(refusals), static: refusals[0].Rule.static()}
		c.verdicts[string(c.sig)] = v
	}
	return v
}

// static says that a rule is asked of a node's object alone, before all others.
func (r Rule) static() bool {
	return r == RuleUnschedulable || r == RuleNodeName || r == RuleTaints || r == RuleNodeAffinity
}

// signature writes what nodes share of their refusals.
func signature(b []byte, refusals []Refusal) []byte {
	for i := range refusals {
		r := &refusals[i]
		b = append(b, r.Rule...)
		b = append(b, 0)
		b = append(b, r.Reason...)
		if b = append(b, 0); r.Final {
			b = append(b, 1)
		}
	}
	return b
}

// shared is what nodes share of their refusals.
func shared(refusals []Refusal) []Refusal {
	out := make([]Refusal, len(refusals))
	for i := range refusals {
		out[i] = Refusal{Rule: refusals[i].Rule, Reason: refusals[i].Reason, Final: refusals[i].Final}
	}
	return out
}

// listen asks the nodes that do not take a class, and have changed since they were
// asked, why.
func (e *Engine) listen(c *class) {
	for len(c.unasked.slots) > 0 {
		slot := c.unasked.slots[len(c.unasked.slots)-1]
		c.depart(slot)
		if refusals := e.ownRefusals(c, e.slots[slot]); len(refusals) > 0 {
			e.admit(c, slot, c.verdictOf(refusals))
		} else {
			c.enter(slot, &c.loose)
		}
	}
	if len(c.verdicts) > 64 {
		for sig, v := range c.verdicts {
			if len(v.slots) == 0 {
				delete(c.verdicts, sig)
			}
		}
	}
}

// ownRefusals are those of a node for itself. They are the first to be asked for, and
// more pods never make them fewer, so that where guests cause any no others count.
func (e *Engine) ownRefusals(c *class, n *node) []Refusal {
	guests := n.guests(c, "")
	if len(guests) > 0 {
		e.suppose(c, n, guests, nil)
		defer e.suppose(c, n, nil, guests)
	}
	if out := n.staticRefusals(c.req, false); len(out) > 0 {
		return out
	}
	return n.refusals(c.req, false)
}

// says is refusals for who needs no more than what nodes share. It is asked only
// where it is not known.
func (e *Engine) says(c *class, ask Ask, n *node) []Refusal {
	if v := c.slots[n.slot].verdict; v != nil && v.refusals != nil && n.nominated[ask.Pod.UID] == nil {
		return v.refusals
	}
	return e.refusals(c, ask, n, false)
}
