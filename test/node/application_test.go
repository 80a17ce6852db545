// Package node tests a whole node from the outside: the real binary in a
// network namespace, real containers, and kubectl as a user has it.
package node

import (
	"fmt"
	"strings"
	"testing"
)

// TestApplication is a newcomer's first hour: bring up a cluster, deploy an
// application of several parts, use it, change it, break it, take it down.
func TestApplication(t *testing.T) {
	m := newMachine(t)
	before := m.inventory(t)
	m.Up()
	m.ImportBusyBox()
	m.Kubectl("apply", "-f", "testdata/application.yaml")
	m.Kubectl("rollout", "status", "-n", "shop", "deployment/web", "--timeout=90s")
	m.Kubectl("rollout", "status", "-n", "shop", "deployment/worker", "--timeout=90s")
	m.Kubectl("wait", "-n", "shop", "--for=condition=complete", "job/order", "--timeout=90s")

	t.Run("services", func(t *testing.T) { m.on(t).services() })
	t.Run("kubectl", func(t *testing.T) { m.on(t).commands() })
	t.Run("heal", func(t *testing.T) { m.on(t).heal() })
	t.Run("scale and update", func(t *testing.T) { m.on(t).change() })
	t.Run("status", func(t *testing.T) {
		m := m.on(t)
		m.Contains(m.Sinawi("status"), "✓ server", "✓ runtime", "✓ API", "✓ n1", "Nothing is wrong")
	})
	t.Run("remove", func(t *testing.T) {
		m := m.on(t)
		m.Kubectl("delete", "-f", "testdata/application.yaml", "--timeout=90s")
		if out := m.Kubectl("get", "all", "-n", "shop", "--ignore-not-found"); strings.Contains(out, "pod/") {
			t.Errorf("left after delete:\n%s", out)
		}
	})
	if out, err := m.Down(m.Ctx); err != nil {
		t.Fatalf("down: %v\n%s", err, out)
	}
	compareInventory(t, before, m.inventory(t))
}

// services asks the application by cluster address, by node port, and by name.
func (m *machine) services() {
	ip := m.Kubectl("get", "service", "-n", "shop", "web", "-o", "jsonpath={.spec.clusterIP}")
	for what, url := range map[string]string{
		"cluster address": "http://" + ip + "/index.html",
		"node port":       "http://" + m.IP.String() + ":30080/index.html",
	} {
		out, err := m.get(url)
		if err != nil || out != "served from a config map\n" {
			m.Errorf("%s: got %q, %v", what, out, err)
		}
	}
	seen := map[string]bool{}
	for range 30 {
		out, err := m.get("http://" + ip + "/hostname")
		if err != nil {
			m.Fatal(err)
		}
		seen[out] = true
	}
	if len(seen) != 3 {
		m.Errorf("30 requests reached %d of 3 pods: %v", len(seen), seen)
	}
	for _, name := range []string{"web", "web.shop.svc.cluster.local"} {
		// busybox calls it a failure when one name on the search path is unknown.
		out, _ := m.Node.Kubectl(m.Ctx, "exec", "-n", "shop", "deploy/worker", "--", "nslookup", name)
		m.Contains(out, "Name:\tweb.shop.svc.cluster.local\nAddress: "+ip)
	}
	m.Contains(m.Kubectl("exec", "-n", "shop", "deploy/worker", "--", "nslookup", "kubernetes.default.svc.cluster.local"), "10.43.0.1")
}

// commands uses kubectl on what runs.
func (m *machine) commands() {
	m.Contains(m.Kubectl("logs", "-n", "shop", "deploy/worker"), "good day from worker-", "with correct horse")
	m.Contains(m.Kubectl("logs", "-n", "shop", "job/order"), "served from a config map")
	if got := m.Kubectl("exec", "-n", "shop", "deploy/worker", "--", "sh", "-c", "echo out; echo $((6*7))"); got != "out\n42\n" {
		m.Errorf("exec: got %q", got)
	}
	out := m.Refused("kubectl", "exec", "-n", "shop", "deploy/worker", "--", "sh", "-c", "exit 7")
	m.Contains(out, "exit code 7")
	file := m.File("copied\n")
	pod := strings.TrimPrefix(strings.TrimSpace(m.Kubectl("get", "pod", "-n", "shop", "-l", "app=worker", "-o", "name")), "pod/")
	m.Kubectl("cp", file, "shop/"+pod+":/tmp/copied")
	if got := m.Kubectl("exec", "-n", "shop", pod, "--", "cat", "/tmp/copied"); got != "copied\n" {
		m.Errorf("cp: got %q", got)
	}
	m.Contains(m.Kubectl("describe", "pod", "-n", "shop", pod), "Scheduled", "Started", "Ready", "PodScheduled")
	m.Contains(m.Kubectl("get", "pods", "-n", "shop", "-o", "wide"), "NOMINATED NODE", "Running", "n1")
	m.Contains(m.Kubectl("get", "nodes", "-o", "wide"), "Ready", "CONTAINER-RUNTIME", "containerd://")
	m.Contains(m.Kubectl("api-resources"), "deployments", "poddisruptionbudgets", "customresourcedefinitions")
	m.Contains(m.Kubectl("explain", "deployment.spec.replicas"), "Number of desired pods")
	m.Contains(m.Kubectl("auth", "can-i", "create", "pods"), "yes")
	m.Contains(m.Kubectl("top", "--help"), "metrics")
	m.Kubectl("label", "pod", "-n", "shop", pod, "colour=green")
	m.Kubectl("annotate", "pod", "-n", "shop", pod, "note=here")
	m.Contains(m.Kubectl("get", "pod", "-n", "shop", "-l", "colour=green", "-o", "name"), pod)
}

