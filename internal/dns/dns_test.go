package dns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/sinawi/sinawi/internal/client/clienttest"
	"github.com/sinawi/sinawi/internal/podnet/nettest"
)

func TestMain(m *testing.M) { nettest.Main(m) }

// start runs a server on the loopback of the test's own network.
func start(t *testing.T, c *clienttest.Cache, port uint16, upstream ...netip.AddrPort) string {
	t.Helper()
	nettest.Node(t)
	at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
	empty := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := New(c, Options{Listen: []netip.AddrPort{at}, ServiceIP: netip.MustParseAddr("10.43.0.10"), Upstream: upstream, ResolvConf: empty,
		PodCIDR: netip.MustParsePrefix("10.42.0.0/16"), ServiceCIDR: netip.MustParsePrefix("10.43.0.0/16")})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
		if _, err := net.DialTimeout("tcp", at.String(), time.Second); err == nil {
			t.Error("the server still listens")
		}
	})
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		c, err := net.DialTimeout("tcp", at.String(), time.Second)
		if err == nil {
			_ = c.Close()
			return at.String()
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

func service(name, ip string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Spec: corev1.ServiceSpec{ClusterIP: ip}}
}

func many(service string, n int) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "ns", Name: service + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	for i := range n {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.42.%d.%d", i/250, i%250+1)}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true)}})
	}
	return s
}

type ask struct {
	name, network string
	kind          uint16
	edns          uint16
}

func (a ask) of(t *testing.T, server string) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(a.name, a.kind)
	if a.edns > 0 {
		m.SetEdns0(a.edns, false)
	}
	got, _, err := (&dns.Client{Net: a.network, Timeout: 5 * time.Second, UDPSize: max(a.edns, dns.MinMsgSize)}).Exchange(m, server)
	if err != nil {
		t.Fatalf("ask %+v: %v", a, err)
	}
	return got
}

// until asks until the answer is as wanted: what was put in the cache takes a
// moment to be heard of.
func until(t *testing.T, server string, a ask, ok func(*dns.Msg) bool) *dns.Msg {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		m := a.of(t, server)
		if ok(m) {
			return m
		}
		if time.Now().After(deadline) {
			t.Fatalf("%+v is answered %v", a, m)
		}
	}
}

func answered(n int) func(*dns.Msg) bool {
	return func(m *dns.Msg) bool { return m.Rcode == dns.RcodeSuccess && len(m.Answer) == n }
}

func TestServices(t *testing.T) {
	c := clienttest.New(t)
	c.Put(service("web", "10.43.0.80"), service("big", corev1.ClusterIPNone), many("big", 300))
	server := start(t, c, 1053)
	for _, network := range []string{"udp", "tcp"} {
		m := until(t, server, ask{name: "Web.ns.svc.cluster.local.", network: network, kind: dns.TypeA}, answered(1))
		if got := m.Answer[0].(*dns.A); !got.A.Equal(net.IPv4(10, 43, 0, 80)) || got.Hdr.Name != "Web.ns.svc.cluster.local." || !m.Authoritative || !m.RecursionAvailable {
			t.Errorf("%s: %v", network, m)
		}
	}
	m := ask{name: "no.ns.svc.cluster.local.", kind: dns.TypeA}.of(t, server)
	if m.Rcode != dns.RcodeNameError || len(m.Ns) != 1 || m.Ns[0].(*dns.SOA).Minttl > 5 {
		t.Errorf("a name that is not there: %v, want NXDOMAIN for a short time", m)
	}
	c.Put(service("no", "10.43.0.81"))
	until(t, server, ask{name: "no.ns.svc.cluster.local.", kind: dns.TypeA}, answered(1))
	c.Delete(service("no", "10.43.0.81"))
	until(t, server, ask{name: "no.ns.svc.cluster.local.", kind: dns.TypeA}, func(m *dns.Msg) bool { return m.Rcode == dns.RcodeNameError })

	big := ask{name: "big.ns.svc.cluster.local.", kind: dns.TypeA}
	plain := big.of(t, server)
	plain.Compress = true
	if !plain.Truncated || plain.IsEdns0() != nil || plain.Len() > dns.MinMsgSize {
		t.Errorf("300 addresses in a datagram: truncated %v, %d bytes", plain.Truncated, plain.Len())
	}
	big.edns = 4096
	if m := big.of(t, server); !m.Truncated || m.IsEdns0() == nil || len(m.Answer) <= len(plain.Answer) {
		t.Errorf("300 addresses in a larger datagram: truncated %v, %d of them", m.Truncated, len(m.Answer))
	}
	big.network = "tcp"
	until(t, server, big, answered(300))
}

func TestFirstAddressVaries(t *testing.T) {
	c := clienttest.New(t)
	c.Put(service("some", corev1.ClusterIPNone), many("some", 4))
	server := start(t, c, 1054)
	first := map[string]bool{}
	for range 100 {
		m := until(t, server, ask{name: "some.ns.svc.cluster.local.", kind: dns.TypeA}, answered(4))
		first[m.Answer[0].String()] = true
	}
	if len(first) < 3 {
		t.Errorf("of four addresses only %v come first", first)
	}
}

func TestOtherNamesAreForwarded(t *testing.T) {
	up, err := net.ListenPacket("udp", "127.0.0.1:1056")
	if err != nil {
		t.Fatal(err)
	}
	upstream := &dns.Server{PacketConn: up, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, req *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(req)
		rr, _ := dns.NewRR(req.Question[0].Name + " 60 IN A 192.0.2.7")
		m.Answer = []dns.RR{rr}
		_ = w.WriteMsg(m)
	})}
	go func() { _ = upstream.ActivateAndServe() }()
	defer up.Close()
	c := clienttest.New(t)
	away := service("away", "")
	away.Spec.Type, away.Spec.ExternalName = corev1.ServiceTypeExternalName, "www.example.com"
	c.Put(away)
	server := start(t, c, 1055, netip.MustParseAddrPort("127.0.0.1:1056"))
	m := until(t, server, ask{name: "www.example.com.", kind: dns.TypeA}, answered(1))
	if m.Authoritative || !m.RecursionAvailable {
		t.Errorf("a forwarded answer: %v", m)
	}
	m = until(t, server, ask{name: "away.ns.svc.cluster.local.", kind: dns.TypeA}, answered(2))
	if alias, ok := m.Answer[0].(*dns.CNAME); !ok || alias.Target != "www.example.com." {
		t.Errorf("an external name: %v", m)
	}
}

func TestNoUpstreamSaysSo(t *testing.T) {
	server := start(t, clienttest.New(t), 1057)
	m := ask{name: "www.example.com.", kind: dns.TypeA, edns: 1232}.of(t, server)
	if m.Rcode != dns.RcodeServerFailure || !strings.Contains(m.String(), "no upstream name server") {
		t.Errorf("%v, want SERVFAIL with the reason", m)
	}
	if m := (ask{name: "www.example.com.", kind: dns.TypeA}).of(t, server); m.Rcode != dns.RcodeServerFailure {
		t.Errorf("without EDNS: %v", m)
	}
}

func TestUnknownServicesAreNotDeniedBeforeTheCacheIsThere(t *testing.T) {
	s, err := New(clienttest.New(t), Options{Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:1058")}})
	if err != nil {
		t.Fatal(err)
	}
	m := new(dns.Msg)
	m.SetQuestion("web.ns.svc.cluster.local.", dns.TypeA)
	if got := s.responder.Respond(context.Background(), m, false); got.Rcode != dns.RcodeServerFailure {
		t.Errorf("%v, want SERVFAIL", got)
	}
}
