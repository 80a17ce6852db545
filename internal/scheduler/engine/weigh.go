package engine

import (
	"cmp"
	"slices"
)

// weighed is what would have to leave a node for a class, as it was when last weighed.
type weighed struct {
	version, starts uint64 // of the node then; 0: never
	lesser          []*placed
	candidate       *candidate // nil: nothing helps
	refusals        []Refusal  // then, unless there is nobody to leave
}

// maxWeighers is how many classes keep what they weighed: those that preempted last.
const maxWeighers = 8

// keepWeighed lets a class keep what it weighs, in the place of the one that has for
// the longest.
func (e *Engine) keepWeighed(c *class) {
	if at := slices.Index(e.weighers, c); at >= 0 {
		e.weighers = slices.Delete(e.weighers, at, at+1)
	} else if len(e.weighers) == maxWeighers {
		e.weighers[0].weighed = nil
		e.weighers = slices.Delete(e.weighers, 0, 1)
	}
	e.weighers = append(e.weighers, c)
	if missing := len(c.slots) - len(c.weighed); missing > 0 {
		c.weighed = append(c.weighed, make([]weighed, missing)...)
	}
}

// weigh is victimsOn, from what is known already where nothing has changed.
func (e *Engine) weigh(c *class, ask Ask, n *node, budgets []Budget) (*candidate, []Refusal) {
	if c.binds() || len(ask.Extras) > 0 || n.nominated[ask.Pod.UID] != nil {
		// It follows from more than the class, the node and what is on it.
		lesser := lesserOn(c, n)
		protected, free := splitByBudgets(lesser, budgets)
		return e.victimsOn(c, ask, n, lesser, protected, free)
	}
	w := &c.weighed[n.slot]
	if w.version != n.version || w.starts != n.starts {
		*w = weighed{version: n.version, starts: n.starts, lesser: lesserOn(c, n)}
		w.candidate, w.refusals = e.victimsOn(c, ask, n, w.lesser, nil, w.lesser)
	}
	if w.candidate != nil && len(budgets) > 0 {
		if protected, free := splitByBudgets(w.lesser, budgets); len(protected) > 0 {
			return e.victimsOn(c, ask, n, w.lesser, protected, free)
		}
	}
	return w.candidate, w.refusals
}

// lesserOn are the pods on a node that matter less than a class, the most important
// first.
func lesserOn(c *class, n *node) (out []*placed) {
	for _, p := range n.pods {
		if p.priority < c.req.priority {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b *placed) int {
		return cmp.Or(moreImportant(a.pod, b.pod), cmp.Compare(a.pod.UID, b.pod.UID))
	})
	return out
}
