package node

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sinawi/sinawi/internal/instance"
	"github.com/sinawi/sinawi/internal/runtime/image"
	"github.com/sinawi/sinawi/lab/images"
	"github.com/sinawi/sinawi/lab/labtest"
)

// ownCommands tries the commands of Sinawi itself on a running cluster.
func ownCommands(m *machine) {
	var demo struct {
		PerPod                       map[string]int
		Ready, Recovered, Scaled     int64
		UpdateRequests, UpdateFailed int
	}
	m.decode(&demo, "demo", "-o", "json")
	if len(demo.PerPod) != 3 || demo.Recovered == 0 || demo.Scaled == 0 || demo.UpdateRequests == 0 || demo.UpdateFailed != 0 {
		m.Errorf("demo: got %+v", demo)
	}
	if out := m.Kubectl("get", "namespaces", "-o", "name"); strings.Contains(out, "sinawi-demo-") {
		m.Errorf("left after the demo:\n%s", out)
	}
	var checks any
	m.decode(&checks, "doctor", "-o", "json")
	m.Contains(m.Sinawi("doctor"), "✓")
	imageCommands(m)

	korean := func(args ...string) string {
		m.Helper()
		cmd := m.Command(m.Ctx, args...)
		cmd.Env = append(cmd.Env, "LC_ALL=", "LANG=ko_KR.UTF-8")
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &out
		if err := m.Start(cmd); err != nil {
			m.Fatal(err)
		}
		_ = cmd.Wait()
		return out.String()
	}
	for _, tt := range []struct{ args, want string }{
		{"status", "프로세스"},
		{"doctor", "커널"},
		{"up --help", "클러스터"},
		{"image --help", "이미지"},
		{"logs nobody-there", "nobody-there"},
	} {
		m.Contains(korean(strings.Fields(tt.args)...), tt.want)
	}
	// What programs read stays as it is.
	m.Contains(korean("kubectl", "get", "nodes"), "STATUS", "Ready")
	m.same("version for programs", korean("version", "-o", "json"), m.Sinawi("version", "-o", "json"))
}

// decode runs a command and reads the JSON that it prints.
func (m *machine) decode(into any, args ...string) {
	m.Helper()
	var out, wrong strings.Builder
	cmd := m.Command(m.Ctx, args...)
	cmd.Stdout, cmd.Stderr = &out, &wrong
	err := m.Start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		m.Fatalf("sinawi %v: %v\n%s%s", args, err, out.String(), wrong.String())
	}
	if err := json.Unmarshal([]byte(out.String()), into); err != nil {
		m.Errorf("sinawi %v: %v\n%s", args, err, out.String())
	}
}

// imageCommands brings an image in and takes it away again.
func imageCommands(m *machine) {
	spec := images.BusyBox(m.TB)
	spec.Name = "example.com/brought:7"
	archive, err := image.Build(spec)
	if err != nil {
		m.Fatal(err)
	}
	data, err := io.ReadAll(archive)
	if err != nil {
		m.Fatal(err)
	}
	file := filepath.Join(m.TempDir(), "brought.tar")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		m.Fatal(err)
	}
	m.Contains(m.Sinawi("image", "import", file), "example.com/brought:7")
	m.Contains(m.Sinawi("image", "ls"), "example.com/brought", "7")
	var list any
	m.decode(&list, "image", "ls", "-o", "json")
	m.Contains(m.Sinawi("image", "rm", "example.com/brought:7"), "example.com/brought:7")
	if out := m.Sinawi("image", "ls"); strings.Contains(out, "example.com/brought") {
		m.Errorf("after rm:\n%s", out)
	}
	m.Contains(m.Refused("image", "rm", "example.com/brought:7"), "example.com/brought:7")
	broken := m.File("this is no archive")
	m.Contains(m.Refused("image", "import", broken), broken)
	m.Contains(m.Refused("image", "import", "/no/such/file"), "/no/such/file", "no such file")
}

