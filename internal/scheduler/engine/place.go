package engine

import (
	"cmp"
	"container/heap"
	"math"

	corev1 "k8s.io/api/core/v1"
)

// Choice is the node that was chosen for a pod, and what it was chosen from.
type Choice struct {
	Node  string
	Class Key // of the pod
	// Feasible is how many nodes the rules of the pod's class allow; none were
	// looked at for a pod that was nominated.
	Feasible int
	// Score is the node's, and RunnerUp that of the best of the others, if any.
	Score, RunnerUp float64
}

// Place returns the best node for a pod, or false when none is feasible; then
// Explain says why. It does not count the pod: SetPod does. A pod that was
// nominated to a node goes there if it can.
func (e *Engine) Place(ask Ask) (string, bool) {
	c, ok := e.Choose(ask)
	return c.Node, ok
}

// Choose is Place that tells what the choice was.
func (e *Engine) Choose(ask Ask) (Choice, bool) {
	c := e.class(ask)
	if p := e.nominated[ask.Pod.UID]; p != nil && p.node.object != nil && len(e.refusals(c, ask, p.node, false)) == 0 {
		return Choice{Node: p.node.name, Class: c.key}, true
	}
	open := c.open()
	if len(open) == 0 {
		return Choice{}, false
	}
	if len(ask.Extras) > 0 || e.mustYield(c.req.priority, ask) {
		return e.chooseOneByOne(c, ask, open)
	}
	scores := e.scoreGroups(c, open)
	best, out := -1, Choice{Class: c.key, RunnerUp: math.Inf(-1)}
	var from *group
	for i, g := range open {
		top := g.heap[0]
		score := scores[i] + c.slots[top].score
		out.Feasible += len(g.heap)
		switch {
		case best < 0:
			best, out.Score, from = top, score, g
		case score > out.Score || (score == out.Score && top < best):
			out.RunnerUp = max(out.RunnerUp, out.Score) // the one that was the best: its group has none better
			best, out.Score, from = top, score, g
		default:
			out.RunnerUp = max(out.RunnerUp, score)
		}
	}
	out.Node = e.slots[best].name
	out.RunnerUp = max(out.RunnerUp, out.Score+c.second(from))
	if out.Feasible == 1 {
		out.RunnerUp = 0
	}
	return out, true
}

// chooseOneByOne asks node by node, the best first, for rules that are not the
// class's alone.
func (e *Engine) chooseOneByOne(c *class, ask Ask, open []*group) (Choice, bool) {
	scorers := scorersOf(c, ask)
	open = e.narrow(c, ask, open, len(scorers) > 0)
	scores := e.scoreGroups(c, open)
	order := &ranking{}
	for i, g := range open {
		for _, slot := range g.heap {
			order.all = append(order.all, ranked{slot, scores[i] + c.slots[slot].score})
		}
	}
	e.scoreByStock(c, ask, order.all)
	for _, s := range scorers {
		e.scoreBy(c, s, order.all)
	}
	out := Choice{Class: c.key, Feasible: len(order.all)}
	heap.Init(order)
	for len(order.all) > 0 {
		best := heap.Pop(order).(ranked)
		n := e.slots[best.slot]
		if len(e.refusals(c, ask, n, false)) > 0 {
			out.Feasible--
			continue
		}
		out.Node, out.Score = n.name, best.score
		if len(order.all) > 0 {
			out.RunnerUp = order.all[0].score
		}
		return out, true
	}
	return Choice{}, false
}

// maxAsked is how many nodes are asked for their extras before any is scored.
const maxAsked = 100

// narrow leaves out what is known to be refused by rules that are not the class's
// alone, for scores are relative to those of the nodes that are left. Of more nodes
// than maxAsked extras are asked only as far as need be, unless all must be: then
// scores are relative to nodes that may yet refuse. kube-scheduler, too, scores no
// more than a sample of so many.
func (e *Engine) narrow(c *class, ask Ask, open []*group, all bool) []*group {
	nodes := 0
	for _, g := range open {
		nodes += len(g.heap)
	}
	all = all || (len(ask.Extras) > 0 && nodes <= maxAsked)
	var out []*group
	for _, g := range open {
		left := *g
		left.heap = nil
		for _, slot := range g.heap {
			n := e.slots[slot]
			if (!all && len(n.nominated) == 0) || len(e.refusals(c, ask, n, false)) == 0 {
				left.heap = append(left.heap, slot)
			}
		}
		if len(left.heap) > 0 {
			out = append(out, &left)
		}
	}
	return out
}

// scorersOf are the extras that score nodes for a pod.
func scorersOf(c *class, ask Ask) (out []Scorer) {
	for _, x := range ask.Extras {
		if s, ok := x.(Scorer); ok {
			if rule, _ := s.Scored(); c.req.profile.Weights[rule] != 0 {
				out = append(out, s)
			}
		}
	}
	return out
}

// scoreBy adds what one extra says of the nodes that are left.
func (e *Engine) scoreBy(c *class, s Scorer, nodes []ranked) {
	rule, relative := s.Scored()
	raw, most := make([]int64, len(nodes)), int64(0)
	for i := range nodes {
		raw[i] = s.Score(NodeView{e, e.slots[nodes[i].slot]})
		most = max(most, raw[i])
	}
	for i := range nodes {
		if relative && most > 0 {
			raw[i] = 100 * raw[i] / most
		}
		nodes[i].score += float64(c.req.profile.Weights[rule] * raw[i])
	}
}

