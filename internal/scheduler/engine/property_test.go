package engine

import (
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
)

func chance(t *rapid.T, oneIn int, what string) bool {
	return rapid.IntRange(1, oneIn).Draw(t, what) == 1
}

func drawNode(t *rapid.T) *corev1.Node {
	n := makeNode(fmt.Sprintf("n%d", rapid.IntRange(0, 5).Draw(t, "node")), fmt.Sprint(rapid.IntRange(1, 4).Draw(t, "cpu")), "8Gi")
	if !chance(t, 6, "no zone") {
		label("zone", rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "zone"))(n)
	}
	if chance(t, 12, "shared hostname") {
		label(corev1.LabelHostname, "shared")(n)
	}
	if chance(t, 12, "no hostname") {
		delete(n.Labels, corev1.LabelHostname)
	}
	if chance(t, 4, "tainted") {
		taint("t", "", rapid.SampledFrom([]corev1.TaintEffect{corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute}).Draw(t, "effect"))(n)
	}
	if chance(t, 3, "gpus") {
		n.Status.Allocatable["example.com/gpu"] = resource.MustParse("2")
	}
	n.Status.Allocatable[corev1.ResourcePods] = *resource.NewQuantity(int64(rapid.IntRange(2, 6).Draw(t, "pods")), resource.DecimalSI)
	n.Spec.Unschedulable = chance(t, 8, "cordoned")
	if chance(t, 3, "images") {
		n.Status.Images = []corev1.ContainerImage{{Names: []string{"c:1"}, SizeBytes: 500 << 20}}
	}
	return n
}

var apps = []string{"x", "y"}

func drawSelector(t *rapid.T) *metav1.LabelSelector {
	switch rapid.IntRange(0, 5).Draw(t, "selector") {
	case 0:
		return &metav1.LabelSelector{}
	case 1:
		return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"x"}}}}
	case 2:
		return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: metav1.LabelSelectorOpExists}}}
	}
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": rapid.SampledFrom(apps).Draw(t, "selected")}}
}

func drawKey(t *rapid.T) string {
	return rapid.SampledFrom([]string{"zone", corev1.LabelHostname}).Draw(t, "topology")
}

func drawTerm(t *rapid.T) corev1.PodAffinityTerm {
	out := corev1.PodAffinityTerm{TopologyKey: drawKey(t), LabelSelector: drawSelector(t)}
	switch rapid.IntRange(0, 7).Draw(t, "namespaces") {
	case 0:
		out.Namespaces = []string{"other"}
	case 1:
		out.NamespaceSelector = &metav1.LabelSelector{}
	case 2:
		out.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "b"}}
	case 3:
		out.MatchLabelKeys = []string{"rev"}
	case 4:
		out.MismatchLabelKeys = []string{"rev"}
	}
	return out
}

func drawSpread(t *rapid.T, p *corev1.Pod) {
	policies := []corev1.NodeInclusionPolicy{corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore}
	for range rapid.IntRange(1, 2).Draw(t, "constraints") {
		c := corev1.TopologySpreadConstraint{
			MaxSkew: int32(rapid.IntRange(1, 2).Draw(t, "skew")), TopologyKey: drawKey(t), LabelSelector: drawSelector(t),
			WhenUnsatisfiable: rapid.SampledFrom([]corev1.UnsatisfiableConstraintAction{corev1.DoNotSchedule, corev1.DoNotSchedule, corev1.ScheduleAnyway}).Draw(t, "action"),
		}
		if c.WhenUnsatisfiable == corev1.DoNotSchedule && chance(t, 3, "minDomains") {
			m := int32(rapid.IntRange(1, 4).Draw(t, "domains"))
			c.MinDomains = &m
		}
		if chance(t, 3, "affinity policy") {
			v := rapid.SampledFrom(policies).Draw(t, "affinity policy")
			c.NodeAffinityPolicy = &v
		}
		if chance(t, 3, "taints policy") {
			v := rapid.SampledFrom(policies).Draw(t, "taints policy")
			c.NodeTaintsPolicy = &v
		}
		if chance(t, 4, "matchLabelKeys") {
			c.MatchLabelKeys = []string{"rev"}
		}
		p.Spec.TopologySpreadConstraints = append(p.Spec.TopologySpreadConstraints, c)
	}
}

