package scheduler_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/watch"
)

func (r *rig) addPriority(name string, value int32, policy corev1.PreemptionPolicy) {
	r.Helper()
	_, err := r.SchedulingV1().PriorityClasses().Create(r.ctx, &schedulingv1.PriorityClass{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Value: value, PreemptionPolicy: &policy,
	}, metav1.CreateOptions{})
	if err != nil {
		r.Fatal(err)
	}
}

// addPriorities adds those that pods of tests have.
func (r *rig) addPriorities() {
	r.Helper()
	for name, value := range map[string]int32{"low": 1, "middle": 10, "high": 100} {
		r.addPriority(name, value, corev1.PreemptLowerPriority)
	}
}

func withPriority(name string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.PriorityClassName = name }
}

// awaitEvent returns the first event about a pod with the reason.
func (r *rig) awaitEvent(pod, reason string) string {
	r.Helper()
	w, err := r.EventsV1().Events("default").Watch(r.ctx, metav1.ListOptions{FieldSelector: "regarding.name=" + pod + ",reason=" + reason})
	if err != nil {
		r.Fatal(err)
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		if e.Type == watch.Added || e.Type == watch.Modified {
			return noteOf(r, e.Object)
		}
	}
	r.Fatalf("pod %s: no event %s in time", pod, reason)
	return ""
}

// leave ends a pod that is being deleted, as its node would once its containers
// have ended.
func (r *rig) leave(name string) *corev1.Pod {
	r.Helper()
	p := r.await(name, "evicted", func(p *corev1.Pod) bool { return p.DeletionTimestamp != nil })
	none := int64(0)
	if err := r.CoreV1().Pods("default").Delete(r.ctx, name, metav1.DeleteOptions{GracePeriodSeconds: &none}); err != nil {
		r.Fatal(err)
	}
	return p
}

func condition(p *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	i := slices.IndexFunc(p.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == kind })
	if i < 0 {
		return nil
	}
	return &p.Status.Conditions[i]
}

// Conformance: [sig-scheduling] SchedulerPreemption [Serial] validates basic preemption works
// Conformance: [sig-scheduling] SchedulerPreemption [Serial] validates pod disruption condition is added to the preempted pod
func TestPreempts(t *testing.T) {
	r := start(t)
	r.addPriorities()
	r.addNode("n1", "2")
	r.addNode("n2", "2")
	r.addPod("least", "2", withPriority("low"))
	r.await("least", "bound", bound)
	r.addPod("more", "2", withPriority("middle"))
	r.await("more", "bound", bound)
	r.addPod("most", "1", withPriority("high"))
	victim := r.await("least", "evicted", func(p *corev1.Pod) bool { return p.DeletionTimestamp != nil })
	c := condition(victim, corev1.DisruptionTarget)
	if c == nil || c.Status != corev1.ConditionTrue || c.Reason != corev1.PodReasonPreemptionByScheduler {
		t.Errorf("condition of the victim: %+v", c)
	}
	r.await("most", "nominated", func(p *corev1.Pod) bool { return p.Status.NominatedNodeName == victim.Spec.NodeName })
	if note := r.awaitEvent("least", "Preempted"); !strings.Contains(note, "on node "+victim.Spec.NodeName) {
		t.Errorf("event: %q", note)
	}
	r.awaitUnschedulable("most", "preemption: not eligible due to a terminating pod on the nominated node.")
	// The room is the preemptor's: who matters less must not take it.
	r.leave("least")
	r.awaitNode("most", victim.Spec.NodeName)
	if p := r.get("more"); p.DeletionTimestamp != nil {
		t.Error("a pod was evicted that matters more than another that sufficed")
	}
}

// Conformance: [sig-scheduling] SchedulerPreemption [Serial] validates lower priority pod preemption by critical pod
func TestCriticalPodPreempts(t *testing.T) {
	r := start(t)
	r.addPriorities()
	r.addNode("n1", "2")
	r.addPod("least", "2", withPriority("low"))
	r.await("least", "bound", bound)
	r.addAccount("kube-system")
	r.addPodIn("kube-system", "critical", "1", func(p *corev1.Pod) { p.Spec.PriorityClassName = "system-cluster-critical" })
	r.leave("least")
	r.awaitIn("kube-system", "critical", "bound", bound)
}

