package services

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
)

func loaded(t interface{ Fatal(...any) }, stored []corev1.Service, networks ...string) *Allocator {
	opts := Options{}
	for _, n := range networks {
		opts.Networks = append(opts.Networks, netip.MustParsePrefix(n))
	}
	a, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	a.Load(stored)
	return a
}

func service(change func(*corev1.ServiceSpec)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, Selector: map[string]string{"app": "web"},
			Ports: []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP}},
		},
	}
	if change != nil {
		change(&s.Spec)
	}
	return s
}

// write does what the registry does around one write.
func write(t *testing.T, a *Allocator, s, old *corev1.Service) *corev1.Service {
	t.Helper()
	finish, err := a.begin(context.Background(), s, old, false)
	if err != nil {
		t.Fatal(err)
	}
	finish(context.Background(), true)
	return s
}

func (a *Allocator) counts() string {
	n := 0
	for _, pool := range a.ips {
		n += len(pool.ranges[0].taken)
	}
	return fmt.Sprintf("%d addresses, %d ports", n, len(a.ports.taken))
}

func TestCreate(t *testing.T) {
	const v4, v6 = "10.43.0.0/16", "fd00:43::/112"
	tests := map[string]struct {
		networks []string
		change   func(*corev1.ServiceSpec)
		taken    string
		families []corev1.IPFamily
		policy   corev1.IPFamilyPolicy
	}{
		"plain": {
			networks: []string{v4}, taken: "1 addresses, 0 ports",
			families: []corev1.IPFamily{"IPv4"}, policy: "SingleStack",
		},
		"headless": {
			networks: []string{v4}, change: func(s *corev1.ServiceSpec) { s.ClusterIP = "None" },
			taken: "0 addresses, 0 ports", families: []corev1.IPFamily{"IPv4"}, policy: "SingleStack",
		},
		"headless without selector may have both families anywhere": {
			networks: []string{v4}, change: func(s *corev1.ServiceSpec) { s.ClusterIP, s.Selector = "None", nil },
			taken: "0 addresses, 0 ports", families: []corev1.IPFamily{"IPv4", "IPv6"}, policy: "RequireDualStack",
		},
		"external name": {
			networks: []string{v4}, change: func(s *corev1.ServiceSpec) { s.Type, s.ExternalName = "ExternalName", "example.com" },
			taken: "0 addresses, 0 ports",
		},
		"node port": {
			networks: []string{v4}, change: func(s *corev1.ServiceSpec) { s.Type = "NodePort" },
			taken: "1 addresses, 1 ports", families: []corev1.IPFamily{"IPv4"}, policy: "SingleStack",
		},
		"same port in two protocols shares a node port": {
			networks: []string{v4}, change: func(s *corev1.ServiceSpec) {
				s.Type = "NodePort"
				s.Ports = []corev1.ServicePort{{Name: "a", Port: 53, Protocol: "TCP"}, {Name: "b", Port: 53, Protocol: "UDP"}}
			},
			taken: "1 addresses, 1 ports", families: []corev1.IPFamily{"IPv4"}, policy: "SingleStack",
		},
		"local load balancer has a health check port": {
			networks: []string{v4}, change: func(s *corev1.ServiceSpec) { s.Type, s.ExternalTrafficPolicy = "LoadBalancer", "Local" },
			taken: "1 addresses, 2 ports", families: []corev1.IPFamily{"IPv4"}, policy: "SingleStack",
		},
		"load balancer without node ports": {
			networks: []string{v4}, change: func(s *corev1.ServiceSpec) {
				no := false
				s.Type, s.AllocateLoadBalancerNodePorts = "LoadBalancer", &no
			},
			taken: "1 addresses, 0 ports", families: []corev1.IPFamily{"IPv4"}, policy: "SingleStack",
		},
		"two families when preferred and there": {
			networks: []string{v4, v6}, change: func(s *corev1.ServiceSpec) {
				p := corev1.IPFamilyPolicyPreferDualStack
				s.IPFamilyPolicy = &p
			},
			taken: "2 addresses, 0 ports", families: []corev1.IPFamily{"IPv4", "IPv6"}, policy: "PreferDualStack",
		},
		"family follows the address": {
			networks: []string{v4, v6}, change: func(s *corev1.ServiceSpec) { s.ClusterIP = "fd00:43::10" },
			taken: "1 addresses, 0 ports", families: []corev1.IPFamily{"IPv6"}, policy: "SingleStack",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			a := loaded(t, nil, tc.networks...)
			s := write(t, a, service(tc.change), nil)
			if diff := cmp.Diff(tc.taken, a.counts()); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(tc.families, s.Spec.IPFamilies); diff != "" {
				t.Error(diff)
			}
			var policy corev1.IPFamilyPolicy
			if s.Spec.IPFamilyPolicy != nil {
				policy = *s.Spec.IPFamilyPolicy
			}
			if policy != tc.policy {
				t.Errorf("policy %q, want %q", policy, tc.policy)
			}
			if len(s.Spec.ClusterIPs) > 0 && s.Spec.ClusterIP != s.Spec.ClusterIPs[0] {
				t.Errorf("clusterIP %q, clusterIPs %q", s.Spec.ClusterIP, s.Spec.ClusterIPs)
			}
			a.release(context.Background(), held(s))
			if got := a.counts(); got != "0 addresses, 0 ports" {
				t.Errorf("after deletion: %s", got)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	tests := map[string]struct {
		change func(*corev1.ServiceSpec)
		want   string
	}{
		"outside of the network": {
			func(s *corev1.ServiceSpec) { s.ClusterIP = "10.1.0.1" },
			"failed to allocate IP 10.1.0.1: the provided IP (10.1.0.1) is not in the valid range. The range of valid IPs is 10.43.0.0/16",
		},
		"network address": {func(s *corev1.ServiceSpec) { s.ClusterIP = "10.43.0.0" }, "is not in the valid range"},
		"broadcast":       {func(s *corev1.ServiceSpec) { s.ClusterIP = "10.43.255.255" }, "is not in the valid range"},
		"taken": {
			func(s *corev1.ServiceSpec) { s.ClusterIP = "10.43.0.10" },
			"failed to allocate IP 10.43.0.10: provided IP is already allocated",
		},
		"node port taken": {
			func(s *corev1.ServiceSpec) { s.Type, s.Ports[0].NodePort = "NodePort", 30080 },
			"spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated",
		},
		"node port out of range": {
			func(s *corev1.ServiceSpec) { s.Type, s.Ports[0].NodePort = "NodePort", 80 },
			"provided port is not in the valid range. The range of valid ports is 30000-32767",
		},
		"node port twice": {
			func(s *corev1.ServiceSpec) {
				s.Type, s.Ports[0].NodePort = "NodePort", 30081
				s.Ports = append(s.Ports, corev1.ServicePort{Name: "b", Port: 81, Protocol: "TCP", NodePort: 30081})
			},
			"spec.ports[1].nodePort: Invalid value: 30081: provided port is already allocated",
		},
		"no family": {
			func(s *corev1.ServiceSpec) { s.IPFamilies = []corev1.IPFamily{"IPv5"} },
			"spec.ipFamilies[0]: Unsupported value: \"IPv5\": supported values: \"IPv4\", \"IPv6\"",
		},
		"no address": {
			func(s *corev1.ServiceSpec) { s.ClusterIP = "x" },
			"spec.clusterIPs[0]: Invalid value: \"x\": must be a valid IP address",
		},
		"family that is not there": {
			func(s *corev1.ServiceSpec) { s.IPFamilies = []corev1.IPFamily{"IPv6"} },
			"spec.ipFamilies[0]: Invalid value: \"IPv6\": not configured on this cluster",
		},
		"two families required": {
			func(s *corev1.ServiceSpec) {
				p := corev1.IPFamilyPolicyRequireDualStack
				s.IPFamilyPolicy = &p
			},
			"this cluster is not configured for dual-stack services",
		},
	}
	stored := service(func(s *corev1.ServiceSpec) {
		s.Type, s.ClusterIP, s.ClusterIPs, s.Ports[0].NodePort = "NodePort", "10.43.0.10", []string{"10.43.0.10"}, 30080
	})
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			a := loaded(t, []corev1.Service{*stored}, "10.43.0.0/16")
			_, err := a.begin(context.Background(), service(tc.change), nil, false)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			if got := a.counts(); got != "1 addresses, 1 ports" {
				t.Errorf("something stayed taken: %s", got)
			}
		})
	}
}

