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
	m.up()
	m.importBusyBox()
	m.kubectl("apply", "-f", "testdata/application.yaml")
	m.kubectl("rollout", "status", "-n", "shop", "deployment/web", "--timeout=90s")
	m.kubectl("rollout", "status", "-n", "shop", "deployment/worker", "--timeout=90s")
	m.kubectl("wait", "-n", "shop", "--for=condition=complete", "job/order", "--timeout=90s")

	t.Run("services", func(t *testing.T) { m.on(t).services() })
	t.Run("kubectl", func(t *testing.T) { m.on(t).commands() })
	t.Run("heal", func(t *testing.T) { m.on(t).heal() })
	t.Run("scale and update", func(t *testing.T) { m.on(t).change() })
	t.Run("status", func(t *testing.T) {
		m := m.on(t)
		contains(m, m.sinawi("status"), "✓ server", "✓ runtime", "✓ API", "✓ n1", "Nothing is wrong")
	})
	t.Run("remove", func(t *testing.T) {
		m := m.on(t)
		m.kubectl("delete", "-f", "testdata/application.yaml", "--timeout=90s")
		if out := m.kubectl("get", "all", "-n", "shop", "--ignore-not-found"); strings.Contains(out, "pod/") {
			t.Errorf("left after delete:\n%s", out)
		}
	})
	if out, err := m.Down(m.ctx); err != nil {
		t.Fatalf("down: %v\n%s", err, out)
	}
	compareInventory(t, before, m.inventory(t))
}

// services asks the application by cluster address, by node port, and by name.
func (m *machine) services() {
	ip := m.kubectl("get", "service", "-n", "shop", "web", "-o", "jsonpath={.spec.clusterIP}")
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
		out, _ := m.Kubectl(m.ctx, "exec", "-n", "shop", "deploy/worker", "--", "nslookup", name)
		contains(m, out, "Name:\tweb.shop.svc.cluster.local\nAddress: "+ip)
	}
	contains(m, m.kubectl("exec", "-n", "shop", "deploy/worker", "--", "nslookup", "kubernetes.default.svc.cluster.local"), "10.43.0.1")
}

// commands uses kubectl on what runs.
func (m *machine) commands() {
	contains(m, m.kubectl("logs", "-n", "shop", "deploy/worker"), "good day from worker-", "with correct horse")
	contains(m, m.kubectl("logs", "-n", "shop", "job/order"), "served from a config map")
	if got := m.kubectl("exec", "-n", "shop", "deploy/worker", "--", "sh", "-c", "echo out; echo $((6*7))"); got != "out\n42\n" {
		m.Errorf("exec: got %q", got)
	}
	out := m.refused("kubectl", "exec", "-n", "shop", "deploy/worker", "--", "sh", "-c", "exit 7")
	contains(m, out, "exit code 7")
	file := m.file("copied\n")
	pod := strings.TrimPrefix(strings.TrimSpace(m.kubectl("get", "pod", "-n", "shop", "-l", "app=worker", "-o", "name")), "pod/")
	m.kubectl("cp", file, "shop/"+pod+":/tmp/copied")
	if got := m.kubectl("exec", "-n", "shop", pod, "--", "cat", "/tmp/copied"); got != "copied\n" {
		m.Errorf("cp: got %q", got)
	}
	contains(m, m.kubectl("describe", "pod", "-n", "shop", pod), "Scheduled", "Started", "Ready", "PodScheduled")
	contains(m, m.kubectl("get", "pods", "-n", "shop", "-o", "wide"), "NOMINATED NODE", "Running", "n1")
	contains(m, m.kubectl("get", "nodes", "-o", "wide"), "Ready", "CONTAINER-RUNTIME", "containerd://")
	contains(m, m.kubectl("api-resources"), "deployments", "poddisruptionbudgets", "customresourcedefinitions")
	contains(m, m.kubectl("explain", "deployment.spec.replicas"), "Number of desired pods")
	contains(m, m.kubectl("auth", "can-i", "create", "pods"), "yes")
	contains(m, m.kubectl("top", "--help"), "metrics")
	m.kubectl("label", "pod", "-n", "shop", pod, "colour=green")
	m.kubectl("annotate", "pod", "-n", "shop", pod, "note=here")
	contains(m, m.kubectl("get", "pod", "-n", "shop", "-l", "colour=green", "-o", "name"), pod)
}

