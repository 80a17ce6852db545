package resources

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/sinawi/sinawi/internal/apiserver/validation/core"
	"github.com/sinawi/sinawi/internal/apiserver/warnings"
)

func serviceStrategy() Strategy {
	return warned(checked(Strategy{
		PrepareForCreate: onCreate(func(s *corev1.Service) {
			s.Status = corev1.ServiceStatus{}
			clearUnused(s)
		}),
		PrepareForUpdate: onUpdate(func(s, old *corev1.Service) {
			s.Status = old.Status
			dropTypeDependent(s, old)
		}),
		AllowCreateOnUpdate:      true,
		AllowUnconditionalUpdate: true,
		ResetFields:              resetStatus(),
	}, core.Service, core.ServiceUpdate), warnings.Service)
}

func serviceStatusStrategy() *Strategy {
	s := checked(serviceStrategy(), nil, core.ServiceStatusUpdate)
	s.PrepareForUpdate = onUpdate(func(s, old *corev1.Service) { s.Spec = old.Spec })
	s.UpdateWarnings = nil
	s.ResetFields = resetSpec()
	return &s
}

// clearUnused drops the load balancer's status from a service that is none.
func clearUnused(s *corev1.Service) {
	if s.Spec.Type != corev1.ServiceTypeLoadBalancer {
		s.Status.LoadBalancer = corev1.LoadBalancerStatus{}
	}
}

func needsClusterIP(s *corev1.Service) bool {
	switch s.Spec.Type {
	case corev1.ServiceTypeExternalName:
		return false
	}
	return true
}

func needsNodePort(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeNodePort || s.Spec.Type == corev1.ServiceTypeLoadBalancer
}

func needsHealthCheckPort(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeLoadBalancer && s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

// dropTypeDependent forgets the values that belonged to the old type, where
// the client that changed the type left them as they were. A value that was
// changed is the client's wish, for validation to judge.
func dropTypeDependent(s, old *corev1.Service) {
	if needsClusterIP(old) && !needsClusterIP(s) && sameClusterIPs(old, s) { // they are given free later
		s.Spec.ClusterIP, s.Spec.ClusterIPs = "", nil
	}
	if needsClusterIP(old) && !needsClusterIP(s) {
		if slices.Equal(old.Spec.IPFamilies, s.Spec.IPFamilies) {
			s.Spec.IPFamilies = nil
		}
		if equal(old.Spec.IPFamilyPolicy, s.Spec.IPFamilyPolicy) {
			s.Spec.IPFamilyPolicy = nil
		}
	}
	if needsNodePort(old) && !needsNodePort(s) && sameNodePorts(old, s) {
		for i := range s.Spec.Ports {
			s.Spec.Ports[i].NodePort = 0
		}
	}
	if needsHealthCheckPort(old) && !needsHealthCheckPort(s) && old.Spec.HealthCheckNodePort == s.Spec.HealthCheckNodePort {
		s.Spec.HealthCheckNodePort = 0
	}
	wasBalancer, isBalancer := old.Spec.Type == corev1.ServiceTypeLoadBalancer, s.Spec.Type == corev1.ServiceTypeLoadBalancer
	if wasBalancer && !isBalancer {
		if equal(old.Spec.AllocateLoadBalancerNodePorts, s.Spec.AllocateLoadBalancerNodePorts) {
			s.Spec.AllocateLoadBalancerNodePorts = nil
		}
		if equal(old.Spec.LoadBalancerClass, s.Spec.LoadBalancerClass) {
			s.Spec.LoadBalancerClass = nil
		}
	}
	if externallyReachable(old) && !externallyReachable(s) && old.Spec.ExternalTrafficPolicy == s.Spec.ExternalTrafficPolicy {
		s.Spec.ExternalTrafficPolicy = ""
	}
	if !isBalancer {
		s.Status.LoadBalancer = corev1.LoadBalancerStatus{}
	}
}

func externallyReachable(s *corev1.Service) bool {
	switch s.Spec.Type {
	case corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort:
		return true
	case corev1.ServiceTypeClusterIP:
		return len(s.Spec.ExternalIPs) > 0
	}
	return false
}

func sameClusterIPs(a, b *corev1.Service) bool {
	if a.Spec.ClusterIP != b.Spec.ClusterIP || len(a.Spec.ClusterIPs) != len(b.Spec.ClusterIPs) {
		return false
	}
	for i, ip := range a.Spec.ClusterIPs {
		if ip != b.Spec.ClusterIPs[i] {
			return false
		}
	}
	return true
}

// sameNodePorts tells whether b asks for no node port that a did not have.
func sameNodePorts(a, b *corev1.Service) bool {
	had := map[int32]bool{}
	for _, p := range a.Spec.Ports {
		had[p.NodePort] = true
	}
	for _, p := range b.Spec.Ports {
		if p.NodePort != 0 && !had[p.NodePort] {
			return false
		}
	}
	return true
}

func equal[T comparable](a, b *T) bool {
	return a == b || a != nil && b != nil && *a == *b
}
