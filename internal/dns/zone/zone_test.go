package zone

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

func service(namespace, name string, spec corev1.ServiceSpec) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: spec}
}

func slice(namespace, service, name string, kind discoveryv1.AddressType, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: kind, Endpoints: endpoints,
		Ports: []discoveryv1.EndpointPort{{Name: ptr.To("web"), Port: ptr.To[int32](8080), Protocol: ptr.To(corev1.ProtocolTCP)}},
	}
}

func endpointOf(addr, host string, ready bool) discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{Addresses: []string{addr}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}
	if host != "" {
		e.Hostname = &host
	}
	return e
}

// example is a zone with a service of every kind.
func example() *Zone {
	z := New(Options{Domain: "cluster.local", Server: netip.MustParseAddr("10.43.0.10"),
		Ranges: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16"), netip.MustParsePrefix("10.43.0.0/16")}})
	ports := []corev1.ServicePort{{Name: "web", Port: 80, Protocol: corev1.ProtocolTCP}, {Name: "talk", Port: 53, Protocol: corev1.ProtocolUDP}}
	z.SetService(service("shop", "front", corev1.ServiceSpec{ClusterIP: "10.43.1.1", ClusterIPs: []string{"10.43.1.1", "fd00::1"}, Ports: ports}))
	z.SetSlice(slice("shop", "front", "front-1", discoveryv1.AddressTypeIPv4, endpointOf("10.42.0.20", "", true)))
	z.SetService(service("shop", "db", corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone, Ports: ports[:1]}))
	z.SetSlice(slice("shop", "db", "db-1", discoveryv1.AddressTypeIPv4, endpointOf("10.42.0.7", "db-0", true), endpointOf("10.42.0.8", "", true), endpointOf("10.42.0.9", "db-2", false)))
	z.SetSlice(slice("shop", "db", "db-2", discoveryv1.AddressTypeIPv6, endpointOf("fd00:42::7", "db-0", true)))
	z.SetService(service("shop", "early", corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone, PublishNotReadyAddresses: true}))
	z.SetSlice(slice("shop", "early", "early-1", discoveryv1.AddressTypeIPv4, endpointOf("10.42.0.9", "", false)))
	z.SetService(service("shop", "empty", corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone}))
	z.SetService(service("shop", "away", corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "www.example.com"}))
	z.SetService(service("shop", "twice", corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "alias.shop.svc.cluster.local"}))
	z.SetService(service("shop", "alias", corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "front.shop.svc.cluster.local."}))
	z.SetService(service("shop", "circle", corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "circle.shop.svc.cluster.local"}))
	return z
}

// said writes an answer in a few words, a record a line.
func said(a Answer, ours bool) []string {
	if !ours {
		return []string{"not ours"}
	}
	var out []string
	for _, rr := range a.Answer {
		f := strings.Fields(rr.String())
		out = append(out, strings.Join(append(f[:1:1], f[3:]...), " "))
	}
	for _, rr := range a.Extra {
		f := strings.Fields(rr.String())
		out = append(out, "extra "+strings.Join(append(f[:1:1], f[3:]...), " "))
	}
	if a.Follow != "" {
		out = append(out, "follow "+a.Follow)
	}
	if len(a.Answer) == 0 {
		out = append(out, dns.RcodeToString[a.Rcode])
	} else if a.Rcode != dns.RcodeSuccess {
		out = append(out, "answers and "+dns.RcodeToString[a.Rcode])
	}
	return out
}

