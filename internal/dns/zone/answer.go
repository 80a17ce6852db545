package zone

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Answer is what the zone says to a question.
type Answer struct {
	Rcode             int
	Answer, Ns, Extra []dns.RR
	// Follow is a name outside the zone that the answer's alias leads to.
	Follow string
}

// Answer answers a question about the cluster; it does not know others.
func (z *Zone) Answer(q dns.Question) (a Answer, ours bool) {
	name := dns.CanonicalName(q.Name)
	r := reply{zone: z, name: q.Name, qtype: q.Qtype}
	switch {
	case dns.IsSubDomain(z.domain, name):
		r.inside(dns.SplitDomainName(strings.TrimSuffix(name, z.domain)))
	case strings.HasSuffix(name, ".in-addr.arpa.") || strings.HasSuffix(name, ".ip6.arpa."):
		if !r.reverse(name) {
			return Answer{}, false
		}
	default:
		return Answer{}, false
	}
	if !r.exists {
		r.out.Rcode = dns.RcodeNameError
	}
	if len(r.out.Answer) == 0 {
		r.out.Ns = []dns.RR{z.soa()}
	}
	return r.out, true
}

// reply gathers the answer to one question.
type reply struct {
	zone  *Zone
	name  string // as it was asked
	qtype uint16
	out   Answer
	// exists says that the name has records, of whatever type, or names below it.
	exists bool
}

func (r *reply) header(name string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: TTL}
}

// add adds a record of the asked name if it is of the asked type.
func (r *reply) add(rr dns.RR) {
	r.exists = true
	if kind := rr.Header().Rrtype; r.qtype == kind || r.qtype == dns.TypeANY {
		r.out.Answer = append(r.out.Answer, rr)
	}
}

func (r *reply) addAddr(a netip.Addr) { r.add(r.addr(r.name, a)) }

func (r *reply) addr(name string, a netip.Addr) dns.RR {
	if a.Is4() {
		return &dns.A{Hdr: r.header(name, dns.TypeA), A: a.AsSlice()}
	}
	return &dns.AAAA{Hdr: r.header(name, dns.TypeAAAA), AAAA: a.AsSlice()}
}

func (z *Zone) nameserver() string { return "ns.dns." + z.domain }

func (z *Zone) soa() dns.RR {
	return &dns.SOA{
		Hdr: dns.RR_Header{Name: z.domain, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: TTL},
		Ns:  z.nameserver(), Mbox: "hostmaster." + z.domain, Serial: 1, Refresh: 7200, Retry: 1800, Expire: 86400, Minttl: TTL,
	}
}

// inside answers about a name in the zone; labels lead from it to the zone's top.
func (r *reply) inside(labels []string) {
	n := len(labels)
	if n == 0 {
		r.add(r.zone.soa())
		r.add(&dns.NS{Hdr: r.header(r.name, dns.TypeNS), Ns: r.zone.nameserver()})
		return
	}
	switch labels[n-1] {
	case "dns-version":
		if n == 1 {
			r.add(&dns.TXT{Hdr: r.header(r.name, dns.TypeTXT), Txt: []string{Version}})
		}
	case "dns":
		r.exists = n == 1
		if n == 2 && labels[0] == "ns" && r.zone.server.IsValid() {
			r.addAddr(r.zone.server)
		}
	case "pod":
		r.pod(labels[:n-1])
	case "svc":
		r.svc(labels[:n-1])
	}
}

// pod answers with the address that the name itself has.
func (r *reply) pod(labels []string) {
	switch len(labels) {
	case 0:
		r.exists = true
	case 1:
		r.exists = r.zone.namespaces[labels[0]] > 0
	case 2:
		if a, ok := undash(labels[0]); ok {
			r.addAddr(a)
		}
	}
}

func undash(label string) (netip.Addr, bool) {
	for _, sep := range []string{".", ":"} {
		if a, err := netip.ParseAddr(strings.ReplaceAll(label, "-", sep)); err == nil {
			return a, true
		}
	}
	return netip.Addr{}, false
}

func (r *reply) svc(labels []string) {
	n := len(labels)
	if n == 0 {
		r.exists = true
		return
	}
	namespace := labels[n-1]
	if n == 1 {
		r.exists = r.zone.namespaces[namespace] > 0
		return
	}
	e := r.zone.services[types.NamespacedName{Namespace: namespace, Name: labels[n-2]}]
	if e == nil || e.svc == nil {
		return
	}
	rest := labels[:n-2]
	if e.svc.Spec.Type == corev1.ServiceTypeExternalName {
		if len(rest) == 0 {
			r.alias(e.svc.Spec.ExternalName)
		}
		return
	}
	switch {
	case len(rest) == 0:
		r.service(e)
	case len(rest) == 1 && strings.HasPrefix(rest[0], "_"):
		r.exists = slices.ContainsFunc(ports(e), func(p port) bool { return "_"+p.proto == rest[0] })
	case len(rest) == 1:
		for _, x := range endpoints(e) {
			if x.host == rest[0] {
				r.addAddr(x.addr)
			}
		}
	case len(rest) == 2:
		r.srv(e, func(p port) bool { return p.name != "" && "_"+p.name == rest[0] && "_"+p.proto == rest[1] })
	}
}

