package node

import (
	"strings"
	"testing"
)

// TestExample does what the README shows, with the files that it names.
func TestExample(t *testing.T) {
	m := newMachine(t)
	m.up()
	m.sinawi("image", "import", "--demo")
	m.kubectl("apply", "-f", "../../examples/shop.yaml")
	m.kubectl("wait", "-n", "shop", "--for=condition=Available", "deployment/web", "deployment/worker", "--timeout=90s")
	m.kubectl("wait", "-n", "shop", "--for=condition=complete", "job/order", "--timeout=90s")
	if n := strings.Count(m.kubectl("logs", "-n", "shop", "job/order"), `"greeting":"good day"`); n != 5 {
		t.Errorf("the job had %d answers, want 5", n)
	}
	m.eventually("the worker is answered", func() string {
		out := m.kubectl("logs", "-n", "shop", "deployment/worker")
		if strings.Contains(out, `"pod":"web-`) {
			return ""
		}
		return out
	})
	if _, err := m.get("http://" + m.IP.String() + ":30080/healthz"); err != nil {
		t.Errorf("node port: %v", err)
	}
	// The demo leaves the image that others use.
	m.sinawi("demo")
	contains(m, m.sinawi("image", "ls"), "sinawi.local/demo:1")
	contains(m, m.sinawi("status"), "Nothing is wrong")
	m.kubectl("delete", "-f", "../../examples/shop.yaml", "--timeout=60s")
}
