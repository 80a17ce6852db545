package scheduler

import (
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	corev1helper "k8s.io/component-helpers/scheduling/corev1"

	batchv1 "github.com/sinawi/sinawi/api/scheduling/v1"
	"github.com/sinawi/sinawi/internal/scheduler/engine"
	"github.com/sinawi/sinawi/internal/scheduler/fair"
)

// batch holds the pods that have a group or a queue, in units: what is placed
// together. It is empty, and costs nothing, where no pod has either.
type batch struct {
	book    *fair.Book
	policy  map[string]batchv1.ReclaimPolicy // of the queues that there are
	groups  map[types.NamespacedName]*schedulingv1beta1.PodGroup
	members map[types.UID]*member
	units   map[unitKey]*unit
	lines   map[string]*line // by queue; "" is of gangs without one
	parked  map[*unit]bool
	counts  map[string]*counts
	dirty   map[string]bool // queues whose status is to be written
	needs   map[string]bool // groups of kinds that pods wait for to be watched
	again   time.Time       // when watching them is tried again
}

type unitKey struct {
	group types.NamespacedName // of a gang,
	pod   types.UID            // or of a pod alone
}

// member is a pod of a unit.
type member struct {
	pod     *corev1.Pod
	unit    *unit
	amounts fair.Amounts
	placed  bool // it has a node, and is charged for
}

// unit is what is placed together: the pods of a group, or one pod. It is in its
// line, parked, or has nothing to place.
type unit struct {
	key       unitKey
	queue     string
	members   map[types.UID]*member
	placed    int
	sequence  uint64
	index     int // in its line, or -1
	failures  int
	until     time.Time  // end of its pause
	woken     bool       // parked, and to be tried after its pause
	class     engine.Key // of the pod that had no place
	alone     bool       // something else than its class may help that pod
	retaking  bool       // it may have room by what its queue takes back
	scheduled bool       // its group's condition says so
	told      string     // why it waits, as its group and pods were told
}

// line is the units of one queue that may be tried.
type line struct {
	queue string
	units byImportance
	fresh []*unit // that came since it was last said that they wait
}

// counts are for the status of a queue.
type counts struct{ pods, groups, admitted int64 }

func newBatch() *batch {
	return &batch{
		book: fair.NewBook(), policy: map[string]batchv1.ReclaimPolicy{},
		groups:  map[types.NamespacedName]*schedulingv1beta1.PodGroup{},
		members: map[types.UID]*member{}, units: map[unitKey]*unit{}, lines: map[string]*line{},
		parked: map[*unit]bool{}, counts: map[string]*counts{}, dirty: map[string]bool{}, needs: map[string]bool{},
	}
}

// groupOf names the group of a pod; its name is empty when it has none.
func groupOf(pod *corev1.Pod) types.NamespacedName {
	if g := pod.Spec.SchedulingGroup; g != nil && g.PodGroupName != nil {
		return types.NamespacedName{Namespace: pod.Namespace, Name: *g.PodGroupName}
	}
	return types.NamespacedName{}
}

// isBatch reports whether a pod is placed by its group or queue.
func isBatch(pod *corev1.Pod) bool {
	return pod.Spec.SchedulingGroup != nil || pod.Labels[batchv1.QueueLabel] != ""
}

// priority is that of the most important pod that waits, or has a place.
func (u *unit) priority() int32 {
	out := int32(-1 << 31)
	for _, m := range u.members {
		out = max(out, corev1helper.PodPriority(m.pod))
	}
	return out
}

func (u *unit) pending() int { return len(u.members) - u.placed }