func (r *reply) service(e *entry) {
	if headless(e.svc) {
		seen := map[netip.Addr]bool{}
		for _, x := range endpoints(e) {
			if !seen[x.addr] { // one pod may be there under each of its ports
				seen[x.addr] = true
				r.addAddr(x.addr)
			}
		}
	} else {
		for _, a := range clusterIPs(e.svc) {
			r.addAddr(a)
		}
	}
	if r.exists && (r.qtype == dns.TypeSRV || r.qtype == dns.TypeANY) {
		r.srv(e, func(p port) bool { return p.name != "" })
	}
}

// srv adds service records of the ports, with the addresses of their targets.
func (r *reply) srv(e *entry, want func(port) bool) {
	base := e.svc.Name + "." + e.svc.Namespace + ".svc." + r.zone.domain
	type target struct {
		host string
		port uint16
		addr netip.Addr
	}
	var targets []target
	if headless(e.svc) {
		for _, x := range endpoints(e) {
			for _, p := range x.ports {
				if want(p) {
					targets = append(targets, target{x.host + "." + base, p.number, x.addr})
				}
			}
		}
	} else {
		for _, p := range ports(e) {
			if !want(p) {
				continue
			}
			for _, a := range clusterIPs(e.svc) {
				targets = append(targets, target{base, p.number, a})
			}
		}
	}
	weight := uint16(max(1, 100/max(1, len(targets))))
	seen := map[target]bool{}
	for _, t := range targets {
		// A name with two addresses is one target.
		if at := (target{host: t.host, port: t.port}); !seen[at] {
			seen[at] = true
			r.add(&dns.SRV{Hdr: r.header(r.name, dns.TypeSRV), Weight: weight, Port: t.port, Target: t.host})
		}
		if at := (target{host: t.host, addr: t.addr}); !seen[at] && (r.qtype == dns.TypeSRV || r.qtype == dns.TypeANY) {
			seen[at] = true
			r.out.Extra = append(r.out.Extra, r.addr(t.host, t.addr))
		}
	}
}

// alias answers with the name that a service stands for, and with what that leads
// to where the zone knows it. A chain of aliases within the zone is followed a
// few steps: it may lead in a circle.
func (r *reply) alias(to string) {
	const longest = 8
	r.exists = true
	from := r.name
	for range longest {
		target := dns.Fqdn(to)
		if _, ok := dns.IsDomainName(target); !ok {
			return
		}
		r.out.Answer = append(r.out.Answer, &dns.CNAME{Hdr: r.header(from, dns.TypeCNAME), Target: target})
		if r.qtype == dns.TypeCNAME {
			return
		}
		if !dns.IsSubDomain(r.zone.domain, dns.CanonicalName(target)) {
			r.out.Follow = target
			return
		}
		next := reply{zone: r.zone, name: target, qtype: r.qtype}
		if svc := r.zone.external(target); svc != nil {
			from, to = target, svc.Spec.ExternalName
			continue
		}
		next.inside(dns.SplitDomainName(strings.TrimSuffix(dns.CanonicalName(target), r.zone.domain)))
		r.out.Answer = append(r.out.Answer, next.out.Answer...)
		r.out.Extra = append(r.out.Extra, next.out.Extra...)
		return
	}
}

// external is the service of a name if it stands for another name.
func (z *Zone) external(name string) *corev1.Service {
	labels := dns.SplitDomainName(strings.TrimSuffix(dns.CanonicalName(name), z.domain))
	if len(labels) != 3 || labels[2] != "svc" {
		return nil
	}
	e := z.services[types.NamespacedName{Namespace: labels[1], Name: labels[0]}]
	if e == nil || e.svc == nil || e.svc.Spec.Type != corev1.ServiceTypeExternalName {
		return nil
	}
	return e.svc
}

// reverse answers which name an address has; false if it is none of the cluster's.
func (r *reply) reverse(name string) bool {
	a, ok := fromReverse(name)
	if !ok {
		return false
	}
	add := func(target string) { r.add(&dns.PTR{Hdr: r.header(r.name, dns.TypePTR), Ptr: target}) }
	done := map[types.NamespacedName]bool{}
	for _, owner := range r.zone.byAddr[a] {
		e := r.zone.services[owner]
		if e == nil || e.svc == nil || done[owner] {
			continue
		}
		done[owner] = true
		base := owner.Name + "." + owner.Namespace + ".svc." + r.zone.domain
		if slices.Contains(clusterIPs(e.svc), a) {
			add(base)
			continue
		}
		seen := map[string]bool{}
		for _, x := range endpoints(e) {
			if x.addr == a && !seen[x.host] {
				seen[x.host] = true
				add(x.host + "." + base)
			}
		}
	}
	return r.exists || slices.ContainsFunc(r.zone.ranges, func(p netip.Prefix) bool { return p.Contains(a) })
}

func fromReverse(name string) (netip.Addr, bool) {
	if rest, ok := strings.CutSuffix(name, ".in-addr.arpa."); ok {
		labels := strings.Split(rest, ".")
		slices.Reverse(labels)
		a, err := netip.ParseAddr(strings.Join(labels, "."))
		return a, err == nil && a.Is4()
	}
	rest, _ := strings.CutSuffix(name, ".ip6.arpa.")
	nibbles := strings.Split(rest, ".")
	if len(nibbles) != 32 {
		return netip.Addr{}, false
	}
	slices.Reverse(nibbles)
	var b strings.Builder
	for i, n := range nibbles {
		if i > 0 && i%4 == 0 {
			b.WriteByte(':')
		}
		if len(n) != 1 {
			return netip.Addr{}, false
		}
		b.WriteString(n)
	}
	a, err := netip.ParseAddr(b.String())
	return a, err == nil
}
