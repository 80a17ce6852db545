package engine

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// What is told of a choice is true: so many nodes would do, and without the one
// that was chosen the runner-up is.
func TestChoiceTellsOfTheOthers(t *testing.T) {
	e := New(func(string) map[string]string { return nil })
	const nodes = 6
	for i := range nodes {
		e.SetNode(&corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("n", i)},
			Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{
				corev1.ResourceCPU: *resource.NewQuantity(int64(2+3*i), resource.DecimalSI), corev1.ResourceMemory: resource.MustParse("8Gi"),
				corev1.ResourcePods: resource.MustParse("10"),
			}},
		})
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "ns", UID: types.UID("p")}}
	pod.Spec.Containers = []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("1Gi")}}}}
	for _, prefer := range []string{"", "n3"} { // in one group, and in two
		if prefer != "" {
			pod.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{
				Weight: 1, Preference: corev1.NodeSelectorTerm{MatchFields: []corev1.NodeSelectorRequirement{{
					Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{prefer}}}}}}}}
		}
		var gone []*corev1.Node
		want := Choice{}
		for left := nodes - 1; left > 0; left-- { // one is too small
			got, ok := e.Choose(Ask{Pod: pod})
			if !ok || got.Feasible != left {
				t.Fatalf("with %d nodes: %+v", left, got)
			}
			// Where groups go, scores are normalised anew: compare within one.
			if prefer == "" && len(gone) > 0 && got.Score != want.RunnerUp {
				t.Errorf("the next scores %v, want %v", got.Score, want.RunnerUp)
			}
			if left > 1 && got.RunnerUp > got.Score || left == 1 && got.RunnerUp != 0 {
				t.Errorf("with %d nodes: %+v", left, got)
			}
			if place, _ := e.Place(Ask{Pod: pod}); place != got.Node {
				t.Errorf("placed on %s, chosen %s", place, got.Node)
			}
			want = got
			gone = append(gone, e.Node(got.Node))
			e.RemoveNode(got.Node)
		}
		for _, n := range gone {
			e.SetNode(n)
		}
	}
}
