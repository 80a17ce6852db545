package agent_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrl "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sinawi/sinawi/internal/agent"
	"github.com/sinawi/sinawi/internal/apiserver/apitest"
	"github.com/sinawi/sinawi/internal/pki"
	"github.com/sinawi/sinawi/internal/podnet"
	"github.com/sinawi/sinawi/internal/podnet/nettest"
	"github.com/sinawi/sinawi/internal/runtime/runtimetest"
)

// TestMain gives the tests a network namespace of their own, in which the runtime
// is this binary, started once more.
func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	if os.Getenv("SINAWI_NETTEST_INSIDE") != "" {
		runtimetest.Main(m)
	}
	nettest.Main(m)
}

const (
	nodeName  = "node1"
	namespace = "default"
	// patience bounds every wait; nothing is expected to take so long.
	patience = time.Minute
)

// rig is one node with an API server, a runtime and a pod network of its own.
type rig struct {
	t       testing.TB
	api     *apitest.Server
	admin   kubernetes.Interface
	runtime *runtimetest.Runtime
	dir     string
	agent   *agent.Agent
	stop    func()
}

func newRig(t testing.TB) *rig {
	t.Helper()
	nettest.Node(t)
	config := runtimetest.Config(t)
	r := &rig{t: t, dir: filepath.Join(t.TempDir(), "agent")}
	r.network(config.CNIConfDir)
	r.runtime = runtimetest.StartWith(t, config)
	r.api = apitest.StartWith(t, apitest.Options{NoSync: true})
	r.admin = r.api.Clientset()
	r.prepareNamespace()
	r.startAgent()
	t.Cleanup(func() { r.stop() })
	r.nodeReady()
	return r
}

// network makes the pod network; it goes after the runtime, which needs it to stop pods.
func (r *rig) network(confDir string) {
	r.t.Helper()
	o := podnet.Options{
		Instance: "sinawi-0a0b0c", PodCIDR: netip.MustParsePrefix("10.42.0.0/24"), ClusterCIDR: netip.MustParsePrefix("10.42.0.0/16"),
		MTU: 1500, CNIConfDir: confDir, StateDir: filepath.Join(r.t.TempDir(), "podnet"),
	}
	if err := podnet.Setup(context.Background(), o); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if err := podnet.Teardown(context.Background(), o); err != nil {
			r.t.Errorf("tear the pod network down: %v", err)
		}
	})
}

// prepareNamespace makes what controllers make for pods in a namespace.
func (r *rig) prepareNamespace() {
	r.t.Helper()
	ctx := r.context()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	if _, err := r.admin.CoreV1().ServiceAccounts(namespace).Create(ctx, account, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		r.t.Fatal(err)
	}
	roots := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "kube-root-ca.crt"}, Data: map[string]string{"ca.crt": "none"}}
	if _, err := r.admin.CoreV1().ConfigMaps(namespace).Create(ctx, roots, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		r.t.Fatal(err)
	}
}

func (r *rig) context() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	r.t.Cleanup(cancel)
	return ctx
}

// startAgent starts an agent on what an earlier one left.
func (r *rig) startAgent() {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	log := slog.New(slog.NewTextHandler(r.t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
	config := r.api.As("system:node:"+nodeName, "system:nodes")
	clientset, err := kubernetes.NewForConfig(config)
	if err != nil {
		r.t.Fatal(err)
	}
	c, err := cache.New(config, cache.Options{Scheme: scheme.Scheme, ByObject: map[client.Object]cache.ByObject{
		&corev1.Pod{}:  {Field: fields.OneTermEqualSelector("spec.nodeName", nodeName)},
		&corev1.Node{}: {Field: fields.OneTermEqualSelector(metav1.ObjectNameField, nodeName)},
	}})
	if err != nil {
		r.t.Fatal(err)
	}
	broadcaster := record.NewBroadcaster()
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: clientset.CoreV1().Events("")})
	r.agent = r.makeAgent(log, c, clientset, broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "kubelet", Host: nodeName}))
	var running sync.WaitGroup
	running.Go(func() {
		if err := c.Start(ctx); err != nil {
			r.t.Errorf("cache: %v", err)
		}
	})
	running.Go(func() {
		if err := r.agent.Run(ctx); err != nil {
			r.t.Errorf("agent: %v", err)
		}
	})
	r.stop = func() {
		cancel()
		running.Wait()
		broadcaster.Shutdown()
		r.stop = func() {}
	}
}

