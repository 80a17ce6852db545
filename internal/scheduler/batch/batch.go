package batch

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	batchv1 "github.com/sinawi/sinawi/api/scheduling/v1"
	"github.com/sinawi/sinawi/internal/scheduler/backlog"
	"github.com/sinawi/sinawi/internal/scheduler/engine/demand"
	"github.com/sinawi/sinawi/internal/scheduler/fair"
)

// Kinds are objects that pods are placed by.
type Kinds string

// What pods may need to be known before they can be placed.
const (
	Groups Kinds = "pod groups"
	Queues Kinds = "queues"
)

// Batch holds the pods that have a group or a queue, in units: what is placed
// together. It is empty, and costs nothing, where no pod has either.
type Batch struct {
	waiting  *backlog.Queue
	book     *fair.Book
	labelsOf func(namespace string) map[string]string
	policy   map[string]batchv1.ReclaimPolicy // of the queues that there are
	takes    map[string]labels.Selector       // by queue, the namespaces whose pods it takes, unless all
	groups   map[types.NamespacedName]*schedulingv1beta1.PodGroup
	members  map[types.UID]*Member
	units    map[key]*Unit
	lines    map[string]*line // by queue; "" is of gangs without one
	parked   map[*Unit]bool
	counts   map[string]*counts
	dirty    map[string]bool // queues whose status is to be written
	needs    map[Kinds]bool  // that pods wait for to be known
}

type key struct {
	group types.NamespacedName // of a gang,
	pod   types.UID            // or of a pod alone
}

// counts are for the status of a queue.
type counts struct{ pods, groups, admitted int64 }

// New returns a batch without pods; those that wait are in the backlog too.
// labelsOf returns the labels of a namespace.
func New(waiting *backlog.Queue, labelsOf func(namespace string) map[string]string) *Batch {
	return &Batch{
		waiting: waiting, labelsOf: labelsOf, book: fair.NewBook(), policy: map[string]batchv1.ReclaimPolicy{}, takes: map[string]labels.Selector{},
		groups:  map[types.NamespacedName]*schedulingv1beta1.PodGroup{},
		members: map[types.UID]*Member{}, units: map[key]*Unit{}, lines: map[string]*line{},
		parked: map[*Unit]bool{}, counts: map[string]*counts{}, dirty: map[string]bool{}, needs: map[Kinds]bool{},
	}
}

// groupOf names the group of a pod; its name is empty when it has none.
func groupOf(pod *corev1.Pod) types.NamespacedName {
	if g := pod.Spec.SchedulingGroup; g != nil && g.PodGroupName != nil {
		return types.NamespacedName{Namespace: pod.Namespace, Name: *g.PodGroupName}
	}
	return types.NamespacedName{}
}

// Has reports whether a pod is placed by its group or queue, or was.
func (b *Batch) Has(pod *corev1.Pod) bool {
	return pod.Spec.SchedulingGroup != nil || pod.Labels[batchv1.QueueLabel] != "" || b.members[pod.UID] != nil
}

// Member returns a pod of a unit, or nil.
func (b *Batch) Member(uid types.UID) *Member { return b.members[uid] }

// Join makes a pod known: one that waits, or has a node.
func (b *Batch) Join(pod *corev1.Pod, sequence uint64) *Member {
	if m := b.members[pod.UID]; m != nil {
		m.Pod = pod
		return m
	}
	k := key{group: groupOf(pod)}
	if k.group.Name == "" {
		k.pod = pod.UID
	} else {
		b.needs[Groups] = true
	}
	u := b.units[k]
	if u == nil {
		// A gang is of one queue: that of the first pod of it.
		u = &Unit{key: k, Queue: pod.Labels[batchv1.QueueLabel], namespace: pod.Namespace, members: map[types.UID]*Member{}, sequence: sequence, index: -1}
		b.units[k] = u
		if b.lines[u.Queue] == nil {
			b.lines[u.Queue] = &line{queue: u.Queue}
			b.counts[u.Queue] = &counts{}
		}
	}
	if u.Queue != "" {
		b.needs[Queues] = true
	}
	amounts := fair.AmountsOf(demand.Requests(pod))
	amounts[corev1.ResourcePods] = 1
	m := &Member{Pod: pod, Unit: u, Amounts: amounts}
	u.members[pod.UID] = m
	u.Told = ""
	b.members[pod.UID] = m
	b.count(u, 1, func() { b.counts[u.Queue].pods++ })
	return m
}

// count keeps the number of pending groups right over a change of a unit's pods;
// by is 1 when a pod begins to wait and -1 when one stops.
func (b *Batch) count(u *Unit, by int, change func()) {
	change()
	b.dirty[u.Queue] = true
	if u.key.group.Name == "" {
		return
	}
	switch now := u.Pending(); {
	case by > 0 && now == 1:
		b.counts[u.Queue].groups++
	case by < 0 && now == 0:
		b.counts[u.Queue].groups--
	}
}

