package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/agent/cgroup"
	"github.com/sinawi/sinawi/internal/agent/content"
	"github.com/sinawi/sinawi/internal/agent/env"
	"github.com/sinawi/sinawi/internal/agent/images"
	"github.com/sinawi/sinawi/internal/agent/logs"
	"github.com/sinawi/sinawi/internal/agent/node"
	"github.com/sinawi/sinawi/internal/agent/probe/check"
	"github.com/sinawi/sinawi/internal/agent/report"
	"github.com/sinawi/sinawi/internal/agent/server"
	"github.com/sinawi/sinawi/internal/agent/spec"
	"github.com/sinawi/sinawi/internal/agent/stats"
	"github.com/sinawi/sinawi/internal/agent/worker"
	"github.com/sinawi/sinawi/internal/version"
	"github.com/sinawi/sinawi/internal/volumes"
)

// Deps are the agent's ways to the API.
type Deps struct {
	// Cache holds at least the pods bound to this node and all services.
	Cache cache.Cache
	// Clientset writes, and reads what is not in the cache, as the node's user.
	Clientset kubernetes.Interface
	Client    client.Client
	Recorder  record.EventRecorder
	Log       *slog.Logger
	// Drain returns when services lead nobody to an address any more; nil: pods are
	// stopped without waiting for that.
	Drain func(ctx context.Context, ip netip.Addr) error
	// Metrics are served at /metrics; nil: there are none.
	Metrics http.Handler
}

// Options say which node this is and where its things are.
type Options struct {
	NodeName string
	NodeIP   netip.Addr
	// NodeIPs are further addresses of the node, of the other family.
	NodeIPs []netip.Addr
	// Labels are set on the node besides those that every node has.
	Labels  map[string]string
	MaxPods int // 0: 110
	// Instance is the name of this installation on the machine.
	Instance string
	// Dir holds pods/UID; LogDir the pods' logs, empty: Dir/logs.
	Dir, LogDir string
	// RuntimeEndpoint is the path of the runtime's CRI socket.
	RuntimeEndpoint string
	// CgroupParent is above all pods' groups; empty: "/" and Instance.
	CgroupParent string
	// ClusterDNS is what pods ask for names; without it they ask whom the node asks.
	ClusterDNS    netip.Addr
	ClusterDomain string
	// Resolver is the node's resolv.conf; empty: /etc/resolv.conf.
	Resolver string
	// Listener is where the kubelet API is served, with ServingCert, for clients
	// with certificates of ClientCA (PEM). Without a Listener it is not served.
	Listener    net.Listener
	ServingCert tls.Certificate
	ClientCA    []byte
}

func (o *Options) complete() error {
	if o.NodeName == "" || !o.NodeIP.IsValid() || o.Dir == "" || o.RuntimeEndpoint == "" {
		return errors.New("agent: node name, node address, directory and runtime endpoint are required")
	}
	if o.CgroupParent == "" {
		if o.Instance == "" {
			return errors.New("agent: a cgroup parent or an instance name is required")
		}
		o.CgroupParent = "/" + o.Instance
	}
	if o.LogDir == "" {
		o.LogDir = filepath.Join(o.Dir, "logs")
	}
	if o.Resolver == "" {
		o.Resolver = "/etc/resolv.conf"
	}
	return nil
}

// Agent runs the pods of one node.
type Agent struct {
	deps    Deps
	options Options
	runtime cri.RuntimeServiceClient
	conn    *grpc.ClientConn

	groups  *cgroup.Groups
	volumes *volumes.Manager
	content *content.Store
	images  *images.Puller
	logs    *logs.Rotator
	report  *report.Writer
	node    *node.Node
	stats   *stats.Reader
	server  *server.Server // nil: not served
	shared  worker.Deps

	running sync.WaitGroup // workers

	admission sync.Mutex // guards the field below, and the order of admissions
	taken     map[types.UID]bool

	mu      sync.Mutex // guards the field below
	workers map[types.UID]*worker.Worker
}

// New makes the agent's directories and composes it. Nothing runs before Run.
func New(deps Deps, options Options) (*Agent, error) {
	if err := options.complete(); err != nil {
		return nil, err
	}
	for _, dir := range []string{options.Dir, options.LogDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("create the agent's directories: %w", err)
		}
	}
	conn, err := grpc.NewClient("unix://"+strings.TrimPrefix(options.RuntimeEndpoint, "unix://"),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(connectParams()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)))
	if err != nil {
		return nil, fmt.Errorf("connect to the container runtime: %w", err)
	}
	a := &Agent{
		deps: deps, options: options, conn: conn,
		runtime: cri.NewRuntimeServiceClient(conn),
		groups:  cgroup.New(options.CgroupParent),
		report:  report.New(deps.Clientset, deps.Log),
		workers: map[types.UID]*worker.Worker{},
		taken:   map[types.UID]bool{},
	}
	if err := a.compose(); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return a, nil
}

