package batch

import (
	"cmp"
	"fmt"
	"time"

	corev1helper "k8s.io/component-helpers/scheduling/corev1"

	batchv1 "github.com/sinawi/sinawi/api/scheduling/v1"
	"github.com/sinawi/sinawi/internal/scheduler/fair"
	"github.com/sinawi/sinawi/internal/scheduler/gang"
)

// Teller passes on why a unit waits.
type Teller func(u *Unit, message string)

// Next returns the unit whose turn it is, or nil: of queues the one that
// fairness chooses, and of these, gangs without a queue and pods alone the most
// important. It refuses the first of each queue that may not try, and says to
// those behind it that they wait.
func (b *Batch) Next(refuse, say Teller) *Unit {
	var best *Unit
	var first fair.Turn
	for queue, l := range b.lines {
		if queue == "" || len(l.units) == 0 || b.needs[Queues] {
			continue
		}
		b.bar(l, refuse)
		if len(l.units) == 0 || b.unread(l.units[0]) {
			continue
		}
		u := l.units[0]
		v := b.Verdict(u)
		if v.Standing == fair.Waits || v.Standing == fair.Unknown || v.Standing == fair.Lent && !b.MayRetake(u) {
			l.wait(v, refuse, say)
			continue
		}
		turn := u.turn(v.Standing, b.book.Share(queue))
		if best == nil || turn.Compare(first) < 0 {
			best, first = u, turn
		}
	}
	if l := b.lines[""]; l != nil && len(l.units) > 0 && !b.unread(l.units[0]) && (best == nil || earlier(l.units[0], best)) {
		best = l.units[0]
	}
	if best == nil {
		return nil
	}
	if w := b.waiting.First(); w != nil {
		p := corev1helper.PodPriority(w.Pod)
		if c := cmp.Compare(p, best.Priority()); c > 0 || c == 0 && w.Sequence < best.sequence {
			return nil
		}
	}
	return best
}

// bar puts those aside at the head of a line whose namespace the queue does not
// take: they must not hold those behind them.
func (b *Batch) bar(l *line, refuse Teller) {
	for len(l.units) > 0 && !b.unread(l.units[0]) && !b.admits(l.units[0]) {
		u := l.units[0]
		b.park(u, 0, time.Time{})
		u.barred = true
		refuse(u, fair.TakesNoneOf(l.queue, u.namespace))
	}
}

// wait tells the units of a line that wait for their queue: the first for what,
// the others for their turn.
func (l *line) wait(v fair.Verdict, refuse, say Teller) {
	refuse(l.units[0], v.Words(l.queue))
	for _, u := range l.fresh {
		if u != l.units[0] && u.index >= 0 {
			say(u, fair.WaitsForTurn(l.queue))
		}
	}
	l.fresh = nil
}

// unread reports whether a unit's group is not known yet.
func (b *Batch) unread(u *Unit) bool { return u.key.group.Name != "" && b.needs[Groups] }

func earlier(a, b *Unit) bool {
	return cmp.Or(-cmp.Compare(a.Priority(), b.Priority()), cmp.Compare(a.sequence, b.sequence)) < 0
}

// Least is how many pods a unit needs at once, or why it cannot be placed yet.
func (b *Batch) Least(u *Unit) (int, string) {
	if u.key.group.Name == "" {
		return 1, ""
	}
	g := b.groups[u.key.group]
	if g == nil {
		return 0, fmt.Sprintf("waiting for pod group %q to be created", u.key.group.Name)
	}
	policy := g.Spec.SchedulingPolicy.Gang
	if policy == nil {
		return 1, ""
	}
	need := gang.Missing(int(policy.MinCount), u.placed)
	if need > u.Pending() && u.placed < int(policy.MinCount) {
		return 0, fmt.Sprintf("pod group %q waits for its pods: %d of at least %d are there", u.key.group.Name, len(u.members), policy.MinCount)
	}
	return need, ""
}

// Request is what the pods take that a unit needs at once.
func (b *Batch) Request(u *Unit) fair.Amounts {
	out := fair.Amounts{}
	need, _ := b.Least(u)
	for i, w := range b.Waiting(u) {
		if i < need {
			out.Add(b.members[w.Pod.UID].Amounts, 1)
		}
	}
	return out
}

// Verdict is how what a unit needs stands in its queue.
func (b *Batch) Verdict(u *Unit) fair.Verdict {
	if u.Queue == "" {
		return fair.Verdict{}
	}
	return b.book.Ask(u.Queue, u.key, b.Request(u))
}

// Allows reports whether a unit's queue has the means for one pod more.
func (b *Batch) Allows(u *Unit, m *Member) bool {
	return u.Queue == "" || b.book.Ask(u.Queue, u.key, m.Amounts).Standing <= fair.Borrows
}

// MayRetake reports whether a unit's queue evicts to get back what it lent.
func (b *Batch) MayRetake(u *Unit) bool {
	p, ok := b.policy[u.Queue]
	return ok && p != batchv1.ReclaimNever
}
