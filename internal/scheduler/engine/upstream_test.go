package engine

import (
	"math"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sinawi/sinawi/internal/scheduler/engine/demand"
)

// The cases of this file are what kube-scheduler was seen to do where that is easily
// mistaken.

func wholePod(cpu, memory string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Resources = &corev1.ResourceRequirements{Requests: corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory),
		}}
	}
}

func TestScoringOfPodLevelRequests(t *testing.T) {
	pod := makePod("p", "", wholePod("1", "1Gi"))
	if got := demand.ScoringRequests(pod); got.MilliCPU != demand.ScoringMilliCPU || got.Memory != demand.ScoringMemory {
		t.Errorf("to be placed it counts as %+v, not as its containers alone", got)
	}
	if got := demand.ScoringUse(pod); got.MilliCPU != 1000 || got.Memory != 1<<30 {
		t.Errorf("placed it counts as %+v", got)
	}
	pod.Spec.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2")}
	if got := demand.ScoringUse(pod); got.MilliCPU != 2000 || got.Memory != demand.ScoringMemory {
		t.Errorf("what it does not speak of has no floor: %+v", got)
	}
	e := New(noNamespaces)
	e.SetNode(makeNode("n1", "4", "4Gi"))
	place(e, makePod("q", "", wholePod("1", "1Gi")))
	if got := e.slots[0].scoring.MilliCPU; got != 1000 {
		t.Errorf("the pod that was placed counts as %dm", got)
	}
}

func TestStrategiesOverOtherResources(t *testing.T) {
	node := makeNode("n1", "4", "4Gi", func(n *corev1.Node) {
		n.Status.Allocatable[corev1.ResourceEphemeralStorage] = resource.MustParse("10Gi")
		n.Status.Allocatable["example.com/gpu"] = resource.MustParse("4")
	})
	score := func(change func(*Profile), pod *corev1.Pod) int64 {
		e := New(noNamespaces)
		e.SetNode(node)
		p := DefaultProfile()
		change(p)
		points, _ := e.slots[0].byStrategy(e.compile(Ask{Pod: pod, Profile: p}), nil)
		return points
	}
	storage := func(p *Profile) { p.Resources = []Weighted{{corev1.ResourceEphemeralStorage, 1}} }
	if got := score(storage, makePod("p", "1")); got != 100 {
		t.Errorf("storage that nobody asks for scores %v", got)
	}
	gpus := func(p *Profile) { p.Resources = []Weighted{{"example.com/gpu", 1}} }
	if got := score(gpus, makePod("p", "1")); got != 0 {
		t.Errorf("devices that the pod does not ask for score %v", got)
	}
	ratio := func(p *Profile) {
		p.Strategy, p.Shape = RequestedToCapacityRatio, []Point{{0, 0}, {100, 10}}
		p.Resources = []Weighted{{corev1.ResourceCPU, 1}, {corev1.ResourceEphemeralStorage, 1}}
	}
	if got := score(ratio, makePod("p", "2")); got != 50 {
		t.Errorf("a resource of score 0 counts in the mean: %v", got)
	}
}

func TestBalanceCountsDevicesOnlyOfPodsThatAsk(t *testing.T) {
	e := New(noNamespaces)
	e.SetNode(makeNode("n1", "4", "4Gi", func(n *corev1.Node) { n.Status.Allocatable["example.com/gpu"] = resource.MustParse("4") }))
	p := DefaultProfile()
	both, _ := e.slots[0].balance(e.compile(Ask{Pod: makePod("p", "1"), Profile: p}), nil)
	p.Balanced = append(p.Balanced, Weighted{"example.com/gpu", 1})
	if got, _ := e.slots[0].balance(e.compile(Ask{Pod: makePod("p", "1"), Profile: p}), nil); got != both {
		t.Errorf("scores %v with devices, %v without", got, both)
	}
}

func TestImagesThatAPodMountsCount(t *testing.T) {
	e := New(noNamespaces)
	e.SetNode(makeNode("n1", "4", "8Gi"))
	e.SetNode(makeNode("n2", "4", "8Gi", func(n *corev1.Node) {
		n.Status.Images = []corev1.ContainerImage{{Names: []string{"models:7"}, SizeBytes: 2 << 30}}
	}))
	pod := makePod("p", "1", func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{Name: "m", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: "models:7"}}}}
	})
	if got := place(e, pod); got != "n2" {
		t.Errorf("placed on %s", got)
	}
}