func drawPod(t *rapid.T, i int) *corev1.Pod {
	p := makePod(fmt.Sprintf("p%d", i), rapid.SampledFrom([]string{"", "500m", "1", "2"}).Draw(t, "request"))
	p.Spec.Containers[0].Image = "c:1"
	p.Namespace = rapid.SampledFrom([]string{"default", "default", "other"}).Draw(t, "namespace")
	if !chance(t, 5, "no app") {
		p.Labels["app"] = rapid.SampledFrom(apps).Draw(t, "app")
	}
	if chance(t, 3, "revision") {
		p.Labels["rev"] = rapid.SampledFrom([]string{"1", "2"}).Draw(t, "rev")
	}
	if chance(t, 5, "gpu") {
		if p.Spec.Containers[0].Resources.Requests == nil {
			p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{}
		}
		p.Spec.Containers[0].Resources.Requests["example.com/gpu"] = resource.MustParse("1")
	}
	if chance(t, 4, "selects") {
		selector("zone", rapid.SampledFrom([]string{"a", "b"}).Draw(t, "wanted zone"))(p)
	}
	if chance(t, 4, "tolerates") {
		p.Spec.Tolerations = []corev1.Toleration{{Key: "t", Operator: corev1.TolerationOpExists}}
	}
	if chance(t, 5, "hostport") {
		port(rapid.SampledFrom([]int32{80, 81}).Draw(t, "port"))(p)
		p.Spec.Containers[0].Ports[0].HostIP = rapid.SampledFrom([]string{"", "10.0.0.1", "10.0.0.2"}).Draw(t, "hostIP")
	}
	a := &corev1.Affinity{}
	if chance(t, 4, "affinity") {
		a.PodAffinity = &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: rapid.SliceOfN(rapid.Custom(drawTerm), 1, 2).Draw(t, "terms")}
	}
	if chance(t, 4, "anti-affinity") {
		a.PodAntiAffinity = &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{drawTerm(t)}}
	}
	if chance(t, 4, "preference") {
		if a.PodAffinity == nil {
			a.PodAffinity = &corev1.PodAffinity{}
		}
		a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution = []corev1.WeightedPodAffinityTerm{{Weight: 10, PodAffinityTerm: drawTerm(t)}}
	}
	p.Spec.Affinity = a
	if chance(t, 3, "spreads") {
		drawSpread(t, p)
	}
	if v := int32(rapid.IntRange(0, 2).Draw(t, "priority")); v > 0 {
		p.Spec.Priority = &v
	}
	return p
}

// machine drives an engine and the oracle through the same history.
type machine struct {
	w    *world
	e    *Engine
	next int
}

func newMachine() *machine {
	w := newWorld()
	return &machine{w: w, e: New(func(ns string) map[string]string { return w.namespaces[ns] })}
}

func (m *machine) node(t *rapid.T) {
	n := drawNode(t)
	m.w.nodes[n.Name] = n
	m.e.SetNode(n)
}

func (m *machine) nodeGoes(t *rapid.T) {
	name := fmt.Sprintf("n%d", rapid.IntRange(0, 5).Draw(t, "node"))
	delete(m.w.nodes, name)
	m.e.RemoveNode(name)
}

func (m *machine) somePod(t *rapid.T) *corev1.Pod {
	uids := make([]types.UID, 0, len(m.w.pods))
	for uid := range m.w.pods {
		uids = append(uids, uid)
	}
	if len(uids) == 0 {
		t.Skip("no pod yet")
	}
	slices.Sort(uids)
	return m.w.pods[rapid.SampledFrom(uids).Draw(t, "pod")]
}

func (m *machine) podEnds(t *rapid.T) { m.remove(m.somePod(t).UID) }

func (m *machine) remove(uid types.UID) {
	delete(m.w.pods, uid)
	delete(m.w.where, uid)
	delete(m.w.nominated, uid)
	m.e.RemovePod(uid)
}

func (m *machine) podTerminates(t *rapid.T) {
	p := m.somePod(t).DeepCopy()
	if m.w.where[p.UID] == "" {
		t.Skip("waits")
	}
	p.DeletionTimestamp = &metav1.Time{}
	m.w.pods[p.UID] = p
	m.e.SetPod(p, m.w.where[p.UID])
}

func (m *machine) relabel(t *rapid.T) {
	p := m.somePod(t).DeepCopy()
	if m.w.where[p.UID] == "" {
		t.Skip("waits")
	}
	p.Labels["app"] = rapid.SampledFrom(apps).Draw(t, "new app")
	m.w.pods[p.UID] = p
	m.e.SetPod(p, m.w.where[p.UID])
}

func (m *machine) namespaceChanges(t *rapid.T) {
	m.w.namespaces["other"] = map[string]string{"team": rapid.SampledFrom([]string{"a", "b"}).Draw(t, "team")}
	m.e.NamespaceChanged("other")
}

func (m *machine) nominate(t *rapid.T) {
	p := drawPod(t, m.next)
	m.next++
	node := fmt.Sprintf("n%d", rapid.IntRange(0, 5).Draw(t, "node"))
	m.w.pods[p.UID], m.w.nominated[p.UID] = p, node
	m.e.Nominate(p, node)
}

func (m *machine) put(p *corev1.Pod, node string) {
	m.e.SetPod(p, node)
	m.w.pods[p.UID], m.w.where[p.UID] = p, node
	delete(m.w.nominated, p.UID)
}

func (m *machine) ask(p *corev1.Pod) Ask {
	out := Ask{Pod: p}
	if gpusOf(p) > 0 {
		out.Delegated = m.w.delegated
	}
	return out
}

