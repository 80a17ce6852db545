package engine

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/sinawi/sinawi/internal/scheduler/engine/demand"
)

// stock is how much there is of a resource that a node has none of its own of, and
// how much of that is taken.
type stock func(corev1.ResourceName) (total, taken int64)

// stock is how much of a resource there is on a node, and how much of it is taken.
func (n *node) stock(name corev1.ResourceName, used *demand.Amounts, beside stock) (total, taken int64) {
	total, taken = n.allocatable.Of(name), used.Of(name)
	if total == 0 && beside != nil {
		return beside(name)
	}
	return total, taken
}

// scoreByStock corrects the scores of nodes by what an Extra has for them: a class
// knows only of what nodes have of their own.
func (e *Engine) scoreByStock(c *class, ask Ask, nodes []ranked) {
	if !c.req.scoresDelegated() {
		return
	}
	for _, x := range ask.Extras {
		s, ok := x.(Stock)
		if !ok {
			continue
		}
		for i := range nodes {
			n := e.slots[nodes[i].slot]
			nodes[i].score += n.scoreWith(c.req, func(name corev1.ResourceName) (int64, int64) {
				if !c.req.delegated[name] {
					return 0, 0
				}
				return s.Stock(NodeView{e, n}, name)
			}) - n.score(c.req)
		}
	}
}

// scoresDelegated reports whether a resource that can be had as devices counts in scores.
func (r *request) scoresDelegated() bool {
	counts := func(w Weighted) bool { return r.delegated[w.Name] }
	return slices.ContainsFunc(r.profile.Resources, counts) || slices.ContainsFunc(r.profile.Balanced, counts)
}
