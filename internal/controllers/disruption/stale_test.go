package disruption

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestUndisrupted(t *testing.T) {
	now := time.Unix(10_000, 0)
	leaving := metav1.NewTime(now)
	for _, tt := range []struct {
		name    string
		status  corev1.ConditionStatus
		reason  string
		since   time.Time
		deleted *metav1.Time
		phase   corev1.PodPhase
		want    bool
		wait    time.Duration
	}{
		{name: "just told", status: corev1.ConditionTrue, since: now, want: true, wait: evictionTime},
		{name: "forgotten", status: corev1.ConditionTrue, since: now.Add(-time.Hour), want: true},
		{name: "without a time", status: corev1.ConditionTrue, want: true},
		{name: "it goes", status: corev1.ConditionTrue, since: now, deleted: &leaving},
		{name: "it ended", status: corev1.ConditionTrue, since: now, phase: corev1.PodFailed},
		{name: "its kubelet ends it", status: corev1.ConditionTrue, reason: corev1.PodReasonTerminationByKubelet, since: now},
		{name: "taken back", status: corev1.ConditionFalse, since: now},
	} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: tt.deleted}, Status: corev1.PodStatus{
			Phase:      tt.phase,
			Conditions: []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: tt.status, Reason: tt.reason, LastTransitionTime: metav1.NewTime(tt.since)}},
		}}
		got := undisrupted(pod)
		if got != tt.want || got && staleIn(pod, now) != tt.wait {
			t.Errorf("%s: %v in %v, want %v in %v", tt.name, got, staleIn(pod, now), tt.want, tt.wait)
		}
	}
}
