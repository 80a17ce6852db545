package podnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"

	"github.com/sinawi/sinawi/internal/podnet/cni"
	"github.com/sinawi/sinawi/internal/podnet/ipam"
	"github.com/sinawi/sinawi/internal/podnet/nettest"
	"github.com/sinawi/sinawi/internal/podnet/nft"
)

// TestMain also makes this binary the plugin, as the helper binary is.
func TestMain(m *testing.M) {
	if os.Getenv("CNI_COMMAND") != "" {
		cni.Main()
		return
	}
	nettest.Main(m)
}

// options are those of a node that no other test has.
func options(t *testing.T, instance string, third int) Options {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	return Options{
		Instance:    instance,
		PodCIDR:     netip.MustParsePrefix(fmt.Sprintf("10.42.%d.0/24", third)),
		ClusterCIDR: netip.MustParsePrefix("10.42.0.0/16"),
		CNIConfDir:  filepath.Join(dir, "net.d"),
		CNIBinDir:   filepath.Join(dir, "bin"),
		Plugin:      self,
		StateDir:    filepath.Join(dir, "leases"),
	}
}

func setup(t *testing.T, instance string, third int) (Options, nettest.Runtime) {
	t.Helper()
	nettest.Node(t)
	o := options(t, instance, third)
	if err := Setup(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := Teardown(context.Background(), o); err != nil {
			t.Error(err)
		}
	})
	return o, nettest.LoadRuntime(t, o.CNIConfDir, o.CNIBinDir)
}

func serve(p *nettest.Pod, port int) {
	go nettest.ServeName(p.Listen(fmt.Sprintf("0.0.0.0:%d", port)), p.ID)
}

func wantAnswer(t *testing.T, what, wantName, wantSeen string, name, seen string, err error) {
	t.Helper()
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	if name != wantName || (wantSeen != "" && seen != wantSeen) {
		t.Errorf("%s: reached %s as %s, want %s as %s", what, name, seen, wantName, wantSeen)
	}
}

func TestPodsReachEachOtherTheNodeAndOutside(t *testing.T) {
	o, r := setup(t, "sinawi-a00001", 1)
	outside := nettest.Outside(t, "up1", "192.0.2.1", "192.0.2.2")
	a, b := r.Pod(t, "a"), r.Pod(t, "b")
	serve(b, 80)
	go nettest.ServeName(outside.Listen("192.0.2.2:80"), "outside")
	l, err := net.Listen("tcp4", "0.0.0.0:18081")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go nettest.ServeName(l, "node")

	name, seen, err := a.Ask(b.Addr.String() + ":80")
	wantAnswer(t, "pod to pod", "b", a.Addr.String(), name, seen, err)
	name, seen, err = b.Ask(b.Addr.String() + ":80")
	wantAnswer(t, "pod to itself", "b", b.Addr.String(), name, seen, err)
	name, seen, err = nettest.AskHere(b.Addr.String() + ":80")
	wantAnswer(t, "node to pod", "b", ipam.Gateway(o.PodCIDR).String(), name, seen, err)
	name, seen, err = a.Ask(ipam.Gateway(o.PodCIDR).String() + ":18081")
	wantAnswer(t, "pod to node", "node", a.Addr.String(), name, seen, err)
	name, seen, err = a.Ask("192.0.2.2:80")
	wantAnswer(t, "pod to outside, masqueraded", "outside", "192.0.2.1", name, seen, err)
	for _, p := range []*nettest.Pod{a, b} {
		if err := p.Check(); err != nil {
			t.Errorf("check pod %s: %v", p.ID, err)
		}
	}
}

