package demand

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// NamesConflict is why a pod has no place of which NamesNoNode is true, in
// kube-scheduler's words.
const NamesConflict = "pod affinity terms conflict"

// NamesNoNode reports whether every required term of a pod names nodes, and none of
// them one that it allows.
func NamesNoNode(pod *corev1.Pod) bool {
	if pod.Spec.Affinity == nil || pod.Spec.Affinity.NodeAffinity == nil {
		return false
	}
	names := Nodes(pod.Spec.Affinity.NodeAffinity)
	return names != nil && len(names) == 0
}

// Nodes are the nodes that every required term names, or nil if some names none.
func Nodes(a *corev1.NodeAffinity) map[string]bool {
	required := a.RequiredDuringSchedulingIgnoredDuringExecution
	if required == nil || len(required.NodeSelectorTerms) == 0 {
		return nil
	}
	out := map[string]bool{}
	for i := range required.NodeSelectorTerms {
		names := namedBy(&required.NodeSelectorTerms[i])
		if names == nil {
			return nil
		}
		for _, name := range names {
			out[name] = true
		}
	}
	return out
}

// namedBy are the nodes that a term allows by name, or nil if it names none.
func namedBy(term *corev1.NodeSelectorTerm) []string {
	var out []string
	for i := range term.MatchFields {
		f := &term.MatchFields[i]
		switch {
		case f.Key != metav1.ObjectNameField || f.Operator != corev1.NodeSelectorOpIn:
		case out == nil:
			out = slices.Clone(f.Values)
		default:
			out = slices.DeleteFunc(out, func(name string) bool { return !slices.Contains(f.Values, name) })
		}
	}
	return out
}
