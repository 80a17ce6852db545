package engine

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// NodeReasons says why a pod cannot run on one node.
type NodeReasons struct {
	Node    string
	Reasons []string
}

// Explanation says why no node can take a pod.
type Explanation struct {
	Nodes []NodeReasons // in the order of their names
}

// Explain asks every node, so it is for pods that Place could not place.
func (e *Engine) Explain(ask Ask) Explanation {
	c := e.class(ask)
	rules := e.rulesFor(ask.Pod)
	var out Explanation
	for _, n := range e.slots {
		if n == nil || n.object == nil {
			continue
		}
		reasons := n.refusal(&c.req)
		if reasons == nil && rules != nil {
			if r := rules.refusal(n); r != "" {
				reasons = []string{r}
			}
		}
		if reasons != nil {
			out.Nodes = append(out.Nodes, NodeReasons{Node: n.name, Reasons: reasons})
		}
	}
	slices.SortFunc(out.Nodes, func(a, b NodeReasons) int { return strings.Compare(a.Node, b.Node) })
	return out
}

// Nodes is the number of nodes known.
func (e *Engine) Nodes() int {
	count := 0
	for _, n := range e.slots {
		if n != nil && n.object != nil {
			count++
		}
	}
	return count
}

// Message is the explanation in kube-scheduler's one line: how many nodes
// refuse for which reason.
func (x Explanation) Message(nodes int) string {
	if nodes == 0 {
		return "no nodes available to schedule pods"
	}
	counts := map[string]int{}
	for _, n := range x.Nodes {
		for _, r := range n.Reasons {
			counts[r]++
		}
	}
	parts := make([]string, 0, len(counts))
	for reason, n := range counts {
		parts = append(parts, fmt.Sprintf("%d %s", n, reason))
	}
	slices.Sort(parts)
	return fmt.Sprintf("0/%d nodes are available: %s.", nodes, strings.Join(parts, ", "))
}

// Unconstrained reports whether a pod's class alone decides where it fits: no
// rule between pods applies to it.
func (e *Engine) Unconstrained(pod *corev1.Pod) bool { return e.rulesFor(pod) == nil }
