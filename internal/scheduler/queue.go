package scheduler

import (
	"cmp"
	"container/heap"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	corev1helper "k8s.io/component-helpers/scheduling/corev1"

	"github.com/sinawi/sinawi/internal/scheduler/engine"
)

// cause is what happened to the cluster, as a set.
type cause uint8

const (
	causeNode    cause = 1 << iota // a node came or changed
	causePod                       // a pod on a node came, changed or went
	causeStorage                   // claims, volumes, classes, what nodes can attach
	causeDevices                   // claims, classes, slices
)

// waiting is a pod that has no node yet. It is in exactly one place of the
// queue: active, backing off, parked, or being bound.
type waiting struct {
	pod       *corev1.Pod
	since     time.Time // when it was first seen, for its turn among equals
	sequence  uint64
	attempts  int
	failures  int       // that lengthen its pause
	until     time.Time // end of its pause
	index     int       // where it is in its heap, or -1
	backing   bool
	parked    bool
	key       engine.Key
	lot       *lot   // that it is parked in, or came from and is trying for
	helps     cause  // what may let it fit, when it is not in a lot
	told      string // the message that its condition carries
	nominated string // where it preempted
	evicting  int    // its victims that are not gone
}

// lot is where pods of one class are parked that rules of the class alone keep
// from fitting. When the class becomes feasible one of them tries, and when that
// one fits the next: not all at once for the one place that came free.
type lot struct {
	key    engine.Key
	pods   byTurn
	trying *waiting
}

// queue holds the pods that wait. It has no lock and no clock.
type queue struct {
	pods    map[types.UID]*waiting
	active  byTurn
	backoff byUntil
	lots    map[engine.Key]*lot
	apart   map[types.UID]*waiting // parked for reasons that are a pod's alone
	gated   map[types.UID]bool
	next    uint64

	initialPause, maxPause time.Duration
}

func newQueue(initialPause, maxPause time.Duration) *queue {
	return &queue{
		pods: map[types.UID]*waiting{}, lots: map[engine.Key]*lot{}, apart: map[types.UID]*waiting{}, gated: map[types.UID]bool{},
		initialPause: initialPause, maxPause: maxPause,
	}
}

// set takes in a pod that waits, or its new state. A pod that is known keeps
// its place unless what it asks for changed.
func (q *queue) set(pod *corev1.Pod, now time.Time) *waiting {
	w, fresh := q.hold(pod, now)
	if fresh {
		heap.Push(&q.active, w)
	}
	return w
}

// hold takes in a pod as set does, but leaves it to its unit to be tried. It
// reports whether the pod is new.
func (q *queue) hold(pod *corev1.Pod, now time.Time) (w *waiting, fresh bool) {
	delete(q.gated, pod.UID)
	w = q.pods[pod.UID]
	if w == nil {
		q.next++
		w = &waiting{pod: pod, since: now, sequence: q.next, index: -1}
		q.pods[pod.UID] = w
		return w, true
	}
	old := w.pod
	w.pod = pod
	if w.parked && asksOtherwise(old, pod) {
		q.leaveLot(w)
		q.unpark(w)
	}
	return w, false
}

// asksOtherwise reports whether a pod may fit for what changed about itself.
func asksOtherwise(a, b *corev1.Pod) bool {
	return a.Generation != b.Generation || !maps.Equal(a.Labels, b.Labels) ||
		!equality.Semantic.DeepEqual(a.Status.ResourceClaimStatuses, b.Status.ResourceClaimStatuses)
}

func (q *queue) gate(uid types.UID) {
	q.remove(uid)
	q.gated[uid] = true
}

// remove forgets a pod, and reports whether others of its class may have their
// turn for that.
func (q *queue) remove(uid types.UID) bool {
	delete(q.gated, uid)
	w := q.pods[uid]
	if w == nil {
		return false
	}
	delete(q.pods, uid)
	switch {
	case w.parked:
		q.takeOut(w)
	case w.index < 0: // being bound
	case w.backing:
		heap.Remove(&q.backoff, w.index)
	default:
		heap.Remove(&q.active, w.index)
	}
	return q.leaveLot(w)
}

// pop returns the pod whose turn it is, or nil.
func (q *queue) pop() *waiting {
	if len(q.active) == 0 {
		return nil
	}
	w := heap.Pop(&q.active).(*waiting)
	w.attempts++
	return w
}

// park puts a pod aside until its class becomes feasible.
func (q *queue) park(w *waiting, key engine.Key) {
	q.leaveLot(w)
	l := q.lots[key]
	if l == nil {
		l = &lot{key: key}
		q.lots[key] = l
	}
	w.parked, w.key, w.lot = true, key, l
	heap.Push(&l.pods, w)
}

// parkApart puts a pod aside until one of the causes comes.
func (q *queue) parkApart(w *waiting, key engine.Key, helps cause, now time.Time) {
	q.leaveLot(w)
	w.parked, w.key, w.helps = true, key, helps
	w.failures++
	w.until = now.Add(q.pause(w))
	q.apart[w.pod.UID] = w
}

