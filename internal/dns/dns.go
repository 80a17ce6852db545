package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/dns/forward"
	"github.com/sinawi/sinawi/internal/dns/reply"
	"github.com/sinawi/sinawi/internal/dns/zone"
)

// Options say what to serve where.
type Options struct {
	// Listen are the addresses to answer on, by UDP and TCP.
	Listen []netip.AddrPort
	// Domain is the cluster's; empty means cluster.local.
	Domain string
	// ServiceIP is the address by which pods know the server.
	ServiceIP netip.Addr
	// PodCIDR has all pods of the cluster, ServiceCIDR all services.
	PodCIDR, ServiceCIDR netip.Prefix
	// Upstream are the servers to ask about other names; none means those of ResolvConf.
	Upstream []netip.AddrPort
	// ResolvConf is the host's resolver configuration; empty means /etc/resolv.conf.
	ResolvConf string
	Log        *slog.Logger
}

// Server is one node's. Make it with New and run it once.
type Server struct {
	cache  cache.Cache
	o      Options
	log    *slog.Logger
	synced atomic.Bool

	responder reply.Responder

	mu   sync.RWMutex // guards zone
	zone *zone.Zone
}

// DefaultDomain is the cluster's domain if no other is asked for.
const DefaultDomain = "cluster.local"

// New returns a server that reads from c.
func New(c cache.Cache, o Options) (*Server, error) {
	if o.Domain == "" {
		o.Domain = DefaultDomain
	}
	if _, ok := dns.IsDomainName(o.Domain); !ok {
		return nil, fmt.Errorf("dns: %q is no domain name", o.Domain)
	}
	if len(o.Listen) == 0 {
		return nil, errors.New("dns: an address to listen on is required")
	}
	avoid := []netip.Addr{o.ServiceIP}
	for _, l := range o.Listen {
		if !l.Addr().IsLoopback() { // other servers may be on the loopback's other ports
			avoid = append(avoid, l.Addr())
		}
	}
	var ranges []netip.Prefix
	for _, p := range []netip.Prefix{o.PodCIDR, o.ServiceCIDR} {
		if p.IsValid() {
			ranges = append(ranges, p)
		}
	}
	s := &Server{
		cache: c, o: o, log: o.Log,
		zone: zone.New(zone.Options{Domain: o.Domain, Ranges: ranges, Server: o.ServiceIP}),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	upstream := forward.New(forward.Options{ResolvConf: o.ResolvConf, Servers: o.Upstream, Avoid: avoid})
	s.responder = reply.Responder{Cluster: s.answer, Ask: upstream.Ask, Log: s.log}
	return s, nil
}

// Run answers until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	servers, err := s.listen()
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, server := range servers {
		g.Go(func() error {
			if err := server.ActivateAndServe(); err != nil && ctx.Err() == nil {
				return fmt.Errorf("serve dns: %w", err)
			}
			return nil
		})
	}
	g.Go(func() error { return s.watch(ctx) })
	g.Go(func() error {
		<-ctx.Done()
		for _, server := range servers {
			closeServer(server)
		}
		return nil
	})
	return g.Wait()
}

// closeServer closes the socket too: a server that has not begun ignores Shutdown.
func closeServer(server *dns.Server) {
	const grace = time.Second
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	_ = server.ShutdownContext(ctx)
	if server.PacketConn != nil {
		_ = server.PacketConn.Close()
	}
	if server.Listener != nil {
		_ = server.Listener.Close()
	}
}

// listen opens the sockets, so that all are there or none.
func (s *Server) listen() (servers []*dns.Server, err error) {
	defer func() {
		if err != nil {
			for _, server := range servers {
				closeServer(server)
			}
		}
	}()
	const idle = 10 * time.Second
	for _, at := range s.o.Listen {
		packets, err := net.ListenPacket("udp", at.String())
		if err != nil {
			return servers, fmt.Errorf("dns: listen on %s (is another name server there?): %w", at, err)
		}
		servers = append(servers, &dns.Server{PacketConn: packets, Handler: s, UDPSize: reply.UDPSize})
		streams, err := net.Listen("tcp", at.String())
		if err != nil {
			return servers, fmt.Errorf("dns: listen on %s (is another name server there?): %w", at, err)
		}
		servers = append(servers, &dns.Server{Listener: streams, Handler: s, IdleTimeout: func() time.Duration { return idle }, ReadTimeout: idle, WriteTimeout: idle})
	}
	return servers, nil
}

// watch keeps the zone as the objects are.
func (s *Server) watch(ctx context.Context) error {
	var synced []toolscache.DoneChecker
	for _, kind := range []client.Object{&corev1.Service{}, &discoveryv1.EndpointSlice{}} {
		informer, err := s.cache.GetInformer(ctx, kind, cache.BlockUntilSynced(false))
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("watch %T: %w", kind, err)
		}
		handler, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
			AddFunc:    func(obj any) { s.change(obj, false) },
			UpdateFunc: func(_, obj any) { s.change(obj, false) },
			DeleteFunc: func(obj any) {
				if gone, ok := obj.(toolscache.DeletedFinalStateUnknown); ok {
					obj = gone.Obj
				}
				s.change(obj, true)
			},
		})
		if err != nil {
			return fmt.Errorf("watch %T: %w", kind, err)
		}
		defer func() { _ = informer.RemoveEventHandler(handler) }()
		synced = append(synced, handler.HasSyncedChecker())
	}
	if toolscache.WaitFor(ctx, "", synced...) {
		s.synced.Store(true)
		s.log.Info("names of services are served", "domain", s.o.Domain, "listen", s.o.Listen)
	}
	<-ctx.Done()
	return nil
}

func (s *Server) change(obj any, deleted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch o := obj.(type) {
	case *corev1.Service:
		if deleted {
			s.zone.DeleteService(types.NamespacedName{Namespace: o.Namespace, Name: o.Name})
		} else {
			s.zone.SetService(o)
		}
	case *discoveryv1.EndpointSlice:
		if deleted {
			s.zone.DeleteSlice(o)
		} else {
			s.zone.SetSlice(o)
		}
	}
}
