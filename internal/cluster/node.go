package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"sync/atomic"
	"syscall"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/agent"
	"github.com/sinawi/sinawi/internal/controllers/events"
	"github.com/sinawi/sinawi/internal/pki"
	"github.com/sinawi/sinawi/internal/proxy"
)

// node is what makes this machine a node: the runtime, the agent, the pod
// network, the service proxy and DNS.
type node struct {
	runtime *runtimeProcess
	client  kubernetes.Interface // as the node's user
	agent   *agent.Agent
	proxy   atomic.Pointer[proxy.Proxy]
}

// drained returns when services lead nobody to a pod's address any more. Before
// there are services they lead nowhere.
func (n *node) drained(ctx context.Context, ip netip.Addr) error {
	if p := n.proxy.Load(); p != nil {
		return p.Drained(ctx, ip)
	}
	return nil
}

func (s *server) startRuntime(ctx context.Context) error {
	if s.cfg.RuntimeEndpoint != "" {
		return nil
	}
	return s.progress.step(StepRuntime, func() error {
		r, err := newRuntimeProcess(s.cfg.Dir)
		if err != nil {
			return err
		}
		if err := r.ensure(ctx); err != nil {
			return err
		}
		s.node.runtime = r
		return nil
	})
}

// startNode starts the agent, which registers the node; then, as soon as the
// node has its range of addresses, the network; and waits until it is ready.
func (s *server) startNode(ctx context.Context) error {
	err := s.progress.step(StepNetwork, func() error {
		if err := s.startAgent(ctx); err != nil {
			return err
		}
		if err := s.startNetwork(ctx); err != nil {
			return err
		}
		s.node.agent.NodeChanged() // it has a network now
		return nil
	})
	if err != nil {
		return err
	}
	return s.progress.step(StepNode, func() error {
		_, err := s.awaitNode(ctx, nodeReady)
		return err
	})
}

func nodeReady(n *corev1.Node) bool {
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// clientConfig reaches the API over loopback as a user with a certificate of
// its own. The agent and the network use it, as they would on any machine.
func (s *server) clientConfig(file, user string, groups ...string) (*rest.Config, error) {
	pair, err := s.keys.Ensure(s.keys.Cluster, file, pki.Request{CommonName: user, Organizations: groups, Client: true})
	if err != nil {
		return nil, err
	}
	return &rest.Config{
		Host: "https://" + hostPort(netip.AddrFrom4([4]byte{127, 0, 0, 1}), s.cfg.APIPort),
		QPS:  -1, // the server is fair by itself
		TLSClientConfig: rest.TLSClientConfig{
			CAData: s.keys.Cluster.CertPEM, CertData: pair.CertPEM, KeyData: pair.KeyPEM,
		},
	}, nil
}

func (s *server) startAgent(ctx context.Context) error {
	cfg, err := s.clientConfig("node", "system:node:"+s.cfg.NodeName, "system:nodes")
	if err != nil {
		return err
	}
	typed, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return fmt.Errorf("connect the agent: %w", err)
	}
	s.node.client = typed
	c, objects, err := clients(cfg, cache.Options{ByObject: map[client.Object]cache.ByObject{
		&corev1.Pod{}:  {Field: fields.OneTermEqualSelector("spec.nodeName", s.cfg.NodeName)},
		&corev1.Node{}: {Field: fields.OneTermEqualSelector(metav1.ObjectNameField, s.cfg.NodeName)},
	}})
	if err != nil {
		return err
	}
	listener, err := s.listenAgent()
	if err != nil {
		return err
	}
	serving, err := s.agentCertificate()
	if err != nil {
		listener.Close()
		return err
	}
	broadcaster, stop := events.Start(s.parts.base, c, s.log)
	one, err := agent.New(agent.Deps{
		Cache: objects, Client: c, Clientset: typed, Log: s.log, Drain: s.node.drained,
		Recorder: broadcaster.NewRecorder(clientgoscheme.Scheme, corev1.EventSource{Component: "kubelet", Host: s.cfg.NodeName}),
	}, agent.Options{
		NodeName:        s.cfg.NodeName,
		NodeIP:          s.cfg.NodeIP,
		Instance:        string(s.cfg.Dir.Name()),
		Dir:             s.cfg.Dir.Agent(),
		LogDir:          filepath.Join(s.cfg.Dir.Logs(), "pods"),
		RuntimeEndpoint: s.runtimeEndpoint(),
		ClusterDNS:      s.cfg.DNSServiceIP(),
		ClusterDomain:   ClusterDomain,
		Listener:        listener,
		ServingCert:     serving,
		ClientCA:        s.keys.Cluster.CertPEM,
	})
	if err != nil {
		listener.Close()
		stop()
		return err
	}
	s.parts.start("agent's events", func(ctx context.Context) error {
		<-ctx.Done()
		stop()
		return nil
	})
	s.parts.start("agent's cache", objects.Start)
	s.parts.start("agent", one.Run)
	s.node.agent = one
	return nil
}

func (s *server) runtimeEndpoint() string {
	if s.cfg.RuntimeEndpoint != "" {
		return s.cfg.RuntimeEndpoint
	}
	return s.cfg.Dir.RuntimeSocket()
}

// listenAgent takes the kubelet API's port. Nobody has to know it: the node's
// status tells it.
func (s *server) listenAgent() (net.Listener, error) {
	port := s.cfg.AgentPort
	if port == 0 {
		port = DefaultAgentPort
	}
	l, err := net.Listen("tcp", hostPort(s.cfg.NodeIP, port))
	if s.cfg.AgentPort == 0 && errors.Is(err, syscall.EADDRINUSE) {
		l, err = net.Listen("tcp", hostPort(s.cfg.NodeIP, 0))
	}
	if err != nil {
		return nil, explainListen(err, "--agent-port", port)
	}
	return l, nil
}

func (s *server) agentCertificate() (tls.Certificate, error) {
	pair, err := s.keys.Ensure(s.keys.Cluster, "node-serving", pki.Request{
		CommonName: "system:node:" + s.cfg.NodeName, Organizations: []string{"system:nodes"}, Server: true,
		DNSNames: []string{s.cfg.NodeName}, IPs: []net.IP{s.cfg.NodeIP.AsSlice()},
	})
	if err != nil {
		return tls.Certificate{}, err
	}
	cert, err := tls.X509KeyPair(pair.CertPEM, pair.KeyPEM)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("load the agent's certificate: %w", err)
	}
	return cert, nil
}

// awaitNode returns this machine's node once it is as wanted.
func (s *server) awaitNode(ctx context.Context, wanted func(*corev1.Node) bool) (*corev1.Node, error) {
	one := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, s.cfg.NodeName).String()}
	for {
		w, err := s.node.client.CoreV1().Nodes().Watch(ctx, one)
		if err != nil {
			return nil, fmt.Errorf("watch node %s: %w", s.cfg.NodeName, err)
		}
		n, err := s.readNode(ctx, w.ResultChan(), wanted)
		w.Stop()
		if n != nil || err != nil {
			return n, err
		}
	}
}

// readNode returns nil without an error when the watch has ended.
func (s *server) readNode(ctx context.Context, changes <-chan watch.Event, wanted func(*corev1.Node) bool) (*corev1.Node, error) {
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case err := <-s.parts.failed:
			return nil, err
		case e, open := <-changes:
			if !open {
				return nil, nil
			}
			if n, ok := e.Object.(*corev1.Node); ok && e.Type != watch.Deleted && wanted(n) {
				return n, nil
			}
		}
	}
}
