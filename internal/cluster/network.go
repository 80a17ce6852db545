package cluster

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/dns"
	"github.com/sinawi/sinawi/internal/podnet"
	"github.com/sinawi/sinawi/internal/podnet/ipam"
	"github.com/sinawi/sinawi/internal/proxy"
)

const (
	// dnsPort is where names are asked for.
	dnsPort = 53
	// localDNSPort is where the node's own name server answers, on the pods'
	// gateway: not 53, which another resolver may have taken on all addresses.
	localDNSPort = 1053
)

// startNetwork sets up the pod network once the node has its range, then
// services and names.
func (s *server) startNetwork(ctx context.Context) error {
	n, err := s.awaitNode(ctx, func(n *corev1.Node) bool { return n.Spec.PodCIDR != "" })
	if err != nil {
		return err
	}
	podCIDR, err := netip.ParsePrefix(n.Spec.PodCIDR)
	if err != nil {
		return fmt.Errorf("node %s has the pod range %q: %w", n.Name, n.Spec.PodCIDR, err)
	}
	if err := podnet.Setup(ctx, podnet.Options{
		Instance:    string(s.cfg.Dir.Name()),
		PodCIDR:     podCIDR,
		ClusterCIDR: s.cfg.PodCIDR,
		ServiceCIDR: s.cfg.ServiceCIDR,
		CNIConfDir:  cniConfDir(s.cfg.Dir),
		StateDir:    filepath.Join(s.cfg.Dir.Agent(), "addresses"),
	}); err != nil {
		return err
	}
	// Upstream's role for service proxies may read what services are made of,
	// which a node's own may not.
	cfg, err := s.clientConfig("proxy", "system:kube-proxy")
	if err != nil {
		return err
	}
	_, objects, err := clients(cfg, cache.Options{})
	if err != nil {
		return err
	}
	if err := s.startServices(objects, podCIDR); err != nil {
		return err
	}
	s.parts.start("network's cache", objects.Start)
	return nil
}

// startServices starts what answers at service addresses: the proxy, which also
// leads the DNS service to this node's own name server, and that server.
func (s *server) startServices(objects cache.Cache, podCIDR netip.Prefix) error {
	service := netip.AddrPortFrom(s.cfg.DNSServiceIP(), dnsPort)
	here := netip.AddrPortFrom(ipam.Gateway(podCIDR), localDNSPort)
	services, err := proxy.New(objects, proxy.Options{
		Instance: string(s.cfg.Dir.Name()), NodeName: s.cfg.NodeName, Log: s.log,
		PodCIDR: podCIDR, ClusterCIDR: s.cfg.PodCIDR, ServiceCIDR: s.cfg.ServiceCIDR,
		Redirects: []proxy.Redirect{
			{From: service, Protocol: corev1.ProtocolUDP, To: here},
			{From: service, Protocol: corev1.ProtocolTCP, To: here},
		},
	})
	if err != nil {
		return err
	}
	names, err := dns.New(objects, dns.Options{
		Listen: []netip.AddrPort{here}, Domain: ClusterDomain, ServiceIP: s.cfg.DNSServiceIP(),
		PodCIDR: s.cfg.PodCIDR, ServiceCIDR: s.cfg.ServiceCIDR, Log: s.log,
	})
	if err != nil {
		return err
	}
	s.parts.start("dns", names.Run)
	s.parts.start("proxy", services.Run)
	s.node.proxy.Store(services)
	return nil
}

// publishDNS makes the service by which the cluster's DNS is known. It selects
// no pods: every node answers it itself.
func (s *server) publishDNS(ctx context.Context, c client.Client) error {
	name := client.ObjectKey{Namespace: metav1.NamespaceSystem, Name: "kube-dns"}
	// Looking comes first: a create takes the address before it finds the name taken.
	err := c.Get(ctx, name, &corev1.Service{})
	if err == nil {
		return nil
	}
	if !apierrors.IsNotFound(err) {
		return fmt.Errorf("look for the cluster's DNS: %w", err)
	}
	err = c.Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: name.Namespace, Name: name.Name,
			Labels: map[string]string{"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true"},
		},
		Spec: corev1.ServiceSpec{
			ClusterIP: s.cfg.DNSServiceIP().String(),
			Ports: []corev1.ServicePort{
				{Name: "dns", Protocol: corev1.ProtocolUDP, Port: dnsPort, TargetPort: intstr.FromInt32(dnsPort)},
				{Name: "dns-tcp", Protocol: corev1.ProtocolTCP, Port: dnsPort, TargetPort: intstr.FromInt32(dnsPort)},
			},
		},
	})
	if err != nil {
		return fmt.Errorf("publish the cluster's DNS: %w", err)
	}
	return nil
}
