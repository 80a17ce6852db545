package runtime_test

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/sinawi/sinawi/internal/podnet"
	"github.com/sinawi/sinawi/internal/runtime"
	"github.com/sinawi/sinawi/internal/runtime/runtimetest"
)

// network makes a pod network for the runtime that c configures.
func network(t testing.TB, c runtime.Config) {
	t.Helper()
	// The cgroup's name ends with digits of the test's own; they tell networks apart too.
	tag := c.CgroupParent[len(c.CgroupParent)-6:]
	var a, b uint8
	if _, err := fmt.Sscanf(tag, "%2x%2x", &a, &b); err != nil {
		t.Fatal(err)
	}
	cidr := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 128 | a&0x7f, b, 0}), 24)
	o := podnet.Options{
		Instance:    "sinawi-" + tag,
		PodCIDR:     cidr,
		ClusterCIDR: cidr,
		CNIConfDir:  c.CNIConfDir,
		StateDir:    filepath.Join(filepath.Dir(c.Root), "leases"),
	}
	if err := podnet.Setup(contextFor(t), o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := podnet.Teardown(contextFor(t), o); err != nil {
			t.Error(err)
		}
	})
}

// onPodNetwork gives a pod a network namespace of its own.
func onPodNetwork(c *cri.PodSandboxConfig) {
	c.Hostname = c.Metadata.Name
	c.Linux.SecurityContext.NamespaceOptions.Network = cri.NamespaceMode_POD
}

func TestPodsReachEachOther(t *testing.T) {
	c := runtimetest.Config(t)
	network(t, c)
	r := runtimetest.StartWith(t, c)
	server := runPod(t, r, "server", func(c *cri.PodSandboxConfig) {
		onPodNetwork(c)
		c.DnsConfig = &cri.DNSConfig{Servers: []string{"10.43.0.10"}, Searches: []string{"svc.cluster.local"}}
	})
	client := runPod(t, r, "client", onPodNetwork)
	id := server.run("web", "echo hello > /tmp/index.html; exec httpd -f -p 8080 -h /tmp", nil)
	s, err := r.Runtime.PodSandboxStatus(contextFor(t), &cri.PodSandboxStatusRequest{PodSandboxId: server.id})
	if err != nil {
		t.Fatal(err)
	}
	ip := s.Status.Network.Ip
	if !netip.MustParseAddr(ip).Is4() {
		t.Fatalf("the pod's address is %q", ip)
	}
	get := "for i in 1 2 3 4 5 6 7 8 9 10; do wget -q -O - http://" + ip + ":8080/index.html && exit; sleep 0.2; done; exit 1"
	if got := client.output("get", get, nil); got != "hello\n" {
		t.Errorf("got %q from the other pod", got)
	}
	inside, code := exec(t, r, id, "hostname; cat /etc/resolv.conf; wget -q -O - http://127.0.0.1:8080/index.html")
	if want := "server\nsearch svc.cluster.local\nnameserver 10.43.0.10\nhello\n"; code != 0 || inside != want {
		t.Errorf("inside the pod it reads %q, not %q", inside, want)
	}
	r.Kill(t)
	r.Launch(t)
	again, err := r.Runtime.PodSandboxStatus(contextFor(t), &cri.PodSandboxStatusRequest{PodSandboxId: server.id})
	if err != nil || again.Status.Network.Ip != ip || again.Status.State != cri.PodSandboxState_SANDBOX_READY {
		t.Errorf("after a restart of the runtime the pod is %v (%v)", again, err)
	}
	if got := client.output("get-again", get, nil); got != "hello\n" {
		t.Errorf("after a restart of the runtime: %q from the other pod", got)
	}
	if links := client.output("links", "ip -o link | cut -d: -f2 | cut -d@ -f1 | tr -d ' \n'", nil); !strings.HasPrefix(links, "loeth0") {
		t.Errorf("the pod has the links %q", links)
	}
}
