package subresources_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
	"github.com/sinawi/sinawi/internal/pki"
)

func newPod(name string, change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "busybox:1"}}},
	}
	if change != nil {
		change(p)
	}
	return p
}

func create(t *testing.T, c kubernetes.Interface, p *corev1.Pod) *corev1.Pod {
	t.Helper()
	out, err := c.CoreV1().Pods("default").Create(t.Context(), p, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func setStatus(t *testing.T, c kubernetes.Interface, p *corev1.Pod, change func(*corev1.PodStatus)) *corev1.Pod {
	t.Helper()
	change(&p.Status)
	out, err := c.CoreV1().Pods("default").UpdateStatus(t.Context(), p, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func wantError(t *testing.T, err error, is func(error) bool, text string) {
	t.Helper()
	if err == nil || !is(err) || !strings.Contains(err.Error(), text) {
		t.Errorf("got error %v, want one with %q", err, text)
	}
}

// raw asks for bytes and reads the server's error, which DoRaw does not.
func raw(t *testing.T, r *rest.Request) ([]byte, error) {
	t.Helper()
	result := r.Do(t.Context())
	if err := result.Error(); err != nil {
		return nil, err
	}
	return result.Raw()
}

func TestBinding(t *testing.T) {
	server := apitest.Start(t)
	c := server.Clientset()
	pods := c.CoreV1().Pods("default")
	p := create(t, c, newPod("a", nil))
	bind := func(change func(*corev1.Binding)) error {
		b := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "default"}, Target: corev1.ObjectReference{Kind: "Node", Name: "n1"}}
		if change != nil {
			change(b)
		}
		return pods.Bind(t.Context(), b, metav1.CreateOptions{})
	}
	wantError(t, bind(func(b *corev1.Binding) { b.UID = types.UID("other") }), apierrors.IsConflict, "Precondition failed: UID")
	wantError(t, bind(func(b *corev1.Binding) { b.Target.Name = "a/b" }), func(error) bool { return true }, "target.name: Invalid value")
	wantError(t, bind(func(b *corev1.Binding) { b.Target.Name = "" }), func(error) bool { return true }, "target.name: Required value")
	if err := bind(func(b *corev1.Binding) { b.UID, b.Annotations = p.UID, map[string]string{"why": "test"} }); err != nil {
		t.Fatal(err)
	}
	wantError(t, bind(nil), apierrors.IsConflict, `pod a is already assigned to node "n1"`)
	got, err := pods.Get(t.Context(), "a", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got.Spec.NodeName != "n1" || got.Annotations["why"] != "test" || len(got.Status.Conditions) != 1 ||
		got.Status.Conditions[0].Type != corev1.PodScheduled || got.Status.Conditions[0].Status != corev1.ConditionTrue {
		t.Errorf("bound pod: %+v %+v", got.Spec, got.Status)
	}
	create(t, c, newPod("gated", func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/wait"}} }))
	wantError(t, bind(func(b *corev1.Binding) { b.Name = "gated" }), apierrors.IsConflict, "has non-empty .spec.schedulingGates")
}

func TestEviction(t *testing.T) {
	server := apitest.Start(t)
	c := server.Clientset()
	evict := func(name string) error {
		// Without the client's patience: it would come back ten times.
		return c.CoreV1().RESTClient().Post().Namespace("default").Resource("pods").Name(name).SubResource("eviction").MaxRetries(0).
			Body(&policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}}).Do(t.Context()).Error()
	}
	running := func(s *corev1.PodStatus) {
		s.Phase = corev1.PodRunning
		s.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	guarded := func(p *corev1.Pod) { p.Labels, p.Spec.NodeName = map[string]string{"app": "web"}, "n1" }
	one := intstr.FromInt32(1)
	budget, err := c.PolicyV1().PodDisruptionBudgets("default").Create(t.Context(), &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: &one, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"web-1", "web-2"} {
		setStatus(t, c, create(t, c, newPod(name, guarded)), running)
	}
	wantError(t, evict("absent"), apierrors.IsNotFound, "not found")
	wantError(t, evict("web-1"), apierrors.IsTooManyRequests, "violate the pod's disruption budget")
	budget.Status = policyv1.PodDisruptionBudgetStatus{ObservedGeneration: budget.Generation, DisruptionsAllowed: 1, CurrentHealthy: 2, DesiredHealthy: 1, ExpectedPods: 2}
	if _, err = c.PolicyV1().PodDisruptionBudgets("default").UpdateStatus(t.Context(), budget, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := evict("web-1"); err != nil {
		t.Fatal(err)
	}
	got, err := c.CoreV1().Pods("default").Get(t.Context(), "web-1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got.DeletionTimestamp == nil {
		t.Error("the evicted pod is not being deleted")
	}
	why := ""
	for _, condition := range got.Status.Conditions {
		if condition.Type == corev1.DisruptionTarget {
			why = condition.Reason
		}
	}
	if why != "EvictionByEvictionAPI" {
		t.Errorf("reason %q", why)
	}
	wantError(t, evict("web-2"), apierrors.IsTooManyRequests, "violate the pod's disruption budget")
	spent, err := c.PolicyV1().PodDisruptionBudgets("default").Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, noted := spent.Status.DisruptedPods["web-1"]; !noted || spent.Status.DisruptionsAllowed != 0 {
		t.Errorf("budget after the eviction: %+v", spent.Status)
	}
	// A pod that has not begun counts for no budget.
	create(t, c, newPod("web-3", func(p *corev1.Pod) { p.Labels = map[string]string{"app": "web"} }))
	if err := evict("web-3"); err != nil {
		t.Error(err)
	}
	// A selector that asks for nothing selects every pod.
	all := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "all"},
		Spec: policyv1.PodDisruptionBudgetSpec{MinAvailable: &one, Selector: &metav1.LabelSelector{}}}
	if _, err := c.PolicyV1().PodDisruptionBudgets("default").Create(t.Context(), all, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	setStatus(t, c, create(t, c, newPod("plain", func(p *corev1.Pod) { p.Spec.NodeName = "n1" })), running)
	wantError(t, evict("plain"), apierrors.IsTooManyRequests, "violate the pod's disruption budget")
}

func TestNamespaceGoesWhenItIsEmpty(t *testing.T) {
	server := apitest.Start(t)
	c := server.Clientset().CoreV1().Namespaces()
	if _, err := c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(t.Context(), "x", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	ns, err := c.Get(t.Context(), "x", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if ns.Status.Phase != corev1.NamespaceTerminating || ns.DeletionTimestamp == nil {
		t.Errorf("phase %s", ns.Status.Phase)
	}
	// Neither status writers nor another deletion end it.
	ns.Status.Conditions = []corev1.NamespaceCondition{{Type: corev1.NamespaceContentRemaining, Status: corev1.ConditionTrue}}
	if ns, err = c.UpdateStatus(t.Context(), ns, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := c.Delete(t.Context(), "x", metav1.DeleteOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := c.Get(t.Context(), "x", metav1.GetOptions{}); err != nil {
		t.Fatalf("gone before it was finalized: %v", err)
	}
	ns.Spec.Finalizers = nil
	if _, err := c.Finalize(t.Context(), ns, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(t.Context(), "x", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("still there: %v", err)
	}
}

func TestEphemeralContainersAndResize(t *testing.T) {
	server := apitest.Start(t)
	c := server.Clientset()
	pods := c.CoreV1().Pods("default")
	amounts := func(cpu string) corev1.ResourceRequirements {
		return corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}}
	}
	p := create(t, c, newPod("a", func(p *corev1.Pod) { p.Spec.Containers[0].Resources = amounts("100m") }))
	p.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug", Image: "busybox:1"}, TargetContainerName: "main"}}
	p.Spec.Containers[0].Image = "changed"
	p, err := pods.UpdateEphemeralContainers(t.Context(), "a", p, metav1.UpdateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Spec.EphemeralContainers) != 1 || p.Spec.Containers[0].Image != "busybox:1" || p.Generation != 2 {
		t.Errorf("with a debugging container: %+v, generation %d", p.Spec, p.Generation)
	}
	gone := p.DeepCopy()
	gone.Spec.EphemeralContainers = nil
	_, err = pods.UpdateEphemeralContainers(t.Context(), "a", gone, metav1.UpdateOptions{})
	wantError(t, err, apierrors.IsInvalid, "may not be removed")

	p.Spec.Containers[0].Resources = amounts("200m")
	if p, err = pods.UpdateResize(t.Context(), "a", p, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := p.Spec.Containers[0].Resources.Requests.Cpu().String(); got != "200m" || p.Generation != 3 {
		t.Errorf("cpu %s, generation %d", got, p.Generation)
	}
	p.Spec.Containers[0].Resources = corev1.ResourceRequirements{}
	_, err = pods.UpdateResize(t.Context(), "a", p, metav1.UpdateOptions{})
	wantError(t, err, apierrors.IsInvalid, "resource requests cannot be removed")
}

func TestApproval(t *testing.T) {
	server := apitest.Start(t)
	c := server.Clientset().CertificatesV1().CertificateSigningRequests()
	csr := newCSR(t)
	csr.Spec.Username = "somebody-else"
	csr, err := c.Create(t.Context(), csr, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if csr.Spec.Username == "somebody-else" || csr.Spec.Username == "" {
		t.Errorf("asked by %q", csr.Spec.Username)
	}
	csr.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "Test"}}
	csr.Status.Certificate = []byte("not mine to write")
	if csr, err = c.UpdateApproval(t.Context(), csr.Name, csr, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if len(csr.Status.Conditions) != 1 || csr.Status.Conditions[0].LastUpdateTime.IsZero() || csr.Status.Certificate != nil {
		t.Errorf("approved: %+v", csr.Status)
	}
	csr.Status.Conditions[0].Message = "in other words"
	if csr, err = c.UpdateStatus(t.Context(), csr, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if csr.Status.Conditions[0].Message != "" {
		t.Error("a signer put the approval in other words")
	}
	csr.Status.Conditions = nil
	_, err = c.UpdateStatus(t.Context(), csr, metav1.UpdateOptions{})
	wantError(t, err, apierrors.IsInvalid, `updates may not remove a condition of type "Approved"`)
}

// kubelet is a node's API as far as connections go: it says what it was asked.
func kubelet(t *testing.T, server *apitest.Server, c kubernetes.Interface, handler http.Handler) {
	t.Helper()
	pair, err := server.Keys.Ensure(server.Keys.Cluster, "kubelet-test", pki.Request{CommonName: "system:node:n1", Server: true, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(pair.CertPEM, pair.KeyPEM)
	if err != nil {
		t.Fatal(err)
	}
	node := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) == 0 {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	node.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequestClientCert}
	node.StartTLS()
	t.Cleanup(node.Close)
	_, port, _ := net.SplitHostPort(node.Listener.Addr().String())
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	obj, err := c.CoreV1().Nodes().Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	obj.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: "does-not-resolve.invalid"}, {Type: corev1.NodeInternalIP, Address: "127.0.0.1"}}
	obj.Status.DaemonEndpoints.KubeletEndpoint.Port = int32(n)
	if _, err := c.CoreV1().Nodes().UpdateStatus(t.Context(), obj, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
}

func TestLogs(t *testing.T) {
	server := apitest.Start(t)
	c := server.Clientset()
	kubelet(t, server, c, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "silent") {
			http.Error(w, "container \"silent\" is waiting to start", http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, "%s?%s\n", r.URL.Path, r.URL.RawQuery)
		if r.URL.Query().Get("follow") == "true" {
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}
	}))
	pods := c.CoreV1().Pods("default")
	create(t, c, newPod("a", func(p *corev1.Pod) { p.Spec.NodeName = "n1" }))
	create(t, c, newPod("unbound", nil))
	create(t, c, newPod("two", func(p *corev1.Pod) {
		p.Spec.NodeName = "n1"
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "silent", Image: "busybox:1"})
		p.Spec.InitContainers = []corev1.Container{{Name: "first", Image: "busybox:1"}}
	}))
	lines := int64(5)
	for name, tc := range map[string]struct {
		pod, want string
		options   corev1.PodLogOptions
	}{
		"only container":   {"a", "/containerLogs/default/a/main?\n", corev1.PodLogOptions{}},
		"options":          {"a", "/containerLogs/default/a/main?previous=true&tailLines=5&timestamps=true\n", corev1.PodLogOptions{Previous: true, Timestamps: true, TailLines: &lines}},
		"named container":  {"two", "/containerLogs/default/two/main?\n", corev1.PodLogOptions{Container: "main"}},
		"init container":   {"two", "/containerLogs/default/two/first?\n", corev1.PodLogOptions{Container: "first"}},
		"not on any node":  {"unbound", "", corev1.PodLogOptions{}},
		"skipping the TLS": {"a", "/containerLogs/default/a/main?\n", corev1.PodLogOptions{InsecureSkipTLSVerifyBackend: true}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := raw(t, pods.GetLogs(tc.pod, &tc.options))
			if err != nil || string(got) != tc.want {
				t.Errorf("got %q, %v, want %q", got, err, tc.want)
			}
		})
	}
	zero := int64(-1)
	for name, tc := range map[string]struct {
		pod, want string
		options   corev1.PodLogOptions
	}{
		"which container":    {"two", "a container name must be specified for pod two, choose one of: [main silent] or one of the init containers: [first]", corev1.PodLogOptions{}},
		"unknown container":  {"a", "container x is not valid for pod a", corev1.PodLogOptions{Container: "x"}},
		"bad options":        {"a", "tailLines: Invalid value: -1", corev1.PodLogOptions{TailLines: &zero}},
		"the node's own say": {"two", `container "silent" is waiting to start`, corev1.PodLogOptions{Container: "silent"}},
		"no pod":             {"absent", "not found", corev1.PodLogOptions{}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := raw(t, pods.GetLogs(tc.pod, &tc.options))
			wantError(t, err, func(error) bool { return true }, tc.want)
		})
	}
	t.Run("follow", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		stream, err := pods.GetLogs("a", &corev1.PodLogOptions{Follow: true}).Stream(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Close()
		line, err := bufio.NewReader(stream).ReadString('\n')
		if err != nil || line != "/containerLogs/default/a/main?follow=true\n" {
			t.Errorf("got %q, %v", line, err)
		}
	})
}

func TestProxy(t *testing.T) {
	server := apitest.Start(t)
	c := server.Clientset()
	kubelet(t, server, c, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "node ", r.Method, " ", r.URL.Path) }))
	get := func(path string) ([]byte, error) {
		return raw(t, c.CoreV1().RESTClient().Get().AbsPath("/api/v1"+path))
	}
	if got, err := get("/nodes/n1/proxy/healthz"); err != nil || string(got) != "node GET /healthz" {
		t.Errorf("node: %q, %v", got, err)
	}
	_, err := get("/nodes/absent/proxy/healthz")
	wantError(t, err, apierrors.IsNotFound, "not found")
	_, err = get("/nodes/n1:1/proxy/")
	wantError(t, err, apierrors.IsBadRequest, "address not allowed")

	p := create(t, c, newPod("a", func(p *corev1.Pod) {
		p.Spec.NodeName = "n1"
		p.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80}}
	}))
	_, err = get("/namespaces/default/pods/a/proxy/")
	wantError(t, err, apierrors.IsBadRequest, "address not allowed")
	setStatus(t, c, p, func(s *corev1.PodStatus) { s.PodIP, s.PodIPs = "127.0.0.1", []corev1.PodIP{{IP: "127.0.0.1"}} })
	_, err = get("/namespaces/default/pods/http:a:80/proxy/x")
	wantError(t, err, apierrors.IsBadRequest, "address not allowed")

	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}}}}
	if _, err := c.CoreV1().Services("default").Create(t.Context(), s, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err = get("/namespaces/default/services/web:http/proxy/")
	wantError(t, err, apierrors.IsServiceUnavailable, `no endpoints available for service "web"`)
	_, err = get("/namespaces/default/services/web:81/proxy/")
	wantError(t, err, apierrors.IsServiceUnavailable, `no service port 81 found for service "web"`)
}

