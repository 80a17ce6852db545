// Package discovery decides whether endpoint slices are valid, in the field
// paths and words that Kubernetes uses. Its functions are pure.
package discovery

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
	"github.com/sinawi/sinawi/internal/apiserver/validation/rule"
)

// The bounds of a slice.
const (
	maxEndpoints = 1000
	maxPorts     = 20000
	maxAddresses = 100
	maxHints     = 8
	maxTopology  = 16
)

// EndpointSlice checks a new slice.
func EndpointSlice(s *discoveryv1.EndpointSlice) field.ErrorList { return slice(s, nil) }

// slice checks a slice. Endpoints that it had before may be as older releases
// took them.
func slice(s, old *discoveryv1.EndpointSlice) field.ErrorList {
	l := check.List{Errors: rule.Namespaced(&s.ObjectMeta, rule.Subdomain)}
	check.RequiredOneOf(&l, field.NewPath("addressType"), s.AddressType, discoveryv1.AddressTypeFQDN, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6)
	if old == nil || !apiequality.Semantic.DeepEqual(s.Endpoints, old.Endpoints) {
		endpoints(&l, s, field.NewPath("endpoints"))
	}
	ports(&l, s.Ports, field.NewPath("ports"))
	return l.Errors
}

// EndpointSliceUpdate checks a changed slice: the kind of its addresses stays.
func EndpointSliceUpdate(s, old *discoveryv1.EndpointSlice) field.ErrorList {
	return rule.All(slice(s, old), rule.MetaUpdate(&s.ObjectMeta, &old.ObjectMeta),
		rule.Immutable(s.AddressType, old.AddressType, field.NewPath("addressType")))
}

func endpoints(l *check.List, s *discoveryv1.EndpointSlice, path *field.Path) {
	if n := len(s.Endpoints); n > maxEndpoints {
		l.Add(field.TooMany(path, n, maxEndpoints))
		return
	}
	for i := range s.Endpoints {
		e, at := &s.Endpoints[i], path.Index(i)
		addresses := at.Child("addresses")
		switch n := len(e.Addresses); {
		case n == 0:
			l.Required(addresses, "")
		case n > maxAddresses:
			l.Add(field.TooMany(addresses, n, maxAddresses))
		}
		for j, a := range e.Addresses {
			address(l, s.AddressType, a, addresses, j)
		}
		if n := e.NodeName; n != nil {
			l.Subdomain(at.Child("nodeName"), *n)
		}
		topology := at.Child("deprecatedTopology")
		if n := len(e.DeprecatedTopology); n > maxTopology {
			l.Add(field.TooMany(topology, n, maxTopology))
		}
		l.Add(check.Labels(e.DeprecatedTopology, topology)...)
		if e.Hostname != nil {
			l.Label(at.Child("hostname"), *e.Hostname)
		}
		hints(l, e.Hints, at.Child("hints"))
	}
}

func address(l *check.List, kind discoveryv1.AddressType, a string, list *field.Path, index int) {
	path, before := list.Index(index), len(l.Errors)
	switch kind {
	case discoveryv1.AddressTypeIPv4:
		l.IP(path, a)
		if len(l.Errors) > before {
			return
		}
		if !netutils.IsIPv4String(a) {
			l.Invalid(list, a, "must be an IPv4 address")
		}
		l.EndpointIP(path, a)
	case discoveryv1.AddressTypeIPv6:
		l.Add(validation.IsValidIP(path, a)...)
		if len(l.Errors) > before {
			return
		}
		if !netutils.IsIPv6String(a) {
			l.Invalid(list, a, "must be an IPv6 address")
		}
		l.EndpointIP(path, a)
	case discoveryv1.AddressTypeFQDN:
		l.Add(validation.IsFullyQualifiedDomainName(path, a)...)
	}
}

func hints(l *check.List, h *discoveryv1.EndpointHints, path *field.Path) {
	if h == nil {
		return
	}
	zones := path.Child("forZones")
	if n := len(h.ForZones); n > maxHints {
		l.Add(field.TooMany(zones, n, maxHints))
		return
	}
	seen := sets.New[string]()
	for i, z := range h.ForZones {
		at := zones.Index(i).Child("name")
		if seen.Has(z.Name) {
			l.Duplicate(at, z.Name)
		}
		seen.Insert(z.Name)
		l.Messages(at, z.Name, validation.IsValidLabelValue(z.Name))
	}
	nodes := path.Child("forNodes")
	if n := len(h.ForNodes); n > maxHints {
		l.Add(field.TooMany(nodes, n, maxHints))
		return
	}
	seen = sets.New[string]()
	for i, n := range h.ForNodes {
		at := nodes.Index(i).Child("name")
		if seen.Has(n.Name) {
			l.Duplicate(at, n.Name)
		}
		seen.Insert(n.Name)
		l.Subdomain(at, n.Name)
	}
}

func ports(l *check.List, list []discoveryv1.EndpointPort, path *field.Path) {
	if n := len(list); n > maxPorts {
		l.Add(field.TooMany(path, n, maxPorts))
		return
	}
	names := sets.New[string]()
	for i := range list {
		p, at := &list[i], path.Index(i)
		name := check.Deref(p.Name, "")
		if name != "" {
			l.Label(at.Child("name"), name)
		}
		if names.Has(name) {
			l.Duplicate(at.Child("name"), name)
		}
		names.Insert(name)
		protocol := check.Deref(p.Protocol, "")
		check.RequiredOneOf(l, at.Child("protocol"), protocol, corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP)
		if p.AppProtocol != nil {
			l.QualifiedName(at.Child("appProtocol"), *p.AppProtocol)
		}
	}
}
