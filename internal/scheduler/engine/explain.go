package engine

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// NodeReasons says why a pod cannot run on one node.
type NodeReasons struct {
	Node     string
	Refusals []Refusal
}

// Finding is what some nodes say against a pod.
type Finding struct {
	Refusals []Refusal // without what tells those nodes apart: amounts and domains
	Nodes    int
	Such     []string // the first of them by name
}

// Explanation says why nodes cannot take a pod.
type Explanation struct {
	Findings []Finding // in the order of the first nodes of each
	Of       int       // nodes known
}

// Explain says of every node that refuses a pod by which rule it does first, so it is
// for pods that Place could not place. Nodes are asked only if they have changed since
// one of the pod's class wanted to know, or if it is not for the class to know.
func (e *Engine) Explain(ask Ask) Explanation {
	c := e.class(ask)
	e.listen(c)
	out := findings{engine: e}
	if p := e.nominated[ask.Pod.UID]; p != nil {
		if v := c.slots[p.node.slot].verdict; v != nil {
			// To the pod that is nominated there it says something else than to its class.
			c.depart(p.node.slot)
			defer e.admit(c, p.node.slot, v)
			out.add(e.refusals(c, ask, p.node, false), p.node.slot)
		}
	}
	for _, v := range c.verdicts {
		out.addAll(v)
	}
	for _, slot := range c.loose.slots {
		out.add(e.refusals(c, ask, e.slots[slot], false), slot)
	}
	kept := e.keptFrom(c, ask)
	for slot := range kept {
		out.add(e.refusals(c, ask, e.slots[slot], false), slot)
	}
	for _, g := range c.groups {
		e.explainGroup(c, ask, g, kept, &out)
	}
	return out.explanation()
}

func (e *Engine) explainGroup(c *class, ask Ask, g *group, kept map[int]bool, out *findings) {
	if len(g.heap) == 0 || (len(ask.Extras) == 0 && c.allows(g)) {
		return
	}
	var all []Refusal
	if len(ask.Extras) == 0 && !c.differs() {
		all = c.betweenRefusals(g, e.slots[g.heap[0]], false)
	}
	for _, slot := range g.heap {
		switch {
		case kept[slot]:
		case all != nil:
			out.add(all, slot)
		default:
			out.add(e.refusals(c, ask, e.slots[slot], false), slot)
		}
	}
}

// differs says that rules between pods may have another reason for each node of a
// group: some of its nodes may not count for a spread rule.
func (c *class) differs() bool {
	off := c.req.profile.Off
	return len(c.spreads) > 0 && (off[RuleNodeAffinity] || off[RuleTaints])
}

// keptFrom are the slots of nodes that a pod's class would take, and where others are
// nominated that it leaves room for.
func (e *Engine) keptFrom(c *class, ask Ask) map[int]bool {
	var out map[int]bool
	for uid, p := range e.nominated {
		if uid == ask.Pod.UID || p.priority < c.req.priority || c.slots[p.node.slot].group == nil {
			continue
		}
		if out == nil {
			out = map[int]bool{}
		}
		out[p.node.slot] = true
	}
	return out
}

// findings gathers what nodes say.
type findings struct {
	engine *Engine
	by     map[string]*gathered
	sig    []byte
}

type gathered struct {
	refusals []Refusal
	nodes    int
	first    []int // slots
}

func (f *findings) of(refusals []Refusal) *gathered {
	f.sig = signature(f.sig[:0], refusals)
	out := f.by[string(f.sig)]
	if out == nil {
		if f.by == nil {
			f.by = map[string]*gathered{}
		}
		out = &gathered{refusals: refusals}
		f.by[string(f.sig)] = out
	}
	return out
}

func (f *findings) add(refusals []Refusal, slot int) {
	if len(refusals) > 0 {
		x := f.of(refusals)
		x.nodes++
		x.first = f.engine.amongFirst(x.first, slot)
	}
}

func (f *findings) addAll(v *verdict) {
	if len(v.slots) == 0 {
		return
	}
	x := f.of(v.refusals)
	x.nodes += len(v.slots)
	for _, slot := range f.engine.firstOf(v) {
		x.first = f.engine.amongFirst(x.first, slot)
	}
}

