package controlplane

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"

	"github.com/sinawi/sinawi/internal/pki"
)

// certificates are those that the API server itself holds.
type certificates struct {
	serving pki.KeyPair
	kubelet *tls.Config // how it speaks to the nodes
	proxy   pki.KeyPair // how it speaks for its users to other API servers
}

func ensureCertificates(o Options) (c certificates, err error) {
	if c.serving, err = servingCertificate(o); err != nil {
		return c, err
	}
	if c.kubelet, err = kubeletClient(o); err != nil {
		return c, err
	}
	c.proxy, err = o.Keys.Ensure(o.Keys.FrontProxy, frontProxyName, pki.Request{CommonName: frontProxyName, Client: true})
	if err != nil {
		return c, fmt.Errorf("front proxy certificate: %w", err)
	}
	return c, nil
}

// servingCertificate names every way by which a client may reach the server.
func servingCertificate(o Options) (pki.KeyPair, error) {
	ips := []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback, o.AdvertiseIP.AsSlice(), o.ServiceCIDR.Masked().Addr().Next().AsSlice()}
	names := []string{
		"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
		"kubernetes.default.svc." + o.ClusterDomain,
	}
	for _, l := range o.Listeners {
		if tcp, ok := l.Addr().(*net.TCPAddr); ok && !tcp.IP.IsUnspecified() {
			ips = append(ips, tcp.IP)
		}
	}
	for _, name := range o.Names {
		if ip := net.ParseIP(name); ip != nil {
			ips = append(ips, ip)
		} else {
			names = append(names, name)
		}
	}
	pair, err := o.Keys.Ensure(o.Keys.Cluster, "apiserver", pki.Request{
		CommonName: "sinawi", Server: true, DNSNames: names, IPs: ips,
	})
	if err != nil {
		return pki.KeyPair{}, fmt.Errorf("serving certificate: %w", err)
	}
	return pair, nil
}

// kubeletClient is how this server speaks to the nodes.
func kubeletClient(o Options) (*tls.Config, error) {
	pair, err := o.Keys.Ensure(o.Keys.Cluster, "apiserver-kubelet-client", pki.Request{
		CommonName: "kube-apiserver-kubelet-client", Organizations: []string{"system:masters"}, Client: true,
	})
	if err != nil {
		return nil, fmt.Errorf("client certificate for nodes: %w", err)
	}
	cert, err := tls.X509KeyPair(pair.CertPEM, pair.KeyPEM)
	if err != nil {
		return nil, fmt.Errorf("client certificate for nodes: %w", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(o.Keys.Cluster.CertPEM)
	return &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: roots, MinVersion: tls.VersionTLS12}, nil
}
