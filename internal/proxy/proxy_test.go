package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/sinawi/sinawi/internal/client/clienttest"
	"github.com/sinawi/sinawi/internal/podnet"
	"github.com/sinawi/sinawi/internal/podnet/cni"
	"github.com/sinawi/sinawi/internal/podnet/nettest"
)

func TestMain(m *testing.M) {
	if os.Getenv("CNI_COMMAND") != "" {
		cni.Main()
		return
	}
	nettest.Main(m)
}

const nodeName = "n1"

// rig is a node with a pod network, a proxy and a host outside.
type rig struct {
	t       *testing.T
	o       Options
	cache   *clienttest.Cache
	runtime nettest.Runtime
	outside nettest.Netns
	proxy   *Proxy
	stop    func()
}

// newRig makes a node; tests of one process tell theirs apart by number.
func newRig(t *testing.T, number int, redirects ...Redirect) *rig {
	t.Helper()
	nettest.Node(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, cache: clienttest.New(t), o: Options{
		Instance: fmt.Sprintf("sinawi-b000%02x", number), NodeName: nodeName,
		PodCIDR:     netip.MustParsePrefix(fmt.Sprintf("10.42.%d.0/24", number)),
		ClusterCIDR: netip.MustParsePrefix("10.42.0.0/16"), ServiceCIDR: netip.MustParsePrefix("10.43.0.0/16"),
		Redirects: redirects, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}}
	dir := t.TempDir()
	network := podnet.Options{
		Instance: r.o.Instance, PodCIDR: r.o.PodCIDR, ClusterCIDR: r.o.ClusterCIDR, ServiceCIDR: r.o.ServiceCIDR, CNIConfDir: filepath.Join(dir, "net.d"),
		CNIBinDir: filepath.Join(dir, "bin"), Plugin: self, StateDir: filepath.Join(dir, "leases"),
	}
	if err := podnet.Setup(context.Background(), network); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for range 2 {
			if err := Purge(r.o.Instance); err != nil {
				t.Error(err)
			}
		}
		if err := podnet.Teardown(context.Background(), network); err != nil {
			t.Error(err)
		}
	})
	r.runtime = nettest.LoadRuntime(t, network.CNIConfDir, network.CNIBinDir)
	r.outside = nettest.Outside(t, fmt.Sprint("up", number), "192.0.2.1", "192.0.2.2")
	t.Cleanup(func() { r.stop() })
	r.start()
	r.until("the table", func(name string) (string, string, error) {
		c, err := nftables.New()
		if err != nil {
			return "", "", err
		}
		_, err = c.ListTableOfFamily(name, nftables.TableFamilyIPv4)
		return "", "", err
	}, r.o.Instance, func(_, _ string, err error) bool { return err == nil })
	return r
}

// start runs the proxy until stop.
func (r *rig) start() {
	ctx, cancel := context.WithCancel(context.Background())
	p, err := New(r.cache, r.o)
	if err != nil {
		r.t.Fatal(err)
	}
	r.proxy = p
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	r.stop = func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("run: %v", err)
		}
		r.stop = func() {}
	}
}

// server is a pod that answers on 8080 by TCP and UDP with its name.
func (r *rig) server(name string) *nettest.Pod {
	p := r.runtime.Pod(r.t, name)
	go nettest.ServeName(p.Listen("0.0.0.0:8080"), name)
	go nettest.EchoName(p.ListenPacket("0.0.0.0:8080"), name)
	return p
}

func service(name, ip string, change ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Spec: corev1.ServiceSpec{
		ClusterIP: ip, ClusterIPs: []string{ip}, Ports: []corev1.ServicePort{
			{Name: "tcp", Port: 80, Protocol: corev1.ProtocolTCP}, {Name: "udp", Port: 80, Protocol: corev1.ProtocolUDP}},
	}}
	for _, f := range change {
		f(s)
	}
	return s
}

func nodePort(port int32) func(*corev1.Service) {
	return func(s *corev1.Service) {
		s.Spec.Type, s.Spec.Ports[0].NodePort = corev1.ServiceTypeNodePort, port
	}
}