// join makes a pod known: one that waits, or has a node.
func (s *Scheduler) join(pod *corev1.Pod, sequence uint64) *member {
	b := s.batch
	if m := b.members[pod.UID]; m != nil {
		m.pod = pod
		return m
	}
	key := unitKey{group: groupOf(pod)}
	if key.group.Name == "" {
		key.pod = pod.UID
	} else {
		b.needs[watchGroups] = true
	}
	u := b.units[key]
	if u == nil {
		// A gang is of one queue: that of the first pod of it.
		u = &unit{key: key, queue: pod.Labels[batchv1.QueueLabel], members: map[types.UID]*member{}, sequence: sequence, index: -1}
		b.units[key] = u
		if b.lines[u.queue] == nil {
			b.lines[u.queue] = &line{queue: u.queue}
			b.counts[u.queue] = &counts{}
		}
	}
	if u.queue != "" {
		b.needs[watchQueues] = true
	}
	amounts := fair.AmountsOf(engine.Requests(pod))
	amounts[corev1.ResourcePods] = 1
	m := &member{pod: pod, unit: u, amounts: amounts}
	u.members[pod.UID] = m
	u.told = ""
	b.members[pod.UID] = m
	b.count(u, 1, func() { b.counts[u.queue].pods++ })
	return m
}

// count keeps the number of pending groups right over a change of a unit's pods;
// by is 1 when a pod begins to wait and -1 when one stops.
func (b *batch) count(u *unit, by int, change func()) {
	change()
	b.dirty[u.queue] = true
	if u.key.group.Name == "" {
		return
	}
	switch now := u.pending(); {
	case by > 0 && now == 1:
		b.counts[u.queue].groups++
	case by < 0 && now == 0:
		b.counts[u.queue].groups--
	}
}

// settle charges a pod's queue when it has got a node, and takes that back when
// it has lost it. It is called after whatever may have changed that.
func (s *Scheduler) settle(uid types.UID) {
	m := s.batch.members[uid]
	if m == nil || m.placed == (s.engine.NodeOf(uid) != "") {
		return
	}
	b, u := s.batch, m.unit
	m.placed = !m.placed
	if m.placed {
		u.placed++
		b.book.Charge(u.queue, m.amounts, 1)
		b.count(u, -1, func() { b.counts[u.queue].pods--; b.counts[u.queue].admitted++ })
		return
	}
	u.placed--
	b.book.Charge(u.queue, m.amounts, -1)
	b.count(u, 1, func() { b.counts[u.queue].pods++; b.counts[u.queue].admitted-- })
}

// leave forgets a pod that has ended or is gone. It has been settled.
func (s *Scheduler) leave(uid types.UID) {
	m := s.batch.members[uid]
	if m == nil {
		return
	}
	b, u := s.batch, m.unit
	if m.placed {
		u.placed--
		b.book.Charge(u.queue, m.amounts, -1)
		b.counts[u.queue].admitted--
		b.dirty[u.queue] = true
		delete(u.members, uid)
	} else {
		delete(u.members, uid)
		b.count(u, -1, func() { b.counts[u.queue].pods-- })
	}
	delete(b.members, uid)
	if u.pending() == 0 {
		b.drop(u)
	}
	if len(u.members) == 0 {
		delete(b.units, u.key)
	}
}

// drop takes a unit out of its line, or from where it is parked.
func (b *batch) drop(u *unit) {
	if u.index >= 0 {
		heap.Remove(&b.lines[u.queue].units, u.index)
	}
	delete(b.parked, u)
	u.woken = false
	b.book.Reserve(u.queue, u.key, nil)
}

// ready puts a unit into its line.
func (b *batch) ready(u *unit) {
	if u.index >= 0 || u.pending() == 0 {
		return
	}
	delete(b.parked, u)
	u.woken = false
	l := b.lines[u.queue]
	heap.Push(&l.units, u)
	l.fresh = append(l.fresh, u)
}

// park puts a unit aside until something happens that can help it.
func (b *batch) park(u *unit, pause time.Duration, now time.Time) {
	if u.index >= 0 {
		heap.Remove(&b.lines[u.queue].units, u.index)
	}
	u.until, u.woken = now.Add(pause), false
	b.parked[u] = true
}