// compose makes the parts.
func (a *Agent) compose() error {
	log, imageService := a.deps.Log, cri.NewImageServiceClient(a.conn)
	a.content = content.New(a.deps.Clientset, content.Options{Changed: a.contentChanged, Log: log})
	a.volumes = volumes.New(a.content, volumes.Options{Dir: a.options.Dir, Allocatable: a.allocatable})
	a.images = images.New(
		images.Deps{Images: imageService, Runtime: a.runtime, Secrets: a.content, Recorder: a.deps.Recorder, Log: log},
		images.Options{InUse: a.imagesInUse, Record: filepath.Join(a.options.Dir, "private-images.json")})
	a.logs = logs.New(a.runtime, logs.Options{Dir: a.options.LogDir, Log: log})
	var err error
	if a.node, err = a.makeNode(); err != nil {
		return err
	}
	a.stats = stats.New(a.runtime, imageService, stats.Options{
		NodeName: a.options.NodeName, Dir: a.options.Dir, LogDir: a.options.LogDir, Log: log,
	})
	if a.server, err = a.makeServer(); err != nil {
		return err
	}
	resolver, err := os.ReadFile(a.options.Resolver)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read the node's resolver: %w", err)
	}
	dns := spec.DNS{Domain: a.options.ClusterDomain, Node: spec.ParseResolver(string(resolver))}
	if a.options.ClusterDNS.IsValid() {
		dns.Servers = []string{a.options.ClusterDNS.String()}
	}
	a.shared = worker.Deps{
		Runtime: a.runtime, ImageSvc: imageService, Images: a.images, Content: a.content, Volumes: a.volumes,
		Env:     env.New(a.content, env.Options{Services: a.services, Allocatable: a.allocatable, VolumePath: a.volumePath}),
		Cgroups: a.groups, Report: a.report, Asker: check.Checker{Runtime: a.runtime}, Messages: logs.Message,
		Admit: a.admit, Resize: a.resize, Handler: a.handler, Drain: a.deps.Drain, Recorder: a.deps.Recorder, Log: log,
		Node: spec.Node{
			LogDir: a.options.LogDir, SeccompDir: filepath.Join(a.options.Dir, "seccomp"), DNS: dns,
			MemoryCapacity: a.node.Machine().Memory, UnifiedCgroups: cgroup.Unified(),
		},
		HostIPs: a.hostIPs(), NodeHosts: "/etc/hosts",
	}
	return nil
}

// makeServer makes the kubelet API, nil if it is not to be served.
func (a *Agent) makeServer() (*server.Server, error) {
	if a.options.Listener == nil {
		return nil, nil
	}
	return server.New(
		server.Deps{
			Pods: a, Runtime: a.runtime, Stats: a.stats, Metrics: a.deps.Metrics,
			Access: server.Delegated(a.deps.Clientset), Log: a.deps.Log,
		},
		server.Options{
			Listener: a.options.Listener, ServingCert: a.options.ServingCert, ClientCA: a.options.ClientCA,
			NodeName: a.options.NodeName, LogsDir: a.options.LogDir,
		})
}

func (a *Agent) makeNode() (*node.Node, error) {
	port := 0
	if l := a.options.Listener; l != nil {
		if tcp, ok := l.Addr().(*net.TCPAddr); ok {
			port = tcp.Port
		}
	}
	return node.New(
		node.Deps{Client: a.deps.Clientset, Runtime: a.runtime, Images: a.images.List, Log: a.deps.Log},
		node.Options{
			Name: a.options.NodeName, IPs: append([]netip.Addr{a.options.NodeIP}, a.options.NodeIPs...), Port: port,
			Dir: a.options.Dir, Labels: a.options.Labels, Version: version.Kubernetes, MaxPods: a.options.MaxPods,
		})
}

func (a *Agent) hostIPs() []string {
	ips := []string{a.options.NodeIP.String()}
	for _, ip := range a.options.NodeIPs {
		ips = append(ips, ip.String())
	}
	return ips
}

func (a *Agent) allocatable() corev1.ResourceList { return a.node.Allocatable() }

// NodeChanged asks for the node's status to be looked at now, as when its network
// has been set up.
func (a *Agent) NodeChanged() { a.node.Changed() }

// handler resolves a RuntimeClass.
func (a *Agent) handler(ctx context.Context, class string) (string, error) {
	object, err := a.deps.Clientset.NodeV1().RuntimeClasses().Get(ctx, class, metav1.GetOptions{})
	if err != nil {
		return "", fmt.Errorf("failed to get RuntimeClass %q: %w", class, err)
	}
	return object.Handler, nil
}

func (a *Agent) services(namespace string) []corev1.Service {
	var list corev1.ServiceList
	if err := a.deps.Cache.List(context.Background(), &list, client.InNamespace(namespace)); err != nil {
		a.deps.Log.Warn("services not read", "namespace", namespace, "err", err)
	}
	return list.Items
}

func (a *Agent) volumePath(pod *corev1.Pod, name string) (string, error) {
	for i := range pod.Spec.Volumes {
		if pod.Spec.Volumes[i].Name == name {
			return a.volumes.Path(pod.UID, &pod.Spec.Volumes[i]), nil
		}
	}
	return "", fmt.Errorf("cannot find volume %q of pod %s", name, pod.Name)
}