func TestAnswers(t *testing.T) {
	z := example()
	nothing, absent := []string{"NOERROR"}, []string{"NXDOMAIN"}
	cases := []struct {
		name string
		kind uint16
		want []string
	}{
		{"front.shop.svc.cluster.local.", dns.TypeA, []string{"front.shop.svc.cluster.local. A 10.43.1.1"}},
		{"FRONT.shop.SVC.cluster.local.", dns.TypeA, []string{"FRONT.shop.SVC.cluster.local. A 10.43.1.1"}},
		{"front.shop.svc.cluster.local.", dns.TypeAAAA, []string{"front.shop.svc.cluster.local. AAAA fd00::1"}},
		{"front.shop.svc.cluster.local.", dns.TypeMX, nothing},
		{"_web._tcp.front.shop.svc.cluster.local.", dns.TypeSRV, []string{
			"_web._tcp.front.shop.svc.cluster.local. SRV 0 50 80 front.shop.svc.cluster.local.",
			"extra front.shop.svc.cluster.local. A 10.43.1.1", "extra front.shop.svc.cluster.local. AAAA fd00::1"}},
		{"_web._udp.front.shop.svc.cluster.local.", dns.TypeSRV, absent},
		{"_web._tcp.front.shop.svc.cluster.local.", dns.TypeA, nothing},
		{"_tcp.front.shop.svc.cluster.local.", dns.TypeSRV, nothing},
		{"_sctp.front.shop.svc.cluster.local.", dns.TypeSRV, absent},
		{"10-42-0-20.front.shop.svc.cluster.local.", dns.TypeA, []string{"10-42-0-20.front.shop.svc.cluster.local. A 10.42.0.20"}},
		{"db.shop.svc.cluster.local.", dns.TypeA, []string{"db.shop.svc.cluster.local. A 10.42.0.7", "db.shop.svc.cluster.local. A 10.42.0.8"}},
		{"db.shop.svc.cluster.local.", dns.TypeAAAA, []string{"db.shop.svc.cluster.local. AAAA fd00:42::7"}},
		{"db-0.db.shop.svc.cluster.local.", dns.TypeA, []string{"db-0.db.shop.svc.cluster.local. A 10.42.0.7"}},
		{"db-2.db.shop.svc.cluster.local.", dns.TypeA, absent},
		{"_web._tcp.db.shop.svc.cluster.local.", dns.TypeSRV, []string{
			"_web._tcp.db.shop.svc.cluster.local. SRV 0 33 8080 db-0.db.shop.svc.cluster.local.",
			"_web._tcp.db.shop.svc.cluster.local. SRV 0 33 8080 10-42-0-8.db.shop.svc.cluster.local.",
			"extra db-0.db.shop.svc.cluster.local. A 10.42.0.7", "extra 10-42-0-8.db.shop.svc.cluster.local. A 10.42.0.8",
			"extra db-0.db.shop.svc.cluster.local. AAAA fd00:42::7"}},
		{"early.shop.svc.cluster.local.", dns.TypeA, []string{"early.shop.svc.cluster.local. A 10.42.0.9"}},
		{"empty.shop.svc.cluster.local.", dns.TypeA, absent},
		{"away.shop.svc.cluster.local.", dns.TypeA, []string{"away.shop.svc.cluster.local. CNAME www.example.com.", "follow www.example.com."}},
		{"away.shop.svc.cluster.local.", dns.TypeCNAME, []string{"away.shop.svc.cluster.local. CNAME www.example.com."}},
		{"x.away.shop.svc.cluster.local.", dns.TypeA, absent},
		{"twice.shop.svc.cluster.local.", dns.TypeA, []string{"twice.shop.svc.cluster.local. CNAME alias.shop.svc.cluster.local.",
			"alias.shop.svc.cluster.local. CNAME front.shop.svc.cluster.local.", "front.shop.svc.cluster.local. A 10.43.1.1"}},
		{"10-42-0-7.shop.pod.cluster.local.", dns.TypeA, []string{"10-42-0-7.shop.pod.cluster.local. A 10.42.0.7"}},
		{"10-42-0-7.shop.pod.cluster.local.", dns.TypeAAAA, nothing},
		{"fd00-42--7.shop.pod.cluster.local.", dns.TypeAAAA, []string{"fd00-42--7.shop.pod.cluster.local. AAAA fd00:42::7"}},
		{"10-42-0-700.shop.pod.cluster.local.", dns.TypeA, absent},
		{"svc.cluster.local.", dns.TypeA, nothing},
		{"shop.svc.cluster.local.", dns.TypeA, nothing},
		{"nowhere.svc.cluster.local.", dns.TypeA, absent},
		{"nothing.shop.svc.cluster.local.", dns.TypeA, absent},
		{"a.b.c.front.shop.svc.cluster.local.", dns.TypeA, absent},
		{"www.example.com.svc.cluster.local.", dns.TypeA, absent},
		{"www.example.com.", dns.TypeA, []string{"not ours"}},
		{"notcluster.local.", dns.TypeA, []string{"not ours"}},
		{".", dns.TypeNS, []string{"not ours"}},
		{"dns-version.cluster.local.", dns.TypeTXT, []string{`dns-version.cluster.local. TXT "1.1.0"`}},
		{"cluster.local.", dns.TypeNS, []string{"cluster.local. NS ns.dns.cluster.local."}},
		{"cluster.local.", dns.TypeSOA, []string{"cluster.local. SOA ns.dns.cluster.local. hostmaster.cluster.local. 1 7200 1800 86400 5"}},
		{"ns.dns.cluster.local.", dns.TypeA, []string{"ns.dns.cluster.local. A 10.43.0.10"}},
		{"1.1.43.10.in-addr.arpa.", dns.TypePTR, []string{"1.1.43.10.in-addr.arpa. PTR front.shop.svc.cluster.local."}},
		{"7.0.42.10.in-addr.arpa.", dns.TypePTR, []string{"7.0.42.10.in-addr.arpa. PTR db-0.db.shop.svc.cluster.local."}},
		{"9.0.42.10.in-addr.arpa.", dns.TypePTR, []string{"9.0.42.10.in-addr.arpa. PTR 10-42-0-9.early.shop.svc.cluster.local."}},
		{"99.0.42.10.in-addr.arpa.", dns.TypePTR, absent},
		{"1.2.0.192.in-addr.arpa.", dns.TypePTR, []string{"not ours"}},
		{"42.10.in-addr.arpa.", dns.TypePTR, []string{"not ours"}},
		{"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.", dns.TypePTR,
			[]string{"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa. PTR front.shop.svc.cluster.local."}},
	}
	for _, c := range cases {
		t.Run(c.name+dns.TypeToString[c.kind], func(t *testing.T) {
			got := said(z.Answer(dns.Question{Name: c.name, Qtype: c.kind, Qclass: dns.ClassINET}))
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAliasesInACircleEnd(t *testing.T) {
	a, _ := example().Answer(dns.Question{Name: "circle.shop.svc.cluster.local.", Qtype: dns.TypeA, Qclass: dns.ClassINET})
	if n := len(a.Answer); n == 0 || n > 10 {
		t.Errorf("%d records, want a few", n)
	}
}

func TestNothingIsLeftOfWhatIsDeleted(t *testing.T) {
	z := example()
	for name, e := range z.services {
		for _, s := range e.slices {
			z.SetSlice(s)
			z.DeleteSlice(s)
		}
		z.DeleteService(types.NamespacedName{Namespace: name.Namespace, Name: name.Name})
	}
	if len(z.services) > 0 || len(z.byAddr) > 0 || len(z.namespaces) > 0 {
		t.Errorf("zone remembers %v %v %v", z.services, z.byAddr, z.namespaces)
	}
}

func TestChangedServiceIsAnsweredAsItIs(t *testing.T) {
	z := example()
	z.SetService(service("shop", "front", corev1.ServiceSpec{ClusterIP: "10.43.1.9"}))
	z.SetSlice(slice("shop", "db", "db-1", discoveryv1.AddressTypeIPv4, endpointOf("10.42.0.30", "db-0", true)))
	for q, want := range map[string][]string{
		"1.1.43.10.in-addr.arpa.": {"NXDOMAIN"},
		"9.1.43.10.in-addr.arpa.": {"9.1.43.10.in-addr.arpa. PTR front.shop.svc.cluster.local."},
		"7.0.42.10.in-addr.arpa.": {"NXDOMAIN"},
	} {
		if diff := cmp.Diff(want, said(z.Answer(dns.Question{Name: q, Qtype: dns.TypePTR, Qclass: dns.ClassINET}))); diff != "" {
			t.Errorf("%s: %s", q, diff)
		}
	}
}

// FuzzAnswer asks whatever a packet may ask: every answer must fit a packet again.
func FuzzAnswer(f *testing.F) {
	for _, name := range []string{"front.shop.svc.cluster.local.", "_web._tcp.db.shop.svc.cluster.local.", "circle.shop.svc.cluster.local.", "7.0.42.10.in-addr.arpa.", "10-42-0-7.shop.pod.cluster.local.", "cluster.local."} {
		for _, kind := range []uint16{dns.TypeA, dns.TypeSRV, dns.TypeANY, dns.TypePTR} {
			f.Add(name, kind)
		}
	}
	z := example()
	f.Fuzz(func(t *testing.T, name string, kind uint16) {
		q := new(dns.Msg)
		q.Question = []dns.Question{{Name: name, Qtype: kind, Qclass: dns.ClassINET}}
		packet, err := q.Pack()
		if err != nil || q.Unpack(packet) != nil {
			return
		}
		a, ours := z.Answer(q.Question[0])
		if !ours {
			return
		}
		q.Answer, q.Ns, q.Extra = a.Answer, a.Ns, a.Extra
		if _, err := q.Pack(); err != nil {
			t.Errorf("the answer to %q %d is none: %v", name, kind, err)
		}
		if len(a.Answer) == 0 && !slices.ContainsFunc(a.Ns, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeSOA }) {
			t.Errorf("no answer to %q %d, and nothing says for how long", name, kind)
		}
	})
}

func BenchmarkAnswer(b *testing.B) {
	z := example()
	for i := range 10000 {
		z.SetService(service("many", fmt.Sprint("s", i), corev1.ServiceSpec{ClusterIP: fmt.Sprintf("10.43.%d.%d", 10+i/250, i%250)}))
	}
	q := dns.Question{Name: "s5000.many.svc.cluster.local.", Qtype: dns.TypeA, Qclass: dns.ClassINET}
	for b.Loop() {
		z.Answer(q)
	}
}
