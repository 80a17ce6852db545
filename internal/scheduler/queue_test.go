package scheduler

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sinawi/sinawi/internal/scheduler/engine"
)

func queued(q *queue, name string, now time.Time) *waiting {
	q.set(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)}}, now)
	return q.pop()
}

// One place that comes free is tried for by one pod of a class; the next tries
// when that one fits, or is gone.
func TestOneOfAClassTries(t *testing.T) {
	q, now := newQueue(time.Second, 10*time.Second), time.Unix(0, 0)
	key := engine.Key{1}
	for i := range 3 {
		q.park(queued(q, fmt.Sprintf("p%d", i), now), key)
	}
	feasible := func(engine.Key) bool { return true }
	q.wake(causePod, func(engine.Key) bool { return false }, now)
	if w := q.pop(); w != nil {
		t.Fatalf("%s tries though its class fits nowhere", w.pod.Name)
	}
	q.wake(causePod, feasible, now)
	q.wake(causePod, feasible, now)
	first := q.pop()
	if first == nil || first.pod.Name != "p0" || q.pop() != nil {
		t.Fatal("not the first alone")
	}
	q.fitted(first, feasible)
	second := q.pop()
	if second == nil || second.pod.Name != "p1" {
		t.Fatal("the second does not follow")
	}
	if !q.remove("p1") {
		t.Error("nobody is told that the one that tried is gone")
	}
	q.wake(causePod, feasible, now)
	if w := q.pop(); w == nil || w.pod.Name != "p2" {
		t.Error("the third does not follow")
	}
}

// A pod with reasons of its own wakes for what can help it, after its pause.
func TestWakesForWhatHelps(t *testing.T) {
	q, now := newQueue(time.Second, 10*time.Second), time.Unix(0, 0)
	no := func(engine.Key) bool { return false }
	w := queued(q, "p", now)
	q.parkApart(w, engine.Key{}, causeStorage, now)
	q.wake(causePod, no, now)
	if len(q.backoff) != 0 {
		t.Fatal("woken by what cannot help")
	}
	q.wake(causeStorage, no, now)
	if q.pop() != nil || q.due(now) != time.Second {
		t.Fatal("tries before its pause is over")
	}
	now = now.Add(time.Second)
	q.due(now)
	if q.pop() != w {
		t.Fatal("does not try after its pause")
	}
	for range 6 {
		q.parkApart(w, engine.Key{}, causeStorage, now)
		q.wake(causeStorage, no, now.Add(time.Hour))
		q.pop()
	}
	q.parkApart(w, engine.Key{}, causeStorage, now)
	if got := w.until.Sub(now); got != 10*time.Second {
		t.Errorf("the pause is %v, want the most", got)
	}
}