// second is by how much the second node of a group scores below its first.
func (c *class) second(g *group) float64 {
	out := math.Inf(-1)
	for _, slot := range g.heap[1:min(3, len(g.heap))] { // one of the top's children
		out = max(out, c.slots[slot].score-c.slots[g.heap[0]].score)
	}
	return out
}

// Feasible reports whether some node could take a pod of the class, leaving
// nominations and extras aside. A class that was dropped since it was asked for
// is said to be feasible, so that it is tried again.
func (e *Engine) Feasible(key Key) bool {
	c := e.classes[key]
	if c == nil {
		return true
	}
	e.catchUp(c)
	for _, g := range c.groups {
		if len(g.heap) > 0 && c.allows(g) {
			return true
		}
	}
	return false
}

type ranked struct {
	slot  int
	score float64
}

type ranking struct{ all []ranked }

func (r *ranking) Len() int { return len(r.all) }
func (r *ranking) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(r.all[j].score, r.all[i].score), cmp.Compare(r.all[i].slot, r.all[j].slot)) < 0
}
func (r *ranking) Swap(i, j int) { r.all[i], r.all[j] = r.all[j], r.all[i] }
func (r *ranking) Push(x any)    { r.all = append(r.all, x.(ranked)) }
func (r *ranking) Pop() any {
	last := r.all[len(r.all)-1]
	r.all = r.all[:len(r.all)-1]
	return last
}

// bounds of a score over all groups, for normalising as kube-scheduler does.
type bounds struct{ least, most float64 }

func noBounds() bounds { return bounds{math.Inf(1), math.Inf(-1)} }

func (b *bounds) include(x float64) { b.least, b.most = min(b.least, x), max(b.most, x) }

// scoreGroups returns what every group's nodes score beside their own resources.
// Scores are normalised over the feasible nodes, as kube-scheduler does; nodes of
// a group score the same, so groups are enough. All is in whole points.
func (e *Engine) scoreGroups(c *class, open []*group) []float64 {
	out := make([]float64, len(open))
	if len(open) == 1 {
		return out // nothing to tell apart
	}
	w := c.req.profile.Weights
	taints, prefer := int64(0), int64(0)
	for _, g := range open {
		taints, prefer = max(taints, int64(g.intolerable)), max(prefer, int64(g.prefer))
	}
	for i, g := range open {
		if taints > 0 {
			out[i] += float64(w[RuleTaints] * (100 - 100*int64(g.intolerable)/taints))
		}
		if prefer > 0 {
			out[i] += float64(w[RuleNodeAffinity] * (100 * int64(g.prefer) / prefer))
		}
		if g.images != 0 {
			out[i] += float64(w[RuleImages] * e.imageScore(c.req, g.images))
		}
	}
	c.scorePleasures(open, out, float64(w[RuleInterPod]))
	c.scoreSpread(open, out, float64(w[RuleSpread]))
	return out
}

func (c *class) scorePleasures(open []*group, out []float64, weight float64) {
	if len(c.pleasures) == 0 {
		return
	}
	raw, b := make([]float64, len(open)), noBounds()
	for i, g := range open {
		for _, p := range c.pleasures {
			if g.values[p.dim] != 0 {
				raw[i] += float64(p.weight * int64(c.count(g, p.dim)))
			}
		}
		b.include(raw[i])
	}
	if b.most == b.least {
		return
	}
	for i := range open {
		out[i] += weight * math.Trunc(100*((raw[i]-b.least)/(b.most-b.least)))
	}
}

func (c *class) scoreSpread(open []*group, out []float64, weight float64) {
	var soft []*spreadRule
	for _, s := range c.spreads {
		if !s.hard {
			soft = append(soft, s)
		}
	}
	if len(soft) == 0 {
		return
	}
	judged := make([]bool, len(open)) // has the labels that it takes
	nodes := 0
	for i, g := range open {
		judged[i] = true
		for _, s := range soft {
			judged[i] = judged[i] && (g.values[s.dim] != 0 || !c.needsAllKeys())
		}
		if judged[i] {
			nodes += len(g.heap)
		}
	}
	raw := make([]float64, len(open))
	for _, s := range soft {
		size := float64(nodes)
		if s.key != corev1.LabelHostname {
			seen := map[int32]bool{}
			for i, g := range open {
				if judged[i] {
					seen[g.values[s.dim]] = true
				}
			}
			size = float64(len(seen))
		}
		for i, g := range open {
			if judged[i] && g.values[s.dim] != 0 {
				// More domains make a difference of one pod matter more.
				raw[i] += float64(c.inDomain(g, s))*math.Log(size+2) + float64(s.maxSkew-1)
			}
		}
	}
	b := noBounds()
	for i := range open {
		raw[i] = math.Round(raw[i])
		if judged[i] {
			b.include(raw[i])
		}
	}
	for i := range open {
		switch {
		case !judged[i]:
		case b.most == 0:
			out[i] += weight * 100
		default:
			out[i] += weight * math.Trunc(100*(b.most+b.least-raw[i])/b.most)
		}
	}
}
