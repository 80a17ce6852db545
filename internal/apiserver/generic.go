package apiserver

import (
	"fmt"
	"net"
	"net/http"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	genericfilters "k8s.io/apiserver/pkg/server/filters"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/apiserver/pkg/util/flowcontrol"
)

// inFlightReads and inFlightWrites are how many requests are worked on at a time, shared
// out by priority and fairness: kube-apiserver's figures. Fewer, to suit few processors,
// would leave a level no more seats than one large list takes; that processors are not
// worn out by large answers is seen to where they are written (see [answer]).
const inFlightReads, inFlightWrites = 400, 200

// genericConfig configures the handler chain of k8s.io/apiserver.
func (s *Server) genericConfig() (*genericapiserver.Config, error) {
	h := s.host
	c := genericapiserver.NewConfig(h.Codecs)
	c.EffectiveVersion = newVersion()
	address := s.advertise()
	c.ExternalAddress = address.String()
	c.PublicAddress = address.IP
	c.LoopbackClientConfig = h.Loopback
	c.Authentication.Authenticator = h.Authenticator
	c.Authentication.APIAudiences = s.config.APIAudiences
	c.Authorization.Authorizer = h.Authorizer
	c.RuleResolver = h.RuleResolver
	c.AdmissionControl = h.Admission
	c.SkipOpenAPIInstallation = true
	// At /debug/pprof, for those who may get that path.
	c.EnableProfiling = true
	c.ShutdownWatchTerminationGracePeriod = watchShutdownGrace
	c.MaxRequestsInFlight, c.MaxMutatingRequestsInFlight = inFlightReads, inFlightWrites
	c.FlowControl = flowcontrol.New(h.Informers, h.Client.FlowcontrolV1(), c.MaxRequestsInFlight+c.MaxMutatingRequestsInFlight)
	c.LongRunningFunc = genericfilters.BasicLongRunningRequestCheck(
		sets.NewString("watch", "proxy"), sets.NewString("attach", "exec", "proxy", "log", "portforward"))
	c.EquivalentResourceRegistry = runtime.NewEquivalentResourceRegistryWithIdentity(func(gr schema.GroupResource) string {
		if served := h.Served[gr]; served != nil {
			return served.Row.StoragePrefix
		}
		return ""
	})
	c.AddHealthChecks(append([]healthz.HealthChecker{s.storeHealth()}, s.config.Checks...)...)
	c.AuditBackend, c.AuditPolicyRuleEvaluator = s.config.Audit.Backend, s.config.Audit.Policy
	c.BuildHandlerChainFunc = func(paths http.Handler, c *genericapiserver.Config) http.Handler {
		return chain(s.front.before(s.routed(paths)), c, s.host.Feed)
	}

	cert, err := dynamiccertificates.NewStaticCertKeyContent("serving", s.config.CertPEM, s.config.KeyPEM)
	if err != nil {
		return nil, fmt.Errorf("serving certificate: %w", err)
	}
	c.SecureServing = &genericapiserver.SecureServingInfo{Listener: join(s.config.Listeners), Cert: cert}
	if len(s.config.ClientCAPEM) != 0 {
		ca, err := dynamiccertificates.NewStaticCAContent("client-ca", s.config.ClientCAPEM)
		if err != nil {
			return nil, fmt.Errorf("client CA: %w", err)
		}
		c.SecureServing.ClientCA = ca
	}
	return c, nil
}

// routed answers by the server's routes, and by next what is none of theirs.
func (s *Server) routed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.routes.Serve(w, r) {
			next.ServeHTTP(w, r)
		}
	})
}

// advertise is the address at which others reach this server.
func (s *Server) advertise() *net.TCPAddr {
	address := net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 6443}
	if tcp, ok := s.config.Listeners[0].Addr().(*net.TCPAddr); ok {
		address = *tcp
	}
	if s.config.AdvertiseAddress != nil {
		address.IP = s.config.AdvertiseAddress
	}
	return &address
}
