package network

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/sinawi/sinawi/internal/podnet"
	"github.com/sinawi/sinawi/internal/podnet/ipam"
	"github.com/sinawi/sinawi/internal/podnet/nettest"
	"github.com/sinawi/sinawi/internal/proxy/apply"
	"github.com/sinawi/sinawi/internal/proxy/compile"
)

// fill gives a table's state many services with ten endpoints each.
func fill(s *compile.State, services int) {
	for i := range services {
		svc := service(fmt.Sprint("s", i), fmt.Sprintf("10.43.%d.%d", 10+i/250, i%250), 0)
		s.SetService(svc)
		s.SetSlice(endpoints(svc.Name, tenOf(i)...))
	}
}

func tenOf(service int) []netip.Addr {
	var out []netip.Addr
	for i := range 10 {
		out = append(out, netip.AddrFrom4([4]byte{10, 42, byte(10 + (service+i)%200), byte(1 + service%250)}))
	}
	return out
}

func openTable(b *testing.B) *apply.Table {
	b.Helper()
	names := podnet.NamesOf(instance)
	table, err := apply.Open(apply.Options{Table: names.ServiceTable, ClusterCIDR: clusterCIDR, ServiceCIDR: serviceCIDR, Gateway: ipam.Gateway(podCIDR), PodLinks: names.VethPrefix})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = table.Close()
		if err := apply.Purge(names.ServiceTable); err != nil {
			b.Error(err)
		}
	})
	return table
}

// BenchmarkOneChange is one endpoint replaced by another, seen, compiled and in
// the kernel; it should cost the same however many services there are.
func BenchmarkOneChange(b *testing.B) {
	for _, services := range []int{10, 1000, 10000} {
		b.Run(fmt.Sprint(services, "services"), func(b *testing.B) {
			table, s := openTable(b), compile.New(compile.Place{Node: nodeName})
			fill(s, services)
			s.Changes()
			if err := table.Sync(s.Elements()); err != nil {
				b.Fatal(err)
			}
			elements, i := 0, 0
			for b.Loop() {
				i++
				next := tenOf(5)
				next[9] = netip.AddrFrom4([4]byte{10, 42, 250, byte(i)})
				s.SetSlice(endpoints("s5", next...))
				d := s.Changes()
				elements += len(d.Add) + len(d.Delete)
				if err := table.Apply(d); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(elements)/float64(b.N), "elements/op")
		})
	}
}

// BenchmarkStart is all services set from nothing, and found as they are.
func BenchmarkStart(b *testing.B) {
	for _, services := range []int{1000, 10000} {
		s := compile.New(compile.Place{Node: nodeName})
		fill(s, services)
		s.Changes()
		all := s.Elements()
		b.Run(fmt.Sprint(services, "services/fresh"), func(b *testing.B) {
			table := openTable(b)
			for b.Loop() {
				if err := apply.Purge(podnet.NamesOf(instance).ServiceTable); err != nil {
					b.Fatal(err)
				}
				if err := table.Sync(all); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprint(services, "services/again"), func(b *testing.B) {
			table := openTable(b)
			for b.Loop() {
				if err := table.Sync(all); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkConnect is a whole connection, from the handshake to the server's
// name, straight to a pod and through a service among many.
func BenchmarkConnect(b *testing.B) {
	n := newNode(b)
	pod, client := n.server(b, "a"), n.runtime.Pod(b, "client")
	for i := range 1000 {
		name := fmt.Sprint("other", i)
		n.cache.Put(service(name, fmt.Sprintf("10.43.%d.%d", 10+i/250, i%250), 0), endpoints(name, pod.Addr))
	}
	n.cache.Put(service("web", "10.43.7.7", 0), endpoints("web", pod.Addr))
	sticky := service("sticky", "10.43.7.8", 0)
	sticky.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	n.cache.Put(sticky, endpoints("sticky", pod.Addr))
	for _, way := range []struct{ name, addr string }{{"pod", pod.Addr.String() + ":8080"}, {"service", "10.43.7.7:80"}, {"sticky", "10.43.7.8:80"}} {
		until(b, way.name, func() error {
			_, _, err := client.Ask(way.addr)
			return err
		})
		b.Run(way.name, func(b *testing.B) {
			err := client.Do(func() error {
				for b.Loop() {
					if err := connect(way.addr); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "conn/s")
		})
	}
}

func connect(addr string) error {
	c, err := net.Dial("tcp4", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	// A reset leaves no port waiting behind: there are only so many.
	if err := c.(*net.TCPConn).SetLinger(0); err != nil {
		return err
	}
	_, err = io.ReadAll(c)
	return err
}

// BenchmarkRequests is a request and its answer on an established connection.
func BenchmarkRequests(b *testing.B) {
	n := newNode(b)
	pod, client := n.runtime.Pod(b, "a"), n.runtime.Pod(b, "client")
	l := pod.Listen("0.0.0.0:8080")
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c) }()
		}
	}()
	n.cache.Put(service("web", "10.43.7.7", 0), endpoints("web", pod.Addr))
	for _, way := range []struct{ name, addr string }{{"pod", pod.Addr.String() + ":8080"}, {"service", "10.43.7.7:80"}} {
		b.Run(way.name, func(b *testing.B) {
			var c net.Conn
			until(b, way.name, func() (err error) {
				c, err = client.Dial(net.Dialer{}, "tcp4", way.addr)
				return err
			})
			defer c.Close()
			for b.Loop() {
				if _, err := nettest.AskUDP(c); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
		})
	}
}
