package servicelb

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func node(name string, ready bool, addresses ...string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}}}
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status}}
	for _, a := range addresses {
		kind, address, _ := strings.Cut(a, "=")
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeAddressType(kind), Address: address})
	}
	return n
}

func service(name string, age time.Duration, ports ...int32) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(time.Unix(1e6, 0).Add(-age))},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}},
	}
	for _, p := range ports {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Port: p, Protocol: corev1.ProtocolTCP})
	}
	return s
}

func TestDecide(t *testing.T) {
	excluded := node("n4", true, "InternalIP=10.0.0.4")
	excluded.Labels[corev1.LabelNodeExcludeBalancers] = ""
	nodes := []*corev1.Node{
		node("n2", true, "InternalIP=10.0.0.2", "ExternalIP=1.2.3.4", "Hostname=n2"),
		node("n1", true, "InternalIP=10.0.0.1", "InternalIP=fd00::1"),
		node("n3", false, "InternalIP=10.0.0.3"),
		excluded,
	}
	local := service("a", time.Hour, 80)
	local.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	dual := service("a", time.Hour, 80)
	dual.Spec.IPFamilies = append(dual.Spec.IPFamilies, corev1.IPv6Protocol)
	udp := service("a", time.Hour, 10250)
	udp.Spec.Ports[0].Protocol = corev1.ProtocolUDP
	n1, not := "n1", false
	for name, c := range map[string]struct {
		snapshot
		want string
	}{
		"all nodes that are ready":             {snapshot{service: service("a", time.Hour, 80)}, "1.2.3.4 10.0.0.1"},
		"both families":                        {snapshot{service: dual}, "1.2.3.4 10.0.0.1 fd00::1"},
		"nodes with endpoints":                 {snapshot{service: local, slices: []*discoveryv1.EndpointSlice{{Endpoints: []discoveryv1.Endpoint{{NodeName: &n1}}}}}, "10.0.0.1"},
		"no node with endpoints":               {snapshot{service: local, slices: []*discoveryv1.EndpointSlice{{Endpoints: []discoveryv1.Endpoint{{NodeName: &n1, Conditions: discoveryv1.EndpointConditions{Ready: &not}}}}}}, ""},
		"the port is an older service's":       {snapshot{service: service("a", time.Hour, 80), balancers: []*corev1.Service{service("b", 2*time.Hour, 443, 80)}}, "port 80/TCP of the nodes belongs to service n/b"},
		"the port was first this service's":    {snapshot{service: service("a", time.Hour, 80), balancers: []*corev1.Service{service("b", time.Minute, 80), service("a", time.Hour, 80)}}, "1.2.3.4 10.0.0.1"},
		"the port is the node's":               {snapshot{service: service("a", time.Hour, 10250)}, "port 10250 of the nodes is that of the kubelet API"},
		"the node listens to another protocol": {snapshot{service: udp}, "1.2.3.4 10.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			c.nodes, c.reserved = nodes, map[int32]string{10250: "the kubelet API"}
			p := decide(c.snapshot)
			got := []string{}
			for _, in := range p.ingress {
				got = append(got, in.IP)
			}
			if all := strings.Join(got, " ") + p.refused; all != c.want {
				t.Errorf("got %q, want %q", all, c.want)
			}
		})
	}
}

func TestOurs(t *testing.T) {
	s := service("a", 0)
	own, other := Class, "example.com/metal"
	for class, want := range map[*string]bool{nil: true, &own: true, &other: false} {
		if s.Spec.LoadBalancerClass = class; ours(s) != want {
			t.Errorf("class %v: %v", class, !want)
		}
	}
}
