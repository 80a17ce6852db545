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
	"errors"
	"log/slog"
	"net"
	"net/netip"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sinawi/sinawi/internal/apiserver"
	"github.com/sinawi/sinawi/internal/apiserver/audit"
	"github.com/sinawi/sinawi/internal/apiserver/openapi"
	"github.com/sinawi/sinawi/internal/apiserver/placing"
	"github.com/sinawi/sinawi/internal/apiserver/resources"
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
	// RuntimeConfig switches API versions on and off, by the keys and rules of
	// kube-apiserver's --runtime-config; see resources.Enabled.
	RuntimeConfig map[string]bool
	// Elsewhere names the components (components.Scheduler, Controllers) whose
	// work another program does.
	Elsewhere map[string]bool
	// Guard is what an administrator sets about who may do what.
	Guard Guard
	// Placer gives new pods their node as they are stored; optional.
	Placer placing.Placer

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

// CheckRuntimeConfig refuses keys that switch nothing, before anything starts.
func CheckRuntimeConfig(config map[string]bool) error {
	_, err := resources.Enabled(resources.Table(), config)
	return err
}

// New assembles a server. ctx bounds the assembly, not the server.
func New(ctx context.Context, o Options) (*apiserver.Server, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	certs, err := ensureCertificates(o)
	if err != nil {
		return nil, err
	}
	identity, err := newIdentity(o)
	if err != nil {
		return nil, err
	}
	rows, err := resources.Enabled(resources.Table(), o.RuntimeConfig)
	if err != nil {
		return nil, err
	}
	sealing, err := encryption(ctx, o)
	if err != nil {
		return nil, err
	}
	records, err := audit.New(o.Guard.Audit)
	if err != nil {
		return nil, err
	}
	gates := &gates{guard: o.Guard}
	return apiserver.New(apiserver.Config{
		Store:            o.Store,
		Rows:             rows,
		Defaults:         registerDefaults,
		Listeners:        o.Listeners,
		AdvertiseAddress: o.AdvertiseIP.AsSlice(),
		CertPEM:          certs.serving.CertPEM,
		KeyPEM:           certs.serving.KeyPEM,
		ClientCAPEM:      append(append([]byte{}, o.Keys.Cluster.CertPEM...), o.Keys.FrontProxy.CertPEM...),
		Authenticate:     identity.authenticate,
		Authorize:        gates.authorize,
		Admit:            gates.admit,
		APIAudiences:     identity.audiences,
		Extensions:       append(extensions(o, identity, gates, certs), gates.placing(o.Placer, records), keepSealing(sealing)),
		Transformer:      sealing.For,
		Audit:            records,
		Checks:           sealing.Checks(),
		Types:            openapi.MergeTypes(),
		Logger:           o.Logger,
	})
}