// heal kills a container's process and sees it come back in the same pod.
func (m *machine) heal() {
	pod := strings.TrimSpace(m.kubectl("get", "pod", "-n", "shop", "-l", "app=worker", "-o", "name"))
	// Process 1 of a container takes no signal it has no handler for, from inside;
	// TERM it has one for.
	m.kubectl("exec", "-n", "shop", pod, "--", "kill", "-TERM", "1")
	m.kubectl("wait", "-n", "shop", pod, "--for=jsonpath={.status.containerStatuses[0].restartCount}=1", "--timeout=60s")
	m.kubectl("wait", "-n", "shop", pod, "--for=condition=Ready", "--timeout=60s")
	contains(m, m.kubectl("logs", "-n", "shop", pod, "--previous"), "told to end")

	old := strings.Fields(m.kubectl("get", "pod", "-n", "shop", "-l", "app=web", "-o", "name"))
	m.kubectl("delete", "-n", "shop", old[0])
	m.kubectl("rollout", "status", "-n", "shop", "deployment/web", "--timeout=60s")
	now := m.kubectl("get", "pod", "-n", "shop", "-l", "app=web", "-o", "name")
	if strings.Contains(now, old[0]) || len(strings.Fields(now)) != 3 {
		m.Errorf("after a pod was deleted: got\n%s", now)
	}
}

// change scales, updates and rolls back.
func (m *machine) change() {
	m.kubectl("scale", "-n", "shop", "deployment/web", "--replicas=5")
	m.kubectl("rollout", "status", "-n", "shop", "deployment/web", "--timeout=60s")
	m.kubectl("set", "env", "-n", "shop", "deployment/web", "COLOUR=blue")
	m.kubectl("rollout", "status", "-n", "shop", "deployment/web", "--timeout=90s")
	contains(m, m.kubectl("rollout", "history", "-n", "shop", "deployment/web"), "1 ", "2 ")
	m.kubectl("rollout", "undo", "-n", "shop", "deployment/web")
	m.kubectl("rollout", "status", "-n", "shop", "deployment/web", "--timeout=90s")
	env := m.kubectl("get", "deployment", "-n", "shop", "web", "-o", "jsonpath={.spec.template.spec.containers[0].env}")
	if strings.Contains(env, "COLOUR") {
		m.Errorf("after undo the environment is %s", env)
	}
	patched := m.kubectl("patch", "deployment", "-n", "shop", "web", "--type=json", "-p", `[{"op":"replace","path":"/spec/replicas","value":2}]`)
	contains(m, patched, "patched")
	m.kubectl("rollout", "status", "-n", "shop", "deployment/web", "--timeout=60s")
	m.eventually("two replicas are left", func() string {
		pods := strings.Fields(m.kubectl("get", "pod", "-n", "shop", "-l", "app=web", "-o", "name"))
		if len(pods) == 2 {
			return ""
		}
		return fmt.Sprint(pods)
	})
	diff, err := m.Kubectl(m.ctx, "diff", "-f", "testdata/application.yaml")
	if err == nil {
		m.Errorf("diff found nothing")
	}
	contains(m, diff, "-  replicas: 2", "+  replicas: 3")
	m.kubectl("apply", "--server-side", "--force-conflicts", "-f", "testdata/application.yaml")
	m.kubectl("rollout", "status", "-n", "shop", "deployment/web", "--timeout=60s")
}
