package zone

import (
	"net/netip"
	"slices"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Version of the specification that is answered by.
const Version = "1.1.0"

// TTL of every record, in seconds: services change at any moment.
const TTL = 5

// Options describe the cluster.
type Options struct {
	// Domain is the cluster's, such as "cluster.local".
	Domain string
	// Ranges are the services' and pods': an address in them that nothing has is
	// answered with NXDOMAIN, never asked elsewhere.
	Ranges []netip.Prefix
	// Server is the address that clients know this server by.
	Server netip.Addr
}

// Zone is what the objects said so far. Make one with New.
type Zone struct {
	domain     string // lower case, with the final dot
	ranges     []netip.Prefix
	server     netip.Addr
	services   map[types.NamespacedName]*entry
	namespaces map[string]int // how many services each has
	byAddr     map[netip.Addr][]types.NamespacedName
}

type entry struct {
	svc    *corev1.Service
	slices map[string]*discoveryv1.EndpointSlice
}

// New returns a zone without services.
func New(o Options) *Zone {
	return &Zone{
		domain: dns.CanonicalName(o.Domain), ranges: o.Ranges, server: o.Server,
		services: map[types.NamespacedName]*entry{}, namespaces: map[string]int{}, byAddr: map[netip.Addr][]types.NamespacedName{},
	}
}

// SetService takes a service as it is now.
func (z *Zone) SetService(svc *corev1.Service) {
	z.service(types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}, svc)
}

// DeleteService forgets a service; its slices may still be there.
func (z *Zone) DeleteService(name types.NamespacedName) { z.service(name, nil) }

func (z *Zone) service(name types.NamespacedName, svc *corev1.Service) {
	e := z.entry(name)
	for _, a := range clusterIPs(e.svc) {
		z.unindex(a, name)
	}
	for _, a := range clusterIPs(svc) {
		z.index(a, name)
	}
	if e.svc == nil && svc != nil {
		z.namespaces[name.Namespace]++
	}
	if e.svc != nil && svc == nil {
		if z.namespaces[name.Namespace]--; z.namespaces[name.Namespace] == 0 {
			delete(z.namespaces, name.Namespace)
		}
	}
	e.svc = svc
	z.drop(name, e)
}

// SetSlice takes an endpoint slice as it is now.
func (z *Zone) SetSlice(slice *discoveryv1.EndpointSlice) { z.slice(slice, slice) }

// DeleteSlice forgets an endpoint slice.
func (z *Zone) DeleteSlice(slice *discoveryv1.EndpointSlice) { z.slice(slice, nil) }

func (z *Zone) slice(key, slice *discoveryv1.EndpointSlice) {
	service := key.Labels[discoveryv1.LabelServiceName]
	if service == "" {
		return
	}
	name := types.NamespacedName{Namespace: key.Namespace, Name: service}
	e := z.entry(name)
	for a := range addressesOf(e.slices[key.Name]) {
		z.unindex(a, name)
	}
	for a := range addressesOf(slice) {
		z.index(a, name)
	}
	if slice == nil {
		delete(e.slices, key.Name)
	} else {
		e.slices[key.Name] = slice
	}
	z.drop(name, e)
}

func (z *Zone) entry(name types.NamespacedName) *entry {
	e := z.services[name]
	if e == nil {
		e = &entry{slices: map[string]*discoveryv1.EndpointSlice{}}
		z.services[name] = e
	}
	return e
}

func (z *Zone) drop(name types.NamespacedName, e *entry) {
	if e.svc == nil && len(e.slices) == 0 {
		delete(z.services, name)
	}
}

func (z *Zone) index(a netip.Addr, name types.NamespacedName) {
	z.byAddr[a] = append(z.byAddr[a], name)
}

// unindex takes one of the mentions back: each slice with the address made one.
func (z *Zone) unindex(a netip.Addr, name types.NamespacedName) {
	list := z.byAddr[a]
	if i := slices.Index(list, name); i >= 0 {
		list = slices.Delete(list, i, i+1)
	}
	z.byAddr[a] = list
	if len(list) == 0 {
		delete(z.byAddr, a)
	}
}

func headless(svc *corev1.Service) bool { return svc.Spec.ClusterIP == corev1.ClusterIPNone }

func clusterIPs(svc *corev1.Service) []netip.Addr {
	if svc == nil || svc.Spec.Type == corev1.ServiceTypeExternalName {
		return nil
	}
	var out []netip.Addr
	for _, s := range append([]string{svc.Spec.ClusterIP}, svc.Spec.ClusterIPs...) {
		if a, err := netip.ParseAddr(s); err == nil && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

func addressesOf(slice *discoveryv1.EndpointSlice) map[netip.Addr]bool {
	if slice == nil {
		return nil
	}
	out := map[netip.Addr]bool{}
	for i := range slice.Endpoints {
		for _, s := range slice.Endpoints[i].Addresses {
			if a, err := netip.ParseAddr(s); err == nil {
				out[a] = true
			}
		}
	}
	return out
}
