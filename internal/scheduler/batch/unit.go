package batch

import (
	"cmp"
	"container/heap"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	"k8s.io/apimachinery/pkg/types"
	corev1helper "k8s.io/component-helpers/scheduling/corev1"

	"github.com/sinawi/sinawi/internal/scheduler/backlog"
	"github.com/sinawi/sinawi/internal/scheduler/engine"
	"github.com/sinawi/sinawi/internal/scheduler/fair"
)

// Member is a pod of a unit.
type Member struct {
	Pod     *corev1.Pod
	Unit    *Unit
	Amounts fair.Amounts
	Placed  bool // it has a node, and is charged for
}

// Unit is what is placed together: the pods of a group, or one pod. It is in its
// line, parked, or has nothing to place.
type Unit struct {
	Queue     string
	Scheduled bool   // its group's condition says so
	Told      string // why it waits, as its group and pods were told
	// What may let it fit, since it was tried last.
	Class    engine.Key        // of the pod that had no place
	Alone    bool              // something else than its class may help that pod
	Retaking bool              // it may have room by what its queue takes back
	Helps    engine.NodeChange // what of a node may help that pod where others make room

	key       key
	namespace string
	members   map[types.UID]*Member
	placed    int
	sequence  uint64
	index     int // in its line, or -1
	failures  int
	until     time.Time // end of its pause
	woken     bool      // parked, and to be tried after its pause
	barred    bool      // parked, until its queue takes pods of its namespace
}

// Group is the name of the unit's group, or "".
func (u *Unit) Group() string { return u.key.group.Name }

// Key tells the unit's reservation from others.
func (u *Unit) Key() any { return u.key }

// Pending is how many of its pods have no node.
func (u *Unit) Pending() int { return len(u.members) - u.placed }

// Priority is that of the most important pod that waits, or has a place.
func (u *Unit) Priority() int32 {
	out := int32(-1 << 31)
	for _, m := range u.members {
		out = max(out, corev1helper.PodPriority(m.Pod))
	}
	return out
}

// GroupOf returns a unit's group, or nil.
func (b *Batch) GroupOf(u *Unit) *schedulingv1beta1.PodGroup { return b.groups[u.key.group] }

// Waiting are the pods of a unit that have no node, the first to be placed first.
func (b *Batch) Waiting(u *Unit) []*backlog.Waiting {
	var out []*backlog.Waiting
	for uid, m := range u.members {
		if w := b.waiting.Of(uid); w != nil && !m.Placed {
			out = append(out, w)
		}
	}
	slices.SortFunc(out, func(a, b *backlog.Waiting) int {
		return cmp.Or(-cmp.Compare(corev1helper.PodPriority(a.Pod), corev1helper.PodPriority(b.Pod)), cmp.Compare(a.Sequence, b.Sequence))
	})
	return out
}

// Drop takes a unit out of its line, or from where it is parked.
func (b *Batch) Drop(u *Unit) {
	if u.index >= 0 {
		heap.Remove(&b.lines[u.Queue].units, u.index)
	}
	delete(b.parked, u)
	u.woken, u.barred = false, false
	b.book.Reserve(u.Queue, u.key, nil)
}

// Ready puts a unit into its line.
func (b *Batch) Ready(u *Unit) {
	if u.index >= 0 || u.Pending() == 0 {
		return
	}
	delete(b.parked, u)
	u.woken, u.barred = false, false
	l := b.lines[u.Queue]
	heap.Push(&l.units, u)
	if len(l.fresh) > 2*len(l.units) {
		// Nobody of this line had to wait for long: forget who does not any more.
		l.fresh = slices.DeleteFunc(l.fresh, func(u *Unit) bool { return u.index < 0 })
	}
	l.fresh = append(l.fresh, u)
}

// Park puts a unit that has no place aside until something happens that can help
// it, for longer after each failure.
func (b *Batch) Park(u *Unit, now time.Time) {
	u.failures++
	b.park(u, b.waiting.Pause(u.failures), now)
}

// ParkLong puts a unit aside that only another quota or limit can help.
func (b *Batch) ParkLong(u *Unit, now time.Time) {
	u.Alone, u.Retaking = true, false
	b.park(u, b.waiting.MaxPause(), now)
}

// ParkToRetry puts a unit aside that lost a place it had; it tries again after its
// pause, whatever happens.
func (b *Batch) ParkToRetry(u *Unit, now time.Time) {
	u.Scheduled = false
	b.Park(u, now)
	u.woken = true
}

func (b *Batch) park(u *Unit, pause time.Duration, now time.Time) {
	if u.index >= 0 {
		heap.Remove(&b.lines[u.Queue].units, u.index)
	}
	u.until, u.woken = now.Add(pause), false
	b.parked[u] = true
}

// Placed tells that a unit has got its places.
func (b *Batch) Placed(u *Unit) {
	b.Drop(u)
	u.failures, u.Retaking, u.Told = 0, false, ""
}

// MadeRoom tells that room is being made for a unit: it is kept for it, and it
// tries as soon as that is there.
func (b *Batch) MadeRoom(u *Unit) {
	if u.Queue != "" {
		b.book.Reserve(u.Queue, u.key, b.Request(u))
	}
	u.failures, u.until = 0, time.Time{}
}

// GiveUpRoom ends what MadeRoom keeps.
func (b *Batch) GiveUpRoom(u *Unit) { b.book.Reserve(u.Queue, u.key, nil) }

// Wake lets parked units try again, after their pause, when what happened may
// have helped them.
func (b *Batch) Wake(nodes engine.NodeChange, feasible func(engine.Key) bool) {
	for u := range b.parked {
		if u.barred {
			continue
		}
		if u.Alone || u.Retaking || u.Helps&nodes != 0 || feasible(u.Class) {
			u.woken = true
		}
	}
}

// Renew lets parked units try again, after their pause, that have a pod whose class is
// another now.
func (b *Batch) Renew(pods func(*corev1.Pod) bool) {
	for u := range b.parked {
		for _, m := range u.members {
			if !u.barred && pods(m.Pod) {
				u.woken = true
			}
		}
	}
}

// line is the units of one queue that may be tried.
type line struct {
	queue string
	units byImportance
	fresh []*Unit // that came since it was last said that they wait
}

// byImportance orders the units of a line: what is begun, then priority, then who
// came first.
type byImportance []*Unit

func (h byImportance) Len() int { return len(h) }
func (h byImportance) Less(i, j int) bool {
	return h[i].turn(fair.Within, 0).Compare(h[j].turn(fair.Within, 0)) < 0
}
func (h byImportance) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *byImportance) Push(x any) {
	u := x.(*Unit)
	u.index = len(*h)
	*h = append(*h, u)
}
func (h *byImportance) Pop() any {
	old := *h
	u := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	u.index = -1
	return u
}

func (u *Unit) turn(standing fair.Standing, share float64) fair.Turn {
	return fair.Turn{
		Standing: standing, Share: share, Begun: u.placed > 0 && u.key.group.Name != "" && !u.Scheduled,
		Priority: u.Priority(), Sequence: u.sequence,
	}
}
