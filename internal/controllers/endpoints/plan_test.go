//lint:file-ignore SA1019 the older objects are what this package is for

package endpoints

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func backendOf(name, ip string, ready bool, ports ...corev1.ContainerPort) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)}}
	p.Spec.Containers = []corev1.Container{{Name: "c", Ports: ports}}
	p.Status.PodIP, p.Status.PodIPs = ip, []corev1.PodIP{{IP: ip}}
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: status}}
	return p
}

func named(name string, number int32) corev1.ContainerPort {
	return corev1.ContainerPort{Name: name, ContainerPort: number, Protocol: corev1.ProtocolTCP}
}

func serviceOf(ports ...string) *corev1.Service {
	s := &corev1.Service{}
	s.Spec.ClusterIP = "10.43.0.7"
	for _, p := range ports {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: p, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromString(p)})
	}
	return s
}

// brief is a subset in short.
func brief(sets []corev1.EndpointSubset) (out []string) {
	for _, s := range sets {
		text := ""
		for _, a := range s.Addresses {
			text += a.IP + " "
		}
		for _, a := range s.NotReadyAddresses {
			text += "(" + a.IP + ") "
		}
		for _, p := range s.Ports {
			text += fmt.Sprintf("%s:%d ", p.Name, p.Port)
		}
		out = append(out, text)
	}
	return out
}

func TestSubsets(t *testing.T) {
	for _, tt := range []struct {
		name    string
		service *corev1.Service
		pods    []*corev1.Pod
		want    []string
	}{
		{"the order of ports is that of their hashes", serviceOf("a", "b", "c"),
			[]*corev1.Pod{backendOf("p", "10.0.0.1", true, named("a", 1), named("b", 2), named("c", 3))},
			[]string{"10.0.0.1 c:3 b:2 a:1 "}},
		{"ports that not all pods have", serviceOf("a", "b"),
			[]*corev1.Pod{backendOf("p", "10.0.0.1", true, named("a", 1), named("b", 2)), backendOf("q", "10.0.0.2", false, named("a", 1))},
			[]string{"10.0.0.1 b:2 ", "10.0.0.1 (10.0.0.2) a:1 "}},
		{"a name with two numbers", serviceOf("a"),
			[]*corev1.Pod{backendOf("p", "10.0.0.1", true, named("a", 1)), backendOf("q", "10.0.0.2", true, named("a", 2))},
			[]string{"10.0.0.2 a:2 ", "10.0.0.1 a:1 "}},
		{"no port", serviceOf(), []*corev1.Pod{backendOf("p", "10.0.0.1", true)}, []string{"10.0.0.1 "}},
		{"none of its ports", serviceOf("a"), []*corev1.Pod{backendOf("p", "10.0.0.1", true)}, nil},
	} {
		if d := cmp.Diff(tt.want, brief(subsets(tt.service, tt.pods))); d != "" {
			t.Errorf("%s (-want +got)\n%s", tt.name, d)
		}
	}
}

func TestTruncate(t *testing.T) {
	set := func(ready, other int) corev1.EndpointSubset {
		return corev1.EndpointSubset{Addresses: make([]corev1.EndpointAddress, ready), NotReadyAddresses: make([]corev1.EndpointAddress, other)}
	}
	for _, tt := range []struct {
		name string
		in   []corev1.EndpointSubset
		want [][2]int
		cut  bool
	}{
		{"all fit", []corev1.EndpointSubset{set(400, 100), set(400, 100)}, [][2]int{{400, 100}, {400, 100}}, false},
		{"too many that are not ready", []corev1.EndpointSubset{set(400, 300), set(400, 100)}, [][2]int{{400, 150}, {400, 50}}, true},
		{"too many that are ready", []corev1.EndpointSubset{set(1500, 10), set(500, 10)}, [][2]int{{750, 0}, {250, 0}}, true},
	} {
		out, cut := truncate(tt.in)
		var got [][2]int
		for _, s := range out {
			got = append(got, [2]int{len(s.Addresses), len(s.NotReadyAddresses)})
		}
		if d := cmp.Diff(tt.want, got); d != "" || cut != tt.cut {
			t.Errorf("%s: cut %v (-want +got)\n%s", tt.name, cut, d)
		}
	}
}
