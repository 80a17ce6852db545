package controllers_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sinawi/sinawi/internal/controllers"
)

func shortGrace(o *controllers.Options) { o.NodeGrace = 2 * time.Second }

// beat plays the lease and readiness of a node until stop is called.
func (e *env) beat(name string) (stop func()) {
	e.Helper()
	node := e.node(name)
	changeStatus(e, node, func(n *corev1.Node) {
		n.Status.Conditions = []corev1.NodeCondition{{
			Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now(),
		}}
	})
	e.namespace(corev1.NamespaceNodeLease)
	lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: name}}
	e.create(lease)
	end, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			now := metav1.NowMicro()
			lease.Spec.RenewTime = &now
			_ = e.Update(e.ctx, lease)
			select {
			case <-end:
				return
			case <-time.After(300 * time.Millisecond):
			}
		}
	}()
	var stopped bool
	stop = func() {
		if !stopped {
			stopped = true
			close(end)
			<-done
		}
	}
	e.Cleanup(stop)
	return stop
}

func (e *env) awaitTaints(name string, want ...string) {
	e.Helper()
	slices.Sort(want)
	e.eventually("taints of "+name, func() error {
		var got []string
		for _, t := range get(e, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}).Spec.Taints {
			got = append(got, t.Key+":"+string(t.Effect))
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			return fmt.Errorf("%v, want %v", got, want)
		}
		return nil
	})
}

func (e *env) podOn(node, name string, tolerations ...corev1.Toleration) *corev1.Pod {
	e.Helper()
	pod := &corev1.Pod{ObjectMeta: meta(name), Spec: template("", "").Spec}
	pod.Spec.NodeName = node
	pod.Spec.Tolerations = tolerations
	pod.Spec.TerminationGracePeriodSeconds = ptr(int64(0))
	e.create(pod)
	e.setPhase(*pod, corev1.PodRunning, true)
	return pod
}

func TestSilentNodeLosesItsPods(t *testing.T) {
	e := start(t, shortGrace)
	e.beat("healthy")
	stop := e.beat("silent")
	e.awaitTaints("silent")
	unreachable := corev1.Toleration{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute}
	brief := unreachable
	brief.TolerationSeconds = ptr(int64(1))
	here := e.podOn("healthy", "here")
	moves := e.podOn("silent", "moves", brief)
	stays := e.podOn("silent", "stays", unreachable)
	stop()
	e.awaitTaints("silent", "node.kubernetes.io/unreachable:NoExecute", "node.kubernetes.io/unreachable:NoSchedule")
	node := get(e, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "silent"}})
	if c := node.Status.Conditions[0]; c.Status != corev1.ConditionUnknown || c.Reason != "NodeStatusUnknown" {
		t.Errorf("condition %+v", c)
	}
	e.eventually("deletion", func() error {
		if err := e.Get(e.ctx, keyOf(moves), moves); err == nil && moves.DeletionTimestamp == nil {
			return fmt.Errorf("conditions %+v", moves.Status.Conditions)
		}
		return nil
	})
	e.eventually("unreadiness", func() error {
		for _, c := range get(e, stays).Status.Conditions {
			if c.Type == corev1.PodReady && c.Status == corev1.ConditionFalse {
				return nil
			}
		}
		return fmt.Errorf("conditions %+v", stays.Status.Conditions)
	})
	if get(e, here).DeletionTimestamp != nil || stays.DeletionTimestamp != nil {
		t.Error("a pod was evicted that should stay")
	}
	// A node that is well again is open to all.
	changeStatus(e, node, func(n *corev1.Node) {
		n.Status.Conditions[0].Status = corev1.ConditionTrue
		n.Status.Conditions[0].LastHeartbeatTime = metav1.Now()
		n.Status.Conditions = n.Status.Conditions[:1]
	})
	e.eventually("NoExecute's removal", func() error {
		for _, taint := range get(e, node).Spec.Taints {
			if taint.Effect == corev1.TaintEffectNoExecute {
				return fmt.Errorf("taints %v", node.Spec.Taints)
			}
		}
		return nil
	})
}

