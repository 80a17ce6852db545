package mailbox

import (
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"
)

func TestLettersComeInOrder(t *testing.T) {
	m := New[int]()
	if got := m.Take(); len(got) != 0 {
		t.Fatalf("a new mailbox holds %v", got)
	}
	for n := range 3 {
		m.Put(n)
	}
	if diff := cmp.Diff([]int{0, 1, 2}, m.Take()); diff != "" {
		t.Errorf("letters (-want +got):\n%s", diff)
	}
	if got := m.Take(); len(got) != 0 {
		t.Errorf("taken twice: %v", got)
	}
}

// A taker that sleeps only when Ready is silent gets every letter: one put at
// any time, also while it takes, wakes it.
func TestNoLetterIsSleptOver(t *testing.T) {
	const senders, each = 4, 500
	type letter struct{ sender, number int }
	m := New[letter]()
	var all sync.WaitGroup
	for sender := range senders {
		all.Go(func() {
			for number := range each {
				m.Put(letter{sender, number})
			}
		})
	}
	defer all.Wait()
	next := make([]int, senders)
	for left := senders * each; left > 0; {
		<-m.Ready()
		for _, l := range m.Take() {
			if l.number != next[l.sender] {
				t.Fatalf("sender %d: letter %d came when %d was due", l.sender, l.number, next[l.sender])
			}
			next[l.sender]++
			left--
		}
	}
}

func TestHandler(t *testing.T) {
	m := New[Change]()
	h := Handler(m)
	first, second := &corev1.Pod{}, &corev1.Pod{}
	h.OnAdd(first, true)
	h.OnUpdate(first, second)
	h.OnDelete(second)
	h.OnDelete(cache.DeletedFinalStateUnknown{Key: "a/b", Obj: second})
	want := []Change{{Object: first}, {Object: second}, {Object: second, Deleted: true}, {Object: second, Deleted: true}}
	got := m.Take()
	if len(got) != len(want) {
		t.Fatalf("got %d letters, want %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("letter %d is %+v, want %+v", i, got[i], want[i])
		}
	}
}
