package engine

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func makeNode(name, cpu, memory string, change ...func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}},
		Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{
			corev1.ResourceCPU:    resource.MustParse(cpu),
			corev1.ResourceMemory: resource.MustParse(memory),
			corev1.ResourcePods:   resource.MustParse("110"),
		}},
	}
	for _, c := range change {
		c(n)
	}
	return n
}

func label(key, value string) func(*corev1.Node) {
	return func(n *corev1.Node) { n.Labels[key] = value }
}

func taint(key, value string, effect corev1.TaintEffect) func(*corev1.Node) {
	return func(n *corev1.Node) {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Value: value, Effect: effect})
	}
}

func makePod(name, cpu string, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name), Labels: map[string]string{}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}},
	}
	if cpu != "" {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}
	}
	for _, c := range change {
		c(p)
	}
	return p
}

func podLabel(key, value string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Labels[key] = value }
}

func port(n int32) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Ports = append(p.Spec.Containers[0].Ports, corev1.ContainerPort{HostPort: n, Protocol: corev1.ProtocolTCP})
	}
}

func selector(key, value string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{key: value} }
}

func anti(key, topology string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{
			{TopologyKey: topology, LabelSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: key, Operator: metav1.LabelSelectorOpExists}}}},
		}}}
	}
}

func together(key, topology string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{
			{TopologyKey: topology, LabelSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: key, Operator: metav1.LabelSelectorOpExists}}}},
		}}}
	}
}

func spread(key, topology string, skew int32) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
			MaxSkew: skew, TopologyKey: topology, WhenUnsatisfiable: corev1.DoNotSchedule,
			LabelSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: key, Operator: metav1.LabelSelectorOpExists}}},
		}}
	}
}

func noNamespaces(string) map[string]string { return nil }

// place places and counts a pod, and returns its node or the message.
func place(e *Engine, pod *corev1.Pod) string {
	ask := Ask{Pod: pod}
	node, ok := e.Place(ask)
	if !ok {
		return e.Explain(ask).Message()
	}
	e.SetPod(pod, node)
	return node
}

