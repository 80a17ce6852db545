package usage_test

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset"
	"k8s.io/metrics/pkg/apis/metrics/v1beta1"
	"k8s.io/metrics/pkg/client/clientset/versioned"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
	"github.com/sinawi/sinawi/internal/pki"
)

// kubelet serves the metrics of a node on which pod default/busy uses one core.
func kubelet(t *testing.T, s *apitest.Server) *net.TCPAddr {
	t.Helper()
	pair, err := s.Keys.Ensure(s.Keys.Cluster, "a-kubelet", pki.Request{
		CommonName: "system:node:n1", Server: true, IPs: []net.IP{net.IPv4(127, 0, 0, 1)},
	})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(pair.CertPEM, pair.KeyPEM)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) == 0 || r.TLS.PeerCertificates[0].Subject.CommonName != "kube-apiserver-kubelet-client" {
			http.Error(w, "who are you", http.StatusUnauthorized)
			return
		}
		now := time.Now()
		cpu := now.Sub(begin).Truncate(time.Millisecond).Seconds()
		for _, container := range []string{"a", "b"} {
			labels := fmt.Sprintf(`{container=%q,namespace="default",pod="busy"}`, container)
			fmt.Fprintf(w, "container_cpu_usage_seconds_total%s %g %d\n", labels, cpu/2, now.UnixMilli())
			fmt.Fprintf(w, "container_memory_working_set_bytes%s 1.048576e+06 %d\n", labels, now.UnixMilli())
		}
		fmt.Fprintf(w, "node_cpu_usage_seconds_total %g %d\nnode_memory_working_set_bytes 3.145728e+06\n", 2*cpu, now.UnixMilli())
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequestClientCert}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.Listener.Addr().(*net.TCPAddr)
}

