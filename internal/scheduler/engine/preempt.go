package engine

import (
	"cmp"
	"math"
	"slices"

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
}

// Preempt looks for the node where the least has to go for a pod that fits
// nowhere, and says of every other node why nothing that could go helps. It
// changes nothing. The candidates are compared as kube-scheduler does: fewest
// budgets broken, least important of the most important victims, smallest sum
// of priorities, fewest victims, youngest victims.
func (e *Engine) Preempt(ask Ask, budgets []Budget) (*Preemption, Explanation) {
	c := e.class(ask)
	why := Explanation{Of: e.known}
	say := func(n *node, reason string) {
		why.Nodes = append(why.Nodes, NodeReasons{n.name, []Refusal{{Rule: RulePreemption, Reason: reason, Final: true}}})
	}
	enough := max(e.known*c.req.profile.MinCandidatesPercent/100, c.req.profile.MinCandidatesAbsolute)
	var best *candidate
	found, clean := 0, false
	for i := range e.slots {
		n := e.slots[(i+e.offset)%len(e.slots)]
		if n == nil || n.object == nil {
			continue
		}
		refusals := e.refusals(c, ask, n, false)
		if len(refusals) == 0 || anyFinal(refusals) {
			say(n, reasonNotHelpful)
			continue
		}
		x, refusals := e.victimsOn(c, ask, n, budgets)
		if x == nil {
			if refusals == nil {
				say(n, reasonNoVictims)
			} else {
				why.Nodes = append(why.Nodes, NodeReasons{n.name, refusals})
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
		return nil, why
	}
	// Others begin elsewhere, so that not all preempt on the same nodes.
	e.offset = (best.node.slot + 1) % len(e.slots)
	out := &Preemption{Node: best.node.name, Violations: best.violations}
	for _, v := range best.victims {
		out.Victims = append(out.Victims, v.pod)
	}
	return out, why
}

// victimsOn returns the fewest pods that must leave n for the pod to fit, or why
// even all less important ones do not suffice; both are nil when there are none.
func (e *Engine) victimsOn(c *class, ask Ask, n *node, budgets []Budget) (*candidate, []Refusal) {
	var lesser []*placed
	for _, p := range n.pods {
		if p.priority < c.req.priority {
			lesser = append(lesser, p)
		}
	}
	if len(lesser) == 0 {
		return nil, nil
	}
	slices.SortFunc(lesser, func(a, b *placed) int {
		return cmp.Or(moreImportant(a.pod, b.pod), cmp.Compare(a.pod.UID, b.pod.UID))
	})
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
	protected, free := splitByBudgets(lesser, budgets)
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
		cmp.Compare(a.highest(), b.highest()),
		cmp.Compare(a.sum(), b.sum()),
		cmp.Compare(len(a.victims), len(b.victims)),
		-a.earliestOfHighest().Compare(b.earliestOfHighest().Time),
		cmp.Compare(a.node.slot, b.node.slot),
	)
}

func (a *candidate) highest() int32 {
	if len(a.victims) == 0 {
		return math.MinInt32
	}
	return a.victims[0].priority
}

// sum counts every priority from the lowest there is, so that more victims are
// never less.
func (a *candidate) sum() int64 {
	sum := int64(0)
	for _, v := range a.victims {
		sum += int64(v.priority) + math.MaxInt32 + 1
	}
	return sum
}

func (a *candidate) earliestOfHighest() metav1.Time {
	var out metav1.Time
	for _, v := range a.victims {
		if start := startOf(v.pod); v.priority == a.highest() && (out.IsZero() || start.Before(&out)) {
			out = start
		}
	}
	return out
}

// startOf is when a pod started; one that has not is younger than all that have.
func startOf(pod *corev1.Pod) metav1.Time {
	if pod.Status.StartTime != nil {
		return *pod.Status.StartTime
	}
	return metav1.Unix(math.MaxInt32<<8, 0)
}
