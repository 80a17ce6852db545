package engine

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// sameForScheduling reports whether two states of a node differ in nothing that
// a rule or score reads. Nodes report their status often; most reports change
// only times.
func sameForScheduling(a, b *corev1.Node) bool {
	return a.UID == b.UID &&
		a.Spec.Unschedulable == b.Spec.Unschedulable &&
		equality.Semantic.DeepEqual(a.Spec.Taints, b.Spec.Taints) &&
		equality.Semantic.DeepEqual(a.Status.Allocatable, b.Status.Allocatable) &&
		maps.Equal(a.Labels, b.Labels)
}

// sameUse reports whether a pod takes the same from its node as before.
func sameUse(a, b *placed) bool {
	return a.key == b.key && a.amounts.equal(b.amounts) && a.scoring.equal(b.scoring) &&
		slices.Equal(a.ports, b.ports) && maps.Equal(a.pod.Labels, b.pod.Labels) &&
		(a.pod.DeletionTimestamp == nil) == (b.pod.DeletionTimestamp == nil)
}

func (a Amounts) equal(b Amounts) bool {
	return a.MilliCPU == b.MilliCPU && a.Memory == b.Memory && a.Ephemeral == b.Ephemeral && maps.Equal(a.Others, b.Others)
}
