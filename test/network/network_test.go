// Package network tries the node's network as a whole: pods, services and names
// together, in a namespace of its own that stands for a node, with the kernel's
// real nftables. Objects come from a cache that the tests fill.
package network

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/sinawi/sinawi/internal/client/clienttest"
	nodedns "github.com/sinawi/sinawi/internal/dns"
	"github.com/sinawi/sinawi/internal/podnet"
	"github.com/sinawi/sinawi/internal/podnet/cni"
	"github.com/sinawi/sinawi/internal/podnet/ipam"
	"github.com/sinawi/sinawi/internal/podnet/nettest"
	"github.com/sinawi/sinawi/internal/proxy"
)

func TestMain(m *testing.M) {
	if os.Getenv("CNI_COMMAND") != "" {
		cni.Main()
		return
	}
	nettest.Main(m)
}

const (
	instance = "sinawi-c00001"
	nodeName = "n1"
	dnsIP    = "10.43.0.10"
	nodeIP   = "192.0.2.1"
)

var (
	podCIDR     = netip.MustParsePrefix("10.42.3.0/24")
	clusterCIDR = netip.MustParsePrefix("10.42.0.0/16")
	serviceCIDR = netip.MustParsePrefix("10.43.0.0/16")
)

// node is a whole node's network.
type node struct {
	cache   *clienttest.Cache
	runtime nettest.Runtime
	outside nettest.Netns
}

// newNode brings everything up as the cluster does, until the test ends.
func newNode(t testing.TB) node {
	t.Helper()
	nettest.Node(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	o := podnet.Options{
		Instance: instance, PodCIDR: podCIDR, ClusterCIDR: clusterCIDR, ServiceCIDR: serviceCIDR,
		CNIConfDir: filepath.Join(dir, "net.d"), CNIBinDir: filepath.Join(dir, "bin"), Plugin: self, StateDir: filepath.Join(dir, "leases"),
	}
	if err := podnet.Setup(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := podnet.Teardown(context.Background(), podnet.Options{Instance: instance}); err != nil {
			t.Error(err)
		}
	})
	n := node{clienttest.New(t), nettest.LoadRuntime(t, o.CNIConfDir, o.CNIBinDir), nettest.Outside(t, "up", nodeIP, "192.0.2.2")}
	at := netip.AddrPortFrom(ipam.Gateway(podCIDR), 1053)
	names, err := nodedns.New(n.cache, nodedns.Options{Listen: []netip.AddrPort{at}, ServiceIP: netip.MustParseAddr(dnsIP), PodCIDR: clusterCIDR, ServiceCIDR: serviceCIDR, ResolvConf: os.DevNull})
	if err != nil {
		t.Fatal(err)
	}
	var redirects []proxy.Redirect
	for _, p := range []corev1.Protocol{corev1.ProtocolUDP, corev1.ProtocolTCP} {
		redirects = append(redirects, proxy.Redirect{From: netip.MustParseAddrPort(dnsIP + ":53"), Protocol: p, To: at})
	}
	services, err := proxy.New(n.cache, proxy.Options{
		Instance: instance, NodeName: nodeName, PodCIDR: podCIDR, ClusterCIDR: clusterCIDR, ServiceCIDR: serviceCIDR, Redirects: redirects})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := proxy.Purge(instance); err != nil {
			t.Error(err)
		}
	})
	for name, run := range map[string]func(context.Context) error{"dns": names.Run, "proxy": services.Run} {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- run(ctx) }()
		t.Cleanup(func() {
			cancel()
			if err := <-done; err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	return n
}

// server is a pod that tells its name on port 8080.
func (n node) server(t testing.TB, name string) *nettest.Pod {
	p := n.runtime.Pod(t, name)
	go nettest.ServeName(p.Listen("0.0.0.0:8080"), name)
	return p
}

func service(name, ip string, nodePort int32) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Spec: corev1.ServiceSpec{
		ClusterIP: ip, ClusterIPs: []string{ip}, Ports: []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP, NodePort: nodePort}}}}
	if nodePort != 0 {
		s.Spec.Type = corev1.ServiceTypeNodePort
	}
	return s
}

func endpoints(service string, addrs ...netip.Addr) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "shop", Name: service + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("http"), Port: ptr.To[int32](8080), Protocol: ptr.To(corev1.ProtocolTCP)}},
	}
	for _, a := range addrs {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{a.String()}, NodeName: ptr.To(nodeName), Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true)}})
	}
	return s
}

// until tries until it works: objects take a moment to become rules and records.
func until(t testing.TB, what string, try func() error) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(2 * time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// resolve asks the cluster's DNS from inside a namespace.
func resolve(in nettest.Netns, network, name string) ([]string, error) {
	m := new(dns.Msg)
	m.SetQuestion(name, dns.TypeA)
	c, err := in.Dial(net.Dialer{Timeout: time.Second}, network+"4", dnsIP+":53")
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return nil, err
	}
	conn := &dns.Conn{Conn: c}
	if err := conn.WriteMsg(m); err != nil {
		return nil, err
	}
	got, err := conn.ReadMsg()
	if err != nil {
		return nil, err
	}
	if got.Rcode != dns.RcodeSuccess {
		return nil, fmt.Errorf("%s is %s", name, dns.RcodeToString[got.Rcode])
	}
	var out []string
	for _, rr := range got.Answer {
		if a, ok := rr.(*dns.A); ok {
			out = append(out, a.A.String())
		}
	}
	return out, nil
}

