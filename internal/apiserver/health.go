package apiserver

import (
	"context"
	"errors"
	"net/http"
	"time"

	"k8s.io/apiserver/pkg/server/healthz"
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

// readiness fails until everything that must be there has been made.
func (s *Server) readiness() healthz.HealthChecker {
	return healthz.NamedCheck("sinawi-start", func(*http.Request) error {
		select {
		case <-s.ready:
			return nil
		default:
			return errors.New("still starting")
		}
	})
}
