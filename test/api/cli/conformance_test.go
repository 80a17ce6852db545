package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/version"

	"github.com/sinawi/sinawi/lab/labtest"
)

const controller = `
apiVersion: v1
kind: ReplicationController
metadata: {name: primary, labels: {app: agnhost, role: primary}}
spec:
  replicas: 1
  selector: {app: agnhost, role: primary}
  template:
    metadata: {labels: {app: agnhost, role: primary}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: primary, image: "example.com/server:1", ports: [{name: server, containerPort: 6379}]}]
`

const busy = `{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one", "labels": {"run": "one"}},
  "spec": {"containers": [{"name": "one", "image": "example.com/busybox:1"}]}}`

// runPrimary creates the replication controller and returns the name of its pod.
func (k *kubectl) runPrimary() string {
	k.Helper()
	k.file("rc.yaml", controller)
	k.contains(k.run("create", "-f", "rc.yaml"), "replicationcontroller/primary created")
	k.run("wait", "rc/primary", "--for=jsonpath={.status.readyReplicas}=1", "--timeout=2m")
	return k.run("get", "pods", "-l", "app=agnhost", "-o", "jsonpath={.items[0].metadata.name}")
}

func TestConformance(t *testing.T) {
	c := start(t)
	run := func(name string, try func(*kubectl)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			try(c.in(t))
		})
	}
	// Conformance: [sig-cli] Kubectl client Kubectl api-versions should check if v1 is in available api versions
	run("api-versions", func(k *kubectl) {
		for line := range strings.Lines(k.run("api-versions")) {
			if strings.TrimSpace(line) == "v1" {
				return
			}
		}
		k.Error("v1 is not among the versions")
	})
	// Conformance: [sig-cli] Kubectl client Kubectl cluster-info should check if Kubernetes control plane services is included in cluster-info
	run("cluster-info", func(k *kubectl) {
		k.contains(k.run("cluster-info"), "Kubernetes control plane", "is running at", k.server.Config.Host)
	})
	// Conformance: [sig-cli] Kubectl client Kubectl describe should check if kubectl describe prints relevant information for rc and pods
	run("describe", describe)
	// Conformance: [sig-cli] Kubectl client Kubectl diff should check if kubectl diff finds a difference for Deployments
	run("diff", diff)
	// Conformance: [sig-cli] Kubectl client Kubectl label should update the label on a resource
	run("label", label)
	// Conformance: [sig-cli] Kubectl client Kubectl patch should add annotations for pods in rc
	run("patch", patch)
	// Conformance: [sig-cli] Kubectl client Kubectl replace should update a single-container pod's image
	run("replace", replace)
	// Conformance: [sig-cli] Kubectl client Kubectl server-side dry-run should check if kubectl can dry-run update Pods
	run("dry-run", dryRun)
	// Conformance: [sig-cli] Kubectl client Kubectl version should check is all data is printed
	run("version", allVersions)
	// Conformance: [sig-cli] Kubectl client Proxy server should support --unix-socket=/path
	run("proxy-socket", proxySocket)
	// Conformance: [sig-cli] Kubectl client Proxy server should support proxy with --port 0
	run("proxy-port", proxyPort)
	// Conformance: [sig-architecture] Conformance Tests should have at least two untainted nodes
	run("nodes", untainted)
}