// wake lets parked units try again, after their pause, when what happened may
// have helped them.
func (b *batch) wake(feasible func(engine.Key) bool) {
	for u := range b.parked {
		if u.alone || u.retaking || feasible(u.class) {
			u.woken = true
		}
	}
}

// due lets units try whose pause is over, and returns how long the next has, or 0.
func (b *batch) due(now time.Time) (left time.Duration) {
	for u := range b.parked {
		if !u.woken {
			continue
		}
		switch d := u.until.Sub(now); {
		case d <= 0:
			b.ready(u)
		case left == 0 || d < left:
			left = d
		}
	}
	if len(b.needs) > 0 {
		if d := b.again.Sub(now); d > 0 && (left == 0 || d < left) {
			left = d
		}
	}
	return left
}

// watchBatch watches pod groups and queues once the first pod has one. What
// cannot be watched, for no server offers it yet, is tried again after a while.
func (s *Scheduler) watchBatch(ctx context.Context, now time.Time) {
	b := s.batch
	if len(b.needs) == 0 || b.again.After(now) {
		return
	}
	for group := range b.needs {
		if err := s.watchAlso(ctx, group); err != nil {
			b.again = now.Add(watchAgain)
			s.sayAll(group, fmt.Sprintf("%s cannot be read: %v", group, err))
			continue
		}
		delete(b.needs, group)
	}
}

// watchAgain is the pause between attempts to watch what is not served.
const watchAgain = 2 * time.Second

// sayAll tells the pods that wait for a group of kinds to be readable.
func (s *Scheduler) sayAll(group, message string) {
	for _, u := range s.batch.units {
		if group == watchGroups && u.key.group.Name != "" || group == watchQueues && u.queue != "" {
			s.sayUnit(u, message)
		}
	}
}

// readGroup takes in a pod group.
func (s *Scheduler) readGroup(g *schedulingv1beta1.PodGroup, deleted bool) {
	key := types.NamespacedName{Namespace: g.Namespace, Name: g.Name}
	old := s.batch.groups[key]
	if deleted {
		delete(s.batch.groups, key)
	} else {
		s.batch.groups[key] = g
	}
	if old != nil && old.Generation == g.Generation && old.UID == g.UID && !deleted {
		return
	}
	if u := s.batch.units[unitKey{group: key}]; u != nil {
		u.scheduled, u.told = false, ""
		s.batch.ready(u)
	}
}

// readQueue takes in a queue.
func (s *Scheduler) readQueue(obj *unstructured.Unstructured, deleted bool) cause {
	b := s.batch
	if deleted {
		b.book.Remove(obj.GetName())
		delete(b.policy, obj.GetName())
		return causePod
	}
	var q batchv1.Queue
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(obj.Object, &q); err != nil {
		return 0 // its definition does not let such a one in
	}
	b.policy[q.Name] = cmp.Or(q.Spec.Reclaim, batchv1.ReclaimAny)
	b.book.Set(fair.Queue{
		Name: q.Name, Cohort: q.Spec.Cohort, Weight: q.Spec.Weight,
		Quota: fair.AmountsOf(q.Spec.Quota), Limit: fair.AmountsOf(q.Spec.Limit),
	})
	if b.counts[q.Name] == nil {
		b.counts[q.Name] = &counts{}
	}
	b.dirty[q.Name] = true
	return causePod
}

// byImportance orders the units of a line: what is begun, then priority, then who
// came first.
type byImportance []*unit

func (h byImportance) Len() int { return len(h) }
func (h byImportance) Less(i, j int) bool {
	return h[i].turn(fair.Within, 0).Compare(h[j].turn(fair.Within, 0)) < 0
}
func (h byImportance) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *byImportance) Push(x any) {
	u := x.(*unit)
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

func (u *unit) turn(standing fair.Standing, share float64) fair.Turn {
	return fair.Turn{
		Standing: standing, Share: share, Begun: u.placed > 0 && u.key.group.Name != "" && !u.scheduled,
		Priority: u.priority(), Sequence: u.sequence,
	}
}
