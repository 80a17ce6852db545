// Package backlog holds the pods that wait for a node: whose turn it is, which
// pause after a failure, and which wait for something to happen that can help
// them. It has no lock and no clock.
package backlog

import (
	"cmp"
	"container/heap"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	corev1helper "k8s.io/component-helpers/scheduling/corev1"

	"github.com/sinawi/sinawi/internal/scheduler/engine"
)

// Cause is what happened to the cluster, as a set.
type Cause uint8

// The causes.
const (
	CauseNode    Cause = 1 << iota // a node came or changed
	CausePod                       // a pod on a node came, changed or went
	CauseStorage                   // claims, volumes, classes, what nodes can attach
	CauseDevices                   // claims, classes, slices
)

// Waiting is a pod that has no node yet. It is in exactly one place of the
// queue: active, backing off, parked, or being bound.
type Waiting struct {
	Pod       *corev1.Pod
	Since     time.Time // when it was first seen
	Sequence  uint64    // its turn among equals
	Attempts  int
	Told      string  // the message that its condition carries
	ToldNode  *string // where it was last said to be nominated; nil: nothing was said
	Nominated string  // where it preempted
	Evicting  int     // its victims that are not gone
	Leaving   int     // those of its victims that were told to go

	hopes    bool      // for the place of another, once somebody has gone
	failures int       // that lengthen its pause
	until    time.Time // end of its pause
	tried    time.Time // when it was put aside last
	index    int       // where it is in its heap, or -1
	backing  bool
	parked   bool
	key      engine.Key
	lot      *lot  // that it is parked in, or came from and is trying for
	helps    Cause // what may let it fit, when it is not in a lot
}

// lot is where pods of one class are parked that rules of the class alone keep
// from fitting. When the class becomes feasible one of them tries, and when that
// one fits the next: not all at once for the one place that came free.
type lot struct {
	key    engine.Key
	pods   byTurn
	trying *Waiting
	hopes  bool // some of them do

	helps    engine.NodeChange // what may let the class fit where others make room for it
	tried    time.Time         // when one of them found no place last
	until    time.Time         // before which none tries for being stale
	failures int               // that lengthen the pause to that
}

// Queue holds the pods that wait. It has no lock and no clock.
type Queue struct {
	pods    map[types.UID]*Waiting
	active  byTurn
	backoff byUntil
	lots    map[engine.Key]*lot
	stale   map[*lot]bool          // lots whose pods try once more, one after the other: nodes have changed
	freed   map[*lot]bool          // lots of which those try that hope, one after the other: somebody has gone
	apart   map[types.UID]*Waiting // parked for reasons that are a pod's alone
	gated   map[types.UID]bool
	next    uint64
	look    time.Time // when to look for pods that waited for nothing too long

	initialPause, maxPause time.Duration
}

// New returns an empty queue. Pauses grow from the first to the second.
func New(initialPause, maxPause time.Duration) *Queue {
	return &Queue{
		pods: map[types.UID]*Waiting{}, lots: map[engine.Key]*lot{}, stale: map[*lot]bool{}, freed: map[*lot]bool{}, apart: map[types.UID]*Waiting{}, gated: map[types.UID]bool{},
		initialPause: initialPause, maxPause: maxPause,
	}
}

// Set takes in a pod that waits, or its new state. A pod that is known keeps
// its place unless what it asks for changed.
func (q *Queue) Set(pod *corev1.Pod, now time.Time) *Waiting {
	w, fresh := q.Hold(pod, now)
	if fresh {
		heap.Push(&q.active, w)
	}
	return w
}

// Hold takes in a pod as Set does, but leaves it to its unit to be tried. It
// reports whether the pod is new.
func (q *Queue) Hold(pod *corev1.Pod, now time.Time) (w *Waiting, fresh bool) {
	delete(q.gated, pod.UID)
	w = q.pods[pod.UID]
	if w == nil {
		q.next++
		w = &Waiting{Pod: pod, Since: now, Sequence: q.next, index: -1}
		q.pods[pod.UID] = w
		return w, true
	}
	old := w.Pod
	w.Pod = pod
	if asksOtherwise(old, pod) {
		q.Again(w)
	}
	return w, false
}

// Again lets a pod try that is parked, for a reason of its own.
func (q *Queue) Again(w *Waiting) {
	if w.parked {
		q.leaveLot(w)
		q.unpark(w)
	}
}

