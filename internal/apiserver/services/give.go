package services

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// give fills s with the addresses and ports that it needs and has not, and
// returns those that are new. An error leaves nothing taken.
func (a *Allocator) give(s *corev1.Service, before holdings) (holdings, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	g := giving{Allocator: a, service: s, before: before, given: held(nil)}
	for _, step := range []func() error{g.clusterIPs, g.nodePorts, g.healthCheckPort} {
		if err := step(); err != nil {
			a.releaseLocked(g.given)
			return holdings{}, err
		}
	}
	return g.given, nil
}

// giving is one call of give; the allocator is locked.
type giving struct {
	*Allocator
	service       *corev1.Service
	before, given holdings
}

func (g giving) clusterIPs() error {
	s := g.service
	if !wantsClusterIP(s) || headless(s) {
		return nil
	}
	for i, family := range s.Spec.IPFamilies {
		pool := g.ips[family]
		if pool == nil {
			continue // kept from a cluster that had it
		}
		if i < len(s.Spec.ClusterIPs) && s.Spec.ClusterIPs[i] != "" {
			if err := g.clusterIP(pool, s.Spec.ClusterIPs[i]); err != nil {
				return err
			}
			continue
		}
		ip, ok := pool.next()
		if !ok {
			return apierrors.NewInternalError(fmt.Errorf("failed to allocate a serviceIP: %w", errFull))
		}
		g.given.ips[ip] = true
		if i < len(s.Spec.ClusterIPs) {
			s.Spec.ClusterIPs[i] = ip.String()
		} else {
			s.Spec.ClusterIPs = append(s.Spec.ClusterIPs, ip.String())
		}
	}
	if len(s.Spec.ClusterIPs) > 0 {
		s.Spec.ClusterIP = s.Spec.ClusterIPs[0]
	}
	return nil
}

// clusterIP takes an address that the service asks for by value.
func (g giving) clusterIP(pool *networks, value string) error {
	ip, err := netip.ParseAddr(value)
	if err != nil {
		return nil // for validation to say
	}
	ip = ip.Unmap()
	if g.before.ips[ip] || g.given.ips[ip] {
		return nil
	}
	if err := pool.claim(ip); err != nil {
		return invalid(g.service, field.ErrorList{field.Invalid(field.NewPath("spec", "clusterIPs"), g.service.Spec.ClusterIPs,
			fmt.Sprintf("failed to allocate IP %v: %v", value, err))})
	}
	g.given.ips[ip] = true
	return nil
}

// nodePorts first takes what is asked for by value, then fills the rest. Ports
// of the service that differ in protocol alone share one node port.
func (g giving) nodePorts() error {
	s := g.service
	if !mayHaveNodePorts(s) {
		return nil
	}
	byPort := map[int32]int32{} // port → a node port that it has
	protocols := map[corev1.ServicePort]bool{}
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		if p.NodePort == 0 {
			continue
		}
		if err := g.port(p.NodePort); err != nil {
			return invalid(s, field.ErrorList{field.Invalid(field.NewPath("spec", "ports").Index(i).Child("nodePort"), p.NodePort, err.Error())})
		}
		byPort[p.Port] = p.NodePort
		protocols[corev1.ServicePort{Protocol: p.Protocol, NodePort: p.NodePort}] = true
	}
	for i := range s.Spec.Ports {
		p := &s.Spec.Ports[i]
		if p.NodePort != 0 || !wantsNodePorts(s) {
			continue
		}
		p.NodePort = byPort[p.Port]
		if use := (corev1.ServicePort{Protocol: p.Protocol, NodePort: p.NodePort}); p.NodePort != 0 && !protocols[use] {
			protocols[use] = true
			continue
		}
		port, err := g.nextPort()
		if err != nil {
			return apierrors.NewInternalError(fmt.Errorf("failed to allocate a nodePort: %w", err))
		}
		p.NodePort, byPort[p.Port] = port, port
		protocols[corev1.ServicePort{Protocol: p.Protocol, NodePort: port}] = true
	}
	return nil
}

func (g giving) healthCheckPort() error {
	s := g.service
	if !wantsHealthCheck(s) {
		return nil
	}
	if s.Spec.HealthCheckNodePort != 0 {
		if err := g.port(s.Spec.HealthCheckNodePort); err != nil {
			return apierrors.NewInternalError(fmt.Errorf("failed to allocate requested HealthCheck NodePort %v: %w", s.Spec.HealthCheckNodePort, err))
		}
		return nil
	}
	port, err := g.nextPort()
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("failed to allocate a HealthCheck NodePort %v: %w", port, err))
	}
	s.Spec.HealthCheckNodePort = port
	return nil
}

// port takes one by value.
func (g giving) port(port int32) error {
	if g.before.ports[port] || g.given.ports[port] {
		return nil
	}
	if err := g.ports.claim(port); err != nil {
		return err
	}
	g.given.ports[port] = true
	return nil
}

func (g giving) nextPort() (int32, error) {
	at, ok := g.ports.next()
	if !ok {
		return 0, errFull
	}
	port := g.ports.first + int32(at)
	g.given.ports[port] = true
	return port, nil
}