func TestUpdate(t *testing.T) {
	a := loaded(t, nil, "10.43.0.0/16")
	first := write(t, a, service(func(s *corev1.ServiceSpec) { s.Type = "NodePort" }), nil)

	// The same manifest applied again changes nothing.
	again := write(t, a, service(func(s *corev1.ServiceSpec) { s.Type = "NodePort" }), first)
	if diff := cmp.Diff(first.Spec, again.Spec); diff != "" {
		t.Error(diff)
	}
	// A type that needs less gives back.
	external := write(t, a, service(func(s *corev1.ServiceSpec) { s.Type = "ExternalName" }), again)
	if got := a.counts(); got != "0 addresses, 0 ports" {
		t.Errorf("external name: %s", got)
	}
	cluster := corev1.ServiceInternalTrafficPolicyCluster
	named := write(t, a, service(func(s *corev1.ServiceSpec) { s.Type, s.InternalTrafficPolicy = "ExternalName", &cluster }), external)
	if p := named.Spec.InternalTrafficPolicy; p != nil {
		t.Errorf("external name: has a policy for traffic inside: %s", *p)
	}
	back := write(t, a, service(nil), external)
	if got := a.counts(); got != "1 addresses, 0 ports" || back.Spec.ClusterIP == "" {
		t.Errorf("back again: %s, %q", got, back.Spec.ClusterIP)
	}
	// A write that fails gives back what was new and keeps what was there.
	failed := service(func(s *corev1.ServiceSpec) { s.Type = "NodePort" })
	finish, err := a.begin(context.Background(), failed, back, false)
	if err != nil {
		t.Fatal(err)
	}
	finish(context.Background(), false)
	if got := a.counts(); got != "1 addresses, 0 ports" {
		t.Errorf("failed: %s", got)
	}
	// A dry run shows values and takes none.
	dry := service(func(s *corev1.ServiceSpec) { s.Type = "NodePort" })
	if _, err := a.begin(context.Background(), dry, nil, true); err != nil {
		t.Fatal(err)
	}
	if dry.Spec.ClusterIP == "" || dry.Spec.Ports[0].NodePort == 0 {
		t.Errorf("dry run gave %+v", dry.Spec)
	}
	if got := a.counts(); got != "1 addresses, 0 ports" {
		t.Errorf("dry run: %s", got)
	}
}

