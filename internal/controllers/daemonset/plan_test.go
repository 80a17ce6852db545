package daemonset

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func p[T any](v T) *T { return &v }

func newSet() *appsv1.DaemonSet {
	return &appsv1.DaemonSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "agent", UID: "agent"},
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "agent"}},
			UpdateStrategy: appsv1.DaemonSetUpdateStrategy{
				Type:          appsv1.RollingUpdateDaemonSetStrategyType,
				RollingUpdate: &appsv1.RollingUpdateDaemonSet{MaxUnavailable: p(intstr.FromInt32(1))},
			},
		},
	}
}

func node(name string, taints ...corev1.Taint) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"name": name}}, Spec: corev1.NodeSpec{Taints: taints}}
}

// podOn reads "node hash state".
func podOn(t *testing.T, s string, i int) *corev1.Pod {
	t.Helper()
	f := strings.Fields(s)
	pod := build(newSet(), f[0], f[1])
	pod.Name = fmt.Sprintf("%s-%s", f[0], f[1])
	pod.CreationTimestamp = metav1.NewTime(time.Unix(int64(i), 0))
	pod.Spec.NodeName = f[0]
	pod.Status.Phase = corev1.PodRunning
	switch f[2] {
	case "ready":
		pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	case "failed":
		pod.Status.Phase = corev1.PodFailed
	case "leaving":
		pod.DeletionTimestamp = p(metav1.Now())
	}
	return pod
}

func TestDecide(t *testing.T) {
	private := corev1.Taint{Key: "private", Effect: corev1.TaintEffectNoSchedule}
	evicted := corev1.Taint{Key: "private", Effect: corev1.TaintEffectNoExecute}
	cordoned := corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}
	surge := func(s *appsv1.DaemonSet) {
		s.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateDaemonSet{MaxSurge: p(intstr.FromInt32(1)), MaxUnavailable: p(intstr.FromInt32(0))}
	}
	for _, tt := range []struct {
		name   string
		change func(*appsv1.DaemonSet)
		nodes  []*corev1.Node
		pods   []string // the hash to come is 2
		create []string
		remove []string
	}{
		{"new nodes", nil, []*corev1.Node{node("a"), node("b")}, []string{"a 2 ready"}, []string{"b"}, nil},
		{"a node not for us", nil, []*corev1.Node{node("a", private)}, nil, nil, nil},
		{"a node not for new ones", nil, []*corev1.Node{node("a", private)}, []string{"a 2 ready"}, nil, nil},
		{"a node that drives us off", nil, []*corev1.Node{node("a", evicted)}, []string{"a 2 ready"}, nil, []string{"a-2"}},
		{"a cordoned node", nil, []*corev1.Node{node("a", cordoned)}, nil, []string{"a"}, nil},
		{"chosen nodes", func(s *appsv1.DaemonSet) { s.Spec.Template.Spec.NodeSelector = map[string]string{"name": "b"} },
			[]*corev1.Node{node("a"), node("b")}, []string{"a 2 ready"}, []string{"b"}, []string{"a-2"}},
		{"a failed one", nil, []*corev1.Node{node("a")}, []string{"a 2 failed"}, nil, []string{"a-2"}},
		{"one that still leaves", nil, []*corev1.Node{node("a")}, []string{"a 1 leaving"}, nil, nil},
		{"a rollout, one at a time", nil, []*corev1.Node{node("a"), node("b")}, []string{"a 1 ready", "b 1 ready"}, nil, []string{"a-1"}},
		{"waits for the last", nil, []*corev1.Node{node("a"), node("b")}, []string{"a 2 starting", "b 1 ready"}, nil, nil},
		{"broken ones first", nil, []*corev1.Node{node("a"), node("b")}, []string{"a 1 ready", "b 1 starting"}, nil, []string{"b-1"}},
		{"by hand only", func(s *appsv1.DaemonSet) { s.Spec.UpdateStrategy.Type = appsv1.OnDeleteDaemonSetStrategyType },
			[]*corev1.Node{node("a")}, []string{"a 1 ready"}, nil, nil},
		{"with a second pod beside", surge, []*corev1.Node{node("a"), node("b")}, []string{"a 1 ready", "b 1 ready"}, []string{"a"}, nil},
		{"the second is not ready", surge, []*corev1.Node{node("a"), node("b")}, []string{"a 1 ready", "a 2 starting", "b 1 ready"}, nil, nil},
		{"the second is ready", surge, []*corev1.Node{node("a")}, []string{"a 1 ready", "a 2 ready"}, nil, []string{"a-1"}},
	} {
		set := newSet()
		if tt.change != nil {
			tt.change(set)
		}
		snap := snapshot{set: set, nodes: tt.nodes, hash: "2"}
		for i, s := range tt.pods {
			snap.pods = append(snap.pods, podOn(t, s, i))
		}
		plan := decide(snap, time.Now())
		var remove []string
		for _, pod := range plan.remove {
			remove = append(remove, pod.Name)
		}
		if !slices.Equal(plan.create, tt.create) || !slices.Equal(remove, tt.remove) {
			t.Errorf("%s: create %v, remove %v; want %v, %v", tt.name, plan.create, remove, tt.create, tt.remove)
		}
	}
}

// TestStatus counts desired, current, misscheduled, ready, updated, available
// and unavailable nodes.
func TestStatus(t *testing.T) {
	nodes := []*corev1.Node{
		node("a"), node("b"), node("c"), node("d", corev1.Taint{Key: "private", Effect: corev1.TaintEffectNoSchedule}),
	}
	for _, tt := range []struct {
		name string
		pods []string
		want []int32
	}{
		{"some", []string{"a 2 ready", "b 1 starting", "d 2 ready"}, []int32{3, 2, 1, 1, 1, 1, 2}},
		{"the oldest of a node counts", []string{"a 1 ready", "a 2 starting", "b 1 starting", "b 2 ready"}, []int32{3, 2, 0, 1, 0, 1, 2}},
	} {
		snap := snapshot{set: newSet(), hash: "2", nodes: nodes}
		for i, s := range tt.pods {
			snap.pods = append(snap.pods, podOn(t, s, i))
		}
		st := decide(snap, time.Now()).status
		got := []int32{st.DesiredNumberScheduled, st.CurrentNumberScheduled, st.NumberMisscheduled, st.NumberReady, st.UpdatedNumberScheduled, st.NumberAvailable, st.NumberUnavailable}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestPodIsPinnedAndTolerant(t *testing.T) {
	set := newSet()
	set.Spec.Template.Spec.HostNetwork = true
	pod := build(set, "a", "h")
	if target(pod) != "a" {
		t.Errorf("the pod is meant for %q", target(pod))
	}
	if n := len(pod.Spec.Tolerations); n != 7 {
		t.Errorf("%d tolerations, want 7 on the host's network", n)
	}
	if len(set.Spec.Template.Spec.Tolerations) != 0 || set.Spec.Template.Spec.Affinity != nil {
		t.Error("the template was changed")
	}
}
