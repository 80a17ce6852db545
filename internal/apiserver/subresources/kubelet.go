package subresources

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"

	"github.com/sinawi/sinawi/internal/apiserver/rows"
)

// kubelets finds the kubelet API of nodes.
type kubelets struct {
	nodes     *rows.Store
	transport http.RoundTripper
	// unproven does not ask who answers; for reading logs from a node whose
	// certificate has expired, when the client asks for it.
	unproven http.RoundTripper
}

const dialTimeout = 10 * time.Second

func newKubelets(nodes *rows.Store, config *tls.Config) *kubelets {
	if config == nil {
		config = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	transport := func(insecure bool) http.RoundTripper {
		c := config.Clone()
		if insecure {
			c.InsecureSkipVerify = true
		}
		return utilnet.SetTransportDefaults(&http.Transport{
			TLSClientConfig:     c,
			DialContext:         (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext,
			MaxIdleConnsPerHost: 25,
		})
	}
	return &kubelets{nodes: nodes, transport: transport(false), unproven: transport(true)}
}

// proxyTransport reaches what runs in pods and on nodes, whose certificates
// this cluster has not issued.
func proxyTransport() http.RoundTripper {
	return utilnet.SetTransportDefaults(&http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12},
		DialContext:     (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext,
	})
}

// place is where a node's kubelet API listens.
type place struct{ host, port string }

func (p place) url(path string, query url.Values) *url.URL {
	return &url.URL{Scheme: "https", Host: net.JoinHostPort(p.host, p.port), Path: path, RawQuery: query.Encode()}
}

// of finds the kubelet API of a node.
func (k *kubelets) of(ctx context.Context, name string) (place, error) {
	// A cached read may not know a node that has just joined, or its new port.
	obj, err := k.nodes.Get(genericapirequest.WithNamespace(ctx, ""), name, &metav1.GetOptions{})
	if err != nil {
		return place{}, err
	}
	node := obj.(*corev1.Node)
	host, err := preferredAddress(node)
	if err != nil {
		return place{}, err
	}
	port := node.Status.DaemonEndpoints.KubeletEndpoint.Port
	if port == 0 {
		port = 10250
	}
	return place{host: host, port: strconv.Itoa(int(port))}, nil
}

// preferredAddress takes an address that needs no name service first.
func preferredAddress(node *corev1.Node) (string, error) {
	for _, kind := range []corev1.NodeAddressType{
		corev1.NodeInternalIP, corev1.NodeExternalIP, corev1.NodeHostName, corev1.NodeInternalDNS, corev1.NodeExternalDNS,
	} {
		for _, a := range node.Status.Addresses {
			if a.Type == kind && a.Address != "" {
				return a.Address, nil
			}
		}
	}
	return "", fmt.Errorf("no preferred addresses found; known addresses: %v", node.Status.Addresses)
}

// errNotProxyable is upstream's refusal to be a way to what only the server
// itself can reach.
var errNotProxyable = errors.New("address not allowed")

func proxyableIP(ip netip.Addr) error {
	if !ip.IsValid() || ip.IsUnspecified() || ip.IsLoopback() || ip.IsMulticast() || ip.IsLinkLocalUnicast() ||
		ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return errNotProxyable
	}
	return nil
}

// proxyableHost refuses a name one of whose addresses is refused.
func proxyableHost(ctx context.Context, host string) error {
	if ip, err := netip.ParseAddr(host); err == nil {
		return proxyableIP(ip.Unmap())
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return err
	}
	if len(ips) == 0 {
		return fmt.Errorf("no addresses for hostname %q", host)
	}
	for _, ip := range ips {
		if err := proxyableIP(ip.Unmap()); err != nil {
			return err
		}
	}
	return nil
}

// joinPath appends below to base and keeps a slash at the end.
func joinPath(base, below string) string {
	if below == "" {
		return base
	}
	if strings.HasSuffix(base, "/") {
		return base + strings.TrimPrefix(below, "/")
	}
	return base + "/" + strings.TrimPrefix(below, "/")
}
