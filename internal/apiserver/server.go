package apiserver

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/sets"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	genericfilters "k8s.io/apiserver/pkg/server/filters"
	"k8s.io/apiserver/pkg/util/flowcontrol"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/sinawi/sinawi/internal/apiserver/loopback"
	"github.com/sinawi/sinawi/internal/apiserver/rows"
	"github.com/sinawi/sinawi/internal/apiserver/scheme"
	"github.com/sinawi/sinawi/internal/apiserver/storage"
	"github.com/sinawi/sinawi/internal/store/feed"
)

// Server serves the Kubernetes API.
type Server struct {
	config  Config
	log     *slog.Logger
	scheme  *runtime.Scheme
	codecs  serializer.CodecFactory
	feed    *feed.Feed
	backend *storage.Backend
	served  map[schema.GroupResource]*rows.Served

	transport *loopback.Transport
	loopback  *rest.Config
	client    kubernetes.Interface
	informers informers.SharedInformerFactory
	generic   *genericapiserver.GenericAPIServer

	ready chan struct{}
}

// Limits are kube-apiserver's defaults.
const (
	maxRequests         = 400
	maxMutatingRequests = 200

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
	s := &Server{config: config, log: config.Logger, feed: feed.New(), ready: make(chan struct{})}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if s.scheme, err = scheme.New(config.Rows); err != nil {
		return nil, err
	}
	s.codecs = serializer.NewCodecFactory(s.scheme,
		serializer.WithStreamingCollectionEncodingToJSON(), serializer.WithStreamingCollectionEncodingToProtobuf())
	if err := s.newLoopback(); err != nil {
		return nil, err
	}
	generic, err := s.genericConfig()
	if err != nil {
		return nil, err
	}
	s.backend = storage.New(config.Store.Client(), s.codecs, s.feed, storage.Options{
		Counts: generic.StorageObjectCountTracker,
	})
	if s.generic, err = generic.Complete(s.informers).New("sinawi", genericapiserver.NewEmptyDelegate()); err != nil {
		return nil, fmt.Errorf("build API server: %w", err)
	}
	s.generic.ShutdownTimeout = shutdownTimeout
	if err := s.install(); err != nil {
		return nil, err
	}
	return s, nil
}

// newLoopback makes the clients with which the server reads its own API.
func (s *Server) newLoopback() error {
	s.transport = &loopback.Transport{}
	s.loopback = &rest.Config{
		Host:          "https://" + genericapiserver.LoopbackClientServerNameOverride,
		BearerToken:   newToken(),
		Transport:     s.transport,
		QPS:           -1,
		ContentConfig: rest.ContentConfig{ContentType: runtime.ContentTypeProtobuf, AcceptContentTypes: runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON},
	}
	client, err := kubernetes.NewForConfig(s.loopback)
	if err != nil {
		return fmt.Errorf("loopback client: %w", err)
	}
	s.client = client
	s.informers = informers.NewSharedInformerFactory(client, 0)
	return nil
}

func (s *Server) genericConfig() (*genericapiserver.Config, error) {
	c := genericapiserver.NewConfig(s.codecs)
	c.EffectiveVersion = newVersion()
	address := s.advertise()
	c.ExternalAddress = address.String()
	c.PublicAddress = address.IP
	c.LoopbackClientConfig = s.loopback
	c.Authentication.Authenticator = s.config.Authenticator
	c.Authentication.APIAudiences = s.config.APIAudiences
	c.Authorization.Authorizer = s.config.Authorizer
	c.RuleResolver = s.config.RuleResolver
	c.AdmissionControl = s.config.Admission
	c.SkipOpenAPIInstallation = true
	c.ShutdownWatchTerminationGracePeriod = watchShutdownGrace
	c.MaxRequestsInFlight, c.MaxMutatingRequestsInFlight = maxRequests, maxMutatingRequests
	c.FlowControl = flowcontrol.New(s.informers, s.client.FlowcontrolV1(), maxRequests+maxMutatingRequests)
	c.LongRunningFunc = genericfilters.BasicLongRunningRequestCheck(
		sets.NewString("watch", "proxy"), sets.NewString("attach", "exec", "proxy", "log", "portforward"))
	c.EquivalentResourceRegistry = runtime.NewEquivalentResourceRegistryWithIdentity(func(gr schema.GroupResource) string {
		if served := s.served[gr]; served != nil {
			return served.Row.StoragePrefix
		}
		return ""
	})

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

// Ready is closed when the API answers every request.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Loopback is the configuration of a client with all rights that reaches this
// server without a socket.
func (s *Server) Loopback() *rest.Config { return rest.CopyConfig(s.loopback) }

// Feed tells parts of this process what changes in the store.
func (s *Server) Feed() *feed.Feed { return s.feed }

// Run serves until ctx ends and returns when everything has stopped.
func (s *Server) Run(ctx context.Context) error {
	storage.DeclareEmbedded(ctx, etcdVersion)
	defer s.backend.Close()
	prepared := s.generic.PrepareRun()
	s.transport.Serve(s.generic.Handler)
	starting, cancel := context.WithCancel(ctx)
	defer cancel()
	started := make(chan error, 1)
	go func() {
		err := s.start(starting)
		if err == nil {
			close(s.ready)
		}
		started <- err
	}()
	served := make(chan error, 1)
	stop, stopServing := context.WithCancel(ctx)
	defer stopServing()
	go func() { served <- prepared.RunWithContext(stop) }()
	select {
	case err := <-served:
		cancel()
		<-started
		return err
	case err := <-started:
		if err != nil {
			stopServing()
			<-served
			return fmt.Errorf("start API server: %w", err)
		}
		return <-served
	}
}

// start does what is needed before the API can be called ready.
func (s *Server) start(ctx context.Context) error {
	for _, served := range s.served {
		if err := s.waitForCache(ctx, served); err != nil {
			return err
		}
	}
	return nil
}

// waitForCache waits until the watch cache of one resource is filled.
func (s *Server) waitForCache(ctx context.Context, served *rows.Served) error {
	if served.Row.TTLSeconds == 0 {
		select {
		case <-s.feed.Log(served.GroupResource()).Synced():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	// The cache takes over what the tee has seen within microseconds, and has
	// no signal for it.
	for served.Store.ReadinessCheck() != nil {
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
