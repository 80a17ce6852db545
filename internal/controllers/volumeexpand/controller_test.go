package volumeexpand

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func claim(want, have string) *corev1.PersistentVolumeClaim {
	c := &corev1.PersistentVolumeClaim{}
	c.Status.Phase = corev1.ClaimBound
	c.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(want)}
	c.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(have)}
	return c
}

func TestWhoIsToldOf(t *testing.T) {
	for _, tt := range []struct {
		name          string
		before, after *corev1.PersistentVolumeClaim
		wants, grew   bool
	}{
		{"asks for more", claim("1Gi", "1Gi"), claim("2Gi", "1Gi"), true, true},
		{"still asks", claim("2Gi", "1Gi"), claim("2Gi", "1Gi"), true, false},
		{"has got some of it", claim("3Gi", "1Gi"), claim("3Gi", "2Gi"), true, true},
		{"has got it", claim("2Gi", "1Gi"), claim("2Gi", "2Gi"), false, true},
		{"asks for less again", claim("3Gi", "1Gi"), claim("2Gi", "1Gi"), true, false},
	} {
		if got := wants(tt.after); got != tt.wants {
			t.Errorf("%s: wants %v", tt.name, got)
		}
		if got := grew(tt.before, tt.after); got != tt.grew {
			t.Errorf("%s: grew %v", tt.name, got)
		}
	}
}
