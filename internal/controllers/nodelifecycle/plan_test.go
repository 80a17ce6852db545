package nodelifecycle

import (
	"maps"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func nodeIn(zone string, ready corev1.ConditionStatus, more ...corev1.Taint) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{corev1.LabelTopologyZone: zone}},
		Spec:       corev1.NodeSpec{Taints: more},
		Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}},
	}
}

func TestTaints(t *testing.T) {
	theirs := corev1.Taint{Key: "example.com/gpu", Effect: corev1.TaintEffectNoExecute}
	unreachable := corev1.Taint{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute}
	pressed := nodeIn("", corev1.ConditionTrue)
	pressed.Status.Conditions = append(pressed.Status.Conditions, corev1.NodeCondition{Type: corev1.NodeDiskPressure, Status: corev1.ConditionTrue})
	for _, tt := range []struct {
		name  string
		node  *corev1.Node
		evict eviction
		want  []string
	}{
		{"well", nodeIn("", corev1.ConditionTrue, theirs), allow, []string{"example.com/gpu:NoExecute"}},
		{"well again", nodeIn("", corev1.ConditionTrue, theirs, unreachable), never, []string{"example.com/gpu:NoExecute"}},
		{"not ready", nodeIn("", corev1.ConditionFalse), allow,
			[]string{"node.kubernetes.io/not-ready:NoSchedule", "node.kubernetes.io/not-ready:NoExecute"}},
		{"silent, its turn has not come", nodeIn("", corev1.ConditionUnknown), hold, []string{"node.kubernetes.io/unreachable:NoSchedule"}},
		{"silent, tainted before", nodeIn("", corev1.ConditionUnknown, unreachable), hold,
			[]string{"node.kubernetes.io/unreachable:NoExecute", "node.kubernetes.io/unreachable:NoSchedule"}},
		{"silent like all others", nodeIn("", corev1.ConditionUnknown, unreachable), never, []string{"node.kubernetes.io/unreachable:NoSchedule"}},
		{"no room on disk", pressed, allow, []string{"node.kubernetes.io/disk-pressure:NoSchedule"}},
		{"says nothing of its readiness", &corev1.Node{Spec: corev1.NodeSpec{Taints: []corev1.Taint{
			{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}, theirs,
		}}}, allow, []string{"example.com/gpu:NoExecute"}},
	} {
		var got []string
		for _, taint := range taints(tt.node, tt.evict, time.Now()) {
			got = append(got, taint.Key+":"+string(taint.Effect))
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestSilenceIsNotedOnce(t *testing.T) {
	node := nodeIn("", corev1.ConditionTrue)
	first := time.Unix(1000, 0)
	node.Status.Conditions = silence(node, first)
	if len(node.Status.Conditions) != 4 {
		t.Fatalf("%d conditions, want Ready and three pressures", len(node.Status.Conditions))
	}
	for _, c := range silence(node, first.Add(time.Hour)) {
		if c.Status != corev1.ConditionUnknown || !c.LastTransitionTime.Time.Equal(first) {
			t.Errorf("%s is %s since %v", c.Type, c.Status, c.LastTransitionTime)
		}
	}
}

func TestRelabel(t *testing.T) {
	for _, tt := range []struct {
		name       string
		have, want map[string]string
	}{
		{"nothing is known", nil, map[string]string{}},
		{"the old names are missing", map[string]string{corev1.LabelOSStable: "linux", corev1.LabelArchStable: "arm64"},
			map[string]string{"beta.kubernetes.io/os": "linux", "beta.kubernetes.io/arch": "arm64"}},
		{"an old name differs", map[string]string{corev1.LabelOSStable: "linux", "beta.kubernetes.io/os": "windows"}, map[string]string{"beta.kubernetes.io/os": "linux"}},
		{"all is well", map[string]string{corev1.LabelOSStable: "linux", "beta.kubernetes.io/os": "linux"}, map[string]string{}},
		{"only old names", map[string]string{"beta.kubernetes.io/os": "linux"}, map[string]string{}},
	} {
		if got := relabel(tt.have); !maps.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