func TestHostPorts(t *testing.T) {
	_, r := setup(t, "sinawi-a00002", 2)
	outside := nettest.Outside(t, "up2", "192.0.2.1", "192.0.2.2")
	web := r.Pod(t, "web",
		nettest.PortMapping{HostPort: 18080, ContainerPort: 80, Protocol: "tcp"},
		nettest.PortMapping{HostPort: 18082, ContainerPort: 80, Protocol: "TCP", HostIP: "192.0.2.1"},
		nettest.PortMapping{HostPort: 18083, ContainerPort: 80, Protocol: "tcp", HostIP: "127.0.0.1"},
		nettest.PortMapping{HostPort: 18053, ContainerPort: 53, Protocol: "udp"})
	other := r.Pod(t, "other")
	serve(web, 80)
	go nettest.EchoName(web.ListenPacket("0.0.0.0:53"), "web")

	name, seen, err := outside.Ask("192.0.2.1:18080")
	wantAnswer(t, "from outside", "web", "192.0.2.2", name, seen, err)
	name, seen, err = outside.Ask("192.0.2.1:18082")
	wantAnswer(t, "from outside by address", "web", "192.0.2.2", name, seen, err)
	name, _, err = nettest.AskHere("192.0.2.1:18080")
	wantAnswer(t, "from the node", "web", "", name, "", err)
	name, _, err = nettest.AskHere("127.0.0.1:18080")
	wantAnswer(t, "from the node's loopback", "web", "", name, "", err)
	name, _, err = nettest.AskHere("127.0.0.1:18083")
	wantAnswer(t, "published on the node's loopback", "web", "", name, "", err)
	name, seen, err = other.Ask("192.0.2.1:18080")
	wantAnswer(t, "from another pod", "web", other.Addr.String(), name, seen, err)
	name, _, err = web.Ask("192.0.2.1:18080")
	wantAnswer(t, "from the pod itself", "web", "", name, "", err)
	if _, _, err := outside.AskBriefly("192.0.2.1:18083"); err == nil {
		t.Error("a port of the node's loopback is reachable from outside")
	}

	c, err := outside.Dial(net.Dialer{}, "udp4", "192.0.2.1:18053")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if name, err := nettest.AskUDP(c); err != nil || name != "web" {
		t.Errorf("datagram from outside: %q %v, want web", name, err)
	}
	second := r.Prepare(t, "second", nettest.PortMapping{HostPort: 18080, ContainerPort: 80, Protocol: "tcp"})
	if err := second.Add(); err == nil || !strings.Contains(err.Error(), "another pod") {
		t.Errorf("a host port was published twice: %v", err)
	}
	if err := second.Del(); err != nil {
		t.Errorf("remove a pod that was never added: %v", err)
	}
	name, _, err = outside.Ask("192.0.2.1:18080")
	wantAnswer(t, "after another pod asked for the port", "web", "", name, "", err)
	if err := web.Del(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := nettest.AskHere("192.0.2.1:18080"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("host port of a pod that is gone: %v, want refused", err)
	}
}

func TestPodsDoNotReachTheNodesLoopback(t *testing.T) {
	o, r := setup(t, "sinawi-a00003", 3)
	l, err := net.Listen("tcp4", "127.0.0.1:18084")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go nettest.ServeName(l, "loopback")
	p := r.Pod(t, "p")
	err = p.Do(func() error {
		// A hostile pod gives its own loopback up and routes the addresses to the node.
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetDown(lo); err != nil {
			return err
		}
		eth, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		if err := os.WriteFile("/proc/sys/net/ipv4/conf/eth0/route_localnet", []byte("1"), 0o644); err != nil {
			return err
		}
		_, dst, _ := net.ParseCIDR("127.0.0.1/32")
		return netlink.RouteReplace(&netlink.Route{LinkIndex: eth.Attrs().Index, Dst: dst, Gw: ipam.Gateway(o.PodCIDR).AsSlice(), Src: p.Addr.AsSlice()})
	})
	if err != nil {
		t.Skipf("the kernel does not let a pod route loopback addresses: %v", err)
	}
	if name, _, err := p.AskBriefly("127.0.0.1:18084"); err == nil {
		t.Errorf("a pod reached %s on the node's loopback", name)
	}
}

func TestSetupAgainKeepsPodsAndSetsRightWhatChanged(t *testing.T) {
	o, r := setup(t, "sinawi-a00004", 4)
	web := r.Pod(t, "web", nettest.PortMapping{HostPort: 18085, ContainerPort: 80, Protocol: "tcp"})
	serve(web, 80)
	n := NamesOf(o.Instance)
	bridge, err := netlink.LinkByName(n.Gateway)
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetDown(bridge); err != nil {
		t.Fatal(err)
	}
	o.MTU = 1400
	for range 2 {
		if err := Setup(context.Background(), o); err != nil {
			t.Fatal(err)
		}
	}
	name, _, err := nettest.AskHere(ipam.Gateway(o.PodCIDR).String() + ":18085")
	wantAnswer(t, "host port after a restart", "web", "", name, "", err)
	if err := web.Check(); err != nil {
		t.Errorf("check after a restart: %v", err)
	}
	again, err := netlink.LinkByName(n.Gateway)
	if err != nil {
		t.Fatal(err)
	}
	if again.Attrs().Index != bridge.Attrs().Index || again.Attrs().MTU != 1400 {
		t.Errorf("bridge is %d with MTU %d, want the same %d with 1400", again.Attrs().Index, again.Attrs().MTU, bridge.Attrs().Index)
	}
	if next := nettest.LoadRuntime(t, o.CNIConfDir, o.CNIBinDir).Pod(t, "next"); next.Addr == web.Addr {
		t.Errorf("address %s was given out twice", next.Addr)
	}
}

func TestPluginCommandsMayBeRepeated(t *testing.T) {
	o, r := setup(t, "sinawi-a00005", 5)
	if err := r.Status(); err != nil {
		t.Errorf("status of a node that is set up: %v", err)
	}
	p := r.Pod(t, "p")
	first := p.Addr
	if err := p.Add(); err != nil {
		t.Fatalf("add again: %v", err)
	}
	if p.Addr != first {
		t.Errorf("a repeated add changed the address from %s to %s", first, p.Addr)
	}
	if err := p.Check(); err != nil {
		t.Errorf("check: %v", err)
	}
	for range 2 {
		if err := p.Del(); err != nil {
			t.Fatalf("del: %v", err)
		}
	}
	if err := p.Check(); err == nil {
		t.Error("check of a removed pod succeeds")
	}
	gone := r.Prepare(t, "gone")
	if err := gone.Add(); err != nil {
		t.Fatal(err)
	}
	gone.Delete()
	if err := gone.Del(); err != nil {
		t.Errorf("del after the namespace is gone: %v", err)
	}
	lost, kept := r.Pod(t, "lost"), r.Pod(t, "kept")
	if err := r.GC(kept); err != nil {
		t.Fatalf("gc: %v", err)
	}
	if err := kept.Check(); err != nil {
		t.Errorf("gc took a valid pod: %v", err)
	}
	if err := lost.Check(); err == nil {
		t.Error("gc left a pod that the runtime does not know")
	}
	boot, err := ipam.BootID()
	if err != nil {
		t.Fatal(err)
	}
	leases, err := ipam.Open(o.StateDir, o.PodCIDR, boot).Leases()
	if err != nil || len(leases) != 1 {
		t.Errorf("leases %v %v, want that of the kept pod", leases, err)
	}
}

func TestFullNodeSaysSo(t *testing.T) {
	nettest.Node(t)
	o := options(t, "sinawi-a00006", 6)
	o.PodCIDR = netip.MustParsePrefix("10.42.6.0/29")
	if err := Setup(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = Teardown(context.Background(), o) })
	r := nettest.LoadRuntime(t, o.CNIConfDir, o.CNIBinDir)
	for i := range 5 {
		r.Pod(t, fmt.Sprint("p", i))
	}
	if err := r.Prepare(t, "one-more").Add(); err == nil || !strings.Contains(err.Error(), "no free pod address") {
		t.Errorf("sixth pod in a /29: %v", err)
	}
	if err := r.Status(); err == nil {
		t.Error("a full node says that it can take pods")
	}
}

