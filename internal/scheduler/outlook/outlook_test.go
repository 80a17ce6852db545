package outlook

import (
	"maps"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/scheduler/engine"
)

func node(name, cpu string, change ...func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}},
		Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse("8Gi"), corev1.ResourcePods: resource.MustParse("10"),
		}},
	}
	for _, f := range change {
		f(n)
	}
	return n
}

func pod(name, cpu string, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name), Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}}}}},
		Status: corev1.PodStatus{Phase: corev1.PodPending},
	}
	for _, f := range change {
		f(p)
	}
	return p
}

func on(name string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.NodeName, p.Status.Phase = name, corev1.PodRunning }
}

func of(kind, name string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		yes := true
		p.OwnerReferences = []metav1.OwnerReference{{Kind: kind, Name: name, UID: types.UID(name), Controller: &yes}}
		if kind == "Job" {
			p.Spec.RestartPolicy = corev1.RestartPolicyNever
		}
	}
}

func tainted(key string) func(*corev1.Node) {
	return func(n *corev1.Node) {
		n.Spec.Taints = []corev1.Taint{{Key: key, Value: "true", Effect: corev1.TaintEffectNoSchedule}}
	}
}

func TestWhySaysWhatStandsInTheWay(t *testing.T) {
	asking := pod("web", "2", func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"disk": "ssd"} })
	ssd := func(n *corev1.Node) { n.Labels["disk"] = "ssd" }
	c := New([]client.Object{
		node("n1", "4", ssd), node("n2", "8", ssd, tainted("gpu")), node("n3", "8"), node("n4", "1", ssd),
		pod("x", "1", on("n1"), of("Job", "x")), pod("y", "1500m", on("n1"), of("ReplicaSet", "y")),
	})
	got := c.Why(asking)
	if fits := got.Fits(); len(fits) != 0 || len(got.Nodes) != 4 {
		t.Fatalf("fits %v of %d", fits, len(got.Nodes))
	}
	first := func(i int) Obstacle {
		if len(got.Nodes[i].Obstacles) != 1 {
			t.Fatalf("node %s has obstacles %+v", got.Nodes[i].Node, got.Nodes[i].Obstacles)
		}
		return got.Nodes[i].Obstacles[0]
	}
	if o := first(0); o.Wanted != "2" || o.Free != "1500m" || o.Total != "4" || o.Missing != "500m" || o.TooBig || len(o.Frees) != 1 || o.Frees[0].Owner.Name != "x" {
		t.Errorf("n1: %+v", o)
	}
	if o := first(1); o.Taint != "gpu=true:NoSchedule" {
		t.Errorf("n2: %+v", o)
	}
	if o := first(2); !slices.Equal(o.Labels, []string{"disk=ssd"}) {
		t.Errorf("n3: %+v", o)
	}
	if o := first(3); !o.TooBig || o.Total != "1" {
		t.Errorf("n4: %+v", o)
	}
	// A job that ends is less of a change than any other.
	if got.Smallest == nil || got.Smallest.Node != "n1" {
		t.Errorf("smallest is %+v", got.Smallest)
	}
	if got.Preemption != nil {
		t.Errorf("equals are not preempted: %+v", got.Preemption)
	}
}

func TestWhyOfAPodThatRuns(t *testing.T) {
	running := pod("web", "2", on("n1"))
	c := New([]client.Object{node("n1", "2"), node("n2", "4"), node("n3", "1"), running})
	got := c.Why(running)
	if got.Node != "n1" || !slices.Equal(got.Fits(), []string{"n1", "n2"}) {
		t.Errorf("it is on %q and fits %v", got.Node, got.Fits())
	}
	if again := c.Why(running); !slices.Equal(again.Fits(), got.Fits()) {
		t.Errorf("asked again it fits %v", again.Fits())
	}
}

func TestWhyTellsOfPreemption(t *testing.T) {
	high := int32(1000)
	asking := pod("web", "2", func(p *corev1.Pod) { p.Spec.Priority = &high })
	c := New([]client.Object{node("n1", "2"), pod("low", "2", on("n1"))})
	got := c.Why(asking)
	if got.Preemption == nil || got.Preemption.Node != "n1" || !slices.Equal(got.Preemption.Victims, []string{"shop/low"}) {
		t.Errorf("got %+v", got.Preemption)
	}
}