func TestSpreadThatSelectsEveryPodCountsNone(t *testing.T) {
	e := New(noNamespaces)
	e.SetNode(makeNode("n1", "8", "8Gi"))
	e.SetNode(makeNode("n2", "1", "8Gi"))
	everybody := func(p *corev1.Pod) {
		spread("app", corev1.LabelHostname, 1)(p)
		p.Spec.TopologySpreadConstraints[0].LabelSelector = &metav1.LabelSelector{}
	}
	for _, name := range []string{"p1", "p2", "p3"} {
		if got := place(e, makePod(name, "2", everybody)); got != "n1" {
			t.Errorf("%s: %s", name, got)
		}
	}
}

func TestSpreadSaysThatALabelIsMissing(t *testing.T) {
	e := New(noNamespaces)
	e.SetNode(makeNode("n1", "8", "8Gi"))
	e.SetPod(makePod("p1", "1", podLabel("app", "x")), "n1")
	pod := makePod("p2", "1", podLabel("app", "x"), spread("app", corev1.LabelHostname, 1))
	other := pod.Spec.TopologySpreadConstraints[0]
	other.TopologyKey = "rack"
	pod.Spec.TopologySpreadConstraints = append(pod.Spec.TopologySpreadConstraints, other)
	want := "0/1 nodes are available: 1 node(s) didn't match pod topology spread constraints (missing required label)."
	if got := place(e, pod); got != want {
		t.Error(got)
	}
}

func TestNodesWithoutRoomForAnyPodHaveNoVictims(t *testing.T) {
	e := New(noNamespaces)
	e.SetNode(makeNode("n1", "8", "8Gi", func(n *corev1.Node) { n.Status.Allocatable[corev1.ResourcePods] = resource.MustParse("0") }))
	_, why := e.Preempt(Ask{Pod: makePod("p", "1")}, nil)
	if got, want := why.Message(), "0/1 nodes are available: 1 No preemption victims found for incoming pod."; got != want {
		t.Error(got)
	}
}

func TestPodsThatHaveNotStartedGoFirst(t *testing.T) {
	e := New(noNamespaces)
	e.SetNode(makeNode("n1", "2", "8Gi"))
	at := func(s int64) *metav1.Time { x := metav1.Unix(s, 0); return &x }
	started := makePod("a", "1", func(p *corev1.Pod) { p.CreationTimestamp, p.Status.StartTime = *at(10), at(1000) })
	waiting := makePod("b", "1", func(p *corev1.Pod) { p.CreationTimestamp = *at(1) })
	e.SetPod(started, "n1")
	e.SetPod(waiting, "n1")
	high := int32(10)
	found, _ := e.Preempt(Ask{Pod: makePod("p", "1", func(p *corev1.Pod) { p.Spec.Priority = &high })}, nil)
	if found == nil || len(found.Victims) != 1 || found.Victims[0] != waiting {
		t.Errorf("%+v", found)
	}
}

func TestAVictimBreaksOneBudget(t *testing.T) {
	pod := &placed{pod: makePod("a", "1", podLabel("app", "x"))}
	other := &placed{pod: makePod("b", "1", podLabel("tier", "y"))}
	pod.pod.Labels["tier"] = "y"
	budgets := []Budget{
		{Namespace: "default", Selector: labels.SelectorFromSet(labels.Set{"app": "x"})},
		{Namespace: "default", Selector: labels.SelectorFromSet(labels.Set{"tier": "y"}), Allowed: 1},
	}
	if protected, free := splitByBudgets([]*placed{pod, other}, budgets); len(protected) != 1 || len(free) != 1 {
		t.Errorf("%d break a budget, %d do not", len(protected), len(free))
	}
}

func TestNamesNoNode(t *testing.T) {
	names := func(values ...string) corev1.NodeSelectorRequirement {
		return corev1.NodeSelectorRequirement{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: values}
	}
	conflict := corev1.NodeSelectorTerm{MatchFields: []corev1.NodeSelectorRequirement{names("n1"), names("n2")}}
	one := corev1.NodeSelectorTerm{MatchFields: []corev1.NodeSelectorRequirement{names("n1")}}
	for _, tt := range []struct {
		terms []corev1.NodeSelectorTerm
		want  bool
	}{{nil, false}, {[]corev1.NodeSelectorTerm{conflict}, true}, {[]corev1.NodeSelectorTerm{conflict, one}, false}, {[]corev1.NodeSelectorTerm{conflict, {}}, false}} {
		pod := makePod("p", "1", func(p *corev1.Pod) {
			p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
				RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: tt.terms}}}
		})
		if got := demand.NamesNoNode(pod); got != tt.want {
			t.Errorf("%v: %v", tt.terms, got)
		}
	}
}

