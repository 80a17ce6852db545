package controlplane

import (
	"net"
	"net/netip"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"

	"github.com/sinawi/sinawi/internal/apiserver/bootstrap"
	"github.com/sinawi/sinawi/internal/apiserver/defaults"
	"github.com/sinawi/sinawi/internal/apiserver/plug"
	"github.com/sinawi/sinawi/internal/apiserver/services"
)

// extensions are all parts beside the rows, in the order in which they run.
func extensions(o Options, who *identity) []plug.Extension {
	return []plug.Extension{
		services.Extension(services.Options{Networks: []netip.Prefix{o.ServiceCIDR}}),
		bootstrap.Extension(bootstrap.Options{
			Server:      netip.AddrPortFrom(o.AdvertiseIP, port(o)),
			ServiceCIDR: o.ServiceCIDR,
			ClientCA:    o.Keys.Cluster.CertPEM,
			ProxyCA:     o.Keys.FrontProxy.CertPEM,
			ProxyNames:  []string{frontProxyName},
		}),
		who.documents,
	}
}

// port is where the server listens; all listeners share it.
func port(o Options) uint16 {
	if tcp, ok := o.Listeners[0].Addr().(*net.TCPAddr); ok {
		return uint16(tcp.Port)
	}
	return 6443
}

func registerDefaults(s *runtime.Scheme) error { return defaults.Core(s) }

// authorize lets the administrator do everything and nobody else anything.
func authorize(*plug.Host) (authorizer.Authorizer, authorizer.RuleResolver, error) {
	a := authorizerfactory.NewPrivilegedGroups("system:masters")
	return a, nil, nil
}