func describe(k *kubectl) {
	pod := k.runPrimary()
	k.run("expose", "rc", "primary", "--port=6379", "--target-port=server", "--name=primary")
	k.contains(k.run("describe", "pod", pod), "Name: "+pod, "Namespace: "+k.namespace, "Node: node-", "Labels: app=agnhost",
		"role=primary", "Status: Running", "IP:", "Controlled By: ReplicationController/primary", "Image: example.com/server:1", "State: Running", "QoS Class: BestEffort")
	k.contains(k.run("describe", "rc", "primary"), "Name: primary", "Namespace: "+k.namespace, "Selector: app=agnhost,role=primary",
		"Labels: app=agnhost", "role=primary", "Annotations:", "Replicas: 1 current / 1 desired",
		"Pods Status: 1 Running / 0 Waiting / 0 Succeeded / 0 Failed", "Pod Template:", "Image: example.com/server:1", "Events:")
	k.contains(k.run("describe", "service", "primary"), "Name: primary", "Namespace: "+k.namespace, "Labels: app=agnhost", "role=primary",
		"Annotations:", "Selector: app=agnhost,role=primary", "Type: ClusterIP", "IP:", "Port: <unset> 6379/TCP", "Endpoints:", "Session Affinity: None")
	k.contains(k.run("describe", "node", "node-0"), "Name: node-0", "Labels:", "Annotations:", "CreationTimestamp:", "Conditions:", "Type",
		"Status", "LastHeartbeatTime", "LastTransitionTime", "Reason", "Message", "Addresses:", "Capacity:", "Version:", "Kernel Version:",
		"OS Image:", "Container Runtime Version", "Kubelet Version", "Pods")
	k.contains(k.run("describe", "namespace", k.namespace), "Name: "+k.namespace, "Labels:", "Annotations:", "Status: Active")
	k.run("create", "cronjob", "often", "--image=example.com/job:1", "--schedule=*/1 * * * *")
	k.contains(k.run("describe", "cronjob", "often"), "Name: often", "Schedule: */1 * * * *", "Concurrency Policy: Allow", "Suspend: False",
		"Starting Deadline Seconds: <unset>", "Parallelism: <unset>", "Completions: <unset>", "Last Schedule Time:", "Active Jobs:")
}