func TestPreemptionSparesWhatItMust(t *testing.T) {
	r := start(t)
	r.addPriorities()
	r.addPriority("polite", 100, corev1.PreemptNever)
	r.addNode("n1", "2")
	r.addNode("n2", "2")
	one := intstr.FromInt32(1)
	if _, err := r.PolicyV1().PodDisruptionBudgets("default").Create(r.ctx, &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "guard"},
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: &one, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "guarded"}}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	r.addPod("guarded", "2", func(p *corev1.Pod) {
		withPriority("low")(p)
		p.Labels = map[string]string{"app": "guarded"}
		p.Spec.NodeName = ""
	})
	guarded := r.await("guarded", "bound", bound)
	r.addPod("free", "2", withPriority("low"))
	free := r.await("free", "bound", bound)
	r.addPod("waits", "1", withPriority("polite"))
	r.awaitUnschedulable("waits", "0/2 nodes are available: 2 Insufficient cpu.", "preemption: not eligible due to preemptionPolicy=Never.")
	r.addPod("too-big", "3", withPriority("high"))
	r.awaitUnschedulable("too-big", "preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.")
	r.addPod("same", "2", withPriority("low"))
	r.awaitUnschedulable("same", "preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod.")
	r.addPod("most", "2", withPriority("high"))
	r.leave("free")
	r.awaitNode("most", free.Spec.NodeName)
	if p := r.get("guarded"); p.DeletionTimestamp != nil || p.UID != guarded.UID {
		t.Error("a budget was broken though another pod could go")
	}
}

// Room made for one is not for whoever comes first.
func TestNominatedPodKeepsItsRoom(t *testing.T) {
	r := start(t)
	r.addPriorities()
	r.addNode("n1", "2")
	r.addPod("least", "1500m", withPriority("low"))
	r.awaitNode("least", "n1")
	r.addPod("most", "2", withPriority("high"))
	r.await("most", "nominated", func(p *corev1.Pod) bool { return p.Status.NominatedNodeName == "n1" })
	r.addPod("quick", "500m", withPriority("low"))
	r.awaitUnschedulable("quick", "Insufficient cpu")
	r.leave("least")
	r.awaitNode("most", "n1")
	if p := r.get("quick"); p.Spec.NodeName != "" {
		t.Error("the room was taken by a pod that matters less")
	}
}

// Conformance: [sig-scheduling] SchedulerPreemption [Serial] PreemptionExecutionPath runs ReplicaSets to verify preemption running path
func TestPreemptionPath(t *testing.T) {
	r := start(t)
	for i, name := range []string{"p1", "p2", "p3", "p4"} {
		r.addPriority(name, int32(i+1), corev1.PreemptLowerPriority)
	}
	r.addNode("n1", "10")
	// Ten CPUs: five of the first, three of the second, two of the third.
	for name, count := range map[string]int{"p1": 5, "p2": 3, "p3": 2} {
		for i := range count {
			r.addPod(fmt.Sprintf("%s-%d", name, i), "1", withPriority(name))
		}
		for i := range count {
			r.awaitNode(fmt.Sprintf("%s-%d", name, i), "n1")
		}
	}
	r.addPod("p4-0", "6", withPriority("p4"))
	r.await("p4-0", "nominated", func(p *corev1.Pod) bool { return p.Status.NominatedNodeName == "n1" })
	for i := range 5 {
		r.leave(fmt.Sprintf("p1-%d", i))
	}
	// The sixth victim is one of the next higher priority.
	evicted := 0
	for evicted == 0 {
		for i := range 3 {
			if p := r.get(fmt.Sprintf("p2-%d", i)); p.DeletionTimestamp != nil {
				evicted++
				r.leave(p.Name)
			}
		}
		if r.ctx.Err() != nil {
			t.Fatal("no pod of the second priority was evicted in time")
		}
	}
	r.awaitNode("p4-0", "n1")
	if evicted != 1 {
		t.Errorf("%d pods of the second priority were evicted, want 1", evicted)
	}
	for i := range 2 {
		if p := r.get(fmt.Sprintf("p3-%d", i)); p.DeletionTimestamp != nil {
			t.Errorf("%s was evicted for nothing", p.Name)
		}
	}
}

// awaitWords waits until a pod is told what begins with words.
func (r *rig) awaitWords(name, words string) {
	r.Helper()
	r.await(name, "told that "+words, func(p *corev1.Pod) bool {
		c := scheduled(p)
		return c != nil && c.Status == corev1.ConditionFalse && strings.HasPrefix(c.Message, words)
	})
}

