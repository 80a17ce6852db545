package engine

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"
)

// zoneless is an Extra that refuses nodes without a zone, and where the pod's like is.
type zoneless struct{}

func (zoneless) Refuse(n NodeView) []Refusal {
	if n.Object().Labels["zone"] == "" {
		return []Refusal{{Rule: RuleVolumeZone, Reason: "no zone", Final: true}}
	}
	for p := range n.Pods {
		if p.Labels["app"] == "x" {
			return []Refusal{{Rule: RuleVolumeSharing, Reason: "in use"}}
		}
	}
	return nil
}

// prober asks about the same pods again and again while all around them changes.
type prober struct {
	*machine
	asks []Ask
}

func newProber(t *rapid.T) *prober {
	m := &prober{machine: newMachine()}
	lax := DefaultProfile()
	lax.Name, lax.Off = "lax", map[Rule]bool{RuleNodeAffinity: true, RuleTaints: true}
	for range 4 {
		p := drawPod(t, m.next)
		m.next++
		if chance(t, 4, "features") {
			p.Spec.Containers[0].RestartPolicyRules = []corev1.ContainerRestartRule{{Action: corev1.ContainerRestartRuleActionRestartAllContainers}}
		}
		ask := m.ask(p)
		if chance(t, 4, "lax") {
			ask.Profile = lax
		}
		if chance(t, 4, "extra") {
			ask.Extras = []Extra{zoneless{}}
		}
		m.asks = append(m.asks, ask)
	}
	return m
}

func (m *prober) ableNode(t *rapid.T) {
	n := drawNode(t)
	n.Status.DeclaredFeatures = []string{"RestartAllContainersOnContainerExits"}
	m.w.nodes[n.Name] = n
	m.e.SetNode(n)
}

// fill puts a pod somewhere, whether it fits or not.
func (m *prober) fill(t *rapid.T) {
	p := drawPod(t, m.next)
	m.next++
	m.put(p, drawNode(t).Name)
}

func (m *prober) waits(t *rapid.T) {
	ask := rapid.SampledFrom(m.asks).Draw(t, "which")
	if chance(t, 3, "no more") {
		m.e.RemoveNomination(ask.Pod.UID)
		return
	}
	m.e.Nominate(ask.Pod, drawNode(t).Name)
}

func (m *prober) probe(t *rapid.T) {
	ask := rapid.SampledFrom(m.asks).Draw(t, "which")
	got, want := m.e.Explain(ask), explainOneByOne(m.e, ask)
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("explained %+v, one by one it is %+v", got, want)
	}
	if fresh := m.fresh().Explain(ask); !reflect.DeepEqual(got, fresh) {
		t.Fatalf("explained %+v, from scratch it is %+v", got, fresh)
	}
	c := m.e.class(ask)
	m.e.listen(c)
	for _, n := range m.e.slots {
		if n == nil || n.object == nil {
			continue
		}
		if got, want := shared(m.e.says(c, ask, n)), shared(m.e.refusals(c, ask, n, false)); !reflect.DeepEqual(got, want) {
			t.Fatalf("%s says %+v, asked again %+v", n.name, got, want)
		}
	}
	for _, rule := range []Rule{RuleResources, RuleVolumeZone, RuleSpread} {
		if got, want := m.e.RefusedBy(ask, rule), m.fresh().RefusedBy(ask, rule); !slices.Equal(got, want) {
			t.Fatalf("%s refuses %v, from scratch %v", rule, got, want)
		}
	}
}

// explainOneByOne asks every node, whatever is known.
func explainOneByOne(e *Engine, ask Ask) Explanation {
	out := Explanation{Of: e.known}
	nodes := slices.DeleteFunc(slices.Clone(e.slots), func(n *node) bool { return n == nil || n.object == nil })
	slices.SortFunc(nodes, func(a, b *node) int { return strings.Compare(a.name, b.name) })
	c := e.class(ask)
	for _, n := range nodes {
		refusals := shared(e.refusals(c, ask, n, false))
		if len(refusals) == 0 {
			continue
		}
		at := slices.IndexFunc(out.Findings, func(f Finding) bool { return reflect.DeepEqual(f.Refusals, refusals) })
		if at < 0 {
			at = len(out.Findings)
			out.Findings = append(out.Findings, Finding{Refusals: refusals})
		}
		f := &out.Findings[at]
		if f.Nodes++; len(f.Such) < mostNamed {
			f.Such = append(f.Such, n.name)
		}
	}
	return out
}

// Whatever happened to the cluster, what is known of nodes that refuse is what they say
// when they are asked.
func TestWhatIsKnownOfNodesIsTrue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newProber(t)
		t.Repeat(map[string]func(*rapid.T){
			"node": m.node, "able node": m.ableNode, "node goes": m.nodeGoes,
			"pod ends": m.podEnds, "pod terminates": m.podTerminates, "relabel": m.relabel,
			"namespace": m.namespaceChanges, "nominate": m.nominate, "waits": m.waits,
			"fill": m.fill, "fill more": m.fill, "probe": m.probe, "probe another": m.probe,
		})
	})
}

func TestSaysWhichNodesRefuse(t *testing.T) {
	e := New(noNamespaces)
	for _, name := range []string{"n7", "n3", "n5", "n1", "n6", "n2", "n4"} {
		e.SetNode(makeNode(name, "1", "8Gi"))
	}
	e.SetNode(makeNode("n0", "8", "8Gi", taint("t", "", corev1.TaintEffectNoSchedule)))
	ask := Ask{Pod: makePod("p", "2")}
	such := func() [][]string {
		var out [][]string
		for _, r := range e.Explain(ask).Reasons() {
			out = append(out, r.Such)
		}
		return out
	}
	for _, tt := range []struct {
		name   string
		change func()
		want   [][]string
	}{
		{"the first by name", func() {}, [][]string{{"n1", "n2", "n3", "n4", "n5"}, {"n0"}}},
		{"one of them goes", func() { e.RemoveNode("n3") }, [][]string{{"n1", "n2", "n4", "n5", "n6"}, {"n0"}}},
		{"one before them comes", func() { e.SetNode(makeNode("m", "1", "8Gi")) }, [][]string{{"m", "n1", "n2", "n4", "n5"}, {"n0"}}},
	} {
		tt.change()
		if got := such(); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %v", tt.name, got)
		}
	}
}