func sticky(s *corev1.Service) { s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP }

// endpoints of a service; an address that is no pod's is on another node.
func endpoints(service string, pods ...any) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "ns", Name: service + "-1", Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports: []discoveryv1.EndpointPort{
			{Name: ptr.To("tcp"), Port: ptr.To[int32](8080), Protocol: ptr.To(corev1.ProtocolTCP)},
			{Name: ptr.To("udp"), Port: ptr.To[int32](8080), Protocol: ptr.To(corev1.ProtocolUDP)}},
	}
	for _, p := range pods {
		e := discoveryv1.Endpoint{NodeName: ptr.To("n2")}
		switch p := p.(type) {
		case *nettest.Pod:
			e.Addresses, e.NodeName = []string{p.Addr.String()}, ptr.To(nodeName)
		case string:
			e.Addresses = []string{p}
		}
		s.Endpoints = append(s.Endpoints, e)
	}
	return s
}

type asker func(string) (name, seen string, err error)

// until asks until the answer is as wanted: what was put in the cache takes a
// moment to become rules.
func (r *rig) until(what string, ask asker, addr string, ok func(name, seen string, err error) bool) {
	r.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		name, seen, err := ask(addr)
		if ok(name, seen, err) {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("%s: %s answers %q seeing %q, %v", what, addr, name, seen, err)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func from(wantName, wantSeen string) func(name, seen string, err error) bool {
	return func(name, seen string, err error) bool {
		return err == nil && name == wantName && (wantSeen == "" || seen == wantSeen)
	}
}

func refused(_, _ string, err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

func TestClusterIP(t *testing.T) {
	r := newRig(t, 1)
	a, b, client := r.server("a"), r.server("b"), r.runtime.Pod(t, "client")
	r.cache.Put(service("s", "10.43.0.80"))
	r.until("without endpoints, from a pod", client.Ask, "10.43.0.80:80", refused)
	r.until("without endpoints, from the node", nettest.AskHere, "10.43.0.80:80", refused)
	r.until("no service at all", client.Ask, "10.43.0.81:80", refused)
	r.cache.Put(endpoints("s", a))
	r.until("from a pod", client.Ask, "10.43.0.80:80", from("a", client.Addr.String()))
	r.until("from the node", nettest.AskHere, "10.43.0.80:80", from("a", ""))
	r.until("from the endpoint itself", a.Ask, "10.43.0.80:80", from("a", r.gateway()))
	r.until("another port", client.Ask, "10.43.0.80:81", refused)

	r.cache.Put(endpoints("s", a, b))
	seen := map[string]int{}
	r.until("the second endpoint", client.Ask, "10.43.0.80:80", from("b", client.Addr.String()))
	const asks = 300
	for range asks {
		name, _, err := client.Ask("10.43.0.80:80")
		if err != nil {
			t.Fatal(err)
		}
		seen[name]++
	}
	if seen["a"] < asks/4 || seen["b"] < asks/4 {
		t.Errorf("%d connections went to %v, want about half each", asks, seen)
	}
	r.cache.Delete(service("s", "10.43.0.80"))
	r.until("after the service is gone", client.Ask, "10.43.0.80:80", refused)
}

func (r *rig) gateway() string { return r.o.PodCIDR.Addr().Next().String() }

func TestEstablishedConnectionsOutliveTheirEndpointsLeaving(t *testing.T) {
	r := newRig(t, 2)
	a, b, client := r.runtime.Pod(t, "a"), r.server("b"), r.runtime.Pod(t, "client")
	l := a.Listen("0.0.0.0:8080")
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c) }()
		}
	}()
	r.cache.Put(service("s", "10.43.0.80"), endpoints("s", a))
	var c net.Conn
	r.until("first", func(addr string) (string, string, error) {
		var err error
		c, err = client.Dial(net.Dialer{Timeout: time.Second}, "tcp4", addr)
		return "", "", err
	}, "10.43.0.80:80", func(_, _ string, err error) bool { return err == nil })
	defer c.Close()
	r.cache.Put(endpoints("s", b))
	r.until("new connections", client.AskBriefly, "10.43.0.80:80", from("b", ""))
	for range 3 {
		if name, err := nettest.AskUDP(c); err != nil || name != "?" {
			t.Fatalf("connection to an endpoint that left: %q %v", name, err)
		}
	}
}