func TestOtherFirewallsThatDropAreOpened(t *testing.T) {
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	drop := nftables.ChainPolicyDrop
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "filter"})
	chain := c.AddChain(&nftables.Chain{Table: table, Name: "FORWARD", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter, Policy: &drop})
	input := c.AddChain(&nftables.Chain{Table: table, Name: "INPUT", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter, Policy: &drop})
	// As such firewalls do: the node hears answers to what it asked.
	c.AddRule(&nftables.Rule{Table: table, Chain: input, Exprs: nft.Rule(nft.StateNew(), nft.Return())})
	c.AddRule(&nftables.Rule{Table: table, Chain: input, Exprs: nft.Rule(nft.Accept())})
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	defer func() { c.DelTable(table); _ = c.Flush() }()
	o, r := setup(t, "sinawi-a00007", 7)
	if err := Setup(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	a, b := r.Pod(t, "a"), r.Pod(t, "b")
	serve(b, 80)
	name, seen, err := a.Ask(b.Addr.String() + ":80")
	wantAnswer(t, "through a firewall that drops", "b", a.Addr.String(), name, seen, err)
	l, err := net.Listen("tcp4", "0.0.0.0:18087")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go nettest.ServeName(l, "node")
	name, seen, err = a.Ask(ipam.Gateway(o.PodCIDR).String() + ":18087")
	wantAnswer(t, "to the node through a firewall that drops", "node", a.Addr.String(), name, seen, err)
	if rules, err := c.GetRules(table, chain); err != nil || len(rules) != 2 {
		t.Errorf("%d rules %v in the foreign chain, want 2 however often the node is set up", len(rules), err)
	}
	if err := closeFirewalls(NamesOf(o.Instance)); err != nil {
		t.Fatal(err)
	}
	if rules, err := c.GetRules(table, chain); err != nil || len(rules) != 0 {
		t.Errorf("%d rules %v left in the foreign chain", len(rules), err)
	}
}

