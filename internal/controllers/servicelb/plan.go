package servicelb

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/sinawi/sinawi/internal/controllers/backend"
)

// Class is the class of services that this package serves by name; it serves
// those without a class too.
const Class = "sinawi.io/node"

// ours says whether the service is a load balancer of this package's.
func ours(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeLoadBalancer && s.DeletionTimestamp == nil &&
		(s.Spec.LoadBalancerClass == nil || *s.Spec.LoadBalancerClass == Class)
}

// snapshot is what a decision is made from.
type snapshot struct {
	service *corev1.Service
	// balancers are all load balancers of this package; service may be one.
	balancers []*corev1.Service
	nodes     []*corev1.Node
	slices    []*discoveryv1.EndpointSlice
	// reserved are the ports of nodes that no service may take, and for what.
	reserved map[int32]string
}

// plan is the addresses of a service, or why it has none.
type plan struct {
	ingress []corev1.LoadBalancerIngress
	refused string
}

// decide gives the service the addresses of all nodes that can serve it.
func decide(s snapshot) plan {
	if why := s.conflict(); why != "" {
		return plan{refused: why}
	}
	serving := s.serving()
	var p plan
	for _, node := range s.nodes {
		if !usable(node) || serving != nil && !serving[node.Name] {
			continue
		}
		for _, ip := range addresses(node, s.service.Spec.IPFamilies) {
			mode := corev1.LoadBalancerIPModeVIP
			p.ingress = append(p.ingress, corev1.LoadBalancerIngress{IP: ip, IPMode: &mode, Ports: nil})
		}
	}
	slices.SortFunc(p.ingress, func(a, b corev1.LoadBalancerIngress) int { return cmp.Compare(a.IP, b.IP) })
	p.ingress = slices.CompactFunc(p.ingress, func(a, b corev1.LoadBalancerIngress) bool { return a.IP == b.IP })
	return p
}

// conflict says which port of the service is taken already: an address has each
// but once, and the older service keeps it.
func (s snapshot) conflict() string {
	for _, p := range s.service.Spec.Ports {
		if what, taken := s.reserved[p.Port]; taken && p.Protocol == corev1.ProtocolTCP {
			return fmt.Sprintf("port %d of the nodes is that of %s", p.Port, what)
		}
		for _, other := range s.balancers {
			if other.UID != s.service.UID && older(other, s.service) && has(other, p) {
				return fmt.Sprintf("port %d/%s of the nodes belongs to service %s/%s", p.Port, p.Protocol, other.Namespace, other.Name)
			}
		}
	}
	return ""
}

func has(s *corev1.Service, port corev1.ServicePort) bool {
	return slices.ContainsFunc(s.Spec.Ports, func(p corev1.ServicePort) bool {
		return p.Port == port.Port && p.Protocol == port.Protocol
	})
}

func older(a, b *corev1.Service) bool {
	// Within one second there is no older one; who has an address keeps it.
	if has, other := len(a.Status.LoadBalancer.Ingress) > 0, len(b.Status.LoadBalancer.Ingress) > 0; has != other {
		return has
	}
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(string(a.UID), string(b.UID))) < 0
}

// serving are the nodes with endpoints that are ready, when only they lead to
// the service; nil is all nodes.
func (s snapshot) serving() map[string]bool {
	if s.service.Spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal {
		return nil
	}
	out := map[string]bool{}
	for _, slice := range s.slices {
		for _, e := range slice.Endpoints {
			if e.NodeName != nil && (e.Conditions.Ready == nil || *e.Conditions.Ready) {
				out[*e.NodeName] = true
			}
		}
	}
	return out
}

// usable says whether traffic from outside may come to the node.
func usable(node *corev1.Node) bool {
	if _, excluded := node.Labels[corev1.LabelNodeExcludeBalancers]; excluded || node.DeletionTimestamp != nil {
		return false
	}
	return slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

// addresses are those of the node that are for outside, else those inside, of
// the families.
func addresses(node *corev1.Node, families []corev1.IPFamily) []string {
	for _, kind := range []corev1.NodeAddressType{corev1.NodeExternalIP, corev1.NodeInternalIP} {
		var out []string
		for _, a := range node.Status.Addresses {
			family := backend.Family(a.Address)
			if a.Type == kind && family != "" && (len(families) == 0 || slices.Contains(families, family)) {
				out = append(out, a.Address)
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	return nil
}