func TestDatagramsFollowTheEndpoints(t *testing.T) {
	r := newRig(t, 3)
	a, b, client := r.server("a"), r.server("b"), r.runtime.Pod(t, "client")
	c, err := client.Dial(net.Dialer{}, "udp4", "10.43.0.80:80")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ask := func(string) (string, string, error) {
		name, err := nettest.AskUDPBriefly(c) // the kernel refuses so often only
		return name, "", err
	}
	r.cache.Put(service("s", "10.43.0.80"), endpoints("s", a))
	r.until("first", ask, "", from("a", ""))
	r.cache.Put(endpoints("s", b))
	r.until("one socket, another endpoint", ask, "", from("b", ""))
	r.cache.Put(endpoints("s"))
	r.until("no endpoint", ask, "", refused)
	r.cache.Put(endpoints("s", a))
	r.until("again one", ask, "", from("a", ""))
}

func TestNodePort(t *testing.T) {
	r := newRig(t, 4)
	a, b, client := r.server("a"), r.server("b"), r.runtime.Pod(t, "client")
	r.cache.Put(service("s", "10.43.0.80", nodePort(30080)))
	r.until("without endpoints", r.outside.Ask, "192.0.2.1:30080", refused)
	r.cache.Put(endpoints("s", a))
	r.until("from outside", r.outside.Ask, "192.0.2.1:30080", from("a", r.gateway()))
	r.until("from the node", nettest.AskHere, "192.0.2.1:30080", from("a", ""))
	r.until("from the node's loopback", nettest.AskHere, "127.0.0.1:30080", from("a", ""))
	r.until("from a pod", client.Ask, "192.0.2.1:30080", from("a", ""))
	r.until("from the endpoint itself", a.Ask, "192.0.2.1:30080", from("a", ""))

	local := func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal }
	r.cache.Put(service("s", "10.43.0.80", nodePort(30080), local), endpoints("s", b))
	r.until("kept on the node, source kept", r.outside.Ask, "192.0.2.1:30080", from("b", "192.0.2.2"))
	r.cache.Put(endpoints("s", "10.42.200.1"))
	r.until("kept on the node without endpoints", r.outside.AskBriefly, "192.0.2.1:30080", func(_, _ string, err error) bool {
		var timeout net.Error
		return errors.As(err, &timeout) && timeout.Timeout()
	})
}

func TestExternalAddressesAndSourceRanges(t *testing.T) {
	r := newRig(t, 5)
	a := r.server("a")
	balanced := func(ranges ...string) func(*corev1.Service) {
		return func(s *corev1.Service) {
			s.Spec.Type, s.Spec.ExternalIPs, s.Spec.LoadBalancerSourceRanges = corev1.ServiceTypeLoadBalancer, []string{"198.51.100.1"}, ranges
			s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "198.51.100.2"}}
		}
	}
	r.cache.Put(service("s", "10.43.0.80", balanced()), endpoints("s", a))
	r.until("external address", r.outside.Ask, "198.51.100.1:80", from("a", r.gateway()))
	r.until("load balancer's address", r.outside.Ask, "198.51.100.2:80", from("a", r.gateway()))
	r.cache.Put(service("s", "10.43.0.80", balanced("192.0.2.0/31", "203.0.113.0/24")))
	silent := func(_, _ string, err error) bool {
		var timeout net.Error
		return errors.As(err, &timeout) && timeout.Timeout()
	}
	r.until("from a source that is not allowed", r.outside.AskBriefly, "198.51.100.2:80", silent)
	r.until("external address is not guarded", r.outside.Ask, "198.51.100.1:80", from("a", ""))
	r.cache.Put(service("s", "10.43.0.80", balanced("192.0.2.0/24")))
	r.until("from a source that is allowed", r.outside.Ask, "198.51.100.2:80", from("a", ""))
}

