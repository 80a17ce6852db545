package engine

import (
	"fmt"
	"slices"
	"strings"
)

// NodeReasons says why a pod cannot run on one node.
type NodeReasons struct {
	Node     string
	Refusals []Refusal
}

// Explanation says why nodes cannot take a pod.
type Explanation struct {
	Nodes []NodeReasons // in the order of their names
	Of    int           // nodes known
}

// Explain asks every node for the first rule that refuses, so it is for pods
// that Place could not place.
func (e *Engine) Explain(ask Ask) Explanation { return e.explain(ask, false) }

// Diagnose asks every node for all that stands in the way, for whoever looks for
// the smallest change that would help. A node that it does not list can take
// the pod.
func (e *Engine) Diagnose(ask Ask) Explanation { return e.explain(ask, true) }

func (e *Engine) explain(ask Ask, all bool) Explanation {
	c := e.class(ask)
	out := Explanation{Of: e.known}
	for _, n := range e.slots {
		if n == nil || n.object == nil {
			continue
		}
		if refusals := e.refusals(c, ask, n, all); len(refusals) > 0 {
			out.Nodes = append(out.Nodes, NodeReasons{Node: n.name, Refusals: refusals})
		}
	}
	slices.SortFunc(out.Nodes, func(a, b NodeReasons) int { return strings.Compare(a.Node, b.Node) })
	return out
}

// Rules returns the rules that refuse any node.
func (x Explanation) Rules() []Rule {
	var out []Rule
	for _, n := range x.Nodes {
		for i := range n.Refusals {
			if !slices.Contains(out, n.Refusals[i].Rule) {
				out = append(out, n.Refusals[i].Rule)
			}
		}
	}
	return out
}

// MayPreempt reports, of what Preempt says, whether pods that matter less would make
// room on some node if others went as well.
func (x Explanation) MayPreempt() bool {
	return slices.ContainsFunc(x.Nodes, func(n NodeReasons) bool {
		return n.Refusals[0].Rule != RulePreemption && !anyFinal(n.Refusals)
	})
}

// Message is the explanation in kube-scheduler's one line: how many nodes
// refuse for which reason.
func (x Explanation) Message() string {
	if x.Of == 0 {
		return "no nodes available to schedule pods"
	}
	counts := map[string]int{}
	for _, n := range x.Nodes {
		for i := range n.Refusals {
			counts[n.Refusals[i].Reason]++
		}
	}
	parts := make([]string, 0, len(counts))
	for reason, n := range counts {
		parts = append(parts, fmt.Sprintf("%d %s", n, reason))
	}
	slices.Sort(parts)
	return fmt.Sprintf("0/%d nodes are available: %s.", x.Of, strings.Join(parts, ", "))
}
