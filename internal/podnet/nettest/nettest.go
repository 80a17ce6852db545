// Package nettest gives tests networks of their own: the test binary runs again
// in a fresh network namespace, which stands for a node's, and tests make further
// namespaces that stand for pods and for hosts outside. Nothing reaches the
// machine the tests run on. Only tests import it.
package nettest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

const inside = "SINAWI_NETTEST_INSIDE"

// Main runs the tests in a network namespace of their own; call it from TestMain.
func Main(m *testing.M) {
	if os.Getenv(inside) != "" {
		os.Exit(m.Run())
	}
	if os.Getuid() != 0 {
		fmt.Println("skipped: tests of the pod network make network namespaces, which takes root")
		os.Exit(0)
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Unshareflags: unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	runtime.LockOSThread() // Pdeathsig looks at the thread
	if err := cmd.Run(); err != nil {
		fmt.Println("tests in an own network namespace:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Node brings the loopback of the test's own namespace up.
func Node(t testing.TB) {
	t.Helper()
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		t.Fatal(err)
	}
}

// Netns is a network namespace beside the node's.
type Netns struct {
	Path string
	t    testing.TB
}

// New makes a network namespace that lasts until the test ends.
func New(t testing.TB) Netns {
	t.Helper()
	path := filepath.Join(t.TempDir(), "netns")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	errs := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its namespace
		errs <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return err
			}
			return unix.Mount(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), path, "", unix.MS_BIND, "")
		}()
	}()
	if err := <-errs; err != nil {
		t.Fatal("make network namespace:", err)
	}
	n := Netns{path, t}
	t.Cleanup(func() { n.Delete() })
	return n
}

// Delete removes the namespace before the test ends.
func (n Netns) Delete() {
	_ = unix.Unmount(n.Path, unix.MNT_DETACH)
	_ = os.Remove(n.Path)
}

// Do runs f with the namespace as its own. Goroutines that f starts have the
// node's; sockets that f opens stay in the namespace.
func (n Netns) Do(f func() error) error {
	errs := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked, as above
		errs <- func() error {
			ns, err := netns.GetFromPath(n.Path)
			if err != nil {
				return err
			}
			defer ns.Close()
			if err := netns.Set(ns); err != nil {
				return err
			}
			return f()
		}()
	}()
	return <-errs
}

// Dial connects from inside the namespace to a literal address.
func (n Netns) Dial(d net.Dialer, network, addr string) (c net.Conn, err error) {
	err = n.Do(func() error {
		c, err = d.Dial(network, addr)
		return err
	})
	return c, err
}

// Listen listens inside the namespace until the test ends.
func (n Netns) Listen(addr string) net.Listener {
	n.t.Helper()
	var l net.Listener
	err := n.Do(func() (err error) {
		l, err = net.Listen("tcp4", addr)
		return err
	})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { l.Close() })
	return l
}

// ListenPacket opens a datagram socket inside the namespace until the test ends.
func (n Netns) ListenPacket(addr string) net.PacketConn {
	n.t.Helper()
	var c net.PacketConn
	err := n.Do(func() (err error) {
		c, err = net.ListenPacket("udp4", addr)
		return err
	})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { c.Close() })
	return c
}

// ServeName answers every TCP connection to the listener with a name.
func ServeName(l net.Listener, name string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
		fmt.Fprintf(c, "%s %s", name, host)
		c.Close()
	}
}

// EchoName answers every datagram with a name.
func EchoName(c net.PacketConn, name string) {
	buf := make([]byte, 1500)
	for {
		_, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		_, _ = c.WriteTo([]byte(name), from)
	}
}

// Outside links a namespace to the node as a host outside the cluster: the node
// has the address node, the host has host, in one /24, and a route to everything
// through the node.
func Outside(t testing.TB, linkName, node, host string) Netns {
	t.Helper()
	n := New(t)
	ns, err := netns.GetFromPath(n.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = linkName
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(ns)}
	if err := netlink.LinkAdd(veth); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(veth) })
	h, err := netlink.NewHandleAt(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	eth, err := h.LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	here, err := netlink.NewHandle()
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	for _, end := range []struct {
		h    *netlink.Handle
		link netlink.Link
		addr string
	}{{here, veth, node}, {h, eth, host}} {
		addr, err := netlink.ParseAddr(end.addr + "/24")
		if err != nil {
			t.Fatal(err)
		}
		if err := end.h.AddrAdd(end.link, addr); err != nil {
			t.Fatal(err)
		}
		if err := end.h.LinkSetUp(end.link); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.RouteAdd(&netlink.Route{LinkIndex: eth.Attrs().Index, Gw: net.ParseIP(node)}); err != nil {
		t.Fatal(err)
	}
	return n
}
