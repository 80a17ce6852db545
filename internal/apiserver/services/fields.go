package services

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
)

func wantsClusterIP(s *corev1.Service) bool { return s.Spec.Type != corev1.ServiceTypeExternalName }

func mayHaveNodePorts(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeNodePort || s.Spec.Type == corev1.ServiceTypeLoadBalancer
}

func wantsNodePorts(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeNodePort || s.Spec.Type == corev1.ServiceTypeLoadBalancer &&
		(s.Spec.AllocateLoadBalancerNodePorts == nil || *s.Spec.AllocateLoadBalancerNodePorts)
}

func wantsHealthCheck(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeLoadBalancer && s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

// keepAllocated gives s the values that old was given where the client left
// them out, so that applying the same manifest again changes nothing.
func keepAllocated(s, old *corev1.Service) {
	if wantsClusterIP(old) && wantsClusterIP(s) {
		if s.Spec.ClusterIP == "" {
			s.Spec.ClusterIP = old.Spec.ClusterIP
		}
		if len(s.Spec.ClusterIPs) == 0 {
			s.Spec.ClusterIPs = slices.Clone(old.Spec.ClusterIPs)
		}
	}
	if wantsNodePorts(old) && wantsNodePorts(s) {
		keepNodePorts(s, old)
	}
	if wantsHealthCheck(old) && wantsHealthCheck(s) && s.Spec.HealthCheckNodePort == 0 {
		s.Spec.HealthCheckNodePort = old.Spec.HealthCheckNodePort
	}
}

// dropInternalPolicy forgets what was filled in for a service that has no
// traffic of its own; what is not valid stays, for validation to say.
func dropInternalPolicy(s *corev1.Service) {
	p := s.Spec.InternalTrafficPolicy
	if s.Spec.Type == corev1.ServiceTypeExternalName && p != nil &&
		(*p == corev1.ServiceInternalTrafficPolicyCluster || *p == corev1.ServiceInternalTrafficPolicyLocal) {
		s.Spec.InternalTrafficPolicy = nil
	}
}

// keepNodePorts matches ports by name; a node port that the client moved to
// another port of the service stays there.
func keepNodePorts(s, old *corev1.Service) {
	byName := map[string]int32{}
	before, used := sets.New[int32](), sets.New[int32]()
	for _, p := range old.Spec.Ports {
		byName[p.Name] = p.NodePort
		before.Insert(p.NodePort)
	}
	for _, p := range s.Spec.Ports {
		if before.Has(p.NodePort) {
			used.Insert(p.NodePort)
		}
	}
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		if port := byName[p.Name]; p.NodePort == 0 && port != 0 && !used.Has(port) {
			p.NodePort = port
			used.Insert(port)
		}
	}
}

// pairClusterIPs keeps clusterIP and clusterIPs saying the same. A client that
// knows only the older field changes only that one.
func pairClusterIPs(s, old *corev1.Service) {
	spec := &s.Spec
	if old == nil {
		if spec.ClusterIP != "" && len(spec.ClusterIPs) == 0 {
			spec.ClusterIPs = []string{spec.ClusterIP}
		}
	} else if spec.ClusterIP != old.Spec.ClusterIP && slices.Equal(spec.ClusterIPs, old.Spec.ClusterIPs) {
		switch {
		case spec.ClusterIP == "":
			spec.ClusterIPs = nil
		case len(spec.ClusterIPs) == 0:
			spec.ClusterIPs = []string{spec.ClusterIP}
		default:
			spec.ClusterIPs = slices.Clone(spec.ClusterIPs)
			spec.ClusterIPs[0] = spec.ClusterIP
		}
	}
}

// holdings are the addresses and ports that a service has.
type holdings struct {
	ips   map[netip.Addr]bool
	ports map[int32]bool
}

// held lists what a stored or complete service has; old may be nil.
func held(s *corev1.Service) holdings {
	h := holdings{ips: map[netip.Addr]bool{}, ports: map[int32]bool{}}
	if s == nil {
		return h
	}
	if wantsClusterIP(s) {
		ips := s.Spec.ClusterIPs
		if len(ips) == 0 {
			ips = []string{s.Spec.ClusterIP}
		}
		for _, ip := range ips {
			if addr, err := netip.ParseAddr(ip); err == nil {
				h.ips[addr.Unmap()] = true
			}
		}
	}
	if mayHaveNodePorts(s) {
		for _, p := range s.Spec.Ports {
			if p.NodePort != 0 {
				h.ports[p.NodePort] = true
			}
		}
	}
	if wantsHealthCheck(s) && s.Spec.HealthCheckNodePort != 0 {
		h.ports[s.Spec.HealthCheckNodePort] = true
	}
	return h
}
