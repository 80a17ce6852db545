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
		q.Park(queued(q, fmt.Sprintf("p%d", i), now), key, engine.NodeLabels, now)
	}
	feasible := func(engine.Key) bool { return true }
	q.Wake(CausePod, 0, func(engine.Key) bool { return false }, now)
	if w := q.Pop(); w != nil {
		t.Fatalf("%s tries though its class fits nowhere", w.Pod.Name)
	}
	q.Wake(CausePod, 0, feasible, now)
	q.Wake(CausePod, 0, feasible, now)
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
	q.Wake(CausePod, 0, feasible, now)
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
	q.Wake(CausePod, 0, no, now)
	if q.Counts().Backoff != 0 {
		t.Fatal("woken by what cannot help")
	}
	q.Wake(CauseStorage, 0, no, now)
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
		q.Wake(CauseStorage, 0, no, now.Add(time.Hour))
		q.Pop()
	}
	q.ParkApart(w, engine.Key{}, CauseStorage, now)
	if got := w.until.Sub(now); got != 10*time.Second {
		t.Errorf("the pause is %v, want the most", got)
	}
}

// When nodes change in a way that helps, pods of a class try one after the other for
// as long as each finds something, and what the last found is true of the rest.
func TestTriesAgainWhenNodesChange(t *testing.T) {
	q, now := New(time.Second, 10*time.Second), time.Unix(0, 0)
	no := func(engine.Key) bool { return false }
	key := engine.Key{1}
	for i := range 4 {
		q.Park(queued(q, fmt.Sprintf("p%d", i), now), key, engine.NodeLabels, now)
	}
	q.Wake(CauseNode, engine.NodeTaints, no, now)
	if q.Due(now.Add(time.Minute)); q.Counts().Active != 0 {
		t.Fatal("tries though nothing came that helps")
	}
	q.Wake(CauseNode, engine.NodeLabels, no, now)
	if left := q.Due(now); left != time.Second || q.Counts().Active != 0 {
		t.Fatalf("tries before its pause is over, %v left", left)
	}
	now = now.Add(time.Second)
	q.Due(now)
	first := q.Pop()
	if first == nil || first.Pod.Name != "p0" || q.Pop() != nil {
		t.Fatal("not the first alone")
	}
	q.Park(first, key, engine.NodeLabels, now)
	q.Follow(first)
	second := q.Pop()
	if second == nil || second.Pod.Name != "p1" {
		t.Fatal("the second does not follow")
	}
	q.Fitted(second, no)
	q.Remove("p1")
	third := q.Pop()
	if third == nil || third.Pod.Name != "p2" {
		t.Fatal("the third does not follow one that fits")
	}
	q.Park(third, key, engine.NodeLabels, now)
	if n := len(q.Settle(third)); n != 3 {
		t.Errorf("%d are told, want 3", n)
	}
	if q.Due(now.Add(time.Minute)); q.Counts().Active != 0 || q.Settle(third) != nil {
		t.Error("tries once more")
	}
}

// A pod that nothing has helped tries once in a while all the same.
func TestTriesAgainAfterLong(t *testing.T) {
	q, now := New(time.Second, 10*time.Second), time.Unix(0, 0)
	q.Park(queued(q, "like others", now), engine.Key{1}, engine.NodeLabels, now)
	q.ParkApart(queued(q, "apart", now), engine.Key{2}, CauseStorage, now)
	for at := time.Duration(0); at < LongestWait; at += lookEvery {
		q.Due(now.Add(at))
	}
	if n := q.Counts().Active; n != 0 {
		t.Fatalf("%d try before it is time", n)
	}
	if q.Due(now.Add(LongestWait)); q.Counts().Active != 2 {
		t.Errorf("%+v, want two that try", q.Counts())
	}
}

// Pods try again whose class is another now, all of them: what is true of one lot of
// them is not of another.
func TestRenews(t *testing.T) {
	q, now := New(time.Second, 10*time.Second), time.Unix(0, 0)
	for i, name := range []string{"a1", "a2", "b1"} {
		q.Park(queued(q, name, now), engine.Key{byte(i / 2)}, engine.NodeLabels, now)
	}
	for _, name := range []string{"a3", "b2"} {
		q.ParkApart(queued(q, name, now), engine.Key{}, CauseStorage, now)
	}
	q.Renew(func(p *corev1.Pod) bool { return p.Name[0] == 'a' }, now)
	now = now.Add(time.Second)
	q.Due(now)
	var got []string
	for w := q.Pop(); w != nil; w = q.Pop() {
		got = append(got, w.Pod.Name)
	}
	if fmt.Sprint(got) != "[a1 a2 a3]" || q.Counts().Parked != 2 {
		t.Errorf("%v try, %+v", got, q.Counts())
	}
}

// Of pods that found no place to take those try that hope, once somebody has gone: one
// after the other for as long as each finds something.
func TestHopesWhenSomebodyHasGone(t *testing.T) {
	q, now := New(time.Second, 10*time.Second), time.Unix(0, 0)
	no := func(engine.Key) bool { return false }
	key := engine.Key{1}
	park := func(w *Waiting, hopes bool) {
		q.Park(w, key, engine.NodeLabels, now)
		if hopes {
			q.Hope(w)
		}
	}
	for i, hopes := range []bool{false, true, true, true} {
		park(queued(q, fmt.Sprintf("p%d", i), now), hopes)
	}
	if q.Due(now.Add(time.Minute)); q.Counts().Active != 0 {
		t.Fatal("tries though nobody has gone")
	}
	q.Wake(CausePod, 0, no, now)
	if left := q.Due(now); left != time.Second || q.Counts().Active != 0 {
		t.Fatalf("tries before its pause is over, %v left", left)
	}
	now = now.Add(time.Second)
	q.Due(now)
	for _, name := range []string{"p1", "p2"} {
		w := q.Pop()
		if w == nil || w.Pod.Name != name || q.Pop() != nil {
			t.Fatalf("not %s alone", name)
		}
		park(w, name == "p2")
		q.Follow(w)
	}
	if q.Due(now.Add(time.Minute)); q.Counts().Active != 0 {
		t.Error("the next tries though the last found nothing")
	}
	q.Wake(CausePod, 0, no, now)
	q.Due(now.Add(time.Minute))
	if w := q.Pop(); w == nil || w.Pod.Name != "p2" {
		t.Error("who still hopes does not try again")
	}
}