func (f *findings) explanation() Explanation {
	out := Explanation{Of: f.engine.known}
	for _, x := range f.by {
		finding := Finding{Refusals: shared(x.refusals), Nodes: x.nodes}
		for _, slot := range x.first {
			finding.Such = append(finding.Such, f.engine.slots[slot].name)
		}
		out.Findings = append(out.Findings, finding)
	}
	slices.SortFunc(out.Findings, func(a, b Finding) int { return slices.Compare(a.Such, b.Such) })
	return out
}

// Diagnose asks every node for all that stands in the way, for whoever looks for
// the smallest change that would help, in the order of their names. A node that it does
// not list can take the pod.
func (e *Engine) Diagnose(ask Ask) []NodeReasons {
	c := e.class(ask)
	var out []NodeReasons
	for _, n := range e.slots {
		if n == nil || n.object == nil {
			continue
		}
		if refusals := e.refusals(c, ask, n, true); len(refusals) > 0 {
			out = append(out, NodeReasons{Node: n.name, Refusals: refusals})
		}
	}
	slices.SortFunc(out, func(a, b NodeReasons) int { return strings.Compare(a.Node, b.Node) })
	return out
}

// RefusedBy returns the nodes of which a rule is the first to refuse a pod, in the order
// of their names.
func (e *Engine) RefusedBy(ask Ask, rule Rule) []string {
	c := e.class(ask)
	e.listen(c)
	var out []string
	for _, n := range e.slots {
		if n == nil || n.object == nil {
			continue
		}
		if refusals := e.says(c, ask, n); len(refusals) > 0 && refusals[0].Rule == rule {
			out = append(out, n.name)
		}
	}
	slices.Sort(out)
	return out
}

// Refused is how many nodes refuse.
func (x Explanation) Refused() (out int) {
	for i := range x.Findings {
		out += x.Findings[i].Nodes
	}
	return out
}

// Reason is why some nodes refuse.
type Reason struct {
	Rule  Rule
	Text  string
	Nodes int
	Such  []string // the first of them by name
}

// Reasons are all that nodes say, the commonest first.
func (x Explanation) Reasons() []Reason {
	var out []Reason
	for i := range x.Findings {
		f := &x.Findings[i]
		for j := range f.Refusals {
			r := &f.Refusals[j]
			at := slices.IndexFunc(out, func(o Reason) bool { return o.Rule == r.Rule && o.Text == r.Reason })
			if at < 0 {
				at = len(out)
				out = append(out, Reason{Rule: r.Rule, Text: r.Reason})
			}
			out[at].Nodes += f.Nodes
			such := slices.Concat(out[at].Such, f.Such)
			slices.Sort(such)
			out[at].Such = such[:min(len(such), mostNamed)]
		}
	}
	slices.SortStableFunc(out, func(a, b Reason) int { return cmp.Compare(b.Nodes, a.Nodes) })
	return out
}

// Rules returns the rules that refuse any node.
func (x Explanation) Rules() []Rule {
	var out []Rule
	for _, r := range x.Reasons() {
		if !slices.Contains(out, r.Rule) {
			out = append(out, r.Rule)
		}
	}
	return out
}

// MayPreempt reports, of what Preempt says, whether pods that matter less would make
// room on some node if others went as well.
func (x Explanation) MayPreempt() bool {
	return slices.ContainsFunc(x.Findings, func(f Finding) bool {
		return f.Refusals[0].Rule != RulePreemption && !anyFinal(f.Refusals)
	})
}

// Message is the explanation in kube-scheduler's one line: how many nodes
// refuse for which reason.
func (x Explanation) Message() string {
	if x.Of == 0 {
		return "no nodes available to schedule pods"
	}
	counts := map[string]int{}
	for i := range x.Findings {
		for j := range x.Findings[i].Refusals {
			counts[x.Findings[i].Refusals[j].Reason] += x.Findings[i].Nodes
		}
	}
	parts := make([]string, 0, len(counts))
	for reason, n := range counts {
		parts = append(parts, fmt.Sprintf("%d %s", n, reason))
	}
	slices.Sort(parts)
	return fmt.Sprintf("0/%d nodes are available: %s.", x.Of, strings.Join(parts, ", "))
}
