package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"k8s.io/apiserver/pkg/server/healthz"

	"github.com/sinawi/sinawi/internal/apiserver/plug"
)

// storeTimeout is how long the store may take to answer before it counts as
// broken.
const storeTimeout = 2 * time.Second

// storeHealth asks the store for a linearizable read: it answers only when the
// member can also take writes.
func (s *Server) storeHealth() healthz.HealthChecker {
	return healthz.NamedCheck("etcd", func(r *http.Request) error {
		ctx, cancel := context.WithTimeout(r.Context(), storeTimeout)
		defer cancel()
		_, err := s.config.Store.Client().Get(ctx, "health")
		return err
	})
}

// storeReadiness asks the same for readiness alone, by the name that it has there.
func (s *Server) storeReadiness() healthz.HealthChecker {
	return healthz.NamedCheck("etcd-readiness", s.storeHealth().Check)
}

// addChecks adds those that belong to no hook.
func (s *Server) addChecks() error {
	return errors.Join(
		s.generic.AddBootSequenceHealthChecks(until("poststarthook/storage-readiness", s.filled)),
		// Fails until everything that must be there has been made.
		s.generic.AddReadyzChecks(s.storeReadiness(), until("sinawi-start", s.ready)))
}

// until is a check that fails until done is closed.
func until(name string, done <-chan struct{}) healthz.HealthChecker {
	return healthz.NamedCheck(name, func(*http.Request) error {
		select {
		case <-done:
			return nil
		default:
			return errors.New("still starting")
		}
	})
}

// hook is an extension's hook, and whether it has started.
type hook struct {
	plug.Hook
	started chan struct{}
}

// addHook takes over a hook with its checks.
func (s *Server) addHook(h plug.Hook) error {
	added := hook{h, make(chan struct{})}
	s.hooks = append(s.hooks, added)
	for _, name := range h.Checks {
		if err := s.generic.AddBootSequenceHealthChecks(until(name, added.started)); err != nil {
			return fmt.Errorf("health check %s: %w", name, err)
		}
	}
	return nil
}
