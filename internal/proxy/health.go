package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/sinawi/sinawi/internal/proxy/compile"
)

// health answers load balancers that ask whether this node has endpoints of a
// service that keeps its traffic on the node where it arrives.
type health struct {
	log     *slog.Logger
	changed chan struct{}

	mu     sync.Mutex // guards wanted
	wanted map[uint16]compile.Health
}

func newHealth(log *slog.Logger) *health {
	return &health{log: log, changed: make(chan struct{}, 1), wanted: map[uint16]compile.Health{}}
}

// want says what to answer from now on.
func (h *health) want(list []compile.Health) {
	next := make(map[uint16]compile.Health, len(list))
	for _, x := range list {
		next[x.Port] = x
	}
	h.mu.Lock()
	h.wanted = next
	h.mu.Unlock()
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

// run serves each wanted port until ctx ends.
func (h *health) run(ctx context.Context) error {
	serving := map[uint16]*http.Server{}
	var all sync.WaitGroup
	defer all.Wait()
	defer func() {
		for _, s := range serving {
			_ = s.Close()
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-h.changed:
		}
		h.mu.Lock()
		wanted := h.wanted
		h.mu.Unlock()
		for port, s := range serving {
			if _, still := wanted[port]; !still {
				_ = s.Close()
				delete(serving, port)
			}
		}
		for port, x := range wanted {
			if serving[port] != nil {
				continue
			}
			s, err := h.serve(&all, port)
			if err != nil {
				h.log.Error("health check of a load balancer's service cannot be served", "service", x.Service, "port", port, "err", err)
				continue // the next change tries again
			}
			serving[port] = s
		}
	}
}

// serve answers on a port in one of all's goroutines, until the server is closed.
func (h *health) serve(all *sync.WaitGroup, port uint16) (*http.Server, error) {
	l, err := net.Listen("tcp4", net.JoinHostPort("", strconv.Itoa(int(port))))
	if err != nil {
		return nil, fmt.Errorf("listen for health checks: %w", err)
	}
	const patience = 10 * time.Second
	s := &http.Server{Handler: h.answer(port), ReadHeaderTimeout: patience, WriteTimeout: patience, IdleTimeout: patience}
	all.Go(func() {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			h.log.Error("serve health checks", "port", port, "err", err)
		}
	})
	return s, nil
}

func (h *health) answer(port uint16) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h.mu.Lock()
		x := h.wanted[port]
		h.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("X-Load-Balancing-Endpoint-Weight", strconv.Itoa(x.Local))
		if x.Local == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(map[string]any{
			"service":             map[string]string{"namespace": x.Service.Namespace, "name": x.Service.Name},
			"localEndpoints":      x.Local,
			"serviceProxyHealthy": true,
		})
	})
}
