package node

import (
	"context"
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/loop"
)

type reads struct{ cache.Cache }

func (reads) Get(_ context.Context, key client.ObjectKey, obj client.Object, _ ...client.GetOption) error {
	obj.SetName(key.Name)
	return nil
}

// writes takes what is written, or answers with an error.
type writes struct {
	client.Client
	answer error
	taken  []*corev1.Node
}

func (w *writes) Update(_ context.Context, obj client.Object, _ ...client.UpdateOption) error {
	w.taken = append(w.taken, obj.(*corev1.Node))
	return w.answer
}

func TestParts(t *testing.T) {
	refused := errors.New("no")
	label := func(name string) Part {
		return Part{Shape: func(n *corev1.Node) (time.Duration, error) {
			if n.Labels == nil {
				n.Labels = map[string]string{}
			}
			n.Labels[name] = ""
			return 0, nil
		}}
	}
	later := func(d time.Duration) Part {
		return Part{Shape: func(*corev1.Node) (time.Duration, error) { return d, nil }}
	}
	failing := Part{Shape: func(*corev1.Node) (time.Duration, error) { return 0, refused }}
	for _, tt := range []struct {
		name    string
		parts   []Part
		answer  error
		labels  int // of the one write; 0: nothing is written
		again   time.Duration
		err     error
		gone    int
		settled int
	}{
		{name: "nothing to do", parts: []Part{later(0)}, settled: 1},
		{name: "one write for all", parts: []Part{label("a"), label("b")}, labels: 2, settled: 1},
		{name: "the first that wants to look again", parts: []Part{later(3), later(0), later(2), label("a")}, labels: 1, again: 2, settled: 1},
		{name: "one that cannot", parts: []Part{failing, label("a")}, labels: 1, err: refused},
		{name: "a node that is gone", parts: []Part{label("a")}, labels: 1, answer: apierrors.NewNotFound(schema.GroupResource{}, "n"), gone: 1},
		{name: "a write that fails", parts: []Part{label("a")}, labels: 1, answer: refused, err: refused},
	} {
		t.Run(tt.name, func(t *testing.T) {
			gone, settled := 0, 0
			last := Part{
				Shape:  func(*corev1.Node) (time.Duration, error) { return 0, nil },
				Gone:   func(*corev1.Node) { gone++ },
				Settle: func(context.Context, *corev1.Node) error { settled++; return nil },
			}
			w := &writes{answer: tt.answer}
			c := &Controller{deps: loop.Deps{Client: w, Cache: reads{}}, parts: append(tt.parts, last)}
			again, err := c.reconcile(t.Context(), loop.Key{Name: "n"})
			if again != tt.again || !errors.Is(err, tt.err) || gone != tt.gone || settled != tt.settled {
				t.Errorf("again %d, gone %d, settled %d, error %v", again, gone, settled, err)
			}
			labels := 0
			for _, n := range w.taken {
				labels = len(n.Labels)
			}
			if labels != tt.labels || len(w.taken) > 1 {
				t.Errorf("wrote %d times, %d labels, want once %d", len(w.taken), labels, tt.labels)
			}
		})
	}
}

// What a part writes of the status is what the others see.
func TestStatusComesFirst(t *testing.T) {
	w := &writes{}
	c := &Controller{deps: loop.Deps{Client: w, Cache: reads{}}, parts: []Part{
		{Shape: func(n *corev1.Node) (time.Duration, error) {
			n.Spec.Unschedulable = n.Status.Phase == corev1.NodeRunning
			return 0, nil
		}},
		{Status: func(_ context.Context, n *corev1.Node) (*corev1.Node, error) {
			n.Status.Phase = corev1.NodeRunning
			return n, nil
		},
			Shape: func(*corev1.Node) (time.Duration, error) { return 0, nil }},
	}}
	if _, err := c.reconcile(t.Context(), loop.Key{Name: "n"}); err != nil {
		t.Fatal(err)
	}
	if len(w.taken) != 1 || !w.taken[0].Spec.Unschedulable {
		t.Errorf("wrote %v", w.taken)
	}
}

// A node that one part wants to look at is not asked for before all know of it.
func TestAllKnowOfAChangeFirst(t *testing.T) {
	var knows int
	note := Part{Changed: func(before, after *corev1.Node) []loop.Key {
		if before == nil && after != nil {
			knows++
		}
		return nil
	}}
	wants := Part{Changed: func(_, after *corev1.Node) []loop.Key { return loop.Self(after) }}
	c := &Controller{parts: []Part{wants, note, note}}
	if keys := c.changed(nil, &corev1.Node{}); len(keys) != 1 || knows != 2 {
		t.Errorf("wants to look at %v when %d of 2 know of it", keys, knows)
	}
}
