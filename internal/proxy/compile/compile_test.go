package compile

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/sinawi/sinawi/internal/podnet/nft"
)

var node = Place{Node: "n1", Zone: "z1"}

func aService(name, ip string, change ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Spec: corev1.ServiceSpec{
		ClusterIP: ip, ClusterIPs: []string{ip}, Ports: []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP}},
	}}
	for _, f := range change {
		f(s)
	}
	return s
}

// aSlice has endpoints written as "10.0.0.1 n1 ready", "… leaving", "… down".
func aSlice(service string, endpoints ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "ns", Name: service + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("http"), Port: ptr.To[int32](8080), Protocol: ptr.To(corev1.ProtocolTCP)}},
	}
	for _, e := range endpoints {
		w := strings.Fields(e)
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: w[:1], NodeName: &w[1], Conditions: discoveryv1.EndpointConditions{
			Ready: ptr.To(w[2] == "ready"), Serving: ptr.To(w[2] != "down"), Terminating: ptr.To(w[2] == "leaving"),
		}})
	}
	return s
}

// leads says in words where every frontend leads: what clients see.
func leads(elements []Element) []string {
	pools, counts := map[string][]string{}, map[string]int{}
	for _, e := range elements {
		switch e.Set {
		case Endpoints:
			to, _ := nft.ParseEndpoint([]byte(e.Value))
			pools[e.Key[:4]] = append(pools[e.Key[:4]], to.String())
		case Picks:
			p, _ := ParsePick(e.Value)
			counts[e.Key] = p.Endpoints
		}
	}
	for id, list := range pools {
		slices.Sort(list)
		if counts[id] != len(list) {
			pools[id] = append(list, fmt.Sprintf("but picks one of %d", counts[id]))
		}
	}
	frontend := func(key string) string {
		addr, _ := netip.AddrFromSlice([]byte(key[:4]))
		proto := map[byte]string{tcp: "tcp", udp: "udp", sctp: "sctp"}[key[4]]
		return fmt.Sprintf("%s %s:%d", proto, addr, binary.BigEndian.Uint16([]byte(key[8:10])))
	}
	var out []string
	for _, e := range elements {
		switch e.Set {
		case Services:
			out = append(out, fmt.Sprint(frontend(e.Key), " → ", strings.Join(pools[e.Value], " ")))
		case Inside:
			out = append(out, fmt.Sprint("inside ", frontend(e.Key), " → ", strings.Join(pools[e.Value], " ")))
		case Refused:
			out = append(out, frontend(e.Key)+" "+e.Value)
		case External:
			out = append(out, "masquerade "+frontend(e.Key))
		case Guarded:
			out = append(out, "guard "+frontend(e.Key))
		case Allowed:
			from, _ := netip.AddrFromSlice([]byte(e.Key[12:16]))
			to, _ := netip.AddrFromSlice([]byte(e.KeyEnd[12:16]))
			out = append(out, fmt.Sprintf("allow %s from %s-%s", frontend(e.Key), from, to))
		case Hairpin:
			a, _ := netip.AddrFromSlice([]byte(e.Key[:4]))
			out = append(out, "hairpin "+a.String())
		}
	}
	slices.Sort(out)
	return out
}

func nodePort(s *corev1.Service) {
	s.Spec.Type, s.Spec.Ports[0].NodePort = corev1.ServiceTypeNodePort, 30080
}

func balanced(s *corev1.Service) {
	nodePort(s)
	s.Spec.Type = corev1.ServiceTypeLoadBalancer
	s.Spec.HealthCheckNodePort = 31000
	s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.10"}, {IP: "192.0.2.11", IPMode: ptr.To(corev1.LoadBalancerIPModeProxy)}}
}

func externallyLocal(s *corev1.Service) {
	s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
}

func internallyLocal(s *corev1.Service) {
	s.Spec.InternalTrafficPolicy = ptr.To(corev1.ServiceInternalTrafficPolicyLocal)
}