// Settle charges a pod's queue when it has got a node, and takes that back when
// it has lost it. It is called after whatever may have changed that.
func (b *Batch) Settle(uid types.UID, hasNode bool) {
	m := b.members[uid]
	if m == nil || m.Placed == hasNode {
		return
	}
	u := m.Unit
	m.Placed = hasNode
	if m.Placed {
		u.placed++
		b.book.Charge(u.Queue, m.Amounts, 1)
		b.count(u, -1, func() { b.counts[u.Queue].pods--; b.counts[u.Queue].admitted++ })
		return
	}
	u.placed--
	b.book.Charge(u.Queue, m.Amounts, -1)
	b.count(u, 1, func() { b.counts[u.Queue].pods++; b.counts[u.Queue].admitted-- })
}

// Leave forgets a pod that has ended or is gone. It has been settled.
func (b *Batch) Leave(uid types.UID) {
	m := b.members[uid]
	if m == nil {
		return
	}
	u := m.Unit
	if m.Placed {
		u.placed--
		b.book.Charge(u.Queue, m.Amounts, -1)
		b.counts[u.Queue].admitted--
		b.dirty[u.Queue] = true
		delete(u.members, uid)
	} else {
		delete(u.members, uid)
		b.count(u, -1, func() { b.counts[u.Queue].pods-- })
	}
	delete(b.members, uid)
	if u.Pending() == 0 {
		b.Drop(u)
	}
	if len(u.members) == 0 {
		delete(b.units, u.key)
	}
}

// SetGroup takes in a pod group.
func (b *Batch) SetGroup(g *schedulingv1beta1.PodGroup, deleted bool) {
	name := types.NamespacedName{Namespace: g.Namespace, Name: g.Name}
	old := b.groups[name]
	if deleted {
		delete(b.groups, name)
	} else {
		b.groups[name] = g
	}
	if old != nil && old.Generation == g.Generation && old.UID == g.UID && !deleted {
		return
	}
	if u := b.units[key{group: name}]; u != nil {
		u.Scheduled, u.Told = false, ""
		b.Ready(u)
	}
}

// SetQueue takes in a queue.
func (b *Batch) SetQueue(q *batchv1.Queue) {
	b.policy[q.Name] = q.Spec.Reclaim
	if q.Spec.Reclaim == "" {
		b.policy[q.Name] = batchv1.ReclaimAny
	}
	b.setTakes(q)
	b.book.Set(fair.Queue{
		Name: q.Name, Cohort: q.Spec.Cohort, Weight: q.Spec.Weight,
		Quota: fair.AmountsOf(q.Spec.Quota), Limit: fair.AmountsOf(q.Spec.Limit),
	})
	if b.counts[q.Name] == nil {
		b.counts[q.Name] = &counts{}
	}
	b.dirty[q.Name] = true
	b.admitAgain()
}

func (b *Batch) setTakes(q *batchv1.Queue) {
	delete(b.takes, q.Name)
	if q.Spec.NamespaceSelector == nil {
		return
	}
	s, err := metav1.LabelSelectorAsSelector(q.Spec.NamespaceSelector)
	if err != nil {
		s = labels.Nothing() // its definition does not let such a one in
	}
	b.takes[q.Name] = s
}

// NamespaceChanged tells that a namespace may have other labels than before.
func (b *Batch) NamespaceChanged() { b.admitAgain() }

// admitAgain lets those try that their queue did not take, and takes now.
func (b *Batch) admitAgain() {
	for u := range b.parked {
		if u.barred && b.admits(u) {
			b.Ready(u)
		}
	}
}

// admits reports whether a unit's queue takes pods of its namespace.
func (b *Batch) admits(u *Unit) bool {
	s := b.takes[u.Queue]
	return s == nil || s.Matches(labels.Set(b.labelsOf(u.namespace)))
}

// RemoveQueue forgets a queue.
func (b *Batch) RemoveQueue(name string) {
	b.book.Remove(name)
	delete(b.policy, name)
	delete(b.takes, name)
	b.admitAgain()
}

// Needs are the kinds of objects that pods wait for to be known.
func (b *Batch) Needs() (out []Kinds) {
	for k := range b.needs {
		out = append(out, k)
	}
	return out
}

// Known tells that all objects of some kinds have been told of, and are from now on.
func (b *Batch) Known(k Kinds) { delete(b.needs, k) }

// WaitingFor are the units that need a kind of objects.
func (b *Batch) WaitingFor(k Kinds) (out []*Unit) {
	for _, u := range b.units {
		if k == Groups && u.key.group.Name != "" || k == Queues && u.Queue != "" {
			out = append(out, u)
		}
	}
	return out
}

// Due lets units try whose pause is over, and returns how long the next has, or 0.
func (b *Batch) Due(now time.Time) (left time.Duration) {
	for u := range b.parked {
		until := u.until
		switch {
		case u.barred:
			continue
		case !u.woken:
			until = until.Add(backlog.LongestWait)
		}
		switch d := until.Sub(now); {
		case d <= 0:
			b.Ready(u)
		case left == 0 || d < left:
			left = d
		}
	}
	return left
}