func TestPlan(t *testing.T) {
	old := pod("web-old", "2", on("n1"))
	c := New([]client.Object{node("n1", "4"), node("n2", "4"), node("n3", "4", tainted("gpu")), old})
	got := c.Plan([]Workload{
		{Kind: "Deployment", Namespace: "shop", Name: "web", Count: 5, Pod: pod("", "2"), Replaces: []types.UID{old.UID}},
		{Kind: "DaemonSet", Namespace: "shop", Name: "agent", PerNode: true, Pod: pod("", "0")},
		{Kind: "Job", Namespace: "shop", Name: "no", Count: 2, Refused: "exceeded quota"},
	})
	web := got[0]
	if web.On["n1"] != 2 || web.On["n2"] != 2 || web.Waiting != 1 || web.Why == nil || web.Why.Smallest == nil {
		t.Errorf("web: %+v", web)
	}
	if agent := got[1]; agent.Count != 2 || agent.On["n1"] != 1 || agent.On["n2"] != 1 || agent.Waiting != 0 {
		t.Errorf("agent: %+v", agent)
	}
	if job := got[2]; job.Waiting != 2 || job.Refused == "" {
		t.Errorf("job: %+v", job)
	}
}

// Pods that say nothing of how to spread them are spread by their owner and services,
// though one node has the most room by far.
func TestPlanSpreadsByDefault(t *testing.T) {
	web := map[string]string{"app": "web"}
	for _, tc := range []struct {
		name     string
		services []*corev1.Service
		selector *metav1.LabelSelector
		pod      *corev1.Pod
		want     map[string]int
	}{
		{"nothing to spread by", nil, nil, pod("web", "100m"), map[string]int{"big": 4}},
		{"owner", nil, &metav1.LabelSelector{MatchLabels: web}, pod("web", "100m"), map[string]int{"big": 2, "small": 2}},
		{"service", []*corev1.Service{{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Spec: corev1.ServiceSpec{Selector: web}}}, nil,
			pod("web", "100m"), map[string]int{"big": 2, "small": 2}},
		{"its own constraint", nil, &metav1.LabelSelector{MatchLabels: web}, pod("web", "100m", func(p *corev1.Pod) {
			p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{MaxSkew: 1, TopologyKey: "rack", WhenUnsatisfiable: corev1.ScheduleAnyway}}
		}), map[string]int{"big": 4}},
	} {
		c := New([]client.Object{node("big", "64", func(n *corev1.Node) {
			n.Status.Allocatable[corev1.ResourceMemory] = resource.MustParse("256Gi")
		}), node("small", "2")})
		c.Serve(tc.services...)
		got := c.Plan([]Workload{{Kind: "Deployment", Namespace: "shop", Name: "web", Count: 4, Selector: tc.selector, Pod: tc.pod}})[0].On
		if !maps.Equal(got, tc.want) {
			t.Errorf("%s: pods are on %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestDrain(t *testing.T) {
	budget := &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "keep", UID: "keep"},
		Spec:       policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web-1"}}},
	}
	c := New([]client.Object{
		node("n1", "4"), node("n2", "3"), budget,
		pod("web-1", "1", on("n1"), of("ReplicaSet", "web")),
		pod("big", "3", on("n1"), of("ReplicaSet", "big")),
		pod("agent", "0", on("n1"), of("DaemonSet", "agent")),
		pod("alone", "0", on("n1")),
		pod("there", "500m", on("n2")),
	})
	moves, err := c.Drain("n1")
	if err != nil {
		t.Fatal(err)
	}
	fates := map[string]Move{}
	for _, m := range moves {
		fates[m.Name] = m
	}
	if m := fates["web-1"]; m.Fate != Moves || m.To != "n2" || m.Budget != "keep" {
		t.Errorf("web-1: %+v", m)
	}
	if m := fates["big"]; m.Fate != Waits || m.Why == nil || m.Why.Nodes[0].Obstacles[0].Rule != string(engine.RuleResources) {
		t.Errorf("big: %+v", m)
	}
	if fates["agent"].Fate != Leaves || fates["alone"].Fate != Lost {
		t.Errorf("agent %s, alone %s", fates["agent"].Fate, fates["alone"].Fate)
	}
	if _, err := c.Drain("n9"); err == nil {
		t.Error("a node that is not there is drained")
	}
}

// A pod is asked about by the profile that it names, where that is known.
func TestWhyByProfile(t *testing.T) {
	p := pod("web", "1", func(p *corev1.Pod) { p.Spec.SchedulerName = "careless" })
	c := New([]client.Object{node("n1", "4", tainted("dedicated")), p})
	if a := c.Why(p); len(a.Fits()) != 0 || a.Scheduler != "careless" {
		t.Errorf("by the default: %+v", a)
	}
	careless := engine.DefaultProfile()
	careless.Name, careless.Off = "careless", map[engine.Rule]bool{engine.RuleTaints: true}
	c.Use(engine.DefaultProfile(), careless)
	if a := c.Why(p); !slices.Equal(a.Fits(), []string{"n1"}) || a.Scheduler != "" {
		t.Errorf("by its own: %+v", a)
	}
}