func (q *queue) takeOut(w *waiting) {
	w.parked = false
	if l := w.lot; l != nil && w.index >= 0 {
		heap.Remove(&l.pods, w.index)
		w.lot = nil
		q.dropLot(l)
		return
	}
	delete(q.apart, w.pod.UID)
}

func (q *queue) dropLot(l *lot) {
	if len(l.pods) == 0 && l.trying == nil {
		delete(q.lots, l.key)
	}
}

// leaveLot ends a pod's try for its lot, and reports whether it was trying.
func (q *queue) leaveLot(w *waiting) bool {
	l := w.lot
	if l == nil || l.trying != w {
		return false
	}
	l.trying, w.lot = nil, nil
	q.dropLot(l)
	return true
}

func (q *queue) unpark(w *waiting) {
	if w.parked {
		q.takeOut(w)
	}
	heap.Push(&q.active, w)
}

// wake lets pods try again that what happened may have helped: one of each class
// that has become feasible, and those that wait for just that, after their pause.
func (q *queue) wake(what cause, feasible func(engine.Key) bool, now time.Time) {
	for key, l := range q.lots {
		if l.trying == nil && feasible(key) {
			q.lead(l)
		}
	}
	for _, w := range q.apart {
		if w.helps&what == 0 {
			continue
		}
		q.takeOut(w)
		if w.until.After(now) {
			w.backing = true
			heap.Push(&q.backoff, w)
		} else {
			heap.Push(&q.active, w)
		}
	}
}

// lead lets the first pod of a lot try.
func (q *queue) lead(l *lot) {
	if len(l.pods) == 0 {
		return
	}
	w := heap.Pop(&l.pods).(*waiting)
	w.parked = false
	l.trying = w
	heap.Push(&q.active, w)
}

// fitted tells that a pod has a place, so the next of its class may try.
func (q *queue) fitted(w *waiting, feasible func(engine.Key) bool) {
	l := w.lot
	if !q.leaveLot(w) || len(l.pods) == 0 || !feasible(l.key) {
		return
	}
	q.lead(l)
}

// retry puts a pod whose binding failed aside for a while.
func (q *queue) retry(uid types.UID, now time.Time) {
	w := q.pods[uid]
	if w == nil || w.index >= 0 || w.parked {
		return
	}
	w.failures++
	w.until = now.Add(q.pause(w))
	w.backing = true
	heap.Push(&q.backoff, w)
}

// pause doubles with every failure, within bounds.
func (q *queue) pause(w *waiting) time.Duration {
	return min(q.initialPause<<min(w.failures-1, 10), q.maxPause)
}

// due moves pods whose pause is over, and returns how long the next one still
// has, or 0 when none is waiting.
func (q *queue) due(now time.Time) time.Duration {
	for len(q.backoff) > 0 {
		w := q.backoff[0]
		if left := w.until.Sub(now); left > 0 {
			return left
		}
		heap.Pop(&q.backoff)
		w.backing = false
		heap.Push(&q.active, w)
	}
	return 0
}

// parkedPods is how many pods wait for something to happen.
func (q *queue) parkedPods() int {
	n := len(q.apart)
	for _, l := range q.lots {
		n += len(l.pods)
	}
	return n
}

// helpful is what may let a pod fit that was refused by the rules.
func helpful(rules []engine.Rule) cause {
	out := causeNode
	for _, r := range rules {
		switch r {
		case engine.RuleVolumeBinding, engine.RuleVolumeZone:
			out |= causeStorage
		case engine.RuleVolumeLimits, engine.RuleVolumeSharing:
			out |= causeStorage | causePod
		case engine.RuleDevices:
			out |= causeDevices | causePod
		case engine.RulePorts, engine.RuleResources, engine.RuleSpread, engine.RuleInterPod:
			out |= causePod
		}
	}
	return out
}

// byTurn orders pods by priority, then by who came first.
type byTurn []*waiting

func (h byTurn) Len() int { return len(h) }
func (h byTurn) Less(i, j int) bool {
	return cmp.Or(
		cmp.Compare(corev1helper.PodPriority(h[j].pod), corev1helper.PodPriority(h[i].pod)),
		cmp.Compare(h[i].sequence, h[j].sequence),
	) < 0
}
func (h byTurn) Swap(i, j int) { swap(h, i, j) }
func (h *byTurn) Push(x any)   { push((*[]*waiting)(h), x.(*waiting)) }
func (h *byTurn) Pop() any     { return pop((*[]*waiting)(h)) }

// byUntil orders pods by when their pause ends.
type byUntil []*waiting

func (h byUntil) Len() int           { return len(h) }
func (h byUntil) Less(i, j int) bool { return h[i].until.Before(h[j].until) }
func (h byUntil) Swap(i, j int)      { swap(h, i, j) }
func (h *byUntil) Push(x any)        { push((*[]*waiting)(h), x.(*waiting)) }
func (h *byUntil) Pop() any          { return pop((*[]*waiting)(h)) }

func swap(h []*waiting, i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func push(h *[]*waiting, w *waiting) {
	w.index = len(*h)
	*h = append(*h, w)
}

func pop(h *[]*waiting) *waiting {
	old := *h
	w := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	w.index = -1
	return w
}