func TestBands(t *testing.T) {
	a := newAddresses(netip.MustParsePrefix("10.43.0.0/24"))
	for range a.size - a.band {
		i, ok := a.next()
		if !ok || i < a.band {
			t.Fatalf("got place %d of the band while others were free", i)
		}
	}
	if i, ok := a.next(); !ok || i != 0 {
		t.Errorf("then the band in order: got %d, %v", i, ok)
	}
	for want, size := range map[uint64]uint64{0: 15, 16: 16, 256: 65534, 20: 320} {
		if got := band(size, 16, 16, 256); got != want {
			t.Errorf("band of %d: %d, want %d", size, got, want)
		}
	}
	small := newAddresses(netip.MustParsePrefix("10.43.0.0/30"))
	var got []string
	for {
		i, ok := small.next()
		if !ok {
			break
		}
		got = append(got, small.at(i).String())
	}
	slices.Sort(got)
	if diff := cmp.Diff([]string{"10.43.0.1", "10.43.0.2"}, got); diff != "" {
		t.Error(diff)
	}
}

// Whatever happens in whatever order, what is taken is exactly what the stored
// services have, and no two have the same.
func TestNothingLostOrDoubled(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := loaded(t, nil, "10.43.0.0/27", "fd00::/123")
		stored := map[string]*corev1.Service{}
		types := []corev1.ServiceType{"ClusterIP", "NodePort", "LoadBalancer", "ExternalName"}
		policies := []corev1.IPFamilyPolicy{"SingleStack", "PreferDualStack", "RequireDualStack"}
		t.Repeat(map[string]func(*rapid.T){
			"write": func(t *rapid.T) {
				name := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "name")
				s := service(func(s *corev1.ServiceSpec) {
					s.Type = rapid.SampledFrom(types).Draw(t, "type")
					if rapid.Bool().Draw(t, "policy") {
						p := rapid.SampledFrom(policies).Draw(t, "policy")
						s.IPFamilyPolicy = &p
					}
					if rapid.Bool().Draw(t, "local") {
						s.ExternalTrafficPolicy = "Local"
					}
					if rapid.Bool().Draw(t, "asks") {
						s.Ports[0].NodePort = rapid.Int32Range(30000, 30003).Draw(t, "port")
					}
				})
				s.Name = name
				finish, err := a.begin(context.Background(), s, stored[name], false)
				if err != nil {
					return
				}
				ok := rapid.Bool().Draw(t, "ok")
				finish(context.Background(), ok)
				if ok {
					stored[name] = s
				}
			},
			"delete": func(t *rapid.T) {
				name := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "name")
				if s := stored[name]; s != nil {
					a.release(context.Background(), held(s))
					delete(stored, name)
				}
			},
			"": func(t *rapid.T) {
				ips, ports := 0, 0
				seenIPs, seenPorts := map[netip.Addr]bool{}, map[int32]bool{}
				for _, s := range stored {
					h := held(s)
					for ip := range h.ips {
						ips++
						seenIPs[ip] = true
					}
					for port := range h.ports {
						ports++
						seenPorts[port] = true
					}
				}
				if len(seenIPs) != ips || len(seenPorts) != ports {
					t.Fatal("something was given twice")
				}
				if got, want := a.counts(), fmt.Sprintf("%d addresses, %d ports", ips, ports); got != want {
					t.Fatalf("taken %s, stored services have %s", got, want)
				}
			},
		})
	})
}

