package backlog

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sinawi/sinawi/internal/scheduler/engine"
)

func queued(q *Queue, name string, now time.Time) *Waiting {
	q.Set(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)}}, now)
	return q.Pop()
}

// One place that comes free is tried for by one pod of a class; the next tries
// when that one fits, or is gone.
func TestOneOfAClassTries(t *testing.T) {
	q, now := New(time.Second, 10*time.Second), time.Unix(0, 0)
	key := engine.Key{1}
	for i := range 3 {
		q.Park(queued(q, fmt.Sprintf("p%d", i), now), key)
	}
	feasible := func(engine.Key) bool { return true }
	q.Wake(CausePod, func(engine.Key) bool { return false }, now)
	if w := q.Pop(); w != nil {
		t.Fatalf("%s tries though its class fits nowhere", w.Pod.Name)
	}
	q.Wake(CausePod, feasible, now)
	q.Wake(CausePod, feasible, now)
	first := q.Pop()
	if first == nil || first.Pod.Name != "p0" || q.Pop() != nil {
		t.Fatal("not the first alone")
	}
	q.Fitted(first, feasible)
	second := q.Pop()
	if second == nil || second.Pod.Name != "p1" {
		t.Fatal("the second does not follow")
	}
	if !q.Remove("p1") {
		t.Error("nobody is told that the one that tried is gone")
	}
	q.Wake(CausePod, feasible, now)
	if w := q.Pop(); w == nil || w.Pod.Name != "p2" {
		t.Error("the third does not follow")
	}
}

// A pod with reasons of its own wakes for what can help it, after its pause.
func TestWakesForWhatHelps(t *testing.T) {
	q, now := New(time.Second, 10*time.Second), time.Unix(0, 0)
	no := func(engine.Key) bool { return false }
	w := queued(q, "p", now)
	q.ParkApart(w, engine.Key{}, CauseStorage, now)
	q.Wake(CausePod, no, now)
	if q.Counts().Backoff != 0 {
		t.Fatal("woken by what cannot help")
	}
	q.Wake(CauseStorage, no, now)
	if q.Pop() != nil || q.Due(now) != time.Second {
		t.Fatal("tries before its pause is over")
	}
	now = now.Add(time.Second)
	q.Due(now)
	if q.Pop() != w {
		t.Fatal("does not try after its pause")
	}
	for range 6 {
		q.ParkApart(w, engine.Key{}, CauseStorage, now)
		q.Wake(CauseStorage, no, now.Add(time.Hour))
		q.Pop()
	}
	q.ParkApart(w, engine.Key{}, CauseStorage, now)
	if got := w.until.Sub(now); got != 10*time.Second {
		t.Errorf("the pause is %v, want the most", got)
	}
}
