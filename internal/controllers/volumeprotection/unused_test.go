package volumeprotection

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestUnused(t *testing.T) {
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "c"}}
	pod := func(change func(*corev1.Pod)) *corev1.Pod {
		p := &corev1.Pod{Spec: corev1.PodSpec{Volumes: []corev1.Volume{{VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "c"},
		}}}}}
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
		change(p)
		return p
	}
	deleted := func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} }
	for _, tt := range []struct {
		name string
		pod  *corev1.Pod
		want bool
	}{
		{"without a node", pod(func(*corev1.Pod) {}), true},
		{"of another claim", pod(func(p *corev1.Pod) { p.Spec.Volumes[0].PersistentVolumeClaim.ClaimName = "d" }), false},
		{"ended", pod(func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }), false},
		{"deleted, still running", pod(deleted), true},
		{"deleted, its containers ended", pod(func(p *corev1.Pod) {
			deleted(p)
			p.Status.ContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}}
		}), false},
	} {
		if got := refers(tt.pod, claim); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
	var status corev1.PersistentVolumeClaimStatus
	for i, step := range []struct {
		used, changes bool
		reason        string
	}{
		{false, true, "NoPodsUsingPVC"}, {false, false, "NoPodsUsingPVC"}, {true, true, "PodUsingPVC"}, {true, false, "PodUsingPVC"}, {false, true, "NoPodsUsingPVC"},
	} {
		if got := setUnused(&status, step.used, time.Unix(int64(i), 0)); got != step.changes || len(status.Conditions) != 1 || status.Conditions[0].Reason != step.reason {
			t.Errorf("step %d: changed %v: %v", i, got, status.Conditions)
		}
	}
}
