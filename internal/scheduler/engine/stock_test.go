package engine

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// shelf is devices by node: how many there are, and how many are taken.
type shelf map[string][2]int64

func (s shelf) Refuse(n NodeView) []Refusal {
	if s[n.Object().Name][0] == 0 {
		return []Refusal{{Rule: RuleDevices, Reason: "none", Final: true}}
	}
	return nil
}

func (s shelf) Stock(n NodeView, _ corev1.ResourceName) (total, taken int64) {
	return s[n.Object().Name][0], s[n.Object().Name][1]
}

// Devices count in scores as what nodes have of their own does.
func TestScoresByDevices(t *testing.T) {
	const gpu = corev1.ResourceName("example.com/gpu")
	p := makePod("p", "1", func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Requests[gpu] = resource.MustParse("1") })
	for _, tt := range []struct {
		name     string
		strategy Strategy
		scored   corev1.ResourceName
		devices  shelf
		want     string
	}{
		{"most", MostAllocated, gpu, shelf{"n1": {4, 1}, "n2": {4, 2}, "n3": {4, 0}}, "n2"},
		{"least", LeastAllocated, gpu, shelf{"n1": {4, 1}, "n2": {4, 2}, "n3": {4, 0}}, "n3"},
		{"not scored by", MostAllocated, corev1.ResourceCPU, shelf{"n1": {4, 1}, "n2": {4, 2}, "n3": {4, 0}}, "n1"},
		{"one has none", LeastAllocated, gpu, shelf{"n1": {4, 1}, "n2": {4, 2}}, "n1"},
		{"one has its own", MostAllocated, gpu, shelf{"n1": {4, 0}, "n2": {4, 0}, "n3": {4, 0}, "own": {1, 0}}, "own"},
	} {
		profile := DefaultProfile()
		profile.Weights = map[Rule]int64{RuleResources: 1}
		profile.Strategy, profile.Resources = tt.strategy, []Weighted{{tt.scored, 1}}
		e := New(noNamespaces)
		for _, name := range []string{"n1", "n2", "n3"} {
			e.SetNode(makeNode(name, "4", "4Gi"))
		}
		if tt.devices["own"][0] > 0 {
			e.SetNode(makeNode("own", "4", "4Gi", func(n *corev1.Node) { n.Status.Allocatable[gpu] = resource.MustParse("2") }))
		}
		ask := Ask{Pod: p, Profile: profile, Extras: []Extra{tt.devices}, Delegated: map[corev1.ResourceName]bool{gpu: true}}
		if got, ok := e.Place(ask); !ok || got != tt.want {
			t.Errorf("%s: %q, want %s: %s", tt.name, got, tt.want, e.Explain(ask).Message())
		}
		ask.Delegated = nil
		if got, ok := e.Place(ask); tt.devices["own"][0] == 0 && ok {
			t.Errorf("%s: on %s though nothing gives it devices", tt.name, got)
		}
	}
}
