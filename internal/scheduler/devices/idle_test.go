package devices

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestIdle(t *testing.T) {
	by := func(uids ...types.UID) (out []resourcev1.ResourceClaimConsumerReference) {
		for _, uid := range uids {
			out = append(out, resourcev1.ResourceClaimConsumerReference{Resource: "pods", UID: uid})
		}
		return out
	}
	node := func(name string) []*corev1.Node { return []*corev1.Node{{ObjectMeta: metav1.ObjectMeta{Name: name}}} }
	name := "c"
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p", UID: "p"}, Spec: corev1.PodSpec{
		ResourceClaims: []corev1.PodResourceClaim{{Name: "c", ResourceClaimName: &name}}}}
	for _, tt := range []struct {
		name     string
		reserved []resourcev1.ResourceClaimConsumerReference
		nodes    []*corev1.Node
		want     bool
	}{
		{"nobody uses it elsewhere", nil, node("n2"), true},
		{"its own pod alone has it", by("p"), node("n2"), true},
		{"another has it", by("other"), node("n2"), false},
		{"it is here", nil, node("n1"), false},
		{"no node is kept from it", nil, nil, false},
	} {
		w := New()
		w.Set(&resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "c"}, Status: resourcev1.ResourceClaimStatus{
			ReservedFor: tt.reserved,
			Allocation: &resourcev1.AllocationResult{NodeSelector: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{"n1"}}}}}}},
		}}, false)
		plan, problem := w.Plan(pod)
		if problem != "" {
			t.Fatalf("%s: %s", tt.name, problem)
		}
		if got := plan.Idle(tt.nodes); (got != nil) != tt.want {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
