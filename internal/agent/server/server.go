package server

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

const (
	shutdownGrace = time.Second
	headerTimeout = 30 * time.Second
	idleTimeout   = 90 * time.Second
)

// Pods is what the server knows of the node's pods.
type Pods interface {
	// Pods are those of this node, with their newest status; read-only.
	Pods() []*corev1.Pod
	Pod(namespace, name string) (*corev1.Pod, bool)
}

// Stats measures the node and its pods.
type Stats interface {
	Summary(ctx context.Context) (*statsapi.Summary, error)
	WriteResource(ctx context.Context, w io.Writer) error
	WriteCadvisor(ctx context.Context, w io.Writer) error
}

// Deps are what a Server answers from.
type Deps struct {
	Pods    Pods
	Runtime cri.RuntimeServiceClient
	// Stats may be nil: there are no statistics then.
	Stats Stats
	// Access decides about callers other than the API server; nil: none may call.
	Access Access
	// Healthy says whether the agent works; nil is always.
	Healthy func() error
	// Metrics are the agent's own, added to the counts of pods; may be nil.
	Metrics http.Handler
	Log     *slog.Logger
}

// Options say where a Server listens and for whom.
type Options struct {
	Listener    net.Listener
	ServingCert tls.Certificate
	// ClientCA are the authorities of clients' certificates, in PEM.
	ClientCA []byte
	NodeName string
	// Config is what the node is configured with, shown under /configz; nil:
	// nothing is.
	Config any
	// LogsDir is shown under /logs/; empty: nothing is.
	LogsDir string
}

// Server serves the kubelet API.
type Server struct {
	Deps
	options Options
	http    *http.Server
}

// New returns a Server; it serves from Run on.
func New(deps Deps, options Options) (*Server, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(options.ClientCA) {
		return nil, errors.New("kubelet API: ClientCA holds no certificate in PEM")
	}
	deps.Log = cmp.Or(deps.Log, slog.Default())
	if deps.Healthy == nil {
		deps.Healthy = func() error { return nil }
	}
	s := &Server{Deps: deps, options: options}
	s.http = &http.Server{
		Handler:           s.guard(s.routes()),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          slog.NewLogLogger(deps.Log.Handler(), slog.LevelDebug),
		TLSConfig: &tls.Config{
			MinVersion:   tls.VersionTLS12,
			Certificates: []tls.Certificate{options.ServingCert},
			ClientCAs:    roots,
			ClientAuth:   tls.VerifyClientCertIfGiven,
		},
	}
	return s, nil
}

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	// Following a log ends with the server, not with who reads it.
	s.http.BaseContext = func(net.Listener) context.Context { return ctx }
	failed := make(chan error, 1)
	go func() { failed <- s.http.ServeTLS(s.options.Listener, "", "") }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve the kubelet API: %w", err)
	case <-ctx.Done():
	}
	grace, cancel := context.WithTimeout(context.Background(), shutdownGrace)
	defer cancel()
	if err := s.http.Shutdown(grace); err != nil {
		s.http.Close()
	}
	<-failed
	return nil
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", s.health)
	mux.HandleFunc("/healthz/{check}", s.health)
	mux.HandleFunc("GET /pods", s.pods)
	mux.HandleFunc("GET /pods/", s.pods)
	mux.HandleFunc("GET /runningpods", s.runningPods)
	mux.HandleFunc("GET /runningpods/", s.runningPods)
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", s.containerLogs)
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		mux.HandleFunc(method+" /exec/{namespace}/{pod}/{container}", s.exec)
		mux.HandleFunc(method+" /exec/{namespace}/{pod}/{uid}/{container}", s.exec)
		mux.HandleFunc(method+" /attach/{namespace}/{pod}/{container}", s.attach)
		mux.HandleFunc(method+" /attach/{namespace}/{pod}/{uid}/{container}", s.attach)
		mux.HandleFunc(method+" /portForward/{namespace}/{pod}", s.portForward)
		mux.HandleFunc(method+" /portForward/{namespace}/{pod}/{uid}", s.portForward)
	}
	mux.HandleFunc("POST /run/{namespace}/{pod}/{container}", s.run)
	mux.HandleFunc("POST /run/{namespace}/{pod}/{uid}/{container}", s.run)
	mux.HandleFunc("GET /stats/summary", s.summary)
	mux.HandleFunc("GET /metrics/resource", s.measure(Stats.WriteResource))
	mux.HandleFunc("GET /metrics/cadvisor", s.measure(Stats.WriteCadvisor))
	mux.HandleFunc("GET /metrics", s.metrics)
	mux.HandleFunc("GET /configz", s.config)
	if s.options.LogsDir != "" {
		mux.Handle("GET /logs/", http.StripPrefix("/logs/", http.FileServer(http.Dir(s.options.LogsDir))))
	}
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

func (s *Server) config(w http.ResponseWriter, r *http.Request) {
	if s.options.Config == nil {
		http.NotFound(w, r)
		return
	}
	s.json(w, map[string]any{"kubeletconfig": s.options.Config})
}

func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	if check := r.PathValue("check"); check != "ping" {
		if err := s.Healthy(); err != nil {
			http.Error(w, "healthz check failed: "+err.Error(), http.StatusInternalServerError)
			return
		}
	}
	io.WriteString(w, "ok")
}
