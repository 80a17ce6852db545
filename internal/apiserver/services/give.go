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
func (a *Allocator) give(s, old *corev1.Service, before holdings, dryRun bool) (holdings, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	g := giving{Allocator: a, service: s, old: old, before: before, given: held(nil), dryRun: dryRun}
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
	service, old  *corev1.Service // old is nil for a new one
	before, given holdings
	dryRun        bool
}

func (g giving) clusterIPs() error {
	s := g.service
	if !wantsClusterIP(s) || headless(s) {
		return nil
	}
	from := 0
	if g.old != nil && wantsClusterIP(g.old) {
		if headless(g.old) || len(g.old.Spec.IPFamilies) != 1 || len(s.Spec.IPFamilies) != 2 {
			return nil // what it has does not change; validation speaks about attempts
		}
		from = 1
	}
	for i, family := range s.Spec.IPFamilies {
		if i < from {
			continue
		}
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

// nodePorts gives a new service its own, and a changed one those that it lacks.
func (g giving) nodePorts() error {
	switch {
	case !mayHaveNodePorts(g.service):
		return nil
	case g.old != nil:
		return g.moreNodePorts()
	}
	byPort := map[int32]int32{} // port → the first node port that it has
	for i := range g.service.Spec.Ports {
		p := &g.service.Spec.Ports[i]
		if p.NodePort == 0 && !wantsNodePorts(g.service) {
			continue
		}
		has := byPort[p.Port]
		switch {
		case has == 0:
			if err := g.firstNodePort(i); err != nil {
				return err
			}
			byPort[p.Port] = p.NodePort
		case p.NodePort == 0:
			p.NodePort = has // they differ in protocol alone
		case p.NodePort != has:
			if err := g.nodePort(i, p.NodePort); err != nil {
				return err
			}
		}
	}
	return nil
}

// firstNodePort gives a port that which any entry with its number asks for, or
// else a free one.
func (g giving) firstNodePort(i int) error {
	p := &g.service.Spec.Ports[i]
	for _, other := range g.service.Spec.Ports {
		if other.Port == p.Port && other.NodePort != 0 {
			p.NodePort = other.NodePort
			return g.nodePort(i, p.NodePort)
		}
	}
	return g.nextNodePort(i)
}

func (g giving) moreNodePorts() error {
	type use struct {
		protocol corev1.Protocol
		port     int32
	}
	uses := map[use]bool{}
	for i := range g.service.Spec.Ports {
		p := &g.service.Spec.Ports[i]
		switch {
		case p.NodePort == 0 && !wantsNodePorts(g.service):
			continue
		case p.NodePort == 0:
			if err := g.nextNodePort(i); err != nil {
				return err
			}
		case !g.before.ports[p.NodePort] && !g.given.ports[p.NodePort]:
			if err := g.nodePort(i, p.NodePort); err != nil {
				return err
			}
		}
		u := use{p.Protocol, p.NodePort}
		if uses[u] {
			return fmt.Errorf("duplicate nodePort: %v", u)
		}
		uses[u] = true
	}
	return nil
}

// nodePort takes the one that the service's ports ask for at i.
func (g giving) nodePort(i int, port int32) error {
	if err := g.port(port); err != nil {
		return invalid(g.service, field.ErrorList{field.Invalid(field.NewPath("spec", "ports").Index(i).Child("nodePort"), port, err.Error())})
	}
	return nil
}

func (g giving) nextNodePort(i int) error {
	port, err := g.nextPort()
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("failed to allocate a nodePort: %w", err))
	}
	g.service.Spec.Ports[i].NodePort = port
	return nil
}

func (g giving) healthCheckPort() error {
	s := g.service
	if !wantsHealthCheck(s) || g.old != nil && wantsHealthCheck(g.old) {
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

// port takes one by value. A dry run asks only whether others have it, not
// whether it is one of the range.
func (g giving) port(port int32) error {
	if g.dryRun && !g.ports.contains(port) && !g.given.ports[port] {
		g.given.ports[port] = true
		return nil
	}
	if g.given.ports[port] {
		return errPort
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