func (r *rig) makeAgent(log *slog.Logger, c cache.Cache, clientset kubernetes.Interface, recorder record.EventRecorder) *agent.Agent {
	r.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	pair, err := r.api.Keys.Cluster.Issue(pki.Request{CommonName: "system:node:" + nodeName, Server: true, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}}, time.Now())
	if err != nil {
		r.t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(pair.CertPEM, pair.KeyPEM)
	if err != nil {
		r.t.Fatal(err)
	}
	a, err := agent.New(
		agent.Deps{Cache: c, Clientset: clientset, Recorder: recorder, Log: log},
		agent.Options{
			NodeName: nodeName, NodeIP: netip.MustParseAddr("127.0.0.1"), Dir: r.dir,
			RuntimeEndpoint: r.runtime.Socket, CgroupParent: r.runtime.CgroupParent,
			ClusterDNS: netip.MustParseAddr("10.43.0.10"), ClusterDomain: "cluster.local",
			Listener: listener, ServingCert: cert, ClientCA: r.api.Keys.Cluster.CertPEM,
		})
	if err != nil {
		r.t.Fatal(err)
	}
	return a
}

func (r *rig) nodeReady() {
	r.t.Helper()
	await(r.t, "node is ready", func() (bool, string) {
		node, err := r.admin.CoreV1().Nodes().Get(r.context(), nodeName, metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		for _, c := range node.Status.Conditions {
			if c.Type == corev1.NodeReady {
				return c.Status == corev1.ConditionTrue, c.Message
			}
		}
		return false, "no condition"
	})
}

// await asks until it is so, or until the test's patience ends.
func await(t testing.TB, what string, so func() (bool, string)) {
	t.Helper()
	var last string
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		ok, detail := so()
		if ok {
			return
		}
		last = detail
	}
	t.Fatalf("waited too long until %s: %s", what, last)
}

// shell is a container that runs a script.
func shell(name, script string) corev1.Container {
	return corev1.Container{
		Name: name, Image: runtimetest.BusyBox, ImagePullPolicy: corev1.PullIfNotPresent,
		Command: []string{"/bin/sh", "-c", script},
	}
}

// run creates a pod, bound to the node.
func (r *rig) run(name string, spec corev1.PodSpec) *corev1.Pod {
	r.t.Helper()
	spec.NodeName = nodeName
	if spec.TerminationGracePeriodSeconds == nil {
		one := int64(1)
		spec.TerminationGracePeriodSeconds = &one
	}
	pod, err := r.admin.CoreV1().Pods(namespace).Create(r.context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		r.t.Fatal(err)
	}
	return pod
}

// until waits for a pod to be as so says.
func (r *rig) until(name, what string, so func(*corev1.Pod) bool) *corev1.Pod {
	r.t.Helper()
	var pod *corev1.Pod
	await(r.t, "pod "+name+" "+what, func() (bool, string) {
		var err error
		pod, err = r.admin.CoreV1().Pods(namespace).Get(r.context(), name, metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		return so(pod), describe(pod)
	})
	return pod
}

func describe(pod *corev1.Pod) string {
	text := fmt.Sprintf("phase %s, reason %s %s", pod.Status.Phase, pod.Status.Reason, pod.Status.Message)
	for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for _, s := range list {
			text += fmt.Sprintf("; %s ready=%t restarts=%d state=%v last=%v", s.Name, s.Ready, s.RestartCount, s.State.String(), s.LastTerminationState.String())
		}
	}
	return text
}

func isReady(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

func inPhase(phase corev1.PodPhase) func(*corev1.Pod) bool {
	return func(pod *corev1.Pod) bool { return pod.Status.Phase == phase }
}

// delete deletes a pod and waits until it is gone from the API and the node.
func (r *rig) delete(name string) {
	r.t.Helper()
	if err := r.admin.CoreV1().Pods(namespace).Delete(r.context(), name, metav1.DeleteOptions{}); err != nil {
		r.t.Fatal(err)
	}
	await(r.t, "pod "+name+" is gone", func() (bool, string) {
		pod, err := r.admin.CoreV1().Pods(namespace).Get(r.context(), name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return true, ""
		}
		if err != nil {
			return false, err.Error()
		}
		return false, describe(pod)
	})
	await(r.t, "pod "+name+" has left the node", func() (bool, string) {
		_, there := r.agent.Pod(namespace, name)
		return !there, ""
	})
}

// events are the reasons of what was told of a pod.
func (r *rig) events(uid types.UID) map[string]string {
	r.t.Helper()
	list, err := r.admin.CoreV1().Events(namespace).List(r.context(), metav1.ListOptions{FieldSelector: "involvedObject.uid=" + string(uid)})
	if err != nil {
		r.t.Fatal(err)
	}
	out := map[string]string{}
	for _, e := range list.Items {
		out[e.Reason] = e.Message
	}
	return out
}

// untilEvent waits until a pod's owner was told of a reason and returns the words.
func (r *rig) untilEvent(uid types.UID, reason string) string {
	r.t.Helper()
	var message string
	await(r.t, "event "+reason, func() (bool, string) {
		events := r.events(uid)
		var ok bool
		message, ok = events[reason]
		return ok, fmt.Sprint(events)
	})
	return message
}

func httpGet(path string) corev1.ProbeHandler {
	return corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromString("http")}}
}
