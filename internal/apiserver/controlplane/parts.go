package controlplane

import (
	"context"
	"net"
	"net/http"
	"net/netip"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	genericadmission "k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/sinawi/sinawi/internal/apiserver"
	"github.com/sinawi/sinawi/internal/apiserver/admission"
	"github.com/sinawi/sinawi/internal/apiserver/aggregate"
	"github.com/sinawi/sinawi/internal/apiserver/audit"
	"github.com/sinawi/sinawi/internal/apiserver/authz"
	"github.com/sinawi/sinawi/internal/apiserver/bootstrap"
	"github.com/sinawi/sinawi/internal/apiserver/components"
	"github.com/sinawi/sinawi/internal/apiserver/crd"
	"github.com/sinawi/sinawi/internal/apiserver/defaults"
	"github.com/sinawi/sinawi/internal/apiserver/openapi"
	"github.com/sinawi/sinawi/internal/apiserver/placing"
	"github.com/sinawi/sinawi/internal/apiserver/plug"
	"github.com/sinawi/sinawi/internal/apiserver/services"
	"github.com/sinawi/sinawi/internal/apiserver/serviceurl"
	"github.com/sinawi/sinawi/internal/apiserver/subresources"
	"github.com/sinawi/sinawi/internal/apiserver/usage"
	"github.com/sinawi/sinawi/internal/pki"
	"github.com/sinawi/sinawi/internal/store"
)

// extensions are all parts beside the rows, in the order in which they run.
func extensions(o Options, who *identity, g *gates, certs certificates) []plug.Extension {
	return []plug.Extension{
		g.admissionHooks,
		services.Extension(services.Options{Networks: []netip.Prefix{o.ServiceCIDR}}),
		bootstrap.Extension(bootstrap.Options{
			Server:      netip.AddrPortFrom(o.AdvertiseIP, port(o)),
			ServiceCIDR: o.ServiceCIDR,
			ClientCA:    o.Keys.Cluster.CertPEM,
			ProxyCA:     o.Keys.FrontProxy.CertPEM,
			ProxyNames:  []string{frontProxyName},
		}),
		g.authzHooks,
		who.follow,
		subresources.Extension(subresources.Options{KubeletTLS: certs.kubelet}),
		usage.Extension(func(h *plug.Host) usage.Kubelets {
			return subresources.NewKubelets(h.Store("", "nodes"), certs.kubelet)
		}),
		who.documents,
		who.reviews,
		components.Extension(components.Options{Elsewhere: o.Elsewhere, Store: answers(o.Store)}),
		open(certs.proxy),
	}
}

// answers asks the store for a read that it can give only when it can take
// writes too.
func answers(db *store.Store) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := db.Client().Get(ctx, "health")
		return err
	}
}

// port is where the server listens; all listeners share it.
func port(o Options) uint16 {
	if tcp, ok := o.Listeners[0].Addr().(*net.TCPAddr); ok {
		return uint16(tcp.Port)
	}
	return 6443
}

func registerDefaults(s *runtime.Scheme) error { return defaults.Register(s) }

// gates are the parts that later parts are built on.
type gates struct {
	guard     Guard
	authz     *authz.Authz     // set by authorize
	admission *admission.Chain // set by admit
}

func (g *gates) authorize(h *plug.Host) (authorizer.Authorizer, authorizer.RuleResolver, error) {
	var err error
	if g.authz, err = authz.New(h, g.guard.Authorization); err != nil {
		return nil, nil, err
	}
	return g.authz, g.authz, nil
}

func (g *gates) admit(h *plug.Host) (genericadmission.Interface, error) {
	var err error
	if g.admission, err = admission.New(h, g.authz.RBAC, g.guard.Admission); err != nil {
		return nil, err
	}
	return g.admission, nil
}

// admissionHooks come before all others, whose writes pass admission.
func (g *gates) admissionHooks(*plug.Host) (plug.Additions, error) {
	return plug.Additions{Hooks: g.admission.Hooks}, nil
}

// placing has new pods placed, but for those whose binding a webhook or a policy may be
// asked about or that is recorded.
func (g *gates) placing(by placing.Placer, records audit.Audit) plug.Extension {
	return placing.Extension(placing.Options{
		Placer: by,
		Watched: func(a genericadmission.Attributes) bool {
			of := a.GetResource()
			return g.admission.Asks(a) || records.Records(authorizer.AttributesRecord{
				User: a.GetUserInfo(), Verb: "create", Namespace: a.GetNamespace(), APIGroup: of.Group, APIVersion: of.Version,
				Resource: of.Resource, Subresource: a.GetSubresource(), Name: a.GetName(), ResourceRequest: true,
			})
		},
		Bound: func(ctx context.Context, pod genericadmission.Attributes) error { return g.admission.Bound(ctx, pod) },
	})
}

// authzHooks come when the system namespaces are there, which hold some roles.
func (g *gates) authzHooks(*plug.Host) (plug.Additions, error) {
	return plug.Additions{Hooks: g.authz.Hooks}, nil
}

// open serves what is defined while the server runs (custom resources, other
// API servers), and the OpenAPI documents of everything.
func open(proxy pki.KeyPair) plug.Extension {
	return func(h *plug.Host) (plug.Additions, error) {
		services := serviceurl.New(admission.Source(h))
		custom, added, err := crd.New(h, crd.Options{
			Services:          services,
			RequestTimeout:    apiserver.RequestTimeout,
			MinRequestTimeout: apiserver.MinRequestTimeout,
			MaxBodyBytes:      apiserver.MaxRequestBodyBytes,
		})
		if err != nil {
			return plug.Additions{}, err
		}
		others, more, err := aggregate.New(h, aggregate.Options{
			CertPEM: proxy.CertPEM, KeyPEM: proxy.KeyPEM, Services: services, Custom: custom,
		})
		if err != nil {
			return plug.Additions{}, err
		}
		previews, err := openapi.Previews(servedVersions(h))
		if err != nil {
			return plug.Additions{}, err
		}
		inner := added.Fallback
		return plug.Additions{
			APIGroups: append(added.APIGroups, more.APIGroups...),
			Hooks:     append(added.Hooks, more.Hooks...),
			Front:     more.Front,
			Fallback:  func(next http.Handler) http.Handler { return more.Fallback(inner(next)) },
			Paths:     openapi.New(h.Log, previews, custom, others).Handlers(),
		}, nil
	}
}

// servedVersions are the group versions of the rows.
func servedVersions(h *plug.Host) []schema.GroupVersion {
	var out []schema.GroupVersion
	for _, served := range h.Served {
		out = append(append(out, served.Row.GroupVersion), served.Row.ServedAs...)
	}
	return out
}