func TestPodFindsAServiceByNameAndReachesAllItsPods(t *testing.T) {
	n := newNode(t)
	a, b, client := n.server(t, "a"), n.server(t, "b"), n.runtime.Pod(t, "client")
	n.cache.Put(service("web", "10.43.7.7", 30007), endpoints("web", a.Addr, b.Addr))
	for _, network := range []string{"udp", "tcp"} {
		until(t, "name by "+network, func() error {
			got, err := resolve(client.Netns, network, "web.shop.svc.cluster.local.")
			if err == nil && (len(got) != 1 || got[0] != "10.43.7.7") {
				err = fmt.Errorf("addresses %v", got)
			}
			return err
		})
	}
	ways := map[string]struct {
		ask  func(string) (string, string, error)
		addr string
	}{
		"from a pod":         {client.Ask, "10.43.7.7:80"},
		"from the node":      {nettest.AskHere, "10.43.7.7:80"},
		"from outside":       {n.outside.Ask, nodeIP + ":30007"},
		"through its own":    {a.Ask, "10.43.7.7:80"},
		"from the loopback":  {nettest.AskHere, "127.0.0.1:30007"},
		"by node port, pod":  {client.Ask, nodeIP + ":30007"},
		"by node port, node": {nettest.AskHere, nodeIP + ":30007"},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			until(t, "first", func() error {
				_, _, err := way.ask(way.addr)
				return err
			})
			reached := map[string]int{}
			for range 100 {
				who, _, err := way.ask(way.addr)
				if err != nil {
					t.Fatal(err)
				}
				reached[who]++
			}
			if reached["a"] < 20 || reached["b"] < 20 {
				t.Errorf("100 connections reached %v, want about half each", reached)
			}
		})
	}
}

func TestRollingEndpointsLoseNoConnection(t *testing.T) {
	n := newNode(t)
	a, b, client := n.server(t, "a"), n.server(t, "b"), n.runtime.Pod(t, "client")
	n.cache.Put(service("web", "10.43.7.7", 0), endpoints("web", a.Addr))
	until(t, "first", func() error {
		_, _, err := client.Ask("10.43.7.7:80")
		return err
	})
	stop, done := make(chan struct{}), make(chan error, 1)
	asked := 0
	go func() {
		done <- client.Do(func() error {
			for {
				select {
				case <-stop:
					return nil
				default:
				}
				c, err := net.DialTimeout("tcp4", "10.43.7.7:80", 5*time.Second)
				if err != nil {
					return err
				}
				if _, err := io.ReadAll(c); err != nil {
					return err
				}
				_ = c.Close()
				asked++
			}
		})
	}()
	for i := range 50 {
		n.cache.Put(endpoints("web", a.Addr, b.Addr))
		time.Sleep(5 * time.Millisecond) // pods overlap in a rolling update
		n.cache.Put(endpoints("web", []netip.Addr{a.Addr, b.Addr}[i%2]))
		time.Sleep(5 * time.Millisecond)
	}
	close(stop)
	if err := <-done; err != nil {
		t.Errorf("after %d connections: %v", asked, err)
	}
	if asked < 50 {
		t.Errorf("only %d connections in 100 changes", asked)
	}
}

// The kernel looks up how many endpoints there are and then one of them: in between
// it may have taken one away, as this does for good.
func TestAnEndpointGoesWhileItIsPicked(t *testing.T) {
	n := newNode(t)
	a, b, client := n.server(t, "a"), n.server(t, "b"), n.runtime.Pod(t, "client")
	n.cache.Put(service("web", "10.43.7.7", 0), endpoints("web", a.Addr, b.Addr))
	until(t, "both", func() error {
		reached := map[string]bool{}
		for range 40 {
			who, _, err := client.Ask("10.43.7.7:80")
			if err != nil {
				return err
			}
			reached[who] = true
		}
		if len(reached) < 2 {
			return fmt.Errorf("reached %v", reached)
		}
		return nil
	})
	takeLastEndpoint(t)
	for range 40 {
		if _, _, err := client.Ask("10.43.7.7:80"); err != nil {
			t.Fatal(err)
		}
	}
}

// takeLastEndpoint takes the second of two endpoints out of the kernel.
func takeLastEndpoint(t *testing.T) {
	t.Helper()
	conn, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	tables, err := conn.ListTablesOfFamily(nftables.TableFamilyIPv4)
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		set, err := conn.GetSetByName(table, "endpoints")
		if err != nil {
			continue
		}
		all, err := conn.GetSetElements(set)
		if err != nil {
			t.Fatal(err)
		}
		second := binary.NativeEndian.AppendUint32(nil, 1) // their numbers begin at 0
		last := slices.IndexFunc(all, func(e nftables.SetElement) bool { return bytes.HasSuffix(e.Key, second) })
		if last < 0 {
			t.Fatalf("no service has a second endpoint: %v", all)
		}
		if err := conn.SetDeleteElements(set, all[last:last+1]); err != nil {
			t.Fatal(err)
		}
		if err := conn.Flush(); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatal("no table has endpoints")
}