// cluster has a node that answers, one that does not, and a pod on each.
func cluster(t *testing.T) *apitest.Server {
	t.Helper()
	s := apitest.Start(t)
	c, ctx := s.Clientset().CoreV1(), t.Context()
	at := kubelet(t, s)
	for name, port := range map[string]int{"n1": at.Port, "n2": 1} {
		node, err := c.Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"name": name}}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "127.0.0.1"}}
		node.Status.DaemonEndpoints.KubeletEndpoint.Port = int32(port)
		if _, err := c.Nodes().UpdateStatus(ctx, node, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for name, node := range map[string]string{"busy": "n1", "silent": "n2"} {
		pod, err := c.Pods("default").Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}},
			Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "a", Image: "i"}, {Name: "b", Image: "i"}}},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		pod.Status.Phase = corev1.PodRunning
		if _, err := c.Pods("default").UpdateStatus(ctx, pod, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// about says that cores are near what the kubelet's counters grow by.
func about(t *testing.T, what string, usage corev1.ResourceList, milli, bytes int64) {
	t.Helper()
	if got := usage.Cpu().MilliValue(); got < milli*9/10 || got > milli*11/10 {
		t.Errorf("%s uses %dm, want about %dm", what, got, milli)
	}
	if got := usage.Memory().Value(); got != bytes {
		t.Errorf("%s uses %d bytes, want %d", what, got, bytes)
	}
}

func TestMetrics(t *testing.T) {
	s := cluster(t)
	ctx, c := t.Context(), versioned.NewForConfigOrDie(s.Config).MetricsV1beta1()

	var pods *v1beta1.PodMetricsList
	apitest.Eventually(t, "the watch cache has the pod", func() (err error) {
		if pods, err = c.PodMetricses("").List(ctx, metav1.ListOptions{}); err == nil && len(pods.Items) == 0 {
			err = errors.New("no pods")
		}
		return err
	})
	if len(pods.Items) != 1 || len(pods.Items[0].Containers) != 2 {
		t.Fatalf("pods: %v", pods)
	}
	pod := pods.Items[0]
	if pod.Name != "busy" || pod.Labels["app"] != "busy" || pod.Window.Duration < 900*time.Millisecond || pod.Timestamp.IsZero() {
		t.Errorf("pod: %+v", pod)
	}
	about(t, "container", pod.Containers[0].Usage, 500, 1<<20)

	nodes, err := c.NodeMetricses().List(ctx, metav1.ListOptions{LabelSelector: "name=n1"})
	if err != nil || len(nodes.Items) != 1 || nodes.Items[0].Name != "n1" {
		t.Fatalf("nodes: %v, %v", nodes, err)
	}
	about(t, "node", nodes.Items[0].Usage, 2000, 3<<20)

	if none, err := c.PodMetricses("default").List(ctx, metav1.ListOptions{LabelSelector: "app=other"}); err != nil || len(none.Items) != 0 {
		t.Errorf("pods of another label: %v, %v", none, err)
	}
	if one, err := c.PodMetricses("default").Get(ctx, "busy", metav1.GetOptions{}); err != nil || one.Name != "busy" {
		t.Errorf("one pod: %v, %v", one, err)
	}
	for _, name := range []string{"silent", "absent"} {
		if _, err := c.PodMetricses("default").Get(ctx, name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("pod %s: %v", name, err)
		}
	}
	if _, err := c.NodeMetricses().Get(ctx, "n2", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("node that does not answer: %v", err)
	}
}

func TestTable(t *testing.T) {
	s := cluster(t)
	client, err := rest.HTTPClientFor(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.Config.Host+"/apis/metrics.k8s.io/v1beta1/nodes/n1", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var table metav1.Table
	if err := json.NewDecoder(resp.Body).Decode(&table); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range table.ColumnDefinitions {
		names = append(names, c.Name)
	}
	if strings.Join(names, " ") != "Name cpu memory Window" || len(table.Rows) != 1 || table.Rows[0].Cells[0] != "n1" || table.Rows[0].Cells[2] != "3Mi" {
		t.Errorf("columns %v, rows %v", names, table.Rows)
	}
}

// TestReplaced gives the group to a server of the user's.
func TestReplaced(t *testing.T) {
	other := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if strings.HasSuffix(r.URL.Path, "/nodes") {
			fmt.Fprint(w, `{"kind":"NodeMetricsList","apiVersion":"metrics.k8s.io/v1beta1","items":[{"metadata":{"name":"theirs"}}]}`)
			return
		}
		fmt.Fprint(w, `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"metrics.k8s.io/v1beta1","resources":[]}`)
	}))
	t.Cleanup(other.Close)
	s := apitest.Start(t)
	ctx, c := t.Context(), versioned.NewForConfigOrDie(s.Config).MetricsV1beta1()
	services := clientset.NewForConfigOrDie(s.Config).ApiregistrationV1().APIServices()
	if _, err := s.Clientset().CoreV1().Services("default").Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "theirs"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "localhost"},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	port := int32(other.Listener.Addr().(*net.TCPAddr).Port)
	if _, err := services.Create(ctx, &apiregistrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: "v1beta1.metrics.k8s.io"},
		Spec: apiregistrationv1.APIServiceSpec{
			Group: "metrics.k8s.io", Version: "v1beta1", GroupPriorityMinimum: 100, VersionPriority: 100,
			Service:               &apiregistrationv1.ServiceReference{Namespace: "default", Name: "theirs", Port: &port},
			InsecureSkipTLSVerify: true,
		},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	apitest.Eventually(t, "their answer", func() error {
		nodes, err := c.NodeMetricses().List(ctx, metav1.ListOptions{})
		if err == nil && (len(nodes.Items) != 1 || nodes.Items[0].Name != "theirs") {
			err = fmt.Errorf("nodes: %v", nodes.Items)
		}
		return err
	})
	if err := services.Delete(ctx, "v1beta1.metrics.k8s.io", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	apitest.Eventually(t, "our answer", func() error {
		nodes, err := c.NodeMetricses().List(ctx, metav1.ListOptions{})
		if err == nil && len(nodes.Items) != 0 {
			err = fmt.Errorf("nodes: %v", nodes.Items)
		}
		return err
	})
}
