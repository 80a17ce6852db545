package endpointslice

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func nodeIn(zone, cpu string, ready corev1.ConditionStatus) corev1.Node {
	return corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{corev1.LabelTopologyZone: zone}},
		Status: corev1.NodeStatus{
			Allocatable: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)},
			Conditions:  []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}},
		},
	}
}

func TestShares(t *testing.T) {
	shares, why := sharesOf([]corev1.Node{nodeIn("a", "3", "True"), nodeIn("b", "1", "True"), nodeIn("c", "8", "False")})
	if why != "" || shares["a"] != 0.75 || shares["b"] != 0.25 || len(shares) != 2 {
		t.Errorf("%v, %s", shares, why)
	}
	for want, nodes := range map[string][]corev1.Node{
		"Nodes only ready in one zone":  {nodeIn("a", "3", "True"), nodeIn("b", "3", "Unknown")},
		"Insufficient Node information": {nodeIn("a", "3", "True"), nodeIn("", "3", "True")},
	} {
		if _, why := sharesOf(nodes); !strings.HasPrefix(why, want) {
			t.Errorf("%q, want %q", why, want)
		}
	}
}

// topology is a service in three zones with so many pods in each.
func topology(shares map[string]float64, pods ...int) snapshot {
	s := snapshot{service: service(), shares: shares, zones: map[string]string{}}
	s.service.Annotations = map[string]string{corev1.AnnotationTopologyMode: "Auto"}
	for i, n := range pods {
		zone := string(rune('a' + i))
		s.zones["node-"+zone] = zone
		for k := range n {
			p := pod(fmt.Sprintf("%s%d", zone, k), 80)
			p.UID, p.Spec.NodeName = types.UID(p.Name), "node-"+zone
			p.Status.PodIPs = []corev1.PodIP{{IP: fmt.Sprintf("10.0.%d.%d", i, k)}}
			s.pods = append(s.pods, p)
		}
	}
	return s
}

// zonesOf counts the endpoints by the zone they are for, and those that are for
// another zone than their own.
func zonesOf(slices []*discoveryv1.EndpointSlice) (by map[string]int, moved int) {
	by = map[string]int{}
	for _, slice := range slices {
		for _, e := range slice.Endpoints {
			if e.Hints == nil {
				by["none"]++
				continue
			}
			by[e.Hints.ForZones[0].Name]++
			if e.Hints.ForZones[0].Name != *e.Zone {
				moved++
			}
		}
	}
	return by, moved
}

func TestTopology(t *testing.T) {
	even := map[string]float64{"a": 1.0 / 3, "b": 1.0 / 3, "c": 1.0 / 3}
	for name, c := range map[string]struct {
		snapshot
		want   string
		moved  int
		reason string
	}{
		"each its own":            {topology(even, 2, 2, 2), "map[a:2 b:2 c:2]", 0, "TopologyAwareHintsEnabled"},
		"one zone has none":       {topology(even, 4, 5, 0), "map[a:3 b:3 c:3]", 3, "TopologyAwareHintsEnabled"},
		"one zone can do more":    {topology(map[string]float64{"a": 0.5, "b": 0.25, "c": 0.25}, 4, 4, 4), "map[a:6 b:3 c:3]", 2, "TopologyAwareHintsEnabled"},
		"fewer than zones":        {topology(even, 1, 1, 0), "map[none:2]", 0, "TopologyAwareHintsDisabled"},
		"not without an overload": {topology(even, 2, 1, 1), "map[none:4]", 0, "TopologyAwareHintsDisabled"},
	} {
		t.Run(name, func(t *testing.T) {
			p := decide(c.snapshot)
			by, moved := zonesOf(p.create)
			if fmt.Sprint(by) != c.want || moved != c.moved {
				t.Errorf("%v, %d moved; want %s, %d", by, moved, c.want, c.moved)
			}
			if len(p.events) != 1 || p.events[0].reason != c.reason {
				t.Errorf("events %+v", p.events)
			}
			c.slices = p.create
			again := decide(c.snapshot)
			if len(again.create)+len(again.update)+len(again.remove) != 0 {
				t.Errorf("not settled: %+v", again)
			}
			// Users hear of what fails for as long as it does.
			if told := len(again.events) == 1; told != (c.reason == "TopologyAwareHintsDisabled") {
				t.Errorf("events of the second look %+v", again.events)
			}
			delete(c.service.Annotations, corev1.AnnotationTopologyMode)
			had := len(hinted(c.snapshot, corev1.IPv4Protocol)) > 0
			if p := decide(c.snapshot); had != (len(p.events) == 1 && p.events[0].message == "Topology Aware Hints has been disabled, addressType: IPv4") {
				t.Errorf("events without hints %+v", p.events)
			}
		})
	}
}
