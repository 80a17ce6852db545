package cluster

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	toolsevents "k8s.io/client-go/tools/events"
	recording "k8s.io/client-go/tools/record"
	"k8s.io/component-base/metrics/legacyregistry"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/apiserver"
	"github.com/sinawi/sinawi/internal/apiserver/components"
	"github.com/sinawi/sinawi/internal/apiserver/controlplane"
	"github.com/sinawi/sinawi/internal/apiserver/placing"
	"github.com/sinawi/sinawi/internal/controllers"
	"github.com/sinawi/sinawi/internal/controllers/events"
	"github.com/sinawi/sinawi/internal/controllers/loop"
	"github.com/sinawi/sinawi/internal/scheduler"
	"github.com/sinawi/sinawi/internal/scheduler/decisions"
	"github.com/sinawi/sinawi/internal/store"
)

// control is the control plane: store, API server, scheduler, controllers.
type control struct {
	store  *store.Store
	api    *apiserver.Server
	places placing.Late // the scheduler, for the API server, which is there before it
}

// startControl brings up the control plane and returns when the API answers
// and scheduler and controllers run.
func (s *server) startControl(ctx context.Context) error {
	// Ports are taken first: that another program has one is the commonest
	// mistake, and is told before anything is written to the store.
	listeners, err := s.listenAPI()
	if err != nil {
		s.progress.fail(StepAPI, err)
		return err
	}
	if err := s.progress.step(StepStore, func() error { return s.openStore(ctx) }); err != nil {
		closeAll(listeners)
		return err
	}
	if err := s.progress.step(StepAPI, func() error { return s.startAPI(ctx, listeners) }); err != nil {
		return err
	}
	return s.progress.step(StepControllers, func() error { return s.startControllers(ctx) })
}

// listenAPI listens where others reach this node, and on loopback for this
// machine's own users and agent. Nothing else is listened on.
func (s *server) listenAPI() ([]net.Listener, error) {
	addresses := []netip.Addr{s.cfg.NodeIP}
	if loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1}); s.cfg.NodeIP != loopback {
		addresses = append(addresses, loopback)
	}
	var listeners []net.Listener
	for _, a := range addresses {
		l, err := net.Listen("tcp", hostPort(a, s.cfg.APIPort))
		if err != nil {
			closeAll(listeners)
			return nil, explainListen(err, "--api-port", s.cfg.APIPort)
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

// explainListen says what to do about a port that is not to be had.
func explainListen(err error, flag string, port int) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("port %d is in use by another program (%w); see which with `ss -ltnp 'sport = :%d'`, or choose another with %s", port, err, port, flag)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("this machine has no such address (%w); give one that it has with --node-ip", err)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("port %d needs more rights (%w); run as root, or choose one above 1023 with %s", port, err, flag)
	}
	return err
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		l.Close()
	}
}

func hostPort(a netip.Addr, port int) string { return net.JoinHostPort(a.String(), strconv.Itoa(port)) }

func (s *server) openStore(ctx context.Context) error {
	db, err := store.Open(ctx, store.Options{Dir: s.cfg.Dir.Store(), Logger: s.log})
	if err != nil {
		return err
	}
	s.control.store = db
	s.parts.start("store", func(ctx context.Context) error {
		select {
		case <-ctx.Done():
			return nil
		case <-db.Done():
			return db.Err()
		}
	})
	return nil
}

func (s *server) closeStore() {
	if s.control.store == nil {
		return
	}
	if err := s.control.store.Close(); err != nil {
		s.log.Error("store not closed cleanly", "err", err)
	}
}

func (s *server) startAPI(ctx context.Context, listeners []net.Listener) error {
	api, err := controlplane.New(ctx, controlplane.Options{
		Store:       s.control.store,
		Keys:        s.keys,
		Listeners:   listeners,
		AdvertiseIP: s.cfg.NodeIP,
		ServiceCIDR: s.cfg.ServiceCIDR,
		Guard:       s.cfg.Guard,
		Placer:      s.placer(),
		Logger:      s.log,

		RuntimeConfig: s.cfg.RuntimeConfig,
		Elsewhere: map[string]bool{
			components.Scheduler:   !s.cfg.enabled(PartScheduler),
			components.Controllers: !s.cfg.enabled(PartControllers),
		},
	})
	if err != nil {
		closeAll(listeners)
		return err
	}
	s.control.api = api
	s.parts.start("api", api.Run)
	select {
	case <-api.Ready():
		return nil
	case err := <-s.parts.failed:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// loopback is the way into the API for parts of this process, with all rights
// and without a socket.
func (s *server) loopback() *rest.Config {
	cfg := s.control.api.Loopback()
	// Warnings are for authors of objects. Controllers write deprecated kinds
	// because users still read them.
	cfg.WarningHandler = rest.NoWarnings{}
	return cfg
}

// startControllers starts scheduler and controllers over one shared cache.
func (s *server) startControllers(ctx context.Context) error {
	c, objects, err := s.inProcess()
	if err != nil {
		return err
	}
	if err := s.publishDNS(ctx, c); err != nil {
		return err
	}
	if !s.cfg.enabled(PartScheduler) && !s.cfg.enabled(PartControllers) {
		return nil
	}
	if err := controllers.Index(ctx, objects); err != nil {
		return err
	}
	s.parts.start("cache", objects.Start)
	if s.cfg.enabled(PartControllers) {
		if err := s.startControllerSet(c, objects); err != nil {
			return err
		}
	}
	if s.cfg.enabled(PartScheduler) {
		return s.startScheduler(c.As(asScheduler()), objects)
	}
	return nil
}

func (s *server) startControllerSet(c client.Client, objects cache.Cache) error {
	broadcaster, stop := events.Start(s.parts.base, c, s.log)
	s.parts.start("controllers' events", func(ctx context.Context) error {
		<-ctx.Done()
		stop()
		return nil
	})
	recorder := func(source string) recording.EventRecorder {
		return events.Damped(broadcaster.NewRecorder(clientgoscheme.Scheme, corev1.EventSource{Component: source}))
	}
	set, err := controllers.New(loop.Deps{Client: c, Cache: objects, Log: s.log}, controllers.Options{
		PodCIDR:      s.cfg.PodCIDR,
		ServiceCIDR:  s.cfg.ServiceCIDR,
		RootCA:       s.keys.Cluster.CertPEM,
		Signer:       s.keys.Cluster,
		AccountToken: controlplane.AccountTokens(s.cfg.Guard, s.keys),
		Config:       s.loopback(),
		Recorder:     recorder,
	})
	if err != nil {
		return err
	}
	s.parts.start("controllers", set.Run)
	return nil
}

func (s *server) startScheduler(c client.Client, objects cache.Cache) error {
	broadcaster := toolsevents.NewBroadcaster(eventSink{c})
	recorder := broadcaster.NewRecorder(clientgoscheme.Scheme, corev1.DefaultSchedulerName)
	s.parts.start("scheduler's events", func(ctx context.Context) error {
		defer broadcaster.Shutdown()
		if err := broadcaster.StartRecordingToSinkWithContext(ctx); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	})
	log, err := decisions.Open(s.cfg.Dir.Decisions(), decisions.Options{Register: legacyregistry.Register})
	if err != nil {
		return err
	}
	s.parts.start("decision log", log.Run)
	places := scheduler.New(c, objects, recorder, scheduler.Options{
		Config: s.cfg.scheduling, Decisions: log, Register: legacyregistry.Register,
	})
	s.control.places.Set(places)
	s.parts.start("scheduler", places.Run)
	return nil
}
