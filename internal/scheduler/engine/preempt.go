package engine

import (
	"cmp"
	"math"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Budget is a pod disruption budget: how many more of its pods may go now.
type Budget struct {
	Namespace string
	Selector  labels.Selector
	Allowed   int32
	// Disrupted are pods that are counted as gone already.
	Disrupted map[string]metav1.Time
}

func (b *Budget) covers(pod *corev1.Pod) bool {
	if pod.Namespace != b.Namespace || len(pod.Labels) == 0 || b.Selector.Empty() {
		return false
	}
	_, gone := b.Disrupted[pod.Name]
	return !gone && b.Selector.Matches(labels.Set(pod.Labels))
}

// Protected reports whether a budget allows no more pods like this one to go.
func Protected(pod *corev1.Pod, budgets []Budget) bool {
	for i := range budgets {
		if budgets[i].Allowed <= 0 && budgets[i].covers(pod) {
			return true
		}
	}
	return false
}

// Spend counts pods that will go against the budgets.
func Spend(budgets []Budget, pods []*corev1.Pod) {
	for i := range budgets {
		for _, p := range pods {
			if budgets[i].covers(p) {
				budgets[i].Allowed--
			}
		}
	}
}

// Preemption is a place that a pod can have when others go.
type Preemption struct {
	Node       string
	Victims    []*corev1.Pod // the most important first; never one that matters as much as the pod
	Violations int           // victims that a budget wanted to keep
}

// candidate is a node with what would have to go.
type candidate struct {
	node       *node
	victims    []*placed
	violations int

	highest  int32       // of the victims' priorities
	sum      int64       // of them
	earliest metav1.Time // start of those with the highest
}

// Preempt looks for the node where the least has to go for a pod that fits
// nowhere, or says of all nodes why nothing that could go helps. It changes
// nothing. The candidates are compared as kube-scheduler does: fewest
// budgets broken, least important of the most important victims, smallest sum
// of priorities, fewest victims, youngest victims.
func (e *Engine) Preempt(ask Ask, budgets []Budget) (*Preemption, Explanation) {
	c := e.class(ask)
	e.listen(c)
	if e.hopeless(c) {
		return nil, Explanation{Of: e.known, Findings: []Finding{preemptionSays(reasonNotHelpful, e.known)}}
	}
	e.keepWeighed(c)
	why, notHelpful, noVictims := findings{engine: e}, 0, 0
	enough := max(e.known*c.req.profile.MinCandidatesPercent/100, c.req.profile.MinCandidatesAbsolute)
	var best *candidate
	found, clean := 0, false
	for i := range e.slots {
		n := e.slots[(i+e.offset)%len(e.slots)]
		if n == nil || n.object == nil {
			continue
		}
		if refusals := e.says(c, ask, n); len(refusals) == 0 || anyFinal(refusals) {
			notHelpful++
			continue
		}
		x, refusals := e.weigh(c, ask, n, budgets)
		if x == nil {
			if refusals == nil {
				noVictims++
			} else {
				why.add(refusals, n.slot)
			}
			continue
		}
		found++
		clean = clean || x.violations == 0
		if best == nil || x.compare(best) < 0 {
			best = x
		}
		if found >= enough && clean {
			break
		}
	}
	if best == nil {
		out := why.explanation()
		for _, f := range []Finding{preemptionSays(reasonNotHelpful, notHelpful), preemptionSays(reasonNoVictims, noVictims)} {
			if f.Nodes > 0 {
				out.Findings = append(out.Findings, f)
			}
		}
		return nil, out
	}
	// Others begin elsewhere, so that not all preempt on the same nodes.
	e.offset = (best.node.slot + 1) % len(e.slots)
	out := &Preemption{Node: best.node.name, Violations: best.violations}
	for _, v := range best.victims {
		out.Victims = append(out.Victims, v.pod)
	}
	return out, Explanation{Of: e.known}
}

func preemptionSays(reason string, nodes int) Finding {
	return Finding{Refusals: []Refusal{{Rule: RulePreemption, Reason: reason, Final: true}}, Nodes: nodes}
}

// hopeless reports whether it is known that no pod that leaves its node would help.
func (e *Engine) hopeless(c *class) bool {
	final := 0
	for _, v := range c.verdicts {
		if anyFinal(v.refusals) {
			final += len(v.slots)
		}
	}
	return final == e.known
}

// victimsOn returns the fewest of the less important pods that must leave n for the pod
// to fit, or why even all of them do not suffice; both are nil when there are none. Those
// that budgets protect stay before those that are free to go.
func (e *Engine) victimsOn(c *class, ask Ask, n *node, lesser, protected, free []*placed) (*candidate, []Refusal) {
	if len(lesser) == 0 {
		return nil, nil
	}
	e.suppose(c, n, nil, lesser)
	gone := map[*placed]bool{}
	defer func() {
		back := make([]*placed, 0, len(gone))
		for p := range gone {
			back = append(back, p)
		}
		e.suppose(c, n, back, nil)
	}()
	for _, p := range lesser {
		gone[p] = true
	}
	if refusals := e.refusals(c, ask, n, false); len(refusals) > 0 {
		return nil, refusals
	}
	out := &candidate{node: n}
	reprieve := func(p *placed) bool {
		e.suppose(c, n, []*placed{p}, nil)
		if len(e.refusals(c, ask, n, false)) == 0 {
			delete(gone, p)
			return true
		}
		e.suppose(c, n, nil, []*placed{p})
		return false
	}
	for _, p := range protected {
		if !reprieve(p) {
			out.violations++
		}
	}
	for _, p := range free {
		reprieve(p)
	}
	for _, p := range lesser {
		if gone[p] {
			out.victims = append(out.victims, p)
		}
	}
	out.sumUp()
	return out, nil
}

// splitByBudgets parts pods into those whose going would break a budget, were
// all of them to go, and the rest.
func splitByBudgets(pods []*placed, budgets []Budget) (protected, free []*placed) {
	allowed := make([]int32, len(budgets))
	for i := range budgets {
		allowed[i] = budgets[i].Allowed
	}
	for _, p := range pods {
		breaks := false
		for i := 0; i < len(budgets) && !breaks; i++ { // one that breaks a budget is not counted against the next
			if budgets[i].covers(p.pod) {
				allowed[i]--
				breaks = allowed[i] < 0
			}
		}
		if breaks {
			protected = append(protected, p)
		} else {
			free = append(free, p)
		}
	}
	return protected, free
}

// compare is negative when a is the better node to preempt on.
func (a *candidate) compare(b *candidate) int {
	return cmp.Or(
		cmp.Compare(a.violations, b.violations),
		cmp.Compare(a.highest, b.highest),
		cmp.Compare(a.sum, b.sum),
		cmp.Compare(len(a.victims), len(b.victims)),
		-a.earliest.Compare(b.earliest.Time),
		cmp.Compare(a.node.slot, b.node.slot),
	)
}

// sumUp computes what candidates are compared by. Every priority counts from the lowest
// there is, so that more victims are never less.
func (a *candidate) sumUp() {
	a.highest = math.MinInt32
	if len(a.victims) > 0 {
		a.highest = a.victims[0].priority
	}
	for _, v := range a.victims {
		a.sum += int64(v.priority) + math.MaxInt32 + 1
		if start := startOf(v.pod); v.priority == a.highest && (a.earliest.IsZero() || start.Before(&a.earliest)) {
			a.earliest = start
		}
	}
}

// startOf is when a pod started; one that has not is younger than all that have.
func startOf(pod *corev1.Pod) metav1.Time {
	if pod.Status.StartTime != nil {
		return *pod.Status.StartTime
	}
	return metav1.Unix(math.MaxInt32<<8, 0)
}