// asksOtherwise reports whether a pod may fit for what changed about itself.
func asksOtherwise(a, b *corev1.Pod) bool {
	return a.Generation != b.Generation || !maps.Equal(a.Labels, b.Labels) ||
		!equality.Semantic.DeepEqual(a.Status.ResourceClaimStatuses, b.Status.ResourceClaimStatuses)
}

// Gate takes in a pod that is not to be tried until its gates are gone.
func (q *Queue) Gate(uid types.UID) {
	q.Remove(uid)
	q.gated[uid] = true
}

// Remove forgets a pod, and reports whether others of its class may have their
// turn for that.
func (q *Queue) Remove(uid types.UID) bool {
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

// Pop returns the pod whose turn it is, or nil.
func (q *Queue) Pop() *Waiting {
	if len(q.active) == 0 {
		return nil
	}
	w := heap.Pop(&q.active).(*Waiting)
	w.Attempts++
	return w
}

// Park puts a pod aside until its class becomes feasible, or a node changes in a
// way that helps.
func (q *Queue) Park(w *Waiting, key engine.Key, helps engine.NodeChange, now time.Time) {
	again := q.leaveLot(w)
	l := q.lots[key]
	if l == nil {
		l = &lot{key: key}
		q.lots[key] = l
	}
	if again || l.failures == 0 {
		l.failures++
	}
	l.helps, l.tried, l.until = helps, now, now.Add(q.Pause(l.failures))
	w.parked, w.key, w.lot = true, key, l
	heap.Push(&l.pods, w)
}

// Follow lets the pod try that is next to one which has tried because nodes have
// changed or somebody has gone, and is parked again.
func (q *Queue) Follow(w *Waiting) {
	l := w.lot
	switch {
	case !w.parked || l == nil || l.trying != nil:
	case q.stale[l]:
		q.follow(l, w)
	case q.freed[l]:
		q.hopeful(l)
	}
}

// Hope notes of a parked pod that found no place to take that it may find one once
// somebody has gone.
func (q *Queue) Hope(w *Waiting) {
	if l := w.lot; w.parked && l != nil {
		w.hopes, l.hopes = true, true
		delete(q.freed, l) // others find no more
	}
}

// hopeful lets the first pod of a lot try that hopes.
func (q *Queue) hopeful(l *lot) {
	w := l.first(func(w *Waiting) bool { return w.hopes })
	if w == nil {
		l.hopes = false
		delete(q.freed, l)
		return
	}
	heap.Remove(&l.pods, w.index)
	q.try(l, w)
}

func (q *Queue) follow(l *lot, w *Waiting) {
	next := l.first(func(other *Waiting) bool { return less(w, other) })
	if next == nil {
		delete(q.stale, l)
		return
	}
	heap.Remove(&l.pods, next.index)
	q.try(l, next)
}

// first is the first pod of a lot that is as wanted, or nil.
func (l *lot) first(wanted func(*Waiting) bool) (out *Waiting) {
	for _, w := range l.pods {
		if wanted(w) && (out == nil || less(w, out)) {
			out = w
		}
	}
	return out
}

// Settle returns the pods that are parked with one, if it has tried because nodes
// have changed: what it found is true of all of them, so they need not try.
func (q *Queue) Settle(w *Waiting) []*Waiting {
	l := w.lot
	if !w.parked || l == nil || !q.stale[l] {
		return nil
	}
	delete(q.stale, l)
	return slices.Clone(l.pods)
}

// ParkApart puts a pod aside until one of the causes comes.
func (q *Queue) ParkApart(w *Waiting, key engine.Key, helps Cause, now time.Time) {
	q.leaveLot(w)
	w.parked, w.key, w.helps = true, key, helps
	w.failures++
	w.until, w.tried = now.Add(q.Pause(w.failures)), now
	q.apart[w.Pod.UID] = w
}

func (q *Queue) takeOut(w *Waiting) {
	w.parked = false
	if l := w.lot; l != nil && w.index >= 0 {
		heap.Remove(&l.pods, w.index)
		w.lot = nil
		q.dropLot(l)
		return
	}
	delete(q.apart, w.Pod.UID)
}

func (q *Queue) dropLot(l *lot) {
	if len(l.pods) == 0 && l.trying == nil {
		delete(q.lots, l.key)
		delete(q.stale, l)
		delete(q.freed, l)
	}
}

// leaveLot ends a pod's try for its lot, and reports whether it was trying.
func (q *Queue) leaveLot(w *Waiting) bool {
	l := w.lot
	if l == nil || l.trying != w {
		return false
	}
	l.trying, w.lot = nil, nil
	q.dropLot(l)
	return true
}

func (q *Queue) unpark(w *Waiting) {
	if w.parked {
		q.takeOut(w)
	}
	heap.Push(&q.active, w)
}

// Wake lets pods try again that what happened may have helped: one of each class
// that has become feasible or whose nodes have changed, one that hopes where a pod has
// gone, and those that wait for just that; but for the first after their pause.
func (q *Queue) Wake(what Cause, nodes engine.NodeChange, feasible func(engine.Key) bool, now time.Time) {
	for key, l := range q.lots {
		if l.helps&nodes != 0 {
			q.stale[l] = true
		}
		if l.hopes && what&CausePod != 0 {
			q.freed[l] = true
		}
		if l.trying == nil && feasible(key) {
			q.lead(l)
		}
	}
	for _, w := range q.apart {
		if w.helps&what != 0 {
			q.wake(w, now)
		}
	}
}

// Renew lets pods try again whose class is another now: nothing that is known of the one
// that they were parked by holds for them.
func (q *Queue) Renew(pods func(*corev1.Pod) bool, now time.Time) {
	for _, l := range q.lots {
		for _, w := range slices.Clone(l.pods) { // all alike
			if !pods(w.Pod) {
				break
			}
			q.unpark(w)
		}
	}
	for _, w := range q.apart {
		if pods(w.Pod) {
			q.wake(w, now)
		}
	}
}

// wake lets a pod that is parked apart try after its pause.
func (q *Queue) wake(w *Waiting, now time.Time) {
	q.takeOut(w)
	if w.until.After(now) {
		w.backing = true
		heap.Push(&q.backoff, w)
	} else {
		heap.Push(&q.active, w)
	}
}

// lead lets the first pod of a lot try.
func (q *Queue) lead(l *lot) {
	if len(l.pods) > 0 {
		q.try(l, heap.Pop(&l.pods).(*Waiting))
	}
}

func (q *Queue) try(l *lot, w *Waiting) {
	w.parked, w.hopes = false, false
	l.trying = w
	heap.Push(&q.active, w)
}

// Fitted tells that a pod has a place, so the next of its class may try.
func (q *Queue) Fitted(w *Waiting, feasible func(engine.Key) bool) {
	l := w.lot
	if !q.leaveLot(w) || len(l.pods) == 0 {
		return
	}
	l.failures = 0
	switch {
	case feasible(l.key):
		q.lead(l)
	case q.stale[l]:
		q.follow(l, w)
	case q.freed[l]:
		q.hopeful(l)
	}
}

// Retry puts a pod whose binding failed aside for a while.
func (q *Queue) Retry(uid types.UID, now time.Time) {
	w := q.pods[uid]
	if w == nil || w.index >= 0 || w.parked {
		return
	}
	w.failures++
	w.until = now.Add(q.Pause(w.failures))
	w.backing = true
	heap.Push(&q.backoff, w)
}

// Pause is how long to wait after so many failures: it doubles, within bounds.
func (q *Queue) Pause(failures int) time.Duration {
	return min(q.initialPause<<min(failures-1, 10), q.maxPause)
}

// MaxPause is the longest pause.
func (q *Queue) MaxPause() time.Duration { return q.maxPause }

// Due moves pods whose pause is over, and returns how long the next one still
// has, or 0 when none is waiting.
func (q *Queue) Due(now time.Time) (left time.Duration) {
	for len(q.backoff) > 0 && !q.backoff[0].until.After(now) {
		w := heap.Pop(&q.backoff).(*Waiting)
		w.backing = false
		heap.Push(&q.active, w)
	}
	if len(q.backoff) > 0 {
		left = q.backoff[0].until.Sub(now)
	}
	if len(q.lots)+len(q.apart) > 0 {
		left = Sooner(left, q.dueLots(now), q.dueAgain(now))
	}
	return left
}

// Sooner is the smallest of times that are not 0.
func Sooner(all ...time.Duration) (out time.Duration) {
	for _, d := range all {
		if d > 0 && (out == 0 || d < out) {
			out = d
		}
	}
	return out
}

func (q *Queue) dueLots(now time.Time) (left time.Duration) {
	for l := range q.stale {
		if l.trying == nil && l.rested(now, &left) {
			q.lead(l)
		}
	}
	for l := range q.freed {
		if l.trying == nil && l.rested(now, &left) {
			q.hopeful(l)
		}
	}
	return left
}

// rested reports whether the pause of a lot is over, or else counts what is left of it.
func (l *lot) rested(now time.Time, left *time.Duration) bool {
	if rest := l.until.Sub(now); rest > 0 {
		*left = Sooner(*left, rest)
		return false
	}
	return true
}

const (
	// LongestWait is when a pod tries again though nothing came that can help it, for
	// what helps may have been missed, or another word may be true by now.
	LongestWait = 5 * time.Minute
	lookEvery   = 30 * time.Second
)

// dueAgain lets pods try that have waited for the longest.
func (q *Queue) dueAgain(now time.Time) time.Duration {
	if left := q.look.Sub(now); left > 0 {
		return left
	}
	q.look = now.Add(lookEvery)
	for _, l := range q.lots {
		if l.trying == nil && now.Sub(l.tried) >= LongestWait {
			q.stale[l] = true
			q.lead(l)
		}
	}
	for _, w := range q.apart {
		if now.Sub(w.tried) >= LongestWait {
			q.wake(w, now)
		}
	}
	return lookEvery
}

// Of returns a pod that waits, or nil.
func (q *Queue) Of(uid types.UID) *Waiting { return q.pods[uid] }

// First is the pod whose turn it is, or nil. It stays where it is.
func (q *Queue) First() *Waiting {
	if len(q.active) == 0 {
		return nil
	}
	return q.active[0]
}

// Counts are how many pods wait in each part of a queue.
type Counts struct{ Active, Backoff, Parked, Gated int }

// Counts returns how many pods wait for what.
func (q *Queue) Counts() Counts {
	out := Counts{Active: len(q.active), Backoff: len(q.backoff), Parked: len(q.apart), Gated: len(q.gated)}
	for _, l := range q.lots {
		out.Parked += len(l.pods)
	}
	return out
}

// Helpful is what may let a pod fit that was refused by the rules.
func Helpful(rules []engine.Rule) Cause {
	out := CauseNode
	for _, r := range rules {
		switch r {
		case engine.RuleVolumeBinding, engine.RuleVolumeZone:
			out |= CauseStorage
		case engine.RuleVolumeLimits, engine.RuleVolumeSharing:
			out |= CauseStorage | CausePod
		case engine.RuleDevices:
			out |= CauseDevices | CausePod
		case engine.RulePorts, engine.RuleResources, engine.RuleSpread, engine.RuleInterPod:
			out |= CausePod
		}
	}
	return out
}

// byTurn orders pods by priority, then by who came first.
type byTurn []*Waiting

func (h byTurn) Len() int           { return len(h) }
func (h byTurn) Less(i, j int) bool { return less(h[i], h[j]) }

func less(a, b *Waiting) bool {
	return cmp.Or(
		cmp.Compare(corev1helper.PodPriority(b.Pod), corev1helper.PodPriority(a.Pod)),
		cmp.Compare(a.Sequence, b.Sequence),
	) < 0
}

func (h byTurn) Swap(i, j int) { swap(h, i, j) }
func (h *byTurn) Push(x any)   { push((*[]*Waiting)(h), x.(*Waiting)) }
func (h *byTurn) Pop() any     { return pop((*[]*Waiting)(h)) }

// byUntil orders pods by when their pause ends.
type byUntil []*Waiting

func (h byUntil) Len() int           { return len(h) }
func (h byUntil) Less(i, j int) bool { return h[i].until.Before(h[j].until) }
func (h byUntil) Swap(i, j int)      { swap(h, i, j) }
func (h *byUntil) Push(x any)        { push((*[]*Waiting)(h), x.(*Waiting)) }
func (h *byUntil) Pop() any          { return pop((*[]*Waiting)(h)) }

func swap(h []*Waiting, i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func push(h *[]*Waiting, w *Waiting) {
	w.index = len(*h)
	*h = append(*h, w)
}

func pop(h *[]*Waiting) *Waiting {
	old := *h
	w := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	w.index = -1
	return w
}