// Room that can be made on a node which did not take the class before lets a pod
// that waits try again, and tells those of its class that are not helped.
func TestPreemptsWhereANodeBecomesOfUse(t *testing.T) {
	r := start(t)
	r.addPriorities()
	node := r.addNode("n1", "2")
	r.addPod("least", "2", withPriority("low"))
	r.await("least", "bound", bound)
	for _, name := range []string{"first", "second"} {
		r.addPod(name, "2", func(p *corev1.Pod) {
			p.Spec.PriorityClassName = "high"
			p.Spec.NodeSelector = map[string]string{"of": "use"}
		})
		r.awaitUnschedulable(name, "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. preemption: ")
	}
	r.addNode("n2", "1")
	for _, name := range []string{"first", "second"} {
		r.awaitWords(name, "0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector. preemption: ")
	}
	node.Labels["of"] = "use"
	if _, err := r.CoreV1().Nodes().Update(r.ctx, node, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	r.leave("least")
	r.awaitNode("first", "n1")
	r.awaitWords("second", "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't match Pod's node affinity/selector. preemption: ")
}

func TestSkipsWhatIsDeleted(t *testing.T) {
	r := start(t)
	r.addPod("kept", "1", func(p *corev1.Pod) {
		p.Finalizers = []string{"example.com/kept"}
		p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/gate"}}
	})
	if err := r.CoreV1().Pods("default").Delete(r.ctx, "kept", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	kept := r.get("kept")
	kept.Spec.SchedulingGates = nil
	if _, err := r.CoreV1().Pods("default").Update(r.ctx, kept, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if note := r.awaitEvent("kept", "FailedScheduling"); note != "skip schedule deleting pod: default/kept" {
		t.Errorf("event: %q", note)
	}
}

// What a pod waits for on a node that will not take it any more is of no use to it: it
// takes a place elsewhere, while its victims are still about to end.
func TestPreemptsElsewhereWhenItsNodeIsOfNoUse(t *testing.T) {
	for name, lose := range map[string]func(r *rig, node *corev1.Node){
		"cordoned": func(r *rig, node *corev1.Node) {
			node.Spec.Unschedulable = true
			if _, err := r.CoreV1().Nodes().Update(r.ctx, node, metav1.UpdateOptions{}); err != nil {
				r.Fatal(err)
			}
		},
		"gone": func(r *rig, node *corev1.Node) {
			if err := r.CoreV1().Nodes().Delete(r.ctx, node.Name, metav1.DeleteOptions{}); err != nil {
				r.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t)
			r.addPriorities()
			first := r.addNode("n1", "2")
			r.addPod("least", "2", withPriority("low"))
			r.awaitNode("least", "n1")
			r.addNode("n2", "2")
			r.addPod("more", "2", withPriority("middle"))
			r.awaitNode("more", "n2")
			r.addPod("most", "2", withPriority("high"))
			r.await("most", "nominated", func(p *corev1.Pod) bool { return p.Status.NominatedNodeName == "n1" })
			r.await("least", "evicted", func(p *corev1.Pod) bool { return p.DeletionTimestamp != nil })
			lose(r, first)
			r.await("most", "nominated elsewhere", func(p *corev1.Pod) bool { return p.Status.NominatedNodeName == "n2" })
			r.leave("more")
			r.awaitNode("most", "n2")
		})
	}
}

// A pod that could take no place tries again when somebody has gone: with what that
// left, the place of another may do.
func TestPreemptsOnceAnotherHasGone(t *testing.T) {
	r := start(t)
	r.addPriorities()
	r.addNode("n1", "4")
	r.addPod("least", "1", withPriority("low"))
	r.awaitNode("least", "n1")
	r.addPod("most", "3", withPriority("high"))
	r.awaitNode("most", "n1")
	r.addPod("asks", "4", withPriority("middle"))
	r.awaitUnschedulable("asks", "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 Insufficient cpu.")
	if err := r.CoreV1().Pods("default").Delete(r.ctx, "most", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r.leave("most")
	r.await("least", "evicted", func(p *corev1.Pod) bool { return p.DeletionTimestamp != nil })
	r.leave("least")
	r.awaitNode("asks", "n1")
}

// Room that is not waited for any more is free for others.
func TestRoomThatIsGivenUpIsFree(t *testing.T) {
	r := start(t)
	r.addPriorities()
	r.addNode("n1", "2")
	r.addPod("least", "2", withPriority("low"))
	r.awaitNode("least", "n1")
	r.addPod("most", "2", withPriority("high"))
	r.await("most", "nominated", func(p *corev1.Pod) bool { return p.Status.NominatedNodeName == "n1" })
	r.await("least", "evicted", func(p *corev1.Pod) bool { return p.DeletionTimestamp != nil })
	r.addPod("asks", "1", withPriority("low"))
	r.awaitUnschedulable("asks", "0/1 nodes are available: 1 Insufficient cpu.")
	// Another node takes the one that waits, and the room on the first is left.
	r.addNode("n2", "2")
	r.awaitNode("most", "n2")
	r.leave("least")
	r.awaitNode("asks", "n1")
}

// Where no node is left, no room is waited for.
func TestNominationEndsWithTheLastNode(t *testing.T) {
	r := start(t)
	r.addPriorities()
	r.addNode("n1", "2")
	r.addPod("least", "2", withPriority("low"))
	r.awaitNode("least", "n1")
	r.addPod("most", "2", withPriority("high"))
	r.await("most", "nominated", func(p *corev1.Pod) bool { return p.Status.NominatedNodeName == "n1" })
	if err := r.CoreV1().Nodes().Delete(r.ctx, "n1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r.awaitWords("most", "no nodes available to schedule pods")
	r.await("most", "nominated nowhere", func(p *corev1.Pod) bool { return p.Status.NominatedNodeName == "" })
}
