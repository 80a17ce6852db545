package apply

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/sinawi/sinawi/internal/podnet/nettest"
	"github.com/sinawi/sinawi/internal/proxy/compile"
)

func TestMain(m *testing.M) { nettest.Main(m) }

func open(t *testing.T) *Table {
	t.Helper()
	table, err := Open(Options{
		Table: "sinawi-d00001", ClusterCIDR: netip.MustParsePrefix("10.42.0.0/16"), ServiceCIDR: netip.MustParsePrefix("10.43.0.0/16"),
		Gateway: netip.MustParseAddr("10.42.0.1"), PodLinks: "vd00001",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := table.Close(); err != nil {
			t.Error(err)
		}
		if err := Purge("sinawi-d00001"); err != nil {
			t.Error(err)
		}
	})
	return table
}

func (t *Table) holds(want []compile.Element) string {
	have, err := t.read()
	if err != nil {
		return err.Error()
	}
	slices.SortFunc(have, compile.InOrder)
	return cmp.Diff(want, have)
}

// TestTheKernelHoldsWhatWasCompiled follows a random history, with processes that
// begin anew in between, and compares after every step.
func TestTheKernelHoldsWhatWasCompiled(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	table, s := open(t), compile.New(compile.Place{Node: "n1"})
	if err := table.Sync(nil); err != nil {
		t.Fatal(err)
	}
	for range 60 {
		for range 1 + r.IntN(3) {
			change(r, s)
		}
		if err := table.Apply(s.Changes()); err != nil {
			t.Fatal(err)
		}
		if diff := table.holds(s.Elements()); diff != "" {
			t.Fatalf("after a change (-compiled +kernel):\n%s", diff)
		}
		if r.IntN(10) > 0 {
			continue
		}
		table = open(t)
		change(r, s)
		s.Changes()
		if err := table.Sync(s.Elements()); err != nil {
			t.Fatal(err)
		}
		if diff := table.holds(s.Elements()); diff != "" {
			t.Fatalf("after a restart (-compiled +kernel):\n%s", diff)
		}
	}
}

func change(r *rand.Rand, s *compile.State) {
	i := r.IntN(5)
	name := fmt.Sprint("s", i)
	switch r.IntN(6) {
	case 0:
		s.DeleteService(types.NamespacedName{Namespace: "ns", Name: name})
	case 1, 2:
		svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, ClusterIP: fmt.Sprint("10.43.0.", 10+i),
			Ports: []corev1.ServicePort{{Port: 80, Protocol: []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP}[r.IntN(3)], NodePort: int32(30080 + r.IntN(3))}},
		}}
		if r.IntN(2) == 0 {
			svc.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
		}
		if r.IntN(2) == 0 {
			svc.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
		}
		svc.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "198.51.100.1"}}
		svc.Spec.LoadBalancerSourceRanges = [][]string{nil, {"192.0.2.0/24", "203.0.113.5/32"}, {"0.0.0.0/0"}}[r.IntN(3)]
		s.SetService(svc)
	default:
		slice := &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Namespace: "ns", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name}},
			AddressType: discoveryv1.AddressTypeIPv4,
		}
		for _, p := range []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP} {
			slice.Ports = append(slice.Ports, discoveryv1.EndpointPort{Port: ptr.To[int32](8080), Protocol: &p})
		}
		for range r.IntN(400) * r.IntN(2) {
			slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
				Addresses: []string{fmt.Sprintf("10.42.%d.%d", r.IntN(2), 1+r.IntN(250))}, NodeName: ptr.To(fmt.Sprint("n", 1+r.IntN(2))),
			})
		}
		s.SetSlice(slice)
	}
}
