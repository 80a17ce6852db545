// Package apitest runs an API server inside a test: a store in a directory of
// its own, certificates of its own, a free port on loopback. Everything stops
// and is removed when the test ends.
package apitest

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/authentication/request/x509"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/sinawi/sinawi/internal/apiserver"
	"github.com/sinawi/sinawi/internal/apiserver/resources"
	"github.com/sinawi/sinawi/internal/pki"
	"github.com/sinawi/sinawi/internal/store"
)

// Server is a running API server.
type Server struct {
	// Config is a client configuration with all rights.
	Config *rest.Config
	// Dir holds the server's data; Start with the same Options.Dir finds it again.
	Dir string
	// API is the server itself.
	API *apiserver.Server

	t    testing.TB
	stop func() error
}

// Options vary the server; the zero value serves everything.
type Options struct {
	Dir  string               // default: a temporary directory
	Rows []resources.Resource // default: all
	// Mutate changes the configuration before the server is made.
	Mutate func(*apiserver.Config)
}

// Start runs a server that serves every resource until the test ends.
func Start(t testing.TB) *Server { return StartWith(t, Options{}) }

// StartWith runs a server with options.
func StartWith(t testing.TB, opts Options) *Server {
	t.Helper()
	if opts.Dir == "" {
		opts.Dir = t.TempDir()
	}
	if opts.Rows == nil {
		opts.Rows = resources.Table()
	}
	s := &Server{Dir: opts.Dir, t: t}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	logger := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	db, err := store.Open(ctx, store.Options{Dir: filepath.Join(opts.Dir, "store"), Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	config, err := s.configure(db, opts)
	if err != nil {
		t.Fatal(errors.Join(err, db.Close()))
	}
	config.Logger = logger
	if opts.Mutate != nil {
		opts.Mutate(&config)
	}
	if s.API, err = apiserver.New(config); err != nil {
		t.Fatal(errors.Join(err, db.Close()))
	}
	running, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.API.Run(running) }()
	s.stop = func() error {
		stop()
		return errors.Join(<-done, db.Close())
	}
	t.Cleanup(s.Stop)
	select {
	case <-s.API.Ready():
	case err := <-done:
		done <- err
		t.Fatalf("API server: %v", err)
	case <-ctx.Done():
		t.Fatal("API server: not ready within a minute")
	}
	return s
}

// Stop stops the server before the test ends. Stopping twice is harmless.
func (s *Server) Stop() {
	s.t.Helper()
	if s.stop == nil {
		return
	}
	err := s.stop()
	s.stop = nil
	if err != nil {
		s.t.Errorf("stop API server: %v", err)
	}
}

// Clientset is a typed client with all rights.
func (s *Server) Clientset() kubernetes.Interface {
	s.t.Helper()
	c, err := kubernetes.NewForConfig(s.Config)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

func (s *Server) configure(db *store.Store, opts Options) (apiserver.Config, error) {
	var config apiserver.Config
	keys, err := pki.Open(filepath.Join(opts.Dir, "pki"), time.Now)
	if err != nil {
		return config, err
	}
	serving, err := keys.Ensure(keys.Cluster, "apiserver", pki.Request{
		CommonName: "sinawi", Server: true, DNSNames: []string{"localhost"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)},
	})
	if err != nil {
		return config, err
	}
	admin, err := keys.Ensure(keys.Cluster, "admin", pki.Request{
		CommonName: "admin", Organizations: []string{"system:masters"}, Client: true,
	})
	if err != nil {
		return config, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return config, err
	}
	s.Config = &rest.Config{
		Host: "https://" + listener.Addr().String(),
		QPS:  -1,
		TLSClientConfig: rest.TLSClientConfig{
			CAData: keys.Cluster.CertPEM, CertData: admin.CertPEM, KeyData: admin.KeyPEM,
		},
	}
	ca, err := dynamiccertificates.NewStaticCAContent("client-ca", keys.Cluster.CertPEM)
	if err != nil {
		return config, err
	}
	return apiserver.Config{
		Store:         db,
		Rows:          opts.Rows,
		Listeners:     []net.Listener{listener},
		CertPEM:       serving.CertPEM,
		KeyPEM:        serving.KeyPEM,
		ClientCAPEM:   keys.Cluster.CertPEM,
		Authenticator: x509.NewDynamic(ca.VerifyOptions, x509.CommonNameUserConversion),
		Authorizer:    mastersOnly(),
	}, nil
}

// mastersOnly lets the administrator do everything and nobody else anything.
func mastersOnly() authorizer.Authorizer {
	return authorizerfactory.NewPrivilegedGroups(sets.List(sets.New("system:masters"))...)
}
