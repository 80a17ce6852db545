package scheduler

import (
	"cmp"
	"container/heap"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1helper "k8s.io/component-helpers/scheduling/corev1"

	"github.com/sinawi/sinawi/internal/scheduler/engine"
)

// A failed attempt to bind is repeated after a pause that doubles, in
// kube-scheduler's bounds.
const (
	initialBackoff = time.Second
	maxBackoff     = 10 * time.Second
)

// waiting is a pod that has no node yet. It is in exactly one place of the
// queue: active, backing off, parked, or with a binder.
type waiting struct {
	pod      *corev1.Pod
	since    time.Time // when it was first seen, for its turn among equals
	sequence uint64
	attempts int
	until    time.Time // end of its back-off
	index    int       // where it is in its heap, or -1
	backing  bool
	parked   bool
	key      engine.Key
	free     bool   // parked by its class alone, so its class says when to try again
	told     string // the message that its condition carries
}

// queue holds the pods that wait. It has no lock and no clock.
type queue struct {
	pods    map[types.UID]*waiting
	active  byTurn
	backoff byUntil
	parked  map[engine.Key]map[types.UID]*waiting
	next    uint64
}

func newQueue() *queue {
	return &queue{pods: map[types.UID]*waiting{}, parked: map[engine.Key]map[types.UID]*waiting{}}
}

// set takes in a pod that waits, or its new state. A pod that is known keeps
// its place unless what it asks for changed.
func (q *queue) set(pod *corev1.Pod, now time.Time) {
	w := q.pods[pod.UID]
	if w == nil {
		q.next++
		w = &waiting{pod: pod, since: now, sequence: q.next, index: -1}
		q.pods[pod.UID] = w
		heap.Push(&q.active, w)
		return
	}
	old := w.pod
	w.pod = pod
	if w.parked && old.Generation != pod.Generation {
		q.unpark(w)
	}
}

func (q *queue) remove(uid types.UID) {
	w := q.pods[uid]
	if w == nil {
		return
	}
	delete(q.pods, uid)
	switch {
	case w.parked:
		q.forgetParked(w)
	case w.index < 0: // with a binder
	case w.backing:
		heap.Remove(&q.backoff, w.index)
	default:
		heap.Remove(&q.active, w.index)
	}
}

// pop returns the pod whose turn it is, or nil.
func (q *queue) pop() *waiting {
	if len(q.active) == 0 {
		return nil
	}
	return heap.Pop(&q.active).(*waiting)
}

// park puts a pod aside until something changes that may let it fit.
func (q *queue) park(w *waiting, key engine.Key, free bool) {
	w.parked, w.key, w.free = true, key, free
	if q.parked[key] == nil {
		q.parked[key] = map[types.UID]*waiting{}
	}
	q.parked[key][w.pod.UID] = w
}

func (q *queue) forgetParked(w *waiting) {
	w.parked = false
	delete(q.parked[w.key], w.pod.UID)
	if len(q.parked[w.key]) == 0 {
		delete(q.parked, w.key)
	}
}

func (q *queue) unpark(w *waiting) {
	q.forgetParked(w)
	heap.Push(&q.active, w)
}

// wake moves parked pods back: those whose class has become feasible, and those
// that other pods' places decide about, which any change may have helped.
func (q *queue) wake(feasible func(engine.Key) bool) {
	for key, pods := range q.parked {
		if !feasible(key) {
			continue
		}
		for _, w := range pods {
			q.unpark(w)
		}
	}
}

// retry puts a pod whose binding failed aside for a while.
func (q *queue) retry(uid types.UID, now time.Time) {
	w := q.pods[uid]
	if w == nil || w.index >= 0 || w.parked {
		return
	}
	pause := min(initialBackoff<<min(w.attempts, 10), maxBackoff)
	w.attempts++
	w.until = now.Add(pause)
	w.backing = true
	heap.Push(&q.backoff, w)
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
