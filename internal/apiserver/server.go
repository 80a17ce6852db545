package apiserver

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	restful "github.com/emicklei/go-restful/v3"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"

	"github.com/sinawi/sinawi/internal/apiserver/loopback"
	"github.com/sinawi/sinawi/internal/apiserver/plug"
	"github.com/sinawi/sinawi/internal/apiserver/routes"
	"github.com/sinawi/sinawi/internal/apiserver/rows"
	"github.com/sinawi/sinawi/internal/apiserver/scheme"
	"github.com/sinawi/sinawi/internal/apiserver/storage"
	"github.com/sinawi/sinawi/internal/store/feed"
)

// Server serves the Kubernetes API.
type Server struct {
	config    Config
	host      *plug.Host
	transport *loopback.Transport
	generic   *genericapiserver.GenericAPIServer
	// fallback answers what no path matches; the extensions make it up.
	fallback fallback
	front    front
	routes   *routes.Table
	groups   groups
	services []*restful.WebService // of no group
	hooks    []hook

	filled chan struct{} // closed when the watch caches are
	ready  chan struct{}
}

// Limits are kube-apiserver's defaults.
const (
	// RequestTimeout is how long a request that is no watch may take.
	RequestTimeout = time.Minute
	// MinRequestTimeout is how long a watch lasts at least; the server ends it
	// at a random time up to twice that.
	MinRequestTimeout = 1800 * time.Second
	// MaxRequestBodyBytes holds an object of 1.5 MB in its largest encoding.
	MaxRequestBodyBytes = 3 << 20

	// At shutdown watches are told to end, and whoever is still there after
	// shutdownTimeout is cut off.
	watchShutdownGrace = time.Second
	shutdownTimeout    = 5 * time.Second
)

// New puts a server together. It starts reading the store to fill the watch
// caches; it serves when Run is called.
func New(config Config) (*Server, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	config.complete()
	s := &Server{config: config, filled: make(chan struct{}), ready: make(chan struct{})}
	for _, step := range []func() error{
		s.newHost, s.newGates, s.newGeneric, s.newRows, s.extend, s.install,
	} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("build API server: %w", err)
		}
	}
	return s, nil
}

// newHost makes what everything else is built from: types, and the clients
// with which the server reads its own API.
func (s *Server) newHost() error {
	types, err := scheme.New(s.config.Rows)
	if err != nil {
		return err
	}
	if s.config.Defaults != nil {
		if err := s.config.Defaults(types); err != nil {
			return err
		}
	}
	s.transport = &loopback.Transport{}
	config := &rest.Config{
		Host:        "https://" + genericapiserver.LoopbackClientServerNameOverride,
		BearerToken: newToken(),
		Transport:   s.transport,
		QPS:         -1,
		// Nobody reads the warnings that this server gives to itself.
		WarningHandler: rest.NoWarnings{},
		ContentConfig: rest.ContentConfig{
			ContentType:        runtime.ContentTypeProtobuf,
			AcceptContentTypes: runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON,
		},
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("loopback client: %w", err)
	}
	s.host = &plug.Host{
		Scheme: types,
		Codecs: serializer.NewCodecFactory(types,
			serializer.WithStreamingCollectionEncodingToJSON(), serializer.WithStreamingCollectionEncodingToProtobuf()),
		Log:       s.config.Logger,
		Loopback:  config,
		Client:    client,
		Informers: informers.NewSharedInformerFactory(client, 0),
		Mapper:    restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(client.Discovery())),
		Feed:      feed.New(),
		Types:     s.config.Types,
	}
	s.routes = routes.New(s.host.Codecs)
	return nil
}

// newGates makes what every request must pass.
func (s *Server) newGates() (err error) {
	h := s.host
	if h.Authenticator, err = s.config.Authenticate(h); err != nil {
		return fmt.Errorf("authentication: %w", err)
	}
	if h.Authorizer, h.RuleResolver, err = s.config.Authorize(h); err != nil {
		return fmt.Errorf("authorization: %w", err)
	}
	if s.config.Admit == nil {
		return nil
	}
	if h.Admission, err = s.config.Admit(h); err != nil {
		return fmt.Errorf("admission: %w", err)
	}
	return nil
}

func (s *Server) newGeneric() error {
	config, err := s.genericConfig()
	if err != nil {
		return err
	}
	complete := config.Complete(s.host.Informers)
	// From here on the gates know the loopback's token too.
	s.host.Authorizer = config.Authorization.Authorizer
	s.generic, err = complete.New("sinawi", genericapiserver.NewEmptyDelegateWithCustomHandler(&s.fallback))
	if err != nil {
		return err
	}
	s.generic.ShutdownTimeout = shutdownTimeout
	s.host.Backend = storage.New(s.config.Store.Client(), s.config.Store.Direct(), s.host.Scheme, s.host.Codecs, s.host.Feed, storage.Options{
		Counts:      config.StorageObjectCountTracker,
		Transformer: s.config.Transformer,
	})
	s.host.Groups = s.generic.DiscoveryGroupManager
	s.host.Resources = s.generic.AggregatedDiscoveryGroupManager
	return s.addChecks()
}

// newRows makes the storage of every row.
func (s *Server) newRows() error {
	s.host.Served = make(map[schema.GroupResource]*rows.Served, len(s.config.Rows))
	for _, row := range s.config.Rows {
		served, err := rows.New(row, s.host.Scheme, s.host.Backend)
		if err != nil {
			return err
		}
		s.host.Served[served.GroupResource()] = served
	}
	return nil
}

// Ready is closed when the API answers every request.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Loopback is the configuration of a client with all rights that reaches this
// server without a socket.
func (s *Server) Loopback() *rest.Config { return rest.CopyConfig(s.host.Loopback) }

// fallback is a handler that is known only after the server is built.
type fallback struct{ handler atomic.Pointer[http.Handler] }

func (f *fallback) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h := f.handler.Load(); h != nil {
		(*h).ServeHTTP(w, r)
		return
	}
	http.NotFound(w, r)
}

// front is what extensions put before all paths, known only after the server
// is built.
type front struct {
	paths http.Handler // of the API
	with  atomic.Pointer[http.Handler]
}

// before makes the front that leads to next.
func (f *front) before(next http.Handler) http.Handler {
	f.paths = next
	return f
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h := f.with.Load(); h != nil {
		(*h).ServeHTTP(w, r)
		return
	}
	f.paths.ServeHTTP(w, r)
}

// WebServices are the routes of all groups, for the generator of the OpenAPI
// documents: made anew, since serving does not need them in this form.
func (s *Server) WebServices() ([]*restful.WebService, error) {
	var all []*restful.WebService
	for _, ws := range s.generic.Handler.GoRestfulContainer.RegisteredWebServices() {
		if len(ws.Routes()) > 0 {
			all = append(all, ws)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.groups)) {
		g := s.groups[name]
		for _, gv := range g.versions {
			services, _, err := s.versionRoutes(g, gv)
			if err != nil {
				return nil, err
			}
			all = append(all, services...)
		}
		all = append(all, s.about(g))
	}
	return append(all, s.services...), nil
}

// Schemes know the types of all groups.
func (s *Server) Schemes() []*runtime.Scheme {
	schemes := []*runtime.Scheme{s.host.Scheme}
	for _, g := range s.groups {
		if !slices.Contains(schemes, g.scheme) {
			schemes = append(schemes, g.scheme)
		}
	}
	return schemes
}