func TestExecReachesTheNode(t *testing.T) {
	server := apitest.Start(t)
	c := server.Clientset()
	asked := make(chan string, 10)
	kubelet(t, server, c, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Path + "?" + r.URL.RawQuery + " " + r.Header.Get("Upgrade")
		http.Error(w, "no such process", http.StatusForbidden)
	}))
	create(t, c, newPod("a", func(p *corev1.Pod) { p.Spec.NodeName = "n1" }))
	create(t, c, newPod("unbound", nil))
	exec := func(pod string) error {
		url := c.CoreV1().RESTClient().Post().Resource("pods").Namespace("default").Name(pod).SubResource("exec").
			VersionedParams(&corev1.PodExecOptions{Command: []string{"ls", "-l"}, Stdout: true}, scheme.ParameterCodec).URL()
		e, err := remotecommand.NewSPDYExecutor(server.Config, "POST", url)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		return e.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: io.Discard, Stderr: &bytes.Buffer{}})
	}
	if err := exec("a"); err == nil {
		t.Error("the node's refusal was lost")
	}
	if got, want := <-asked, "/exec/default/a/main?command=ls&command=-l&output=1 SPDY/3.1"; got != want {
		t.Errorf("asked %q, want %q", got, want)
	}
	if err := exec("unbound"); err == nil || !strings.Contains(err.Error(), "pod unbound does not have a host assigned") {
		t.Errorf("got %v", err)
	}
}
