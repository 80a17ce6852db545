package backend

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestTriggers(t *testing.T) {
	at := func(seconds int64) metav1.Time { return metav1.Unix(seconds, 0) }
	pod := func(name string, ready int64) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.PodStatus{
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, LastTransitionTime: at(ready)}},
		}}
	}
	var triggers Triggers
	service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s", CreationTimestamp: at(10)}}
	for i, step := range []struct {
		pods []*corev1.Pod
		want int64 // 0: nothing that can be told
	}{
		{[]*corev1.Pod{pod("old", 5)}, 10},
		{[]*corev1.Pod{pod("old", 5)}, 0},
		{[]*corev1.Pod{pod("old", 5), pod("a", 21), pod("b", 20)}, 20},
		{[]*corev1.Pod{pod("old", 30), pod("a", 21), pod("b", 20)}, 30},
		{[]*corev1.Pod{pod("a", 21)}, 0},
	} {
		got := triggers.Since(service, step.pods)
		if want := time.Unix(step.want, 0); step.want == 0 && !got.IsZero() || step.want != 0 && !got.Equal(want) {
			t.Errorf("step %d: %v, want %d", i, got, step.want)
		}
	}
	meta := metav1.ObjectMeta{Annotations: map[string]string{"a": "b"}}
	Stamp(&meta, time.Unix(0, 0))
	if got := meta.Annotations[corev1.EndpointsLastChangeTriggerTime]; got != "1970-01-01T00:00:00Z" {
		t.Errorf("stamped %q", got)
	}
	Stamp(&meta, time.Time{})
	if len(meta.Annotations) != 1 {
		t.Errorf("annotations %v", meta.Annotations)
	}
}
