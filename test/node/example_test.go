package node

import (
	"strings"
	"testing"
)

// TestExample does what the README shows, with the files that it names.
func TestExample(t *testing.T) {
	m := newMachine(t)
	m.Up()
	m.Sinawi("image", "import", "--demo")
	m.Kubectl("apply", "-f", "../../examples/shop.yaml")
	m.Kubectl("wait", "-n", "shop", "--for=condition=Available", "deployment/web", "deployment/worker", "--timeout=90s")
	m.Kubectl("wait", "-n", "shop", "--for=condition=complete", "job/order", "--timeout=90s")
	if n := strings.Count(m.Kubectl("logs", "-n", "shop", "job/order"), `"greeting":"good day"`); n != 5 {
		t.Errorf("the job had %d answers, want 5", n)
	}
	m.Eventually("the worker is answered", func() string {
		out := m.Kubectl("logs", "-n", "shop", "deployment/worker")
		if strings.Contains(out, `"pod":"web-`) {
			return ""
		}
		return out
	})
	if _, err := m.get("http://" + m.IP.String() + ":30080/healthz"); err != nil {
		t.Errorf("node port: %v", err)
	}
	// The demo leaves the image that others use.
	m.Sinawi("demo")
	m.Contains(m.Sinawi("image", "ls"), "sinawi.local/demo:1")
	m.Contains(m.Sinawi("status"), "Nothing is wrong")
	m.Kubectl("delete", "-f", "../../examples/shop.yaml", "--timeout=60s")
}