func TestDryRunAsksOnlyWhatOthersHave(t *testing.T) {
	stored := service(func(s *corev1.ServiceSpec) {
		s.Type, s.ClusterIP, s.ClusterIPs, s.Ports[0].NodePort = "NodePort", "10.43.0.10", []string{"10.43.0.10"}, 30080
	})
	for port, accepted := range map[int32]bool{80: true, 30081: true, 30080: false} {
		a := loaded(t, []corev1.Service{*stored}, "10.43.0.0/16")
		s := service(func(s *corev1.ServiceSpec) { s.Type, s.Ports[0].NodePort = "NodePort", port })
		if _, err := a.begin(context.Background(), s, nil, true); (err == nil) != accepted {
			t.Errorf("port %d: got %v, want accepted %v", port, err, accepted)
		}
		if got := a.counts(); got != "1 addresses, 1 ports" {
			t.Errorf("something stayed taken: %s", got)
		}
	}
}

// What a changed service has already is left to validation.
func TestChanges(t *testing.T) {
	no := false
	for name, tc := range map[string]struct {
		old, change func(*corev1.ServiceSpec)
		want        string // of the error
		ports       []int32
	}{
		"another address": {change: func(s *corev1.ServiceSpec) { s.ClusterIP, s.ClusterIPs = "10.1.0.1", []string{"10.1.0.1"} }},
		"node port twice": {change: func(s *corev1.ServiceSpec) {
			s.Ports = append(s.Ports, corev1.ServicePort{Name: "b", Port: 81, Protocol: "TCP", NodePort: 30080})
		}, want: "duplicate nodePort: {TCP 30080}"},
		"health check port": {
			old: func(s *corev1.ServiceSpec) {
				s.Type, s.ExternalTrafficPolicy, s.HealthCheckNodePort = "LoadBalancer", "Local", 30090
			},
			change: func(s *corev1.ServiceSpec) { s.HealthCheckNodePort = 80 },
			ports:  []int32{30080},
		},
		"node ports that are left out, where none are to be given": {
			change: func(s *corev1.ServiceSpec) {
				s.Type, s.AllocateLoadBalancerNodePorts, s.Ports[0].NodePort = "LoadBalancer", &no, 0
			},
			ports: []int32{0},
		},
	} {
		t.Run(name, func(t *testing.T) {
			old := service(func(s *corev1.ServiceSpec) {
				s.Type, s.ClusterIP, s.ClusterIPs, s.Ports[0].NodePort = "NodePort", "10.43.0.10", []string{"10.43.0.10"}, 30080
				s.IPFamilies = []corev1.IPFamily{"IPv4"}
				if tc.old != nil {
					tc.old(s)
				}
			})
			a := loaded(t, []corev1.Service{*old}, "10.43.0.0/16")
			s := old.DeepCopy()
			tc.change(&s.Spec)
			_, err := a.begin(context.Background(), s, old, false)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Fatalf("got %v, want %q", err, tc.want)
			}
			for i, port := range tc.ports {
				if got := s.Spec.Ports[i].NodePort; got != port {
					t.Errorf("port %d has %d, want %d", i, got, port)
				}
			}
		})
	}
}
