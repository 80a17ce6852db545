package zone

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// endpoint is one address behind a service with the name it goes by.
type endpoint struct {
	host  string
	addr  netip.Addr
	ports []port
}

type port struct {
	name, proto string
	number      uint16
}

// endpoints of a service that clients may be told of, in order.
func endpoints(e *entry) []endpoint {
	var out []endpoint
	for _, slice := range e.slices {
		ports := slicePorts(slice)
		for i := range slice.Endpoints {
			x := &slice.Endpoints[i]
			if x.Conditions.Ready != nil && !*x.Conditions.Ready && !e.svc.Spec.PublishNotReadyAddresses {
				continue
			}
			for _, s := range x.Addresses {
				a, err := netip.ParseAddr(s)
				if err != nil {
					continue
				}
				host := strings.NewReplacer(".", "-", ":", "-").Replace(s)
				if x.Hostname != nil && *x.Hostname != "" {
					host = strings.ToLower(*x.Hostname)
				}
				out = append(out, endpoint{host, a, ports})
			}
		}
	}
	slices.SortFunc(out, func(a, b endpoint) int {
		if c := a.addr.Compare(b.addr); c != 0 {
			return c
		}
		return strings.Compare(a.host, b.host)
	})
	return out
}

func slicePorts(slice *discoveryv1.EndpointSlice) []port {
	var out []port
	for i := range slice.Ports {
		p := &slice.Ports[i]
		if p.Port == nil {
			continue
		}
		x := port{proto: protoOf(corev1.ProtocolTCP), number: uint16(*p.Port)}
		if p.Name != nil {
			x.name = *p.Name
		}
		if p.Protocol != nil {
			x.proto = protoOf(*p.Protocol)
		}
		out = append(out, x)
	}
	return out
}

// ports of a service: as its clients see them.
func ports(e *entry) []port {
	var out []port
	for i := range e.svc.Spec.Ports {
		p := &e.svc.Spec.Ports[i]
		out = append(out, port{p.Name, protoOf(p.Protocol), uint16(p.Port)})
	}
	return out
}

func protoOf(p corev1.Protocol) string {
	if p == "" {
		p = corev1.ProtocolTCP
	}
	return strings.ToLower(string(p))
}
