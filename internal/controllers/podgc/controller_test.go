package podgc

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestWhoGoesFirst(t *testing.T) {
	pod := func(name string, age time.Duration, phase corev1.PodPhase, reason string) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: metav1.NewTime(time.Unix(1000, 0).Add(-age))},
			Status:     corev1.PodStatus{Phase: phase, Reason: reason},
		}
	}
	pods := []*corev1.Pod{
		pod("old", time.Minute, corev1.PodSucceeded, ""), pod("young", 0, corev1.PodFailed, ""), pod("evicted", 0, corev1.PodFailed, "Evicted"),
		pod("evicted before", time.Second, corev1.PodFailed, "Evicted"), pod("another", time.Minute, corev1.PodFailed, "Error"),
	}
	slices.SortFunc(pods, sooner)
	var got []string
	for _, p := range pods {
		got = append(got, p.Name)
	}
	if want := []string{"evicted before", "evicted", "another", "old", "young"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