func TestPlace(t *testing.T) {
	zones := []*corev1.Node{
		makeNode("a1", "4", "8Gi", label("zone", "a")), makeNode("a2", "4", "8Gi", label("zone", "a")),
		makeNode("b1", "4", "8Gi", label("zone", "b")),
	}
	for _, tt := range []struct {
		name  string
		nodes []*corev1.Node
		pods  []*corev1.Pod
		want  []string
	}{
		{"no node", nil, []*corev1.Pod{makePod("p", "1")}, []string{"no nodes available to schedule pods"}},
		{
			"emptier node first", []*corev1.Node{makeNode("n1", "4", "8Gi"), makeNode("n2", "4", "8Gi")},
			[]*corev1.Pod{makePod("p1", "1"), makePod("p2", "1"), makePod("p3", "1")},
			[]string{"n1", "n2", "n1"},
		},
		{
			"cpu runs out", []*corev1.Node{makeNode("n1", "2", "8Gi")},
			[]*corev1.Pod{makePod("p1", "1500m"), makePod("p2", "1")},
			[]string{"n1", "0/1 nodes are available: 1 Insufficient cpu."},
		},
		{
			"each node its own reason",
			[]*corev1.Node{makeNode("n1", "1", "8Gi"), makeNode("n2", "4", "8Gi", taint("gpu", "true", corev1.TaintEffectNoSchedule)), makeNode("n3", "4", "8Gi", func(n *corev1.Node) { n.Spec.Unschedulable = true })},
			[]*corev1.Pod{makePod("p", "2")},
			[]string{"0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable."},
		},
		{
			"taint tolerated", []*corev1.Node{makeNode("n1", "1", "8Gi", taint("gpu", "true", corev1.TaintEffectNoSchedule))},
			[]*corev1.Pod{makePod("p", "", func(p *corev1.Pod) {
				p.Spec.Tolerations = []corev1.Toleration{{Key: "gpu", Operator: corev1.TolerationOpExists}}
			})},
			[]string{"n1"},
		},
		{
			"node selector", zones,
			[]*corev1.Pod{makePod("p", "", selector("zone", "b")), makePod("q", "", selector("zone", "c"))},
			[]string{"b1", "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."},
		},
		{
			"host port taken", []*corev1.Node{makeNode("n1", "4", "8Gi")},
			[]*corev1.Pod{makePod("p", "", port(80)), makePod("q", "", port(80)), makePod("r", "", port(81))},
			[]string{"n1", "0/1 nodes are available: 1 node(s) didn't have free ports for the requested pod ports.", "n1"},
		},
		{
			"too many pods", []*corev1.Node{makeNode("n1", "4", "8Gi", func(n *corev1.Node) { n.Status.Allocatable[corev1.ResourcePods] = resource.MustParse("1") })},
			[]*corev1.Pod{makePod("p", ""), makePod("q", "")},
			[]string{"n1", "0/1 nodes are available: 1 Too many pods."},
		},
		{
			"anti-affinity by host", zones,
			[]*corev1.Pod{makePod("p", "", podLabel("app", "x"), anti("app", corev1.LabelHostname)), makePod("q", "", podLabel("app", "x"), anti("app", corev1.LabelHostname)), makePod("r", "", podLabel("app", "x"), anti("app", corev1.LabelHostname)), makePod("s", "", podLabel("app", "x"), anti("app", corev1.LabelHostname))},
			[]string{"a1", "a2", "b1", "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules."},
		},
		{
			"anti-affinity of a pod already there", zones,
			[]*corev1.Pod{makePod("p", "", podLabel("app", "x"), anti("app", "zone")), makePod("q", "", podLabel("app", "y")), makePod("r", "", podLabel("app", "y"), selector("zone", "a"))},
			[]string{"a1", "b1", "0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 2 node(s) didn't satisfy existing pods anti-affinity rules."},
		},
		{
			"affinity: the first pod of its own kind, then its zone", zones,
			[]*corev1.Pod{makePod("p", "3", podLabel("app", "x"), together("app", "zone")), makePod("q", "3", podLabel("app", "x"), together("app", "zone")), makePod("r", "3", podLabel("app", "x"), together("app", "zone"))},
			[]string{"a1", "a2", "0/3 nodes are available: 1 node(s) didn't match pod affinity rules, 2 Insufficient cpu."},
		},
		{
			"affinity to nothing", zones, []*corev1.Pod{makePod("p", "", together("app", "zone"))},
			[]string{"0/3 nodes are available: 3 node(s) didn't match pod affinity rules."},
		},
		{
			"spread over zones", zones,
			[]*corev1.Pod{makePod("p", "", podLabel("app", "x"), spread("app", "zone", 1)), makePod("q", "", podLabel("app", "x"), spread("app", "zone", 1)), makePod("r", "", podLabel("app", "x"), spread("app", "zone", 1), selector("zone", "b"))},
			[]string{"a1", "b1", "b1"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := New(noNamespaces)
			for _, n := range tt.nodes {
				e.SetNode(n)
			}
			var got []string
			for _, p := range tt.pods {
				got = append(got, place(e, p))
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A class that could not be placed must see the node that later could take it.
func TestFeasibleFollowsChanges(t *testing.T) {
	e := New(noNamespaces)
	e.SetNode(makeNode("n1", "1", "1Gi"))
	ask := Ask{Pod: makePod("p", "2")}
	if _, ok := e.Place(ask); ok {
		t.Fatal("placed on a node that is too small")
	}
	key := e.KeyOf(ask)
	if e.Feasible(key) {
		t.Error("feasible before anything changed")
	}
	e.SetNode(makeNode("n2", "4", "1Gi"))
	if !e.Feasible(key) {
		t.Error("not feasible after a larger node came")
	}
	e.RemoveNode("n2")
	if e.Feasible(key) {
		t.Error("feasible after that node went")
	}
}

func TestReplicasSpread(t *testing.T) {
	e := New(noNamespaces)
	for i := range 10 {
		e.SetNode(makeNode(fmt.Sprintf("n%d", i), "16", "64Gi"))
	}
	owned := func(p *corev1.Pod) {
		yes := true
		p.OwnerReferences = []metav1.OwnerReference{{UID: "rs", Controller: &yes}}
	}
	perNode := map[string]int{}
	for i := range 100 {
		perNode[place(e, makePod(fmt.Sprintf("p%d", i), "", owned))]++
	}
	for n, count := range perNode {
		if count != 10 {
			t.Errorf("node %s has %d of 100 replicas, want 10", n, count)
		}
	}
}

func BenchmarkPlace(b *testing.B) {
	for _, nodes := range []int{100, 1000, 10000} {
		b.Run(fmt.Sprintf("nodes=%d", nodes), func(b *testing.B) {
			e := New(noNamespaces)
			for i := range nodes {
				e.SetNode(makeNode(fmt.Sprintf("n%d", i), "64", "256Gi", func(n *corev1.Node) {
					n.Status.Allocatable[corev1.ResourcePods] = resource.MustParse("1000000")
				}))
			}
			pods := make([]*corev1.Pod, b.N)
			for i := range pods {
				pods[i] = makePod(fmt.Sprintf("p%d", i), "1m")
			}
			b.ResetTimer()
			for _, p := range pods {
				ask := Ask{Pod: p}
				n, ok := e.Place(ask)
				if !ok {
					b.Fatal(e.Explain(ask).Message())
				}
				e.SetPod(p, n)
			}
		})
	}
}

// A pod that asks for what nodes must declare goes only where one does.
func TestDeclaredFeatures(t *testing.T) {
	e := New(func(string) map[string]string { return nil })
	e.SetNode(makeNode("n1", "16", "64Gi"))
	p := makePod("p", "1", func(p *corev1.Pod) {
		p.Spec.Containers[0].RestartPolicyRules = []corev1.ContainerRestartRule{{Action: corev1.ContainerRestartRuleActionRestartAllContainers}}
	})
	if _, ok := e.Place(Ask{Pod: p}); ok {
		t.Fatal("placed where its feature is not declared")
	}
	want := "0/1 nodes are available: 1 node(s) didn't match Pod's required features."
	if got := e.Explain(Ask{Pod: p}).Message(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if n, _ := e.Place(Ask{Pod: makePod("q", "1")}); n != "n1" {
		t.Errorf("a pod without such a wish goes to %q", n)
	}
	changed := e.SetNode(makeNode("n1", "16", "64Gi", func(n *corev1.Node) {
		n.Status.DeclaredFeatures = []string{"RestartAllContainersOnContainerExits", "Unheard"}
	}))
	if changed&ChangesFor([]Rule{RuleFeatures}) == 0 {
		t.Errorf("change %b does not wake who waits for it", changed)
	}
	if n, _ := e.Place(Ask{Pod: p}); n != "n1" {
		t.Errorf("goes to %q though its feature is declared", n)
	}
}

// What counts is how a pod changes the balance of a node.
func TestBalance(t *testing.T) {
	e := New(func(string) map[string]string { return nil })
	use := func(name, cpu, memory string) *corev1.Pod {
		return makePod(name, "", func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
		})
	}
	e.SetNode(makeNode("n", "4", "4Gi"))
	e.SetPod(use("there", "2", "0"), "n")
	for _, tt := range []struct {
		cpu, memory string
		want        float64
	}{{"0", "2Gi", 87.5}, {"2", "0", 62.5}, {"1", "1Gi", 75}} {
		if _, got := e.slots[0].balance(e.compile(Ask{Pod: use("p", tt.cpu, tt.memory)}), nil); got != tt.want {
			t.Errorf("%s cpu, %s: got %v, want %v", tt.cpu, tt.memory, got, tt.want)
		}
	}
}
