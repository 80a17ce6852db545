package scheduler_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestPodsArriveOnTheirNodes: of pods that come all at once those that fit are on a node
// from the first, no node has more than it holds, all are told of, and those that found
// no place get one when others have gone.
func TestPodsArriveOnTheirNodes(t *testing.T) {
	r := startPlacing(t)
	const nodes, perNode, more = 4, 10, 6
	for i := range nodes {
		r.addNode(fmt.Sprintf("n%d", i), "2")
	}
	r.addPod("first", "200m", nil)
	r.await("first", "on a node", func(p *corev1.Pod) bool { return p.Spec.NodeName != "" }) // the scheduler runs
	var mu sync.Mutex
	at := map[string]string{} // guarded by mu
	var creators sync.WaitGroup
	for i := range nodes*perNode + more - 1 {
		creators.Go(func() {
			name := fmt.Sprintf("p%02d", i)
			r.addPod(name, "200m", nil)
			p := r.get(name)
			mu.Lock()
			defer mu.Unlock()
			at[name] = p.Spec.NodeName
		})
	}
	creators.Wait()
	for name, node := range at {
		p := r.await(name, "placed or told why not", func(p *corev1.Pod) bool { return scheduled(p) != nil })
		if c := scheduled(p); c.Status == corev1.ConditionFalse {
			continue
		}
		if got, want := r.awaitEvent(name, "Scheduled"), fmt.Sprintf("Successfully assigned default/%s to %s", name, p.Spec.NodeName); got != want {
			t.Errorf("event: got %q, want %q", got, want)
		}
		if node != "" && node != p.Spec.NodeName {
			t.Errorf("%s was on node %s first, and is on %s", name, node, p.Spec.NodeName)
		}
	}
	count := func() (on map[string]int, waiting []string) {
		on = map[string]int{}
		pods, err := r.CoreV1().Pods("default").List(r.ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range pods.Items {
			if p.Spec.NodeName == "" {
				waiting = append(waiting, p.Name)
				continue
			}
			on[p.Spec.NodeName]++
		}
		return on, waiting
	}
	on, waiting := count()
	if len(waiting) != more {
		t.Fatalf("%d pods wait, want %d", len(waiting), more)
	}
	for node, n := range on {
		if n != perNode {
			t.Errorf("node %s: got %d pods of 200m on 2 CPUs, want %d", node, n, perNode)
		}
	}
	left := more
	for name := range at {
		if left > 0 && !slices.Contains(waiting, name) {
			r.remove(name)
			left--
		}
	}
	for _, name := range waiting {
		r.await(name, "on a node", func(p *corev1.Pod) bool { return p.Spec.NodeName != "" })
	}
	if on, waiting := count(); len(waiting) > 0 || len(on) != nodes {
		t.Errorf("%v wait still; nodes have %v", waiting, on)
	}
}

// TestArrivingPodsAreBoundInTurn: who comes while another waits for a place does not take
// it when it comes free.
func TestArrivingPodsAreBoundInTurn(t *testing.T) {
	r := startPlacing(t)
	r.addNode("n1", "2")
	r.addPod("fills", "2", nil)
	r.awaitNode("fills", "n1")
	r.addPod("waits", "2", nil)
	r.awaitUnschedulable("waits", "Insufficient cpu")
	r.remove("fills")
	r.addPod("comes", "2", nil)
	r.awaitNode("waits", "n1")
	r.awaitUnschedulable("comes", "Insufficient cpu")
}
