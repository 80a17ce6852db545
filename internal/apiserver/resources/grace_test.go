package resources

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestGraceOfAPodBoundMeanwhile decides twice, as the registry does: the pod is
// bound in between.
func TestGraceOfAPodBoundMeanwhile(t *testing.T) {
	zero, five, thirty := int64(0), int64(5), int64(30)
	for _, tt := range []struct {
		name  string
		asked *int64
		want  int64
	}{
		{"nothing asked", nil, 30}, {"five seconds asked", &five, 5}, {"at once", &zero, 0},
	} {
		pod := &corev1.Pod{Spec: corev1.PodSpec{TerminationGracePeriodSeconds: &thirty}}
		options := &metav1.DeleteOptions{GracePeriodSeconds: tt.asked}
		ctx := WithGrace(t.Context(), options)
		if podGracefulDelete(ctx, pod, options); *options.GracePeriodSeconds != 0 {
			t.Errorf("%s: %d seconds for a pod that no node has, want none", tt.name, *options.GracePeriodSeconds)
		}
		pod.Spec.NodeName = "n1"
		if podGracefulDelete(ctx, pod, options); *options.GracePeriodSeconds != tt.want {
			t.Errorf("%s: %d seconds for a pod that a node has by now, want %d", tt.name, *options.GracePeriodSeconds, tt.want)
		}
	}
}
