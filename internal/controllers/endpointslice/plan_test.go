package endpointslice

import (
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"pgregory.net/rapid"
)

func service() *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "web", UID: "service", Labels: map[string]string{"a": "b"}},
		Spec: corev1.ServiceSpec{
			IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
			Ports:      []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromString("http")}},
		},
	}
}

// pod is ready on node "n" in zone "z" and serves http at port.
func pod(name string, port int32) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(name)},
		Spec: corev1.PodSpec{
			NodeName:   "n",
			Containers: []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: port, Protocol: corev1.ProtocolTCP}}}},
		},
		Status: corev1.PodStatus{
			PodIPs:     []corev1.PodIP{{IP: "10.0.0.1"}, {IP: "fd00::1"}},
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		},
	}
}

func TestEndpointConditions(t *testing.T) {
	now := metav1.Now()
	for _, tt := range []struct {
		name                        string
		change                      func(*corev1.Service, *corev1.Pod)
		present                     bool
		ready, serving, terminating bool
		forZone, forNode            bool
	}{
		{name: "ready", present: true, ready: true, serving: true},
		{name: "not ready", change: func(_ *corev1.Service, p *corev1.Pod) { p.Status.Conditions = nil }, present: true},
		{name: "terminating and still serving", change: func(_ *corev1.Service, p *corev1.Pod) { p.DeletionTimestamp = &now },
			present: true, serving: true, terminating: true},
		{name: "not ready but published", change: func(s *corev1.Service, p *corev1.Pod) {
			s.Spec.PublishNotReadyAddresses = true
			p.Status.Conditions = nil
		}, present: true, ready: true},
		{name: "ended", change: func(_ *corev1.Service, p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }},
		{name: "without address", change: func(_ *corev1.Service, p *corev1.Pod) { p.Status.PodIPs = nil }},
		{name: "on a node that is gone", change: func(_ *corev1.Service, p *corev1.Pod) { p.Spec.NodeName = "gone" }},
		{name: "close by", change: func(s *corev1.Service, _ *corev1.Pod) {
			wish := corev1.ServiceTrafficDistributionPreferSameZone
			s.Spec.TrafficDistribution = &wish
		}, present: true, ready: true, serving: true, forZone: true},
		{name: "on the same node", change: func(s *corev1.Service, _ *corev1.Pod) {
			wish := corev1.ServiceTrafficDistributionPreferSameNode
			s.Spec.TrafficDistribution = &wish
		}, present: true, ready: true, serving: true, forZone: true, forNode: true},
	} {
		s, p := service(), pod("p", 8080)
		if tt.change != nil {
			tt.change(s, p)
		}
		plan := decide(snapshot{service: s, pods: []*corev1.Pod{p}, zones: map[string]string{"n": "z"}})
		if len(plan.create) != 1 {
			t.Fatalf("%s: %d slices, want 1, with or without endpoints", tt.name, len(plan.create))
		}
		endpoints := plan.create[0].Endpoints
		if (len(endpoints) == 1) != tt.present {
			t.Errorf("%s: endpoints %+v", tt.name, endpoints)
			continue
		}
		if !tt.present {
			continue
		}
		e := endpoints[0]
		got := []bool{*e.Conditions.Ready, *e.Conditions.Serving, *e.Conditions.Terminating,
			e.Hints != nil && len(e.Hints.ForZones) == 1, e.Hints != nil && len(e.Hints.ForNodes) == 1}
		want := []bool{tt.ready, tt.serving, tt.terminating, tt.forZone, tt.forNode}
		if !slices.Equal(got, want) {
			t.Errorf("%s: ready, serving, terminating, for zone, for node: %v, want %v", tt.name, got, want)
		}
	}
}

func TestSlicesByPortAndFamily(t *testing.T) {
	s := service()
	s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
	p := decide(snapshot{service: s, pods: []*corev1.Pod{pod("a", 80), pod("b", 81), pod("c", 80)}, zones: map[string]string{"n": ""}})
	var got []string
	for _, slice := range p.create {
		got = append(got, fmt.Sprintf("%s %d %d", slice.AddressType, *slice.Ports[0].Port, len(slice.Endpoints)))
	}
	slices.Sort(got)
	if want := []string{"IPv4 80 2", "IPv4 81 1", "IPv6 80 2", "IPv6 81 1"}; !slices.Equal(got, want) {
		t.Errorf("slices %v, want %v", got, want)
	}
	labels := p.create[0].Labels
	if labels["a"] != "b" || labels[discoveryv1.LabelServiceName] != "web" || labels[discoveryv1.LabelManagedBy] != manager {
		t.Errorf("labels %v", labels)
	}
}

