// Package controlplane assembles the API server of a cluster: the rows of the
// resource table, the gates of a request (who, may they, shall it be), what
// rows cannot say (subresources, virtual resources, allocators, custom
// resources, aggregation), encryption at rest, and the objects that every
// cluster has from the start.
//
// It decides what belongs together and nothing else: every part is a package
// of its own, plugged in by package plug. It starts no goroutine; the Server
// that it returns owns them all.
package controlplane

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/storage/value"

	"github.com/sinawi/sinawi/internal/apiserver"
	"github.com/sinawi/sinawi/internal/apiserver/openapi"
	"github.com/sinawi/sinawi/internal/apiserver/resources"
	"github.com/sinawi/sinawi/internal/apiserver/storage"
	"github.com/sinawi/sinawi/internal/apiserver/storage/seal"
	"github.com/sinawi/sinawi/internal/pki"
	"github.com/sinawi/sinawi/internal/store"
)

// Options of a control plane. Store, Keys, Listeners and AdvertiseIP are
// required.
type Options struct {
	Store     *store.Store
	Keys      *pki.PKI
	Listeners []net.Listener
	// AdvertiseIP is where pods and other nodes reach this server.
	AdvertiseIP netip.Addr
	ServiceCIDR netip.Prefix // default 10.43.0.0/16
	// ClusterDomain is the domain of service names; default cluster.local.
	ClusterDomain string
	// Names are further names and addresses of the serving certificate.
	Names []string
	// Encrypt names resources that are encrypted at rest besides secrets.
	Encrypt []schema.GroupResource

	Logger *slog.Logger // optional
}

func (o *Options) complete() error {
	var errs []error
	for _, need := range []struct {
		missing bool
		what    string
	}{
		{o.Store == nil, "Store"}, {o.Keys == nil, "Keys"},
		{len(o.Listeners) == 0, "Listeners"}, {!o.AdvertiseIP.IsValid(), "AdvertiseIP"},
	} {
		if need.missing {
			errs = append(errs, errors.New("control plane: "+need.what+" is missing"))
		}
	}
	if !o.ServiceCIDR.IsValid() {
		o.ServiceCIDR = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 43, 0, 0}), 16)
	}
	if o.ClusterDomain == "" {
		o.ClusterDomain = "cluster.local"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return errors.Join(errs...)
}

// New assembles a server. ctx bounds the assembly, not the server.
func New(ctx context.Context, o Options) (*apiserver.Server, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	serving, err := servingCertificate(o)
	if err != nil {
		return nil, err
	}
	identity, err := newIdentity(o)
	if err != nil {
		return nil, err
	}
	kubelet, err := kubeletClient(o)
	if err != nil {
		return nil, err
	}
	transformers, err := encryption(ctx, o)
	if err != nil {
		return nil, err
	}
	gates := &gates{}
	return apiserver.New(apiserver.Config{
		Store:            o.Store,
		Rows:             resources.Table(),
		Defaults:         registerDefaults,
		Listeners:        o.Listeners,
		AdvertiseAddress: o.AdvertiseIP.AsSlice(),
		CertPEM:          serving.CertPEM,
		KeyPEM:           serving.KeyPEM,
		ClientCAPEM:      append(append([]byte{}, o.Keys.Cluster.CertPEM...), o.Keys.FrontProxy.CertPEM...),
		Authenticate:     identity.authenticate,
		Authorize:        gates.authorize,
		Admit:            gates.admit,
		APIAudiences:     identity.audiences,
		Extensions:       extensions(o, identity, gates, kubelet),
		Transformers:     transformers,
		Types:            openapi.MergeTypes(),
		Logger:           o.Logger,
	})
}

// encryption seals secrets and what the options name.
func encryption(ctx context.Context, o Options) (map[schema.GroupResource]value.Transformer, error) {
	sealed := append([]schema.GroupResource{{Resource: "secrets"}}, o.Encrypt...)
	sealer, err := seal.Open(ctx, o.Keys.Path("encryption.key"), o.Store.Client(), storage.Prefix+"/secrets/")
	if err != nil {
		return nil, err
	}
	return seal.For(sealer, sealed...), nil
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
