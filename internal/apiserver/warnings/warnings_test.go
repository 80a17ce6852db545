package warnings

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
)

func TestPod(t *testing.T) {
	p := &corev1.Pod{Spec: corev1.PodSpec{
		NodeSelector: map[string]string{"beta.kubernetes.io/os": "linux"},
		Containers: []corev1.Container{{
			Env:   []corev1.EnvVar{{Name: "A"}, {Name: "B"}, {Name: "A"}},
			Ports: []corev1.ContainerPort{{ContainerPort: 80, Protocol: "TCP"}, {ContainerPort: 80, Protocol: "UDP"}, {ContainerPort: 80, Protocol: "TCP"}},
		}},
	}}
	want := []string{
		`spec.containers[0].env[2]: hides previous definition of "A", which may be unexpected`,
		`spec.containers[0].ports[2]: duplicate port definition with spec.containers[0].ports[0]`,
		`spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead`,
	}
	if diff := cmp.Diff(want, Pod(p)); diff != "" {
		t.Error(diff)
	}
}
