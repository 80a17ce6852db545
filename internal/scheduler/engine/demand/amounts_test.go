package demand

import (
	"fmt"
	"math/rand/v2"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// TestUses: what is added up without a list is what the library that
// kube-scheduler uses says, for pods of all shapes.
func TestUses(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	list := func() corev1.ResourceList {
		out := corev1.ResourceList{}
		for name, amounts := range map[corev1.ResourceName][]string{
			corev1.ResourceCPU:              {"0", "100m", "1", "1500u", "2.5", "333n"},
			corev1.ResourceMemory:           {"0", "64Mi", "1e9", "100m", "1500"},
			corev1.ResourceEphemeralStorage: {"1Gi", "5"},
			"example.com/gpu":               {"1", "2"},
		} {
			if r.IntN(2) == 0 {
				out[name] = resource.MustParse(pick(amounts...))
			}
		}
		return out
	}
	containers := func(most int) []corev1.Container {
		var out []corev1.Container
		for i := range r.IntN(most + 1) {
			c := corev1.Container{Name: fmt.Sprint("c", i)}
			if r.IntN(4) > 0 {
				c.Resources.Requests = list()
			}
			out = append(out, c)
		}
		return out
	}
	quick := 0
	for i := range 5000 {
		pod := &corev1.Pod{}
		pod.Spec.Containers = containers(3)
		if r.IntN(4) == 0 {
			pod.Spec.InitContainers = containers(2)
		}
		if r.IntN(6) == 0 {
			pod.Spec.Overhead = list()
		}
		if r.IntN(6) == 0 {
			pod.Spec.Resources = &corev1.ResourceRequirements{Requests: list()}
		}
		for _, c := range pod.Spec.Containers {
			status := corev1.ContainerStatus{Name: c.Name}
			if r.IntN(6) == 0 {
				status.Resources = &corev1.ResourceRequirements{Requests: list()}
			}
			pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, status)
		}
		if addsUp(pod) {
			quick++
		}
		for _, score := range []func(*corev1.Pod) Amounts{ScoringRequests, ScoringUse} {
			amounts, scoring := Uses(pod, score)
			if want := AmountsOf(Requests(pod)); !amounts.Equal(&want) {
				t.Fatalf("pod %d: takes %+v, want %+v: %+v", i, amounts, want, pod.Spec)
			}
			if want := score(pod); !scoring.Equal(&want) {
				t.Fatalf("pod %d: is scored by %+v, want %+v: %+v", i, scoring, want, pod.Spec)
			}
		}
	}
	if quick < 100 {
		t.Errorf("only %d pods simply add up", quick)
	}
}
