package engine

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const benchNodes = 5000

func benchCluster(cpu string) *Engine {
	e := New(noNamespaces)
	for i := range benchNodes {
		e.SetNode(makeNode(fmt.Sprintf("n%d", i), cpu, "256Gi", label(corev1.LabelTopologyZone, fmt.Sprintf("z%d", i%10)), func(n *corev1.Node) {
			n.Status.Allocatable[corev1.ResourcePods] = resource.MustParse("1000000")
		}))
	}
	return e
}

func app(name string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
}

func term(key string) corev1.PodAffinityTerm {
	return corev1.PodAffinityTerm{TopologyKey: key, LabelSelector: app("x")}
}

// BenchmarkShapes places pods one after the other at 5,000 nodes, in the shapes
// of kube-scheduler's own benchmark. The clusters are new every thousand pods.
func BenchmarkShapes(b *testing.B) {
	spreadOver := func(key string, action corev1.UnsatisfiableConstraintAction) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{MaxSkew: 5, TopologyKey: key, WhenUnsatisfiable: action, LabelSelector: app("x")}}
		}
	}
	for _, shape := range []struct {
		name   string
		change func(*corev1.Pod)
	}{
		{"Basic", func(*corev1.Pod) {}},
		{"PodAntiAffinity", func(p *corev1.Pod) {
			p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{term(corev1.LabelHostname)}}}
		}},
		{"PodAffinity", func(p *corev1.Pod) {
			p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{term(corev1.LabelTopologyZone)}}}
		}},
		{"PreferredPodAntiAffinity", func(p *corev1.Pod) {
			p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{Weight: 1, PodAffinityTerm: term(corev1.LabelHostname)}}}}
		}},
		{"TopologySpreading", spreadOver(corev1.LabelTopologyZone, corev1.DoNotSchedule)},
		{"PreferredTopologySpreading", spreadOver(corev1.LabelTopologyZone, corev1.ScheduleAnyway)},
		{"HostSpreading", spreadOver(corev1.LabelHostname, corev1.DoNotSchedule)},
	} {
		b.Run(shape.name, func(b *testing.B) { benchPlace(b, shape.change) })
	}
}

// processor is the CPU time that the process has used: what counts on a machine
// that is shared.
func processor(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func benchPlace(b *testing.B, change func(*corev1.Pod)) {
	var used, since time.Duration
	e := benchCluster("64")
	since = processor(b)
	defer func() {
		used += processor(b) - since
		b.ReportMetric(float64(used.Microseconds())/float64(b.N), "cpu-µs/op")
	}()
	for i := range b.N {
		if i%1000 == 0 {
			b.StopTimer()
			used += processor(b) - since
			e = benchCluster("64")
			// The class is made once for all its pods.
			place(e, makePod("warm", "10m", podLabel("app", "x"), change))
			since = processor(b)
			b.StartTimer()
		}
		p := makePod(fmt.Sprintf("p%d", i), "10m", podLabel("app", "x"), change)
		ask := Ask{Pod: p}
		n, ok := e.Place(ask)
		if !ok {
			b.Fatal(e.Explain(ask).Message())
		}
		e.SetPod(p, n)
	}
}

// BenchmarkUnschedulable: asking again for what fits nowhere, and why, while pods come.
func BenchmarkUnschedulable(b *testing.B) {
	e := benchCluster("4")
	for i := range b.N {
		ask := Ask{Pod: makePod("huge", "100")}
		if _, ok := e.Place(ask); ok {
			b.Fatal("placed")
		}
		if e.Explain(ask).Message() == "" {
			b.Fatal("no reason")
		}
		if found, _ := e.Preempt(ask, nil); found != nil {
			b.Fatal("preempts")
		}
		e.SetPod(makePod(fmt.Sprintf("p%d", i), "1m"), fmt.Sprintf("n%d", i%benchNodes))
	}
}

// BenchmarkPreemption: full nodes, each pod evicts: what it costs from its first try
// until it is placed.
func BenchmarkPreemption(b *testing.B) {
	e := benchCluster("4")
	for i := range benchNodes {
		for j := range 4 {
			e.SetPod(makePod(fmt.Sprintf("low%d-%d", i, j), "1"), fmt.Sprintf("n%d", i))
		}
	}
	high := int32(10)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		p := makePod(fmt.Sprintf("p%d", i), "3")
		p.Spec.Priority = &high
		ask := Ask{Pod: p}
		if _, ok := e.Place(ask); ok {
			b.Fatal("placed")
		}
		why := e.Explain(ask).Message()
		found, _ := e.Preempt(ask, nil)
		if found == nil {
			b.Fatal(why)
		}
		e.Nominate(p, found.Node)
		for _, v := range found.Victims {
			e.RemovePod(v.UID)
		}
		if node, ok := e.Place(ask); !ok || node != found.Node {
			b.Fatalf("placed on %q, not %s", node, found.Node)
		}
		e.SetPod(p, found.Node)
		b.StopTimer()
		// The next one finds the cluster as it was.
		e.RemovePod(p.UID)
		for _, v := range found.Victims {
			e.SetPod(v, found.Node)
		}
		b.StartTimer()
	}
}

// BenchmarkChurn: a node's pod ends and another comes, with a hundred classes.
func BenchmarkChurn(b *testing.B) {
	e := benchCluster("64")
	for i := range b.N {
		p := makePod(fmt.Sprintf("p%d", i), fmt.Sprintf("%dm", 10+i%100))
		node := place(e, p)
		if i >= 100 {
			e.RemovePod(types.UID(fmt.Sprintf("p%d", i-100)))
		}
		if node == "" {
			b.Fatal("not placed")
		}
	}
}