// fromHost asks 30 times from the machine that the lab runs on.
func (m *machine) fromHost(url string) map[string]bool {
	m.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	seen := map[string]bool{}
	for range 30 {
		req, err := http.NewRequestWithContext(m.Ctx, http.MethodGet, url, nil)
		if err != nil {
			m.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			m.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			m.Fatal(err)
		}
		seen[strings.TrimSpace(string(body))] = true
	}
	return seen
}

// TestBeside runs two clusters on one machine: neither knows of the other, and
// the end of one leaves the other as it was.
func TestBeside(t *testing.T) {
	m := newMachine(t)
	m.Up()
	m.ImportBusyBox()
	before := m.inventory(t)
	node := *m.Node
	node.Dir = instance.Dir(string(m.Dir) + "b")
	node.Flags = []string{"--api-port=7443", "--pod-cidr=10.52.0.0/16", "--service-cidr=10.53.0.0/16"}
	second := &machine{&labtest.Machine{TB: t, Node: &node, Ctx: m.Ctx}}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), labtest.Patience)
		defer cancel()
		if _, err := os.Stat(string(node.Dir)); err == nil {
			_, _ = second.Down(ctx)
		}
	})
	second.Up()
	second.ImportBusyBox()
	web := pod("web", "  containers: [{name: c, BUSYBOX, command: [sh, -c, 'echo from CLUSTER > /tmp/name; exec httpd -f -p 8080 -h /tmp'], readinessProbe: {httpGet: {port: 8080, path: /name}, periodSeconds: 1}}]")
	both := map[string]*machine{"first": m, "second": second}
	for name, one := range both {
		one.Apply(strings.ReplaceAll(web, "CLUSTER", name))
		one.Kubectl("expose", "pod", "web", "--port=80", "--target-port=8080", "--type=NodePort")
	}
	for name, one := range both {
		one.ready("web")
		one.answers(name)
	}
	m.Contains(second.field("service/kubernetes", ".spec.clusterIP"), "10.53.0.1")
	m.Contains(second.field("pod/web", ".status.podIP"), "10.52.")
	pods := m.Kubectl("get", "pods", "-A", "-o", "jsonpath={.items[*].metadata.uid}{.items[*].status.containerStatuses[*].restartCount}")
	if out, err := second.Down(m.Ctx); err != nil {
		t.Fatalf("down: %v\n%s", err, out)
	}
	m.same("pods of the first", m.Kubectl("get", "pods", "-A", "-o", "jsonpath={.items[*].metadata.uid}{.items[*].status.containerStatuses[*].restartCount}"), pods)
	m.answers("first")
	m.Kubectl("delete", "pod,service", "web", "--timeout=60s")
	now := m.inventory(t)
	for _, thing := range before {
		if !slices.Contains(now, thing) {
			t.Errorf("gone with the second: %s", thing)
		}
	}
	compareInventory(t, now, second.inventory(t))
	if out, err := m.Down(m.Ctx); err != nil {
		t.Fatalf("down: %v\n%s", err, out)
	}
}

// answers asks the service web from a pod and from the node.
func (m *machine) answers(cluster string) {
	m.Helper()
	want := "from " + cluster + "\n"
	m.Eventually("service from a pod", func() string {
		out, err := m.Node.Kubectl(m.Ctx, "exec", "web", "--", "wget", "-qO-", "http://web.default.svc.cluster.local/name")
		if err == nil && out == want {
			return ""
		}
		return out
	})
	for _, address := range []string{
		net.JoinHostPort(m.field("service/web", ".spec.clusterIP"), "80"),
		net.JoinHostPort(m.IP.String(), m.field("service/web", ".spec.ports[0].nodePort")),
	} {
		out, err := m.get("http://" + address + "/name")
		if err != nil || out != want {
			m.Errorf("%s: got %q, %v, want %q", address, out, err, want)
		}
	}
}
