package reply

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sinawi/sinawi/internal/dns/forward"
	"github.com/sinawi/sinawi/internal/dns/zone"
)

// example answers about two services, one with many addresses, and knows nobody
// else but who answers with the question's own name.
func example() Responder {
	z := zone.New(zone.Options{Domain: "cluster.local"})
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "ns", Name: name} }
	z.SetService(&corev1.Service{ObjectMeta: meta("web"), Spec: corev1.ServiceSpec{ClusterIP: "10.43.0.80"}})
	z.SetService(&corev1.Service{ObjectMeta: meta("big"), Spec: corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone}})
	z.SetService(&corev1.Service{ObjectMeta: meta("away"), Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "www.example.com"}})
	slice := &discoveryv1.EndpointSlice{ObjectMeta: meta("big-1")}
	slice.Labels = map[string]string{discoveryv1.LabelServiceName: "big"}
	for i := range 300 {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.42.%d.%d", i/250, i%250+1)}})
	}
	z.SetSlice(slice)
	return Responder{
		Cluster: func(q dns.Question) (zone.Answer, bool, bool) {
			a, ours := z.Answer(q)
			return a, ours, true
		},
		Ask: func(_ context.Context, q dns.Question, _ bool) (*dns.Msg, error) {
			m := new(dns.Msg)
			if q.Qtype != dns.TypeCNAME {
				return nil, forward.ErrNoServer
			}
			m.Answer = []dns.RR{&dns.CNAME{Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeCNAME, Class: q.Qclass}, Target: q.Name}}
			return m, nil
		},
		Log: slog.New(slog.DiscardHandler),
	}
}

func TestOddRequests(t *testing.T) {
	query := func(change func(*dns.Msg)) *dns.Msg {
		m := new(dns.Msg)
		m.SetQuestion("web.ns.svc.cluster.local.", dns.TypeA)
		change(m)
		return m
	}
	cases := map[string]struct {
		req  *dns.Msg
		want int
	}{
		"plain":         {query(func(*dns.Msg) {}), dns.RcodeSuccess},
		"two questions": {query(func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }), dns.RcodeFormatError},
		"no question":   {query(func(m *dns.Msg) { m.Question = nil }), dns.RcodeFormatError},
		"an update":     {query(func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }), dns.RcodeNotImplemented},
		"a transfer":    {query(func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAXFR }), dns.RcodeRefused},
		"chaos":         {query(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }), dns.RcodeRefused},
		"edns of later": {query(func(m *dns.Msg) { m.SetEdns0(1232, false).IsEdns0().SetVersion(3) }), dns.RcodeBadVers},
		"not recursive": {query(func(m *dns.Msg) { m.Question[0].Name, m.RecursionDesired = "www.example.com.", false }), dns.RcodeRefused},
	}
	for name, c := range cases {
		got := example().Respond(context.Background(), c.req, false)
		if got.Rcode != c.want {
			t.Errorf("%s: %s, want %s", name, dns.RcodeToString[got.Rcode], dns.RcodeToString[c.want])
		}
	}
	if got := example().Respond(context.Background(), query(func(m *dns.Msg) { m.Response = true }), false); got != nil {
		t.Errorf("a response is answered: %v", got)
	}
}

// FuzzRespond has every packet answered by one that a client can read.
func FuzzRespond(f *testing.F) {
	for _, name := range []string{"web.ns.svc.cluster.local.", "big.ns.svc.cluster.local.", "away.ns.svc.cluster.local.", "www.example.com.", "."} {
		m := new(dns.Msg)
		m.SetQuestion(name, dns.TypeA)
		for _, size := range []uint16{0, 100, 4096} {
			if size > 0 {
				m.SetEdns0(size, true)
			}
			packet, err := m.Pack()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(packet, size == 4096)
		}
	}
	r := example()
	f.Fuzz(func(t *testing.T, packet []byte, stream bool) {
		req := new(dns.Msg)
		if req.Unpack(packet) != nil {
			return
		}
		asked := slices.Clone(req.Question)
		resp := r.Respond(context.Background(), req, stream)
		if resp == nil {
			return
		}
		out, err := resp.Pack()
		if err != nil {
			t.Fatalf("response to %v: %v", req, err)
		}
		if !stream && len(out) > UDPSize && len(asked) <= 1 {
			t.Errorf("response of %d bytes does not fit a datagram", len(out))
		}
		if resp.Id != req.Id || !resp.Response || (len(asked) == 1 && !slices.Equal(resp.Question, asked)) {
			t.Errorf("response %v is to another request than %v", resp, req)
		}
	})
}
