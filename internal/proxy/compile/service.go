package compile

import (
	"net/netip"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/sinawi/sinawi/internal/podnet/nft"
)

// Protocol numbers.
const (
	tcp  = 6
	udp  = 17
	sctp = 132
)

func protoOf(p corev1.Protocol) (uint8, bool) {
	switch p {
	case corev1.ProtocolTCP, "":
		return tcp, true
	case corev1.ProtocolUDP:
		return udp, true
	case corev1.ProtocolSCTP:
		return sctp, true
	}
	return 0, false
}

// service is a compiled Service.
type service struct {
	pools  []*pool
	fronts []front
	// health is set where a load balancer asks this node for local endpoints.
	health *Health
}

// front is a frontend with where it leads.
type front struct {
	Front
	// to is nil where there is no endpoint; then verdict says what to do.
	to      *pool
	verdict string
	// inside is for connections from pods and the node; nil where it is as to.
	inside   *pool
	external bool
	guarded  bool
	allowed  []netip.Prefix
}

// pool is a list of endpoints to pick from. endpoints[i] has number i.
type pool struct {
	name      string
	id        uint32
	proto     uint8
	sticky    time.Duration
	endpoints []endpoint
}

type endpoint struct {
	addr  netip.AddrPort
	local bool
	// leaving endpoints are used where no other is there.
	leaving bool
}

// served says whether the proxy translates the service at all.
func served(svc *corev1.Service) bool {
	if svc == nil || svc.Spec.Type == corev1.ServiceTypeExternalName {
		return false
	}
	if _, other := svc.Labels["service.kubernetes.io/service-proxy-name"]; other {
		return false
	}
	return svc.Spec.ClusterIP != "" && svc.Spec.ClusterIP != corev1.ClusterIPNone
}

// plan compiles a service without regard to what it was.
func plan(at Place, svc *corev1.Service, parts map[string]*discoveryv1.EndpointSlice) *service {
	out := &service{}
	if !served(svc) {
		return out
	}
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		if proto, ok := protoOf(p.Protocol); ok {
			out.addPort(at, svc, p, proto, candidates(at.Node, p.Name, proto, parts))
		}
	}
	out.health = healthOf(at.Node, svc, parts)
	return out
}

func (s *service) addPort(at Place, svc *corev1.Service, p *corev1.ServicePort, proto uint8, all []candidate) {
	everywhere := usable(near(at, all))
	here := usable(slices.DeleteFunc(slices.Clone(all), func(c candidate) bool { return !c.local }))
	made := map[string]*pool{}
	poolOf := func(suffix string, endpoints []endpoint) *pool {
		if len(endpoints) == 0 {
			return nil
		}
		if made[suffix] == nil {
			name := svc.Namespace + "/" + svc.Name + "/" + strconv.Itoa(int(proto)) + "/" + strconv.Itoa(int(p.Port)) + suffix
			made[suffix] = &pool{name: name, proto: proto, sticky: stickiness(svc), endpoints: endpoints}
			s.pools = append(s.pools, made[suffix])
		}
		return made[suffix]
	}
	verdict := RejectChain
	if len(everywhere) > 0 {
		verdict = DropChain // there are endpoints, but this node may not lead to them
	}

	internal := func() *pool { return poolOf("", everywhere) }
	if policy := svc.Spec.InternalTrafficPolicy; policy != nil && *policy == corev1.ServiceInternalTrafficPolicyLocal {
		internal = func() *pool { return poolOf("/local", here) }
	}
	for _, ip := range addresses(append([]string{svc.Spec.ClusterIP}, svc.Spec.ClusterIPs...)) {
		f := front{Front: Front{ip, proto, uint16(p.Port)}, to: internal()}
		if f.to == nil {
			f.verdict = verdict
		}
		s.fronts = append(s.fronts, f)
	}

	local := svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
	outside := func(key Front) *front {
		f := front{Front: key, external: !local}
		if local {
			f.to, f.inside = poolOf("/local", here), poolOf("", everywhere)
		} else {
			f.to = poolOf("", everywhere)
		}
		if f.to == nil {
			f.verdict = verdict
		}
		s.fronts = append(s.fronts, f)
		return &s.fronts[len(s.fronts)-1]
	}
	if p.NodePort != 0 {
		outside(Front{Proto: proto, Port: uint16(p.NodePort)})
	}
	for _, ip := range addresses(svc.Spec.ExternalIPs) {
		outside(Front{ip, proto, uint16(p.Port)})
	}
	for _, ip := range balancers(svc) {
		f := outside(Front{ip, proto, uint16(p.Port)})
		if len(svc.Spec.LoadBalancerSourceRanges) > 0 {
			f.guarded, f.allowed = true, ranges(svc.Spec.LoadBalancerSourceRanges)
		}
	}
}