// A taint that was put on long ago, by its own word, leaves a pod all its time.
func TestTimeRunsFromWhenATaintIsMet(t *testing.T) {
	e := start(t)
	e.beat("node")
	gone := e.podOn("node", "gone", corev1.Toleration{Key: "a", Operator: corev1.TolerationOpExists, TolerationSeconds: ptr(int64(1)), Effect: corev1.TaintEffectNoExecute})
	first := corev1.Toleration{Key: "a", Operator: corev1.TolerationOpExists, TolerationSeconds: ptr(int64(60)), Effect: corev1.TaintEffectNoExecute}
	stays := e.podOn("node", "stays", first)
	done := e.podOn("node", "done")
	e.setPhase(*done, corev1.PodSucceeded, false)
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node"}}
	change(e, node, func(n *corev1.Node) {
		long := metav1.NewTime(time.Now().Add(-time.Hour))
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: "a", Effect: corev1.TaintEffectNoExecute, TimeAdded: &long})
	})
	for _, pod := range []*corev1.Pod{done, gone} {
		e.eventually("eviction of "+pod.Name, func() error {
			if err := e.Get(e.ctx, keyOf(pod), pod); err == nil && pod.DeletionTimestamp == nil {
				return fmt.Errorf("conditions %+v", pod.Status.Conditions)
			}
			return nil
		})
	}
	if get(e, stays).DeletionTimestamp != nil {
		t.Fatal("a pod lost its time to a taint's age")
	}
	// Less time, asked for later, does not count; none at all does.
	change(e, stays, func(p *corev1.Pod) { p.Spec.Tolerations[0].TolerationSeconds = ptr(int64(0)) })
	e.gone(stays)
}

func TestNobodyIsEvictedWhenNoNodeIsWell(t *testing.T) {
	e := start(t, shortGrace)
	stop := e.beat("only")
	pod := e.podOn("only", "pod")
	stop()
	e.awaitTaints("only", "node.kubernetes.io/unreachable:NoSchedule")
	if get(e, pod).DeletionTimestamp != nil {
		t.Error("the pod was evicted")
	}
}

func TestCordonedNodeIsTainted(t *testing.T) {
	e := start(t)
	e.beat("node")
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node"}}
	e.eventually("a pod range", func() error {
		if get(e, node).Spec.PodCIDR == "" {
			return fmt.Errorf("none")
		}
		return nil
	})
	change(e, node, func(n *corev1.Node) { n.Spec.Unschedulable = true })
	e.awaitTaints("node", "node.kubernetes.io/unschedulable:NoSchedule")
	change(e, node, func(n *corev1.Node) { n.Spec.Unschedulable = false })
	e.awaitTaints("node")
}

// What several controllers want of a node that joins is written at once.
func TestJoiningNodeIsWrittenOnce(t *testing.T) {
	e := start(t)
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "node", Labels: map[string]string{corev1.LabelOSStable: "linux"}},
		Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{
			{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now()}}},
	}
	e.create(node)
	if len(node.Spec.Taints) == 0 {
		t.Fatal("the node was not kept from pods at first")
	}
	changes, err := e.server.Clientset().CoreV1().Nodes().Watch(e.ctx, metav1.ListOptions{ResourceVersion: node.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	defer changes.Stop()
	select {
	case change := <-changes.ResultChan():
		got, ok := change.Object.(*corev1.Node)
		if !ok {
			t.Fatalf("saw %v", change)
		}
		if len(got.Spec.Taints) > 0 || got.Spec.PodCIDR == "" || got.Annotations[corev1.ObjectTTLAnnotationKey] != "0" || got.Labels["beta.kubernetes.io/os"] != "linux" {
			t.Errorf("after its first change the node is %+v, %v, %v", got.Spec, got.Labels, got.Annotations)
		}
	case <-time.After(time.Minute):
		t.Fatal("the node was not changed in a minute")
	}
}

func TestPodsOfMissingNodesGo(t *testing.T) {
	e := start(t, shortGrace)
	e.beat("stays")
	node := e.node("goes")
	stays, goes := e.podOn("stays", "stays"), e.podOn("goes", "goes")
	if err := e.Client.Delete(e.ctx, node); err != nil {
		t.Fatal(err)
	}
	e.gone(goes)
	if get(e, stays).DeletionTimestamp != nil {
		t.Error("the other node's pod was removed")
	}
}
