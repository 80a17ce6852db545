package compile

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
)

// candidate is an endpoint that may be used if nothing better is there.
type candidate struct {
	endpoint
	ready bool
	hints *discoveryv1.EndpointHints
}

// candidates of a service's port, each address once, in order.
func candidates(node, port string, proto uint8, parts map[string]*discoveryv1.EndpointSlice) []candidate {
	byAddr := map[netip.AddrPort]candidate{}
	for _, name := range slices.Sorted(maps.Keys(parts)) { // the same objects compile to the same
		slice := parts[name]
		if slice.AddressType != discoveryv1.AddressTypeIPv4 {
			continue
		}
		number, ok := portOf(slice, port, proto)
		if !ok {
			continue
		}
		for i := range slice.Endpoints {
			e := &slice.Endpoints[i]
			c, ok := candidateOf(node, e)
			if !ok {
				continue
			}
			for _, a := range addresses(e.Addresses) {
				c.addr = netip.AddrPortFrom(a, number)
				// One address in two slices is on its way between them: the better counts.
				if had, twice := byAddr[c.addr]; !twice || (c.ready && !had.ready) {
					byAddr[c.addr] = c
				}
			}
		}
	}
	out := make([]candidate, 0, len(byAddr))
	for _, c := range byAddr {
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b candidate) int { return a.addr.Compare(b.addr) })
	return out
}

func portOf(slice *discoveryv1.EndpointSlice, name string, proto uint8) (uint16, bool) {
	for i := range slice.Ports {
		p := &slice.Ports[i]
		have := corev1.ProtocolTCP
		if p.Protocol != nil {
			have = *p.Protocol
		}
		number, ok := protoOf(have)
		if ok && number == proto && p.Port != nil && (p.Name == nil && name == "" || p.Name != nil && *p.Name == name) {
			return uint16(*p.Port), true
		}
	}
	return 0, false
}

func candidateOf(node string, e *discoveryv1.Endpoint) (candidate, bool) {
	yes := func(p *bool, unset bool) bool {
		if p == nil {
			return unset
		}
		return *p
	}
	ready := yes(e.Conditions.Ready, true)
	leaving := yes(e.Conditions.Terminating, false) && yes(e.Conditions.Serving, ready)
	c := candidate{ready: ready, hints: e.Hints}
	c.leaving = leaving && !ready
	c.local = e.NodeName != nil && *e.NodeName == node
	return c, ready || leaving
}

// usable endpoints are the ready ones or, where there are none, those that are
// leaving and still serve.
func usable(all []candidate) []endpoint {
	var ready, leaving []endpoint
	for _, c := range all {
		switch {
		case c.ready:
			ready = append(ready, c.endpoint)
		case c.leaving:
			leaving = append(leaving, c.endpoint)
		}
	}
	if len(ready) > 0 {
		return ready
	}
	return leaving
}

// near are the candidates that the node should prefer: those whose hints name the
// node or else its zone. Hints hold only if every ready endpoint has them and some
// name this place; otherwise all are as good.
func near(at Place, all []candidate) []candidate {
	forNode := func(c candidate) ([]string, bool) {
		var out []string
		if c.hints == nil || len(c.hints.ForNodes) == 0 {
			return nil, false
		}
		for _, n := range c.hints.ForNodes {
			out = append(out, n.Name)
		}
		return out, true
	}
	forZone := func(c candidate) ([]string, bool) {
		var out []string
		if c.hints == nil || len(c.hints.ForZones) == 0 {
			return nil, false
		}
		for _, z := range c.hints.ForZones {
			out = append(out, z.Name)
		}
		return out, true
	}
	if kept, ok := hinted(at.Node, all, forNode); ok {
		return kept
	}
	if at.Zone != "" {
		if kept, ok := hinted(at.Zone, all, forZone); ok {
			return kept
		}
	}
	return all
}

func hinted(here string, all []candidate, hint func(candidate) ([]string, bool)) ([]candidate, bool) {
	var kept []candidate
	for _, c := range all {
		if !c.ready {
			continue
		}
		names, ok := hint(c)
		if !ok {
			return nil, false
		}
		if slices.Contains(names, here) {
			kept = append(kept, c)
		}
	}
	return kept, len(kept) > 0
}

// keepOrder numbers next's endpoints so that as few as possible differ from before.
func keepOrder(before, next []endpoint) []endpoint {
	want := make(map[netip.AddrPort]endpoint, len(next))
	for _, e := range next {
		want[e.addr] = e
	}
	out := make([]endpoint, 0, len(next))
	var holes []int
	for i, e := range before {
		kept, ok := want[e.addr]
		if !ok {
			holes = append(holes, i)
		}
		out = append(out, kept)
		delete(want, e.addr)
	}
	for _, e := range next {
		if _, fresh := want[e.addr]; !fresh {
			continue
		}
		if len(holes) > 0 {
			out[holes[0]], holes = e, holes[1:]
			continue
		}
		out = append(out, e)
	}
	for len(holes) > 0 {
		last := len(out) - 1
		if hole := holes[len(holes)-1]; hole == last {
			holes = holes[:len(holes)-1]
		} else {
			out[holes[0]], holes = out[last], holes[1:]
		}
		out = out[:last]
	}
	return out
}

// Health is what a load balancer's health check on this node answers.
type Health struct {
	Service types.NamespacedName
	Port    uint16
	// Local is how many endpoints of the service are ready on this node.
	Local int
}

func healthOf(node string, svc *corev1.Service, parts map[string]*discoveryv1.EndpointSlice) *Health {
	if svc.Spec.Type != corev1.ServiceTypeLoadBalancer || svc.Spec.HealthCheckNodePort == 0 || svc.Spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal {
		return nil
	}
	h := &Health{Service: types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}, Port: uint16(svc.Spec.HealthCheckNodePort)}
	seen := map[string]bool{}
	for _, slice := range parts {
		for i := range slice.Endpoints {
			e := &slice.Endpoints[i]
			if c, ok := candidateOf(node, e); ok && c.ready && c.local && len(e.Addresses) > 0 && !seen[e.Addresses[0]] {
				seen[e.Addresses[0]] = true
				h.Local++
			}
		}
	}
	return h
}

// byName orders services, so that of two that claim one frontend always the same wins.
func byName(a, b types.NamespacedName) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}