const defaultStickiness = 3 * time.Hour

func stickiness(svc *corev1.Service) time.Duration {
	if svc.Spec.SessionAffinity != corev1.ServiceAffinityClientIP {
		return 0
	}
	if c := svc.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil && *c.ClientIP.TimeoutSeconds > 0 {
		return time.Duration(*c.ClientIP.TimeoutSeconds) * time.Second
	}
	return defaultStickiness
}

// addresses are the IPv4 addresses of a list, each once.
func addresses(list []string) []netip.Addr {
	var out []netip.Addr
	for _, s := range list {
		if a, err := netip.ParseAddr(s); err == nil && a.Is4() && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

// balancers are the addresses that load balancers give and leave on packets.
func balancers(svc *corev1.Service) []netip.Addr {
	if svc.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return nil
	}
	var out []string
	for _, in := range svc.Status.LoadBalancer.Ingress {
		if in.IPMode == nil || *in.IPMode == corev1.LoadBalancerIPModeVIP {
			out = append(out, in.IP)
		}
	}
	return addresses(out)
}

func ranges(list []string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		if p, err := netip.ParsePrefix(s); err == nil && p.Addr().Is4() {
			out = append(out, p.Masked())
		}
	}
	// Ranges within others would overlap, which the kernel refuses.
	slices.SortFunc(out, func(a, b netip.Prefix) int { return a.Bits() - b.Bits() })
	var kept []netip.Prefix
	for _, p := range out {
		if !slices.ContainsFunc(kept, func(k netip.Prefix) bool { return k.Contains(p.Addr()) }) {
			kept = append(kept, p)
		}
	}
	return kept
}

// elements of the pools, which are the service's alone.
func (s *service) elements() []Element {
	var out []Element
	for _, p := range s.pools {
		id := string(number(p.id))
		out = append(out, Element{Set: Picks, Key: id, Value: Pick{len(p.endpoints), p.sticky}.Chain()})
		for i, e := range p.endpoints {
			to := string(nft.Endpoint(e.addr))
			out = append(out, Element{Set: Endpoints, Key: id + string(number(uint32(i))), Value: to})
			if p.sticky > 0 {
				out = append(out, Element{Set: Members, Key: id + to})
			}
		}
	}
	return out
}

// elements of a frontend.
func (f *front) elements() []Element {
	if f == nil {
		return nil
	}
	var out []Element
	key := f.key()
	if f.to != nil {
		out = append(out, Element{Set: Services, Key: key, Value: string(number(f.to.id))})
	} else {
		out = append(out, Element{Set: Refused, Key: key, Value: f.verdict})
	}
	if f.inside != nil && f.inside != f.to {
		out = append(out, Element{Set: Inside, Key: key, Value: string(number(f.inside.id))})
	}
	if f.external {
		out = append(out, Element{Set: External, Key: key})
	}
	if f.guarded {
		out = append(out, Element{Set: Guarded, Key: key})
		for _, r := range f.allowed {
			first, last := span(r)
			out = append(out, Element{Set: Allowed, Key: key + first, KeyEnd: key + last})
		}
	}
	return out
}

func span(p netip.Prefix) (first, last string) {
	from := p.Addr().As4()
	to := from
	for i := range 32 - p.Bits() {
		to[3-i/8] |= 1 << (i % 8)
	}
	return string(from[:]), string(to[:])
}