func TestClientsStayWithTheirEndpoint(t *testing.T) {
	r := newRig(t, 6)
	pods := []any{r.server("a"), r.server("b"), r.server("c")}
	client := r.runtime.Pod(t, "client")
	r.cache.Put(service("s", "10.43.0.80", sticky, nodePort(30081)), endpoints("s", pods...))
	r.until("first", client.Ask, "10.43.0.80:80", func(_, _ string, err error) bool { return err == nil })
	stays := func(ask asker, addrs ...string) string {
		t.Helper()
		first, _, err := ask(addrs[0])
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			for _, addr := range addrs {
				if name, _, err := ask(addr); err != nil || name != first {
					t.Fatalf("client of %s is led to %s (%v) at %s", first, name, err, addr)
				}
			}
		}
		return first
	}
	first := stays(client.Ask, "10.43.0.80:80", "192.0.2.1:30081")
	stays(r.outside.Ask, "192.0.2.1:30081")

	// A restart of the proxy forgets no client.
	r.stop()
	r.start()
	r.cache.Put(service("other", "10.43.0.90"), endpoints("other", pods[0]))
	r.until("a service of the new proxy", client.Ask, "10.43.0.90:80", from("a", ""))
	if again := stays(client.Ask, "10.43.0.80:80"); again != first {
		t.Errorf("after a restart the client of %s is led to %s", first, again)
	}
	// Without its endpoint a client gets another one, and keeps that.
	var rest []any
	for _, p := range pods {
		if p.(*nettest.Pod).ID != first {
			rest = append(rest, p)
		}
	}
	r.cache.Put(endpoints("s", rest...))
	r.until("another endpoint", client.Ask, "10.43.0.80:80", func(name, _ string, err error) bool { return err == nil && name != first })
	second := stays(client.Ask, "10.43.0.80:80")
	r.cache.Put(endpoints("s", pods...))
	r.cache.Put(service("late", "10.43.0.91"), endpoints("late", pods[0]))
	r.until("a later change", client.Ask, "10.43.0.91:80", from("a", ""))
	if again := stays(client.Ask, "10.43.0.80:80"); again != second {
		t.Errorf("when its first endpoint came back, the client of %s went to %s", second, again)
	}
}

func TestServicesGoOnWithoutTheProxyAndStaleOnesGoWhenItStarts(t *testing.T) {
	r := newRig(t, 7)
	a, b, client := r.server("a"), r.server("b"), r.runtime.Pod(t, "client")
	r.cache.Put(service("stays", "10.43.0.80"), endpoints("stays", a), service("goes", "10.43.0.81", nodePort(30082)), endpoints("goes", a))
	r.until("before", client.Ask, "10.43.0.81:80", from("a", ""))
	r.until("before", client.Ask, "10.43.0.80:80", from("a", ""))
	r.stop()
	name, _, err := client.Ask("10.43.0.80:80")
	if err != nil || name != "a" {
		t.Fatalf("without the proxy: %s %v", name, err)
	}
	r.cache.Delete(service("goes", "10.43.0.81"))
	r.cache.Put(endpoints("stays", a, b))
	r.start()
	r.until("a service that went meanwhile", client.Ask, "10.43.0.81:80", refused)
	r.until("its node port", r.outside.Ask, "192.0.2.1:30082", refused)
	r.until("an endpoint that came meanwhile", client.Ask, "10.43.0.80:80", from("b", ""))
}