const web = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "example.com/web:1"}]}
`

func diff(k *kubectl) {
	k.file("old.yaml", web)
	k.file("new.yaml", strings.Replace(web, "web:1", "web:2", 1))
	k.run("create", "-f", "old.yaml")
	out, err := k.try(nil, "diff", "-f", "new.yaml")
	if err == nil || !strings.Contains(err.Error(), "exit status 1") { // 1: there are differences; more: it did not work
		k.Errorf("kubectl diff: %v", err)
	}
	k.contains(out, "- - image: example.com/web:1", "+ - image: example.com/web:2")
	k.run("diff", "-f", "old.yaml")
}

func label(k *kubectl) {
	k.file("pod.json", busy)
	k.run("create", "-f", "pod.json")
	k.run("wait", "pod/one", "--for=condition=Ready", "--timeout=2m")
	k.run("label", "pods", "one", "testing-label=testing-label-value")
	k.contains(k.run("get", "pod", "one", "-L", "testing-label"), "TESTING-LABEL", "testing-label-value")
	k.run("label", "pods", "one", "testing-label-")
	if out := k.run("get", "pod", "one", "-L", "testing-label"); strings.Contains(out, "testing-label-value") {
		k.Errorf("the label is still there:\n%s", out)
	}
}

func patch(k *kubectl) {
	pod := k.runPrimary()
	k.contains(k.run("patch", "pod", pod, "-p", `{"metadata":{"annotations":{"x":"y"}}}`), "patched")
	if got := k.run("get", "pod", pod, "-o", "jsonpath={.metadata.annotations.x}"); got != "y" {
		k.Errorf("annotation x is %q, want y", got)
	}
}

func replace(k *kubectl) {
	k.run("run", "one", "--image=example.com/httpd:1", "--labels=run=one")
	k.run("wait", "pod/one", "--for=condition=Ready", "--timeout=2m")
	// Its status may change meanwhile, which is a conflict; the API's users try again.
	for {
		pod := k.run("get", "pod", "one", "-o", "json")
		k.file("pod.json", strings.ReplaceAll(pod, "example.com/httpd:1", "example.com/busybox:1"))
		out, err := k.try(nil, "replace", "-f", "pod.json")
		if err == nil {
			break
		}
		if !strings.Contains(out, "the object has been modified") {
			k.Fatalf("kubectl replace: %v\n%s", err, out)
		}
	}
	if got := k.run("get", "pod", "one", "-o", "jsonpath={.spec.containers[0].image}"); got != "example.com/busybox:1" {
		k.Errorf("the image is %s", got)
	}
	k.run("delete", "pod", "one", "--now")
}

func dryRun(k *kubectl) {
	k.file("pod.json", busy)
	k.run("run", "one", "--image=example.com/httpd:1", "--labels=run=one")
	k.run("wait", "pod/one", "--for=condition=Ready", "--timeout=2m")
	before := k.run("get", "pod", "one", "-o", "jsonpath={.metadata.uid} {.spec.containers[0].image}")
	k.contains(k.run("patch", "pod", "one", "-p", `{"spec":{"containers":[{"name":"one","image":"example.com/busybox:1"}]}}`, "--dry-run=server"), "pod/one patched")
	if after := k.run("get", "pod", "one", "-o", "jsonpath={.metadata.uid} {.spec.containers[0].image}"); after != before {
		k.Errorf("a dry run made of %q %q", before, after)
	}
	k.run("delete", "pod", "one", "--now")
}

func allVersions(k *kubectl) {
	k.contains(k.run("version"), "Client Version:", "Server Version: v1.37")
	var both struct{ ClientVersion, ServerVersion version.Info }
	if err := json.Unmarshal([]byte(k.run("version", "-o", "json")), &both); err != nil {
		k.Fatal(err)
	}
	v := both.ServerVersion
	for name, value := range map[string]string{"major": v.Major, "minor": v.Minor, "git version": v.GitVersion, "commit": v.GitCommit,
		"date": v.BuildDate, "Go version": v.GoVersion, "compiler": v.Compiler, "platform": v.Platform} {
		if value == "" {
			k.Errorf("the server does not tell its %s: %+v", name, v)
		}
	}
}

// proxy starts kubectl proxy and returns the first line that it writes.
func (k *kubectl) proxy(args ...string) string {
	k.Helper()
	cmd := k.command(nil, append([]string{"proxy"}, args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		k.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		k.Fatal(err)
	}
	k.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		k.Fatalf("kubectl proxy: %v", err)
	}
	return strings.TrimSpace(line)
}

// versions asks for /api/ through a connection.
func (k *kubectl) versions(network, address string) {
	k.Helper()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}}
	req, err := http.NewRequestWithContext(k.Context(), http.MethodGet, "http://localhost/api/", nil)
	if err != nil {
		k.Fatal(err)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		k.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		k.Fatal(err)
	}
	var got metav1.APIVersions
	if err := json.Unmarshal(body, &got); err != nil || len(got.Versions) != 1 || got.Versions[0] != "v1" {
		k.Errorf("/api/ answers %v: %s", err, body)
	}
}

func proxySocket(k *kubectl) {
	socket := filepath.Join(k.program.Dir, "p")
	k.contains(k.proxy("--unix-socket="+socket), "Starting to serve on "+socket)
	k.versions("unix", socket)
}

func proxyPort(k *kubectl) {
	line := k.proxy("-p", "0", "--disable-filter")
	address, ok := strings.CutPrefix(line, "Starting to serve on ")
	if !ok {
		k.Fatalf("kubectl proxy said %q", line)
	}
	k.versions("tcp", address)
}

func untainted(k *kubectl) {
	k.run("wait", "node/node-0", "node/node-1", "--for=condition=Ready", "--timeout=2m")
	// The taint of a node that was not ready goes a moment after it is.
	bound := int64(labtest.Patience.Seconds())
	w, err := k.CoreV1().Nodes().Watch(k.Context(), metav1.ListOptions{TimeoutSeconds: &bound})
	if err != nil {
		k.Fatal(err)
	}
	defer w.Stop()
	free := map[string]bool{}
	for e := range w.ResultChan() {
		node, ok := e.Object.(*corev1.Node)
		if !ok {
			k.Fatalf("watch nodes: %v", e.Object)
		}
		free[node.Name] = len(node.Spec.Taints) == 0 && !node.Spec.Unschedulable
		if free["node-0"] && free["node-1"] {
			return
		}
	}
	k.Error("the watch ended before two nodes were free of taints")
}