func TestWhereServicesLead(t *testing.T) {
	cases := []struct {
		name      string
		service   *corev1.Service
		endpoints []string
		want      []string
	}{
		{"cluster IP", aService("a", "10.43.0.1"), []string{"10.0.0.1 n1 ready", "10.0.0.2 n2 ready"},
			[]string{"hairpin 10.0.0.1", "tcp 10.43.0.1:80 → 10.0.0.1:8080 10.0.0.2:8080"}},
		{"no endpoints", aService("a", "10.43.0.1"), nil, []string{"tcp 10.43.0.1:80 reject"}},
		{"not ready", aService("a", "10.43.0.1"), []string{"10.0.0.1 n2 down"}, []string{"tcp 10.43.0.1:80 reject"}},
		{"leaving beside ready", aService("a", "10.43.0.1"), []string{"10.0.0.1 n2 leaving", "10.0.0.2 n2 ready"}, []string{"tcp 10.43.0.1:80 → 10.0.0.2:8080"}},
		{"leaving alone", aService("a", "10.43.0.1"), []string{"10.0.0.1 n2 leaving", "10.0.0.2 n2 down"}, []string{"tcp 10.43.0.1:80 → 10.0.0.1:8080"}},
		{"headless", aService("a", corev1.ClusterIPNone), []string{"10.0.0.1 n2 ready"}, nil},
		{"external name", aService("a", "", func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeExternalName }), nil, nil},
		{"another proxy's", aService("a", "10.43.0.1", func(s *corev1.Service) {
			s.Labels = map[string]string{"service.kubernetes.io/service-proxy-name": "x"}
		}), []string{"10.0.0.1 n2 ready"}, nil},
		{"node port", aService("a", "10.43.0.1", nodePort), []string{"10.0.0.1 n2 ready"},
			[]string{"masquerade tcp 0.0.0.0:30080", "tcp 0.0.0.0:30080 → 10.0.0.1:8080", "tcp 10.43.0.1:80 → 10.0.0.1:8080"}},
		{"internally local", aService("a", "10.43.0.1", internallyLocal), []string{"10.0.0.1 n2 ready", "10.0.0.2 n1 ready"},
			[]string{"hairpin 10.0.0.2", "tcp 10.43.0.1:80 → 10.0.0.2:8080"}},
		{"internally local elsewhere", aService("a", "10.43.0.1", internallyLocal), []string{"10.0.0.1 n2 ready"}, []string{"tcp 10.43.0.1:80 drop"}},
		{"balancer keeps to the node", aService("a", "10.43.0.1", balanced, externallyLocal), []string{"10.0.0.1 n2 ready", "10.0.0.2 n1 ready"},
			[]string{"hairpin 10.0.0.2",
				"inside tcp 0.0.0.0:30080 → 10.0.0.1:8080 10.0.0.2:8080", "inside tcp 192.0.2.10:80 → 10.0.0.1:8080 10.0.0.2:8080",
				"tcp 0.0.0.0:30080 → 10.0.0.2:8080", "tcp 10.43.0.1:80 → 10.0.0.1:8080 10.0.0.2:8080", "tcp 192.0.2.10:80 → 10.0.0.2:8080"}},
		{"balancer keeps to a node without endpoints", aService("a", "10.43.0.1", balanced, externallyLocal), []string{"10.0.0.1 n2 ready"},
			[]string{"inside tcp 0.0.0.0:30080 → 10.0.0.1:8080", "inside tcp 192.0.2.10:80 → 10.0.0.1:8080",
				"tcp 0.0.0.0:30080 drop", "tcp 10.43.0.1:80 → 10.0.0.1:8080", "tcp 192.0.2.10:80 drop"}},
		{"source ranges", aService("a", "10.43.0.1", func(s *corev1.Service) {
			s.Spec.Type = corev1.ServiceTypeLoadBalancer
			s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.10"}}
			s.Spec.LoadBalancerSourceRanges = []string{"198.51.100.0/25", "198.51.100.0/24", "203.0.113.7/32", "nonsense"}
		}), []string{"10.0.0.1 n2 ready"},
			[]string{"allow tcp 192.0.2.10:80 from 198.51.100.0-198.51.100.255", "allow tcp 192.0.2.10:80 from 203.0.113.7-203.0.113.7",
				"guard tcp 192.0.2.10:80", "masquerade tcp 192.0.2.10:80", "tcp 10.43.0.1:80 → 10.0.0.1:8080", "tcp 192.0.2.10:80 → 10.0.0.1:8080"}},
		{"external IP", aService("a", "10.43.0.1", func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"192.0.2.9", "2001:db8::1"} }), []string{"10.0.0.1 n2 ready"},
			[]string{"masquerade tcp 192.0.2.9:80", "tcp 10.43.0.1:80 → 10.0.0.1:8080", "tcp 192.0.2.9:80 → 10.0.0.1:8080"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := New(node)
			s.SetService(c.service)
			s.SetSlice(aSlice("a", c.endpoints...))
			d := s.Changes()
			if diff := cmp.Diff(c.want, leads(d.Add)); diff != "" {
				t.Errorf("leads elsewhere (-want +got):\n%s", diff)
			}
			s.DeleteService(types.NamespacedName{Namespace: "ns", Name: "a"})
			s.DeleteSlice(aSlice("a"))
			gone := s.Changes()
			if diff := cmp.Diff(d.Add, gone.Delete); diff != "" || len(gone.Add) > 0 {
				t.Errorf("deleting the service does not delete its elements: %s", diff)
			}
			if len(s.services) > 0 || len(s.pools) > 0 || len(s.claims) > 0 || len(s.local) > 0 {
				t.Errorf("state remembers services that are gone: %+v", s)
			}
		})
	}
}

