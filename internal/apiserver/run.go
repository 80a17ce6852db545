package apiserver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sinawi/sinawi/internal/apiserver/rows"
	"github.com/sinawi/sinawi/internal/apiserver/storage"
)

// Run serves until ctx ends and returns when everything has stopped: first the
// work of the hooks, then the handlers, then the watch caches.
func (s *Server) Run(ctx context.Context) error {
	storage.DeclareEmbedded(ctx, etcdVersion)
	defer s.host.Backend.Close()
	prepared := s.generic.PrepareRun()
	s.transport.Serve(s.generic.Handler)

	serving, stopServing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopServing()
	// Informers start before the generic server, which would start them by a hook
	// of its own and stop them too late: its handlers wait for watches to end.
	informing, stopInformers := context.WithCancel(serving)
	defer s.host.Informers.Shutdown()
	defer stopInformers()
	s.host.Informers.StartWithContext(informing)

	served := make(chan error, 1)
	go func() { served <- prepared.RunWithContext(serving) }()
	working, stopWork := context.WithCancel(ctx)
	defer stopWork()
	worked := make(chan error, 1)
	go func() { worked <- s.work(working) }()

	select {
	case err := <-served: // it could not listen
		stopWork()
		return errors.Join(fmt.Errorf("serve: %w", err), <-worked)
	case err := <-worked:
		stopInformers() // or the handlers would wait for their own watches
		s.host.Informers.Shutdown()
		stopServing()
		return errors.Join(err, <-served)
	}
}

// work makes the server ready and then runs the hooks until ctx ends or one
// of them fails.
func (s *Server) work(ctx context.Context) error {
	if err := s.start(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // told to stop while starting
		}
		return fmt.Errorf("start API server: %w", err)
	}
	close(s.ready)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { <-ctx.Done(); return nil })
	for _, hook := range s.hooks {
		if hook.Run == nil {
			continue
		}
		group.Go(func() error {
			if err := hook.Run(ctx); err != nil && ctx.Err() == nil {
				return fmt.Errorf("%s: %w", hook.Name, err)
			}
			return nil
		})
	}
	return group.Wait()
}

// start does what is needed before the API can be called ready.
func (s *Server) start(ctx context.Context) error {
	for _, served := range s.host.Served {
		if err := s.waitForCache(ctx, served); err != nil {
			return err
		}
	}
	close(s.filled)
	if err := s.host.Informers.WaitForCacheSyncWithContext(ctx).AsError(); err != nil {
		return err
	}
	for _, hook := range s.hooks {
		if hook.Start != nil {
			began := time.Now()
			if err := hook.Start(ctx); err != nil {
				return fmt.Errorf("%s: %w", hook.Name, err)
			}
			s.host.Log.Debug("API server hook done", "hook", hook.Name, "took", time.Since(began))
		}
		close(hook.started)
	}
	return nil
}

// waitForCache waits until the watch cache of one resource is filled.
func (s *Server) waitForCache(ctx context.Context, served *rows.Served) error {
	if served.Row.TTLSeconds == 0 {
		select {
		case <-s.host.Feed.Log(served.GroupResource()).Synced():
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