// onlyOn is an extra that refuses all nodes but some.
type onlyOn map[string]bool

func (x onlyOn) Refuse(n NodeView) []Refusal {
	if x[n.Object().Name] {
		return nil
	}
	return []Refusal{{Rule: RuleVolumeBinding, Reason: "elsewhere"}}
}

// TestScoresAreRelativeToNodesThatRemain: a node that an extra refuses must not make
// the preferences that tell the others apart count for less.
func TestScoresAreRelativeToNodesThatRemain(t *testing.T) {
	build := func() (*Engine, *corev1.Pod) {
		e := New(noNamespaces)
		e.SetNode(makeNode("best", "8", "8Gi", label("tier", "1")))
		e.SetNode(makeNode("good", "8", "8Gi", label("tier", "2")))
		e.SetNode(makeNode("poor", "8", "8Gi"))
		e.SetPod(makePod("load", "6"), "good")
		prefer := func(value string, weight int32) corev1.PreferredSchedulingTerm {
			return corev1.PreferredSchedulingTerm{Weight: weight, Preference: corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{
				{Key: "tier", Operator: corev1.NodeSelectorOpIn, Values: []string{value}}}}}
		}
		return e, makePod("p", "1", func(p *corev1.Pod) {
			p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
				PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{prefer("1", 100), prefer("2", 10)}}}
		})
	}
	e, pod := build()
	c, ok := e.Choose(Ask{Pod: pod, Extras: []Extra{onlyOn{"good": true, "poor": true}}})
	if !ok || c.Node != "good" || c.Feasible != 2 {
		t.Errorf("an extra refuses the best: %+v", c)
	}
	e, pod = build()
	guest := makePod("guest", "8", func(p *corev1.Pod) { p.UID = types.UID("guest") })
	e.Nominate(guest, "best")
	if c, ok := e.Choose(Ask{Pod: pod}); !ok || c.Node != "good" || c.Feasible != 2 {
		t.Errorf("the best is kept for another: %+v", c)
	}
}

// TestScoresAreInWholePoints: what is lost in rounding decides only between nodes that
// score the same.
func TestScoresAreInWholePoints(t *testing.T) {
	prefers := func(p *corev1.Pod) {
		term := func(value string, weight int32) corev1.PreferredSchedulingTerm {
			return corev1.PreferredSchedulingTerm{Weight: weight, Preference: corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{
				{Key: "tier", Operator: corev1.NodeSelectorOpIn, Values: []string{value}}}}}
		}
		p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
			PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{term("1", 3), term("2", 1)}}}
	}
	e := New(noNamespaces)
	e.SetNode(makeNode("a", "4", "4Gi", label("tier", "1")))
	e.SetNode(makeNode("b", "4", "4Gi", label("tier", "2")))
	c, _ := e.Choose(Ask{Pod: makePod("p", "1", prefers)})
	if got := math.Round(c.Score - c.RunnerUp); got != 200-66 {
		t.Errorf("a third of what the best has is %v less", got)
	}
	e = New(noNamespaces)
	e.SetNode(makeNode("a", "4000m", "4Gi"))
	e.SetNode(makeNode("b", "4001m", "4Gi"))
	if got := place(e, makePod("p", "1")); got != "b" {
		t.Errorf("of two that score the same the one with less room: %s", got)
	}
	e = New(noNamespaces)
	e.SetNode(makeNode("a", "4", "4Gi"))
	n := e.slots[0]
	for _, tt := range []struct {
		cpu              string
		points, balanced int64
	}{{"1", 85, 68}, {"1001m", 84, 68}, {"4", 47, 50}} {
		req := e.compile(Ask{Pod: makePod("p", tt.cpu)})
		points, _ := n.byStrategy(req, nil)
		balanced, _ := n.balance(req, nil)
		if points != tt.points || balanced != tt.balanced {
			t.Errorf("%s cpu: %d and %d points, want %d and %d", tt.cpu, points, balanced, tt.points, tt.balanced)
		}
	}
}