// heal kills a container's process and sees it come back in the same pod.
func (m *machine) heal() {
	pod := strings.TrimSpace(m.Kubectl("get", "pod", "-n", "shop", "-l", "app=worker", "-o", "name"))
	// Process 1 of a container takes no signal it has no handler for, from inside;
	// TERM it has one for.
	m.Kubectl("exec", "-n", "shop", pod, "--", "kill", "-TERM", "1")
	m.Kubectl("wait", "-n", "shop", pod, "--for=jsonpath={.status.containerStatuses[0].restartCount}=1", "--timeout=60s")
	m.Kubectl("wait", "-n", "shop", pod, "--for=condition=Ready", "--timeout=60s")
	m.Contains(m.Kubectl("logs", "-n", "shop", pod, "--previous"), "told to end")

	old := strings.Fields(m.Kubectl("get", "pod", "-n", "shop", "-l", "app=web", "-o", "name"))
	m.Kubectl("delete", "-n", "shop", old[0])
	m.Kubectl("rollout", "status", "-n", "shop", "deployment/web", "--timeout=60s")
	now := m.Kubectl("get", "pod", "-n", "shop", "-l", "app=web", "-o", "name")
	if strings.Contains(now, old[0]) || len(strings.Fields(now)) != 3 {
		m.Errorf("after a pod was deleted: got\n%s", now)
	}
}

// change scales, updates and rolls back.
func (m *machine) change() {
	m.Kubectl("scale", "-n", "shop", "deployment/web", "--replicas=5")
	m.Kubectl("rollout", "status", "-n", "shop", "deployment/web", "--timeout=60s")
	m.Kubectl("set", "env", "-n", "shop", "deployment/web", "COLOUR=blue")
	m.Kubectl("rollout", "status", "-n", "shop", "deployment/web", "--timeout=90s")
	m.Contains(m.Kubectl("rollout", "history", "-n", "shop", "deployment/web"), "1 ", "2 ")
	m.Kubectl("rollout", "undo", "-n", "shop", "deployment/web")
	m.Kubectl("rollout", "status", "-n", "shop", "deployment/web", "--timeout=90s")
	env := m.Kubectl("get", "deployment", "-n", "shop", "web", "-o", "jsonpath={.spec.template.spec.containers[0].env}")
	if strings.Contains(env, "COLOUR") {
		m.Errorf("after undo the environment is %s", env)
	}
	patched := m.Kubectl("patch", "deployment", "-n", "shop", "web", "--type=json", "-p", `[{"op":"replace","path":"/spec/replicas","value":2}]`)
	m.Contains(patched, "patched")
	m.Kubectl("rollout", "status", "-n", "shop", "deployment/web", "--timeout=60s")
	m.Eventually("two replicas are left", func() string {
		pods := strings.Fields(m.Kubectl("get", "pod", "-n", "shop", "-l", "app=web", "-o", "name"))
		if len(pods) == 2 {
			return ""
		}
		return fmt.Sprint(pods)
	})
	diff, err := m.Node.Kubectl(m.Ctx, "diff", "-f", "testdata/application.yaml")
	if err == nil {
		m.Errorf("diff found nothing")
	}
	m.Contains(diff, "-  replicas: 2", "+  replicas: 3")
	m.Kubectl("apply", "--server-side", "--force-conflicts", "-f", "testdata/application.yaml")
	m.Kubectl("rollout", "status", "-n", "shop", "deployment/web", "--timeout=60s")
}
