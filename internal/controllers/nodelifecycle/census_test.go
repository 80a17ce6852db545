package nodelifecycle

import (
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"
)

func named(name, zone string, ready corev1.ConditionStatus) *corev1.Node {
	node := nodeIn(zone, ready)
	node.Name = name
	return node
}

func TestPace(t *testing.T) {
	for _, tt := range []struct {
		name  string
		nodes map[string][2]int // ready and not, by zone
		gap   time.Duration
		ever  bool
	}{
		{"one of many", map[string][2]int{"a": {9, 1}}, between, true},
		{"the only node", map[string][2]int{"a": {0, 1}}, 0, false},
		{"a whole zone, others are well", map[string][2]int{"a": {0, 5}, "b": {5, 0}}, between, true},
		{"all zones", map[string][2]int{"a": {0, 5}, "b": {0, 5}}, 0, false},
		{"most of a small zone", map[string][2]int{"a": {2, 8}}, 0, true},
		{"most of a large zone", map[string][2]int{"a": {20, 80}}, betweenDisrupted, true},
		{"two of three", map[string][2]int{"a": {1, 2}}, between, true},
	} {
		c := newCensus()
		for zone, n := range tt.nodes {
			for i := range n[0] {
				c.note(named(fmt.Sprint(zone, "well", i), zone, corev1.ConditionTrue))
			}
			for i := range n[1] {
				c.note(named(fmt.Sprint(zone, "silent", i), zone, corev1.ConditionUnknown))
			}
		}
		one := named("asilent0", "a", corev1.ConditionUnknown)
		gap, ever, current := c.pace(one)
		if ever != tt.ever || ever && gap != tt.gap || !current {
			t.Errorf("%s: %v %v %v, want %v %v", tt.name, gap, ever, current, tt.gap, tt.ever)
		}
		for _, other := range []*corev1.Node{named("asilent0", "a", corev1.ConditionTrue), named("asilent0", "b", corev1.ConditionUnknown), named("new", "a", corev1.ConditionUnknown)} {
			if _, _, current := c.pace(other); current {
				t.Errorf("%s: %s was never counted as %s in %s", tt.name, other.Name, readiness(other), zone(other))
			}
		}
	}
}

// Nodes that are excluded from what says how a zone is do not slow the others down,
// and are themselves judged by them.
func TestExcludedNodesDoNotCount(t *testing.T) {
	c := newCensus()
	apart := func(name string, ready corev1.ConditionStatus) *corev1.Node {
		node := named(name, "a", ready)
		node.Labels[excluded] = ""
		return node
	}
	one := apart("apart0", corev1.ConditionUnknown)
	c.note(one)
	if gap, ever, _ := c.pace(one); !ever || gap != between {
		t.Errorf("none counts: %v %v", gap, ever)
	}
	for i := range 8 {
		c.note(apart(fmt.Sprint("apart", i), corev1.ConditionUnknown))
	}
	c.note(named("well", "a", corev1.ConditionTrue))
	if gap, ever, _ := c.pace(one); !ever || gap != between {
		t.Errorf("the only one that counts is well: %v %v", gap, ever)
	}
	c.note(named("well", "a", corev1.ConditionFalse))
	c.note(apart("more", corev1.ConditionTrue))
	if _, ever, _ := c.pace(one); ever {
		t.Error("the only one that counts is not well, and still pods are driven off")
	}
}

// Whoever is not ready and whose pace changed is told of, and nobody else.
func TestCensusTells(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newCensus()
		nodes := map[string]*corev1.Node{}
		type judged struct {
			gap  time.Duration
			ever bool
		}
		judge := func() map[string]judged {
			out := map[string]judged{}
			for name, node := range nodes {
				if readiness(node) != corev1.ConditionTrue {
					gap, ever, current := c.pace(node)
					if !current {
						t.Fatalf("%s is not counted as it is", name)
					}
					if !ever {
						gap = 0
					}
					out[name] = judged{gap, ever}
				}
			}
			return out
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			before := judge()
			name := fmt.Sprint("n", rapid.IntRange(0, 70).Draw(t, "node"))
			var told []string
			if rapid.IntRange(0, 4).Draw(t, "what") == 0 {
				delete(nodes, name)
				told = c.forget(name)
			} else {
				ready := rapid.SampledFrom([]corev1.ConditionStatus{corev1.ConditionTrue, corev1.ConditionFalse, corev1.ConditionUnknown}).Draw(t, "ready")
				nodes[name] = named(name, rapid.SampledFrom([]string{"a", "b"}).Draw(t, "zone"), ready)
				if rapid.IntRange(0, 9).Draw(t, "apart") == 0 {
					nodes[name].Labels[excluded] = ""
				}
				told = c.note(nodes[name])
			}
			for other, now := range judge() {
				if was, known := before[other]; known && other != name && was != now && !slices.Contains(told, other) {
					t.Fatalf("%s goes from %v to %v unnoticed when %s changes", other, was, now, name)
				}
			}
			for _, other := range told {
				if node := nodes[other]; node == nil || readiness(node) == corev1.ConditionTrue {
					t.Fatalf("told of %s, which is well or gone", other)
				}
			}
		}
		if len(c.nodes) != len(nodes) {
			t.Fatalf("%d nodes counted of %d", len(c.nodes), len(nodes))
		}
		for name := range nodes {
			c.forget(name)
		}
		if len(c.zones) != 0 || c.all != (tally{}) {
			t.Fatalf("zones %v, %+v, of no nodes", c.zones, c.all)
		}
	})
}