func TestHints(t *testing.T) {
	hints := func(node, zone string) *discoveryv1.EndpointHints {
		h := &discoveryv1.EndpointHints{}
		if node != "" {
			h.ForNodes = []discoveryv1.ForNode{{Name: node}}
		}
		if zone != "" {
			h.ForZones = []discoveryv1.ForZone{{Name: zone}}
		}
		return h
	}
	const first, second, both = "tcp 10.43.0.1:80 → 10.0.0.1:8080", "tcp 10.43.0.1:80 → 10.0.0.2:8080", "tcp 10.43.0.1:80 → 10.0.0.1:8080 10.0.0.2:8080"
	cases := map[string]struct {
		one, two *discoveryv1.EndpointHints
		want     string
	}{
		"none":              {nil, nil, both},
		"one only":          {hints("", "z1"), nil, both},
		"zones":             {hints("", "z2"), hints("", "z1"), second},
		"other zones":       {hints("", "z2"), hints("", "z3"), both},
		"nodes":             {hints("n1", "z1"), hints("n2", "z1"), first},
		"other nodes, zone": {hints("n3", "z2"), hints("n2", "z1"), second},
	}
	for name, c := range cases {
		s := New(node)
		s.SetService(aService("a", "10.43.0.1"))
		slice := aSlice("a", "10.0.0.1 n9 ready", "10.0.0.2 n9 ready", "10.0.0.3 n9 leaving")
		slice.Endpoints[0].Hints, slice.Endpoints[1].Hints = c.one, c.two
		s.SetSlice(slice)
		if diff := cmp.Diff([]string{c.want}, leads(s.Changes().Add)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestHealthCountsReadyEndpointsOfTheNode(t *testing.T) {
	s := New(node)
	s.SetService(aService("a", "10.43.0.1", balanced, externallyLocal))
	s.SetSlice(aSlice("a", "10.0.0.1 n1 ready", "10.0.0.2 n1 leaving", "10.0.0.3 n2 ready"))
	s.Changes()
	want := []Health{{Service: types.NamespacedName{Namespace: "ns", Name: "a"}, Port: 31000, Local: 1}}
	if diff := cmp.Diff(want, s.Health()); diff != "" {
		t.Error(diff)
	}
}

func TestOneOfTwoClaimsWins(t *testing.T) {
	s := New(node, Redirect{From: netip.MustParseAddrPort("10.43.0.10:53"), Protocol: corev1.ProtocolUDP, To: netip.MustParseAddrPort("10.42.0.1:53")})
	external := func(svc *corev1.Service) { svc.Spec.ExternalIPs = []string{"192.0.2.9"} }
	s.SetService(aService("a", "10.43.0.1", external))
	s.SetService(aService("b", "10.43.0.2", external))
	s.SetSlice(aSlice("a", "10.0.0.1 n2 ready"))
	s.SetSlice(aSlice("b", "10.0.0.2 n2 ready"))
	s.Changes()
	has := func(line string) {
		t.Helper()
		if got := leads(s.Elements()); !slices.Contains(got, line) {
			t.Errorf("%q is not among %q", line, got)
		}
	}
	has("tcp 192.0.2.9:80 → 10.0.0.1:8080")
	has("udp 10.43.0.10:53 → 10.42.0.1:53")
	s.DeleteService(types.NamespacedName{Namespace: "ns", Name: "a"})
	s.Changes()
	has("tcp 192.0.2.9:80 → 10.0.0.2:8080")
}

func TestOneEndpointCostsAFewElements(t *testing.T) {
	s := New(node)
	s.SetService(aService("a", "10.43.0.1"))
	var list []string
	for i := range 1000 {
		list = append(list, fmt.Sprintf("10.0.%d.%d n2 ready", i/250, i%250+1))
	}
	s.SetSlice(aSlice("a", list...))
	s.Changes()
	s.SetSlice(aSlice("a", slices.Delete(slices.Clone(list), 500, 501)...))
	d := s.Changes()
	if got := len(d.Delete) + len(d.Add); got > 5 {
		t.Errorf("one endpoint of 1,000 less costs %d elements, want at most 5", got)
	}
	s.SetSlice(aSlice("a", list...))
	d = s.Changes()
	if got := len(d.Delete) + len(d.Add); got > 3 {
		t.Errorf("one endpoint of 1,000 more costs %d elements, want at most 3", got)
	}
	s.SetSlice(aSlice("a", list...))
	if d = s.Changes(); !d.Empty() {
		t.Errorf("the same again changes %v", d)
	}
}

func TestFlowsOfLostEndpoints(t *testing.T) {
	dns := func(s *corev1.Service) { s.Spec.Ports[0].Protocol = corev1.ProtocolUDP }
	slice := func(endpoints ...string) *discoveryv1.EndpointSlice {
		s := aSlice("a", endpoints...)
		s.Ports[0].Protocol = ptr.To(corev1.ProtocolUDP)
		return s
	}
	at := Front{netip.MustParseAddr("10.43.0.1"), udp, 80}
	one, two := netip.MustParseAddrPort("10.0.0.1:8080"), netip.MustParseAddrPort("10.0.0.2:8080")
	s := New(node)
	s.SetService(aService("a", "10.43.0.1", dns))
	s.Changes()
	steps := []struct {
		name  string
		slice *discoveryv1.EndpointSlice
		want  Flows
	}{
		{"first endpoint", slice("10.0.0.1 n2 ready"), Flows{at: {one: true}}},
		{"one more", slice("10.0.0.1 n2 ready", "10.0.0.2 n2 ready"), nil},
		{"one less", slice("10.0.0.2 n2 ready"), Flows{at: {two: true}}},
		{"none left", slice(), Flows{at: {}}},
	}
	for _, step := range steps {
		s.SetSlice(step.slice)
		if diff := cmp.Diff(step.want, s.Changes().Flows); diff != "" {
			t.Errorf("%s: %s", step.name, diff)
		}
	}
}

func FuzzParsePick(f *testing.F) {
	f.Add("pick-3")
	f.Add("pick-3-for-10800")
	f.Fuzz(func(t *testing.T, chain string) {
		if p, ok := ParsePick(chain); ok && p.Chain() != chain {
			t.Errorf("%q parses as %+v, which is called %q", chain, p, p.Chain())
		}
	})
}
