package server_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/sinawi/sinawi/internal/agent/server"
	"github.com/sinawi/sinawi/internal/agent/stats"
	"github.com/sinawi/sinawi/internal/runtime/runtimetest"
)

func TestMain(m *testing.M) { runtimetest.Main(m) }

// authority signs certificates.
type authority struct {
	t    testing.TB
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	a := &authority{t: t}
	certificate := a.sign("ca")
	a.key = certificate.PrivateKey.(*ecdsa.PrivateKey)
	var err error
	if a.cert, err = x509.ParseCertificate(certificate.Certificate[0]); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// sign makes a certificate; the first one signs itself.
func (a *authority) sign(name string, groups ...string) tls.Certificate {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: name, Organization: groups},
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		template.IsCA, template.BasicConstraintsValid = true, true
		template.KeyUsage = x509.KeyUsageCertSign
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// encode puts a certificate and its key in PEM.
func encode(t testing.TB, certificate tls.Certificate) (cert, key []byte) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// node is a list of pods.
type node struct {
	mu   sync.Mutex
	pods []*corev1.Pod
}

func (n *node) Pods() []*corev1.Pod {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]*corev1.Pod{}, n.pods...)
}

func (n *node) Pod(namespace, name string) (*corev1.Pod, bool) {
	for _, pod := range n.Pods() {
		if pod.Namespace == namespace && pod.Name == name {
			return pod, true
		}
	}
	return nil, false
}

// rig is a server, what it serves and who may call it.
type rig struct {
	testing.TB
	*node
	*authority
	r    *runtimetest.Runtime
	addr string
}

// serve starts a server; r may be nil where no container is asked for.
func serve(t testing.TB, r *runtimetest.Runtime, change func(*server.Deps, *server.Options)) *rig {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &rig{TB: t, node: &node{}, authority: newAuthority(t), r: r, addr: listener.Addr().String()}
	deps := server.Deps{Pods: g.node, Log: slog.New(slog.DiscardHandler)}
	options := server.Options{Listener: listener, ServingCert: g.sign("node"), ClientCA: g.pem(), NodeName: "n1"}
	if r != nil {
		deps.Runtime = r.Runtime
		deps.Stats = stats.New(r.Runtime, r.Images, stats.Options{NodeName: "n1", Dir: t.TempDir()})
	}
	if change != nil {
		change(&deps, &options)
	}
	s, err := server.New(deps, options)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return g
}

// client calls with a certificate, or without one when name is empty.
func (g *rig) client(name string, groups ...string) *http.Client {
	roots := x509.NewCertPool()
	roots.AddCert(g.cert)
	config := &tls.Config{RootCAs: roots}
	if name != "" {
		config.Certificates = []tls.Certificate{g.sign(name, groups...)}
	}
	transport := &http.Transport{TLSClientConfig: config}
	g.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 30 * time.Second}
}

// get calls as the API server.
func (g *rig) get(path string) (int, string) {
	g.Helper()
	return call(g, g.client("kube-apiserver-kubelet-client", "system:masters"), http.MethodGet, "https://"+g.addr+path, "")
}

func call(t testing.TB, client *http.Client, method, url, token string) (int, string) {
	t.Helper()
	request, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(data)
}

// run starts a pod with one container on the host's network, as an agent would.
func (g *rig) run(name, script string, change func(*cri.ContainerConfig)) (*corev1.Pod, string) {
	g.Helper()
	labels := map[string]string{"io.kubernetes.pod.name": name, "io.kubernetes.pod.namespace": "default", "io.kubernetes.pod.uid": "uid-" + name, "io.kubernetes.container.name": "c"}
	host := &cri.NamespaceOption{Network: cri.NamespaceMode_NODE, Pid: cri.NamespaceMode_CONTAINER}
	sandbox := &cri.PodSandboxConfig{
		Metadata: &cri.PodSandboxMetadata{Name: name, Uid: "uid-" + name, Namespace: "default"}, Labels: labels,
		LogDirectory: filepath.Join(g.TempDir(), "default_"+name+"_uid-"+name),
		Linux:        &cri.LinuxPodSandboxConfig{CgroupParent: g.r.CgroupParent + "/" + name, SecurityContext: &cri.LinuxSandboxSecurityContext{NamespaceOptions: host}},
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	box, err := g.r.Runtime.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: sandbox})
	if err != nil {
		g.Fatal(err)
	}
	config := &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: "c"}, Labels: labels, LogPath: "c/0.log",
		Image: &cri.ImageSpec{Image: runtimetest.BusyBox}, Command: []string{"/bin/sh", "-c", script},
		Linux: &cri.LinuxContainerConfig{SecurityContext: &cri.LinuxContainerSecurityContext{NamespaceOptions: host}},
	}
	if change != nil {
		change(config)
	}
	created, err := g.r.Runtime.CreateContainer(ctx, &cri.CreateContainerRequest{PodSandboxId: box.PodSandboxId, Config: config, SandboxConfig: sandbox})
	if err != nil {
		g.Fatal(err)
	}
	if _, err := g.r.Runtime.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: created.ContainerId}); err != nil {
		g.Fatal(err)
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: types.UID("uid-" + name)},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", TTY: config.Tty, Stdin: config.Stdin}}},
		Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{{Name: "c", ContainerID: "containerd://" + created.ContainerId,
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}},
	}
	g.mu.Lock()
	g.pods = append(g.pods, pod)
	g.mu.Unlock()
	return pod, created.ContainerId
}

// ended waits for a container's end.
func (g *rig) ended(id string) {
	g.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		answer, err := g.r.Runtime.ContainerStatus(context.Background(), &cri.ContainerStatusRequest{ContainerId: id})
		if err == nil && answer.Status.State == cri.ContainerState_CONTAINER_EXITED {
			return
		}
		if time.Now().After(deadline) {
			g.Fatalf("container %s does not end: %v", id, err)
		}
	}
}

// until asks again and again, until the answer holds what is wanted.
func until(t testing.TB, want string, ask func() string) {
	t.Helper()
	var got string
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if got = ask(); strings.Contains(got, want) {
			return
		}
	}
	t.Fatalf("got %q, want %q", got, want)
}
