package scheduler_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/sinawi/sinawi/internal/scheduler"
	"github.com/sinawi/sinawi/internal/scheduler/decisions"
)

// noted keeps decisions for a test.
type noted struct {
	mu  sync.Mutex
	all []decisions.Decision // guarded by mu
}

func (n *noted) Put(d decisions.Decision) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = append(n.all, d)
}

func (n *noted) of(pod string) (out []decisions.Decision) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, d := range n.all {
		if d.Pod == pod {
			out = append(out, d)
		}
	}
	return out
}

func TestDecisionsAreKeptWithTheirReasons(t *testing.T) {
	var kept noted
	r := startWith(t, scheduler.Options{Decisions: &kept})
	r.addNode("n1", "1")
	r.addNode("n2", "8", corev1.Taint{Key: "dedicated", Effect: corev1.TaintEffectNoSchedule})
	r.addPod("big", "3", nil)
	r.awaitUnschedulable("big")
	r.addNode("n3", "4")
	r.addNode("n4", "4")
	r.await("big", "bound", bound)
	got := kept.of("big")
	if len(got) < 2 {
		t.Fatalf("kept: %+v", got)
	}
	first, last := got[0], got[len(got)-1]
	if first.Node != "" || !strings.Contains(first.Why, "0/2 nodes are available") || len(first.Reasons) != 2 ||
		first.Reasons[0].Nodes != 1 || len(first.Reasons[0].Such) != 1 {
		t.Errorf("while it did not fit: %+v", first)
	}
	if last.Node != r.get("big").Spec.NodeName || last.Feasible == 0 || last.Class == "" || last.UID != string(r.get("big").UID) || last.Time.IsZero() {
		t.Errorf("when it did: %+v", last)
	}
	for i := 1; i < len(got); i++ {
		if got[i].Why == got[i-1].Why && got[i].Node == "" && got[i].Nominated == got[i-1].Nominated {
			t.Errorf("kept twice: %+v", got[i])
		}
	}
}

// A log on a disk keeps up with the scheduler.
func TestDecisionsReachTheLog(t *testing.T) {
	dir := t.TempDir()
	log, err := decisions.Open(dir, decisions.Options{})
	if err != nil {
		t.Fatal(err)
	}
	r := startWith(t, scheduler.Options{Decisions: log})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- log.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	r.addNode("n1", "1")
	r.addPod("p", "1", nil)
	r.awaitNode("p", "n1")
	for until := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		got, err := decisions.Of(dir, "default", "p")
		if err != nil || time.Now().After(until) {
			t.Fatalf("the log has %+v (%v)", got, err)
		}
		if len(got) == 1 && got[0].Node == "n1" {
			return
		}
	}
}
