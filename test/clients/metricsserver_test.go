package clients

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sinawi/sinawi/internal/runtime/image"
)

// metricsServerImage is the image that the chart names, made from the program.
func metricsServerImage(t *testing.T) image.Spec {
	t.Helper()
	binary, err := os.ReadFile(program(t, "metrics-server"))
	if err != nil {
		t.Fatal(err)
	}
	return image.Spec{
		Name:       "registry.k8s.io/metrics-server/metrics-server:v0.9.0",
		Files:      []image.File{{Path: "/metrics-server", Data: binary, Mode: 0o755}},
		Entrypoint: []string{"/metrics-server"},
	}
}

// metricsServer installs the chart, whose server answers for a group that is built in
// as long as its APIService is there.
func metricsServer(c *cluster, helm string) {
	chart := filepath.Join(module(c.TB, "sigs.k8s.io/metrics-server@v0.9.0"), "charts", "metrics-server")
	c.topWorks() // by what is built in
	c.Run(helm, "install", "metrics", chart, "--namespace", "kube-system", "--wait", "--timeout", "2m", "--set", strings.Join([]string{
		"image.tag=v0.9.0", "readinessProbe.initialDelaySeconds=1", "readinessProbe.periodSeconds=1", "args={--metric-resolution=10s,--kubelet-request-timeout=5s}",
	}, ","))
	const object = "apiservice/v1beta1.metrics.k8s.io"
	c.Kubectl("wait", "--for=condition=Available", object, "--timeout=2m")
	c.Contains(c.Kubectl("get", object), "kube-system/metrics-metrics-server", "True")
	c.topWorks()

	// Without its pods nobody answers in their place.
	c.Kubectl("scale", "deployment/metrics-metrics-server", "-n", "kube-system", "--replicas=0")
	c.Eventually("the metrics are gone with who serves them", func() string {
		out, err := c.Node.Kubectl(c.Ctx, "top", "nodes")
		if err != nil && strings.Contains(out, "unable to handle the request") {
			return ""
		}
		return out
	})
	c.Kubectl("wait", "--for=condition=Available=False", object, "--timeout=2m")
	c.Kubectl("scale", "deployment/metrics-metrics-server", "-n", "kube-system", "--replicas=1")
	c.topWorks()

	c.Run(helm, "uninstall", "metrics", "--wait", "--namespace", "kube-system")
	c.Contains(c.Denied("get", object), "NotFound")
	c.topWorks()
	c.Contains(c.Kubectl("api-resources", "--api-group=metrics.k8s.io"), "NodeMetrics", "PodMetrics")
}

// topWorks shows the node's use by kubectl, which may take until it was measured twice.
func (c *cluster) topWorks() {
	c.Helper()
	c.Eventually("kubectl top nodes", func() string {
		out, err := c.Node.Kubectl(c.Ctx, "top", "nodes")
		if err == nil && strings.Contains(out, "CPU(cores)") && strings.Contains(out, "n1 ") {
			return ""
		}
		return out
	})
}
