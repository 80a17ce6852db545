package devices

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestMissing(t *testing.T) {
	claim := func(name string) *resourcev1.ResourceClaim {
		return &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}}
	}
	leaving := claim("leaving")
	leaving.DeletionTimestamp = &metav1.Time{}
	w := &World{claims: map[types.NamespacedName]*resourcev1.ResourceClaim{
		{Namespace: "ns", Name: "there"}: claim("there"), {Namespace: "ns", Name: "leaving"}: leaving,
	}}
	there, leaves, absent, template := "there", "leaving", "absent", "template"
	for _, tt := range []struct {
		name string
		uses corev1.PodResourceClaim
		want string
	}{
		{"there", corev1.PodResourceClaim{Name: "c", ResourceClaimName: &there}, ""},
		{"absent", corev1.PodResourceClaim{Name: "c", ResourceClaimName: &absent}, `resourceclaim "absent" not found`},
		{"leaving", corev1.PodResourceClaim{Name: "c", ResourceClaimName: &leaves}, `resourceclaim "leaving" is being deleted`},
		{"to be made", corev1.PodResourceClaim{Name: "c", ResourceClaimTemplateName: &template}, `pod "ns/p": ResourceClaim not created yet`},
	} {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p"}, Spec: corev1.PodSpec{ResourceClaims: []corev1.PodResourceClaim{tt.uses}}}
		if got := w.Missing(pod); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