func TestRangesInUseAreRefused(t *testing.T) {
	o, _ := setup(t, "sinawi-a0000a", 10)
	second := options(t, "sinawi-a0000b", 10)
	err := Setup(context.Background(), second)
	if err == nil || !strings.Contains(err.Error(), NamesOf(o.Instance).Gateway) || !strings.Contains(err.Error(), "--pod-cidr") {
		t.Errorf("a range of another instance: %v, want it refused with the reason and the remedy", err)
	}
	if _, err := netlink.LinkByName(NamesOf(second.Instance).Gateway); err == nil {
		t.Error("a refused network left a link")
	}
}

func TestTeardownLeavesNothingAndTouchesNothingElse(t *testing.T) {
	other, r2 := setup(t, "sinawi-a00009", 9)
	stays := r2.Pod(t, "stays")
	o, r := setup(t, "sinawi-a00008", 8)
	p := r.Prepare(t, "p", nettest.PortMapping{HostPort: 18086, ContainerPort: 80, Protocol: "tcp"})
	if err := p.Add(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := Teardown(context.Background(), o); err != nil {
			t.Fatal(err)
		}
	}
	n := NamesOf(o.Instance)
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if strings.Contains(l.Attrs().Name, "a00008") {
			t.Errorf("link %s is left", l.Attrs().Name)
		}
	}
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	tables, err := c.ListTables()
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		if table.Name == n.PodTable {
			t.Errorf("table %s is left", table.Name)
		}
	}
	for _, dir := range []string{o.CNIConfDir, o.CNIBinDir} {
		if left, _ := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("%s still holds %v", dir, left)
		}
	}
	if err := stays.Check(); err != nil {
		t.Errorf("teardown of %s touched %s: %v", o.Instance, other.Instance, err)
	}
}
