package engine

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// NodeChange is what is new about a node, as a set.
type NodeChange uint8

// What may change about a node that a rule or a score reads.
const (
	NodeIsNew    NodeChange = 1 << iota // or gone, or another of its name
	NodeTaints                          // cordoning it too
	NodeLabels                          //
	NodeCapacity                        // what it can hold
	NodeFeatures                        // what it declares to support
	NodeImages                          // no rule reads them
)

// AnyNodeChange has all that rules read.
const AnyNodeChange = NodeIsNew | NodeTaints | NodeLabels | NodeCapacity | NodeFeatures

// changeOf compares two states of a node. Nodes report their status often; most
// reports change only times.
func changeOf(a, b *corev1.Node) (out NodeChange) {
	if a == nil || a.UID != b.UID {
		return AnyNodeChange | NodeImages
	}
	if a.Spec.Unschedulable != b.Spec.Unschedulable || !equality.Semantic.DeepEqual(a.Spec.Taints, b.Spec.Taints) {
		out |= NodeTaints
	}
	if !maps.Equal(a.Labels, b.Labels) {
		out |= NodeLabels
	}
	if !equality.Semantic.DeepEqual(a.Status.Allocatable, b.Status.Allocatable) {
		out |= NodeCapacity
	}
	if !slices.Equal(a.Status.DeclaredFeatures, b.Status.DeclaredFeatures) {
		out |= NodeFeatures
	}
	if !equality.Semantic.DeepEqual(a.Status.Images, b.Status.Images) {
		out |= NodeImages
	}
	return out
}

// ChangesFor are the changes of a node after which pods that the rules refused may
// fit, or find others to take the place of, there.
func ChangesFor(rules []Rule) NodeChange {
	out := NodeIsNew
	for _, r := range rules {
		switch r {
		case RuleUnschedulable, RuleTaints:
			out |= NodeTaints
		case RuleNodeAffinity, RuleInterPod:
			out |= NodeLabels
		case RuleSpread:
			out |= NodeLabels | NodeTaints
		case RuleFeatures:
			out |= NodeFeatures
		case RuleResources:
			out |= NodeCapacity
		}
	}
	return out
}
