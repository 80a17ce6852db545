// Package apitest runs a whole control plane inside a test: a store in a
// directory of its own, certificates of its own, a free port on loopback.
// Everything stops and is removed when the test ends.
package apitest

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/sinawi/sinawi/internal/apiserver"
	"github.com/sinawi/sinawi/internal/apiserver/controlplane"
	"github.com/sinawi/sinawi/internal/pki"
	"github.com/sinawi/sinawi/internal/store"
)

// Server is a running API server.
type Server struct {
	// Config is a client configuration with all rights.
	Config *rest.Config
	// Dir holds the server's data; Start with the same Options.Dir finds it again.
	Dir string
	// API is the server itself, Store what it keeps its objects in.
	API   *apiserver.Server
	Store *store.Store
	// Keys sign certificates for further users.
	Keys *pki.PKI

	t    testing.TB
	stop func() error
}

// Options vary the server; the zero value serves everything.
type Options struct {
	Dir string // default: a temporary directory
	// NoSync gives up durability, for tests and benchmarks of much data.
	NoSync bool
	// Mutate changes the options before the control plane is made.
	Mutate func(*controlplane.Options)
}

// Start runs a server that serves every resource until the test ends.
func Start(t testing.TB) *Server { return StartWith(t, Options{}) }

// StartWith runs a server with options.
func StartWith(t testing.TB, opts Options) *Server {
	t.Helper()
	if opts.Dir == "" {
		opts.Dir = t.TempDir()
	}
	s := &Server{Dir: opts.Dir, t: t}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	logger := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	var err error
	s.Store, err = store.Open(ctx, store.Options{Dir: filepath.Join(opts.Dir, "store"), Logger: logger, UnsafeNoFsync: opts.NoSync})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.build(ctx, logger, opts); err != nil {
		t.Fatal(errors.Join(err, s.Store.Close()))
	}
	running, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.API.Run(running) }()
	s.stop = func() error {
		stop()
		return errors.Join(<-done, s.Store.Close())
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
	s.Account(ctx, metav1.NamespaceDefault)
	return s
}

// Account makes the default service account of a namespace, which is the work
// of a controller: without it no pod is admitted.
func (s *Server) Account(ctx context.Context, namespace string) {
	s.t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default", Namespace: namespace}}
	_, err := s.Clientset().CoreV1().ServiceAccounts(namespace).Create(ctx, account, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		s.t.Fatal(err)
	}
}

// Stop stops the server before the test ends. Stopping twice is harmless.
func (s *Server) Stop() {
	s.t.Helper()
	if s.stop == nil {
		return
	}
	// The server would wait a second for idle connections to go away.
	if transport, err := rest.TransportFor(s.Config); err == nil {
		utilnet.CloseIdleConnectionsFor(transport)
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
	return s.clientset(s.Config)
}

// As is a client configuration of the user in the groups, by a certificate of
// the cluster's.
func (s *Server) As(user string, groups ...string) *rest.Config {
	s.t.Helper()
	pair, err := s.Keys.Cluster.Issue(pki.Request{CommonName: user, Organizations: groups, Client: true}, time.Now())
	if err != nil {
		s.t.Fatal(err)
	}
	config := rest.CopyConfig(s.Config)
	config.CertData, config.KeyData = pair.CertPEM, pair.KeyPEM
	return config
}

// ClientsetAs is a typed client of the user in the groups.
func (s *Server) ClientsetAs(user string, groups ...string) kubernetes.Interface {
	s.t.Helper()
	return s.clientset(s.As(user, groups...))
}

func (s *Server) clientset(config *rest.Config) kubernetes.Interface {
	s.t.Helper()
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

func (s *Server) build(ctx context.Context, logger *slog.Logger, opts Options) error {
	var err error
	if s.Keys, err = pki.Open(filepath.Join(opts.Dir, "pki"), time.Now); err != nil {
		return err
	}
	admin, err := s.Keys.Ensure(s.Keys.Cluster, "admin", pki.Request{
		CommonName: "admin", Organizations: []string{"system:masters"}, Client: true,
	})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.Config = &rest.Config{
		Host: "https://" + listener.Addr().String(),
		QPS:  -1,
		TLSClientConfig: rest.TLSClientConfig{
			CAData: s.Keys.Cluster.CertPEM, CertData: admin.CertPEM, KeyData: admin.KeyPEM,
		},
	}
	options := controlplane.Options{
		Store:       s.Store,
		Keys:        s.Keys,
		Listeners:   []net.Listener{listener},
		AdvertiseIP: s.AdvertiseIP(),
		Logger:      logger,
	}
	if opts.Mutate != nil {
		opts.Mutate(&options)
	}
	s.API, err = controlplane.New(ctx, options)
	if err != nil {
		err = errors.Join(err, listener.Close())
	}
	return err
}

// Listeners are what another control plane over the same store could listen
// on: one free port, closed when the test ends.
func (s *Server) Listeners() []net.Listener {
	s.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = l.Close() }) // closed before, when it was used
	return []net.Listener{l}
}

// AdvertiseIP is the address that the server tells of itself. It is one for
// documentation: endpoints may not be on loopback.
func (s *Server) AdvertiseIP() netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, 1}) }
