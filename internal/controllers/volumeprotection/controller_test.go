package volumeprotection

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// TestUses: a claim that was made for a pod is needed until the node is done with the
// pod, also when that has ended; one of another pod's of that name is not.
func TestUses(t *testing.T) {
	named := corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "web-v"}}}
	made := corev1.Volume{Name: "v", VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}}
	now, yes := metav1.NewTime(time.Unix(1, 0)), true
	leaving := func(grace int64) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &now, &grace }
	}
	done := func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }
	for _, tt := range []struct {
		name   string
		volume corev1.Volume
		owner  string
		change func(*corev1.Pod)
		want   bool
	}{
		{"named", named, "", func(*corev1.Pod) {}, true},
		{"named by one that ended", named, "", done, true},
		{"named, no node yet", named, "", func(p *corev1.Pod) { p.Spec.NodeName = "" }, false},
		{"made for it", made, "web", func(*corev1.Pod) {}, true},
		{"made for it, ended", made, "web", done, true},
		{"made for it, on its way out", made, "web", leaving(30), true},
		{"made for it, let go", made, "web", leaving(0), false},
		{"made for another", made, "other", func(*corev1.Pod) {}, false},
	} {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "web"},
			Spec:       corev1.PodSpec{NodeName: "node", Volumes: []corev1.Volume{tt.volume}},
		}
		tt.change(pod)
		claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web-v"}}
		if tt.owner != "" {
			claim.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: "web", UID: types.UID(tt.owner), Controller: &yes}}
		}
		if got := uses(pod, claim); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