// classChanges lets devices be had under the name of a resource, or no longer.
func (m *machine) classChanges(t *rapid.T) {
	m.w.delegated = nil
	if chance(t, 2, "devices") {
		m.w.delegated = map[corev1.ResourceName]bool{"example.com/gpu": true}
	}
}

func (m *machine) place(t *rapid.T) {
	p := drawPod(t, m.next)
	m.next++
	ask := m.ask(p)
	possible := m.w.possible(p)
	node, ok := m.e.Place(ask)
	if ok != (len(possible) > 0) || (ok && !possible[node]) {
		t.Fatalf("engine says %q %v, oracle allows %v: %s", node, ok, possible, m.e.Explain(ask).Message())
	}
	if again, _ := m.fresh().Place(ask); again != node {
		t.Fatalf("after all that happened it is %q, from scratch it is %q", node, again)
	}
	x := m.e.Explain(ask)
	if x.Refused()+len(possible) != len(m.w.nodes) {
		t.Fatalf("explained %d nodes of %d, %d of which are possible", x.Refused(), len(m.w.nodes), len(possible))
	}
	if all := m.e.Diagnose(ask); len(all) != x.Refused() {
		t.Fatalf("diagnosed %d nodes, explained %d", len(all), x.Refused())
	}
	key := m.e.KeyOf(ask)
	if len(m.w.nominated) == 0 && m.e.Feasible(key) != ok {
		t.Fatalf("feasible is %v, placing is %v", m.e.Feasible(key), ok)
	}
	if !ok {
		m.preempt(t, p)
		return
	}
	m.put(p, node)
}

// fresh is an engine that was told of the cluster as it is, with no history.
func (m *machine) fresh() *Engine {
	e := New(m.e.namespaces)
	for _, n := range m.e.slots {
		if n == nil {
			continue
		}
		if n.object != nil {
			e.SetNode(n.object)
		} else {
			e.slot(n.name)
		}
	}
	for _, p := range m.e.pods {
		e.SetPod(p.pod, p.node.name)
	}
	for _, p := range m.e.nominated {
		e.Nominate(p.pod, p.node.name)
	}
	return e
}

func drawBudgets(t *rapid.T) []Budget {
	var out []Budget
	for _, app := range apps {
		if chance(t, 2, "budget") {
			out = append(out, Budget{
				Namespace: "default", Selector: mustSelect(&metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}),
				Allowed: int32(rapid.IntRange(0, 2).Draw(t, "allowed")),
			})
		}
	}
	return out
}

// preempt checks what the engine would evict for a pod that fits nowhere, and
// does so.
func (m *machine) preempt(t *rapid.T, pod *corev1.Pod) {
	budgets := drawBudgets(t)
	got, why := m.e.Preempt(m.ask(pod), budgets)
	fewest := -1
	for _, n := range m.w.nodes {
		if _, violations, ok := m.w.victims(pod, n, budgets); ok && (fewest < 0 || violations < fewest) {
			fewest = violations
		}
	}
	if got == nil {
		// Rules that no eviction on the node itself can satisfy are not tried.
		if fewest >= 0 && len(affinityOf(pod)) == 0 {
			t.Fatalf("no preemption (%s), the oracle has one", why.Message())
		}
		return
	}
	if len(affinityOf(pod)) == 0 && got.Violations != fewest {
		t.Fatalf("%d budgets broken, %d would do", got.Violations, fewest)
	}
	node := m.w.nodes[got.Node]
	if len(got.Victims) == 0 || !m.w.without(got.Victims...).fits(pod, node) {
		t.Fatalf("pod does not fit on %s after %d victims", got.Node, len(got.Victims))
	}
	for i, v := range got.Victims {
		if priorityOf(v) >= priorityOf(pod) {
			t.Fatalf("victim %s has priority %d, the pod %d", v.Name, priorityOf(v), priorityOf(pod))
		}
		if m.w.without(slices.Delete(slices.Clone(got.Victims), i, i+1)...).fits(pod, node) {
			t.Fatalf("victim %s need not go", v.Name)
		}
	}
	for _, v := range got.Victims {
		m.remove(v.UID)
	}
	if !m.w.possible(pod)[got.Node] {
		t.Fatal("the place made is none")
	}
	m.put(pod, got.Node)
}

// Whatever happened to the cluster, the engine places a pod exactly when the
// oracle finds a node for it, on a node that the oracle allows, and on the node
// that it would choose without a history; what it would evict is needed, less
// important, and breaks as few budgets as can be.
func TestEngineAgreesWithNaiveChecker(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newMachine()
		t.Repeat(map[string]func(*rapid.T){
			"node": m.node, "another node": m.node, "node goes": m.nodeGoes,
			"pod ends": m.podEnds, "pod terminates": m.podTerminates, "relabel": m.relabel,
			"namespace": m.namespaceChanges, "nominate": m.nominate, "device class": m.classChanges,
			"place": m.place, "place another": m.place, "place a third": m.place,
		})
	})
}
