package compile

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"
)

// TestChangesLeadWhereAFreshStartWould: whatever happens in whatever order, the
// elements that the deltas add up to are those of Elements, and clients are led
// as by a state that sees the end alone.
func TestChangesLeadWhereAFreshStartWould(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		services := map[string]*corev1.Service{}
		parts := map[string]*discoveryv1.EndpointSlice{}
		kernel := map[place]Element{}
		s := New(node)
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			for range rapid.IntRange(1, 3).Draw(t, "together") {
				step(t, s, services, parts)
			}
			follow(t, kernel, s.Changes())
			if diff := cmp.Diff(s.Elements(), sorted(kernel)); diff != "" {
				t.Fatalf("the deltas do not add up (-elements +deltas):\n%s", diff)
			}
		}
		fresh := New(node)
		for _, svc := range services {
			fresh.SetService(svc)
		}
		for _, slice := range parts {
			fresh.SetSlice(slice)
		}
		fresh.Changes()
		if diff := cmp.Diff(leads(fresh.Elements()), leads(s.Elements())); diff != "" {
			t.Fatalf("history shows (-fresh +grown):\n%s", diff)
		}
	})
}

func follow(t *rapid.T, kernel map[place]Element, d Delta) {
	for _, e := range d.Delete {
		at := place{e.Set, e.Key}
		if kernel[at] != e {
			t.Fatalf("deletes %+v, there is %+v", e, kernel[at])
		}
		delete(kernel, at)
	}
	for _, e := range d.Add {
		at := place{e.Set, e.Key}
		if have, dup := kernel[at]; dup {
			t.Fatalf("adds %+v where %+v is", e, have)
		}
		kernel[at] = e
	}
}

func sorted(kernel map[place]Element) []Element {
	var out []Element
	for _, e := range kernel {
		out = append(out, e)
	}
	slices.SortFunc(out, InOrder)
	return out
}

func step(t *rapid.T, s *State, services map[string]*corev1.Service, parts map[string]*discoveryv1.EndpointSlice) {
	name := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "service")
	switch rapid.IntRange(0, 5).Draw(t, "action") {
	case 0:
		delete(services, name)
		s.DeleteService(types.NamespacedName{Namespace: "ns", Name: name})
	case 1:
		part := name + "-" + rapid.SampledFrom([]string{"1", "2"}).Draw(t, "part")
		if have := parts[part]; have != nil {
			delete(parts, part)
			s.DeleteSlice(have)
		}
	case 2, 3:
		svc := drawService(t, name)
		services[name] = svc
		s.SetService(svc)
	default:
		part := name + "-" + rapid.SampledFrom([]string{"1", "2"}).Draw(t, "part")
		slice := drawSlice(t, name, part)
		parts[part] = slice
		s.SetSlice(slice)
	}
}

func drawService(t *rapid.T, name string) *corev1.Service {
	svc := aService(name, fmt.Sprintf("10.43.0.%d", name[0]))
	svc.Spec.Ports[0].Protocol = rapid.SampledFrom([]corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP}).Draw(t, "protocol")
	for _, f := range []func(*corev1.Service){nodePort, balanced, externallyLocal, internallyLocal,
		func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"192.0.2.9"} },
		func(s *corev1.Service) { s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP },
		func(s *corev1.Service) { s.Spec.LoadBalancerSourceRanges = []string{"198.51.100.0/24"} }} {
		if rapid.Bool().Draw(t, "feature") {
			f(svc)
		}
	}
	return svc
}

func drawSlice(t *rapid.T, service, name string) *discoveryv1.EndpointSlice {
	var list []string
	for i := range rapid.IntRange(0, 4).Draw(t, "endpoints") {
		list = append(list, fmt.Sprintf("10.0.0.%d %s %s", rapid.IntRange(1, 6).Draw(t, "address")+6*i,
			rapid.SampledFrom([]string{"n1", "n2"}).Draw(t, "node"), rapid.SampledFrom([]string{"ready", "leaving", "down"}).Draw(t, "condition")))
	}
	slice := aSlice(service, list...)
	slice.ObjectMeta = metav1.ObjectMeta{Namespace: "ns", Name: name, Labels: slice.Labels}
	slice.Ports = nil
	for _, p := range []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP} {
		slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Name: ptr.To("http"), Port: ptr.To[int32](8080), Protocol: &p})
	}
	return slice
}