func TestDamagedTableIsMended(t *testing.T) {
	r := newRig(t, 8)
	a, client := r.server("a"), r.runtime.Pod(t, "client")
	r.cache.Put(service("s", "10.43.0.80"), endpoints("s", a))
	r.until("before", client.Ask, "10.43.0.80:80", from("a", ""))
	if err := Purge(r.o.Instance); err != nil {
		t.Fatal(err)
	}
	r.cache.Put(service("other", "10.43.0.81"), endpoints("other", a))
	r.until("the service that changed", client.Ask, "10.43.0.81:80", from("a", ""))
	r.until("the other", client.Ask, "10.43.0.80:80", from("a", ""))
	// A table of another build with the same names in it is replaced.
	r.stop()
	if err := Purge(r.o.Instance); err != nil {
		t.Fatal(err)
	}
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: r.o.Instance})
	if err := c.AddSet(&nftables.Set{Table: table, Name: "services", KeyType: nftables.TypeEtherAddr}, nil); err != nil {
		t.Fatal(err)
	}
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	r.start()
	r.until("after an older build", client.Ask, "10.43.0.80:80", from("a", ""))
}

func TestDrainedWaitsForTheEndpointToLeave(t *testing.T) {
	r := newRig(t, 11)
	a, b, client := r.server("a"), r.server("b"), r.runtime.Pod(t, "client")
	r.cache.Put(service("s", "10.43.0.80"), endpoints("s", a, b))
	r.until("before", client.Ask, "10.43.0.80:80", from("a", ""))
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := r.proxy.Drained(ctx, a.Addr); err == nil {
		t.Error("drained while the service leads to the pod")
	}
	if err := r.proxy.Drained(context.Background(), client.Addr); err != nil {
		t.Errorf("an address of no service: %v", err)
	}
	done := make(chan error, 1)
	go func() { done <- r.proxy.Drained(context.Background(), a.Addr) }()
	r.cache.Put(endpoints("s", b))
	if err := <-done; err != nil {
		t.Error(err)
	}
	for range 50 {
		if name, _, err := client.Ask("10.43.0.80:80"); err != nil || name != "b" {
			t.Fatalf("after it was drained: %s %v", name, err)
		}
	}
	// The last endpoint stays while it leaves: there is no better one.
	last := endpoints("s", b)
	last.Endpoints[0].Conditions = discoveryv1.EndpointConditions{Ready: ptr.To(false), Serving: ptr.To(true), Terminating: ptr.To(true)}
	r.cache.Put(last)
	if err := r.proxy.Drained(context.Background(), b.Addr); err != nil {
		t.Error(err)
	}
	r.until("the last", client.Ask, "10.43.0.80:80", from("b", ""))
}

func TestRedirect(t *testing.T) {
	r := newRig(t, 9, Redirect{From: netip.MustParseAddrPort("10.43.0.10:80"), Protocol: corev1.ProtocolTCP, To: netip.MustParseAddrPort("10.42.9.1:18053")})
	client := r.runtime.Pod(t, "client")
	l, err := net.Listen("tcp4", "10.42.9.1:18053")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go nettest.ServeName(l, "own")
	r.until("from a pod", client.Ask, "10.43.0.10:80", from("own", client.Addr.String()))
	r.until("from the node", nettest.AskHere, "10.43.0.10:80", from("own", ""))
}

func TestHealthChecksOfLoadBalancers(t *testing.T) {
	r := newRig(t, 10)
	a := r.server("a")
	r.cache.Put(service("s", "10.43.0.80", func(s *corev1.Service) {
		s.Spec.Type, s.Spec.ExternalTrafficPolicy, s.Spec.HealthCheckNodePort = corev1.ServiceTypeLoadBalancer, corev1.ServiceExternalTrafficPolicyLocal, 31000
	}), endpoints("s", a))
	get := func(addr string) (string, string, error) {
		resp, err := http.Get("http://" + addr + "/healthz")
		if err != nil {
			return "", "", err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return resp.Status, strings.TrimSpace(string(body)), err
	}
	r.until("one endpoint", get, "127.0.0.1:31000", from("200 OK", `{"localEndpoints":1,"service":{"name":"s","namespace":"ns"},"serviceProxyHealthy":true}`))
	r.cache.Put(endpoints("s", "10.42.200.1"))
	r.until("none here", get, "127.0.0.1:31000", from("503 Service Unavailable", ""))
	r.cache.Delete(service("s", "10.43.0.80"))
	r.until("no service", get, "127.0.0.1:31000", refused)
}