// TestSlicesAreKeptWhilePortsChange: a slice of no use becomes one of use.
func TestSlicesAreKeptWhilePortsChange(t *testing.T) {
	s := service()
	empty := decide(snapshot{service: s}).create
	empty[0].Name = "web-1"
	p := decide(snapshot{service: s, pods: []*corev1.Pod{pod("a", 80)}, zones: map[string]string{"n": ""}, slices: empty})
	if len(p.create)+len(p.remove) > 0 || len(p.update) != 1 || p.update[0].Name != "web-1" || len(p.update[0].Endpoints) != 1 || *p.update[0].Ports[0].Port != 80 {
		t.Errorf("create %d, remove %d, update %+v", len(p.create), len(p.remove), p.update)
	}
	empty[0].OwnerReferences[0].UID = "a service before"
	p = decide(snapshot{service: s, pods: []*corev1.Pod{pod("a", 80)}, zones: map[string]string{"n": ""}, slices: empty})
	if len(p.create) != 1 || len(p.remove) != 1 {
		t.Errorf("another's slice: create %d, remove %d", len(p.create), len(p.remove))
	}
}

func TestPodsOnNoNodeAreTold(t *testing.T) {
	p := decide(snapshot{service: service(), pods: []*corev1.Pod{pod("a", 80), pod("b", 80)}})
	want := event{corev1.EventTypeWarning, "FailedToUpdateEndpointSlices",
		"Error updating Endpoint Slices for Service ns/web: [skipping Pod a for Service ns/web: Node n Not Found, skipping Pod b for Service ns/web: Node n Not Found]"}
	if len(p.events) != 1 || p.events[0] != want {
		t.Errorf("%+v", p.events)
	}
}

func TestOneChangeTouchesOneSlice(t *testing.T) {
	var pods []*corev1.Pod
	for i := range 250 {
		pods = append(pods, pod(fmt.Sprintf("p%03d", i), 80))
	}
	snap := world{snapshot: snapshot{service: service(), pods: pods, zones: map[string]string{"n": ""}}}
	apply(&snap, decide(snap.snapshot))
	if len(snap.slices) != 3 {
		t.Fatalf("%d slices for 250 endpoints, want 3", len(snap.slices))
	}
	pods[7].Status.Conditions = nil
	if p := decide(snap.snapshot); len(p.update) != 1 || len(p.create)+len(p.remove) != 0 {
		t.Errorf("one pod that is not ready: %d updates, %d creations, %d removals", len(p.update), len(p.create), len(p.remove))
	}
	apply(&snap, decide(snap.snapshot))
	if p := decide(snap.snapshot); len(p.update)+len(p.create)+len(p.remove) != 0 {
		t.Errorf("nothing changed, but %+v", p)
	}
}

// world is a snapshot to which plans are applied.
type world struct {
	snapshot
	made int
}

func apply(s *world, p plan) {
	for _, slice := range p.create {
		s.made++
		slice.Name = fmt.Sprintf("slice-%d", s.made)
		s.slices = append(s.slices, slice)
	}
	for _, next := range p.update {
		for i := range s.slices {
			if s.slices[i].Name == next.Name {
				s.slices[i] = next
			}
		}
	}
	for _, gone := range p.remove {
		s.slices = slices.DeleteFunc(s.slices, func(x *discoveryv1.EndpointSlice) bool { return x.Name == gone.Name })
	}
}

// TestSlicesShowThePods changes pods at random: after each step the slices hold
// every pod once, none is too full, and a second look changes nothing.
func TestSlicesShowThePods(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		snap := world{snapshot: snapshot{service: service(), zones: map[string]string{"n": ""}}}
		next := 0
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			for range rapid.IntRange(0, 150).Draw(t, "more") {
				next++
				snap.pods = append(snap.pods, pod(fmt.Sprintf("p%d", next), int32(80+rapid.IntRange(0, 1).Draw(t, "port"))))
			}
			keep := rapid.IntRange(0, len(snap.pods)).Draw(t, "keep")
			snap.pods = snap.pods[len(snap.pods)-keep:]
			apply(&snap, decide(snap.snapshot))
			shown := map[types.UID]bool{}
			for _, slice := range snap.slices {
				if len(slice.Endpoints) > full {
					t.Fatalf("a slice of %d", len(slice.Endpoints))
				}
				for _, e := range slice.Endpoints {
					if shown[e.TargetRef.UID] {
						t.Fatalf("%s is shown twice", e.TargetRef.Name)
					}
					shown[e.TargetRef.UID] = true
				}
			}
			if len(shown) != len(snap.pods) {
				t.Fatalf("%d endpoints of %d pods", len(shown), len(snap.pods))
			}
			if len(snap.slices) == 0 {
				t.Fatal("no slice is left to say that there is nothing")
			}
			if p := decide(snap.snapshot); len(p.update)+len(p.create)+len(p.remove) != 0 {
				t.Fatalf("a second look: %d updates, %d creations, %d removals", len(p.update), len(p.create), len(p.remove))
			}
		}
	})
}
