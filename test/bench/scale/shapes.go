package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sinawi/sinawi/lab/hollow"
	"github.com/sinawi/sinawi/test/bench/figures"
)

// shape is one of the loads that upstream's scheduler_perf measures: pods that
// are there already, then those whose way from created to bound is measured.
// Pods never come to run: the scheduler is measured, not nodes.
type shape struct {
	name string
	// before is how many pods there are at first, for that many measured ones.
	before  func(measured int) int
	initial func(i int) *corev1.Pod
	pod     func(i int) *corev1.Pod
	nodes   hollow.Options
	// prepare makes what the pods need. Optional.
	prepare func(context.Context, *bench) error
	// bound is how many of the initial pods come to be bound; default all.
	bound func(before int) int
	// meanwhile runs while pods are measured. Optional.
	meanwhile func(context.Context, *bench) error
}

func all() []shape {
	times := func(n int) func(int) int { return func(measured int) int { return n * measured } }
	color := map[string]string{"color": "green"}
	none := func(int) int { return 0 }
	return []shape{
		{name: "basic", before: times(1), initial: basic, pod: basic},
		{name: "pod anti-affinity", before: times(1), initial: with(color, anti), pod: with(color, anti)},
		{name: "pod affinity", before: times(5), initial: with(color, near), pod: with(color, near)},
		{name: "topology spreading", before: times(1), initial: basic, pod: with(color, spread)},
		{name: "preemption", before: none, prepare: fill, pod: important,
			nodes: hollow.Options{CPU: "4"}},
		{name: "unschedulable mix", before: func(measured int) int { return measured / 5 }, initial: tooLarge, pod: basic, bound: none},
		{name: "churn", before: times(1), initial: basic, pod: basic, meanwhile: churn},
	}
}

func shapes(ctx context.Context, o options, t *figures.Table) error {
	for _, s := range all() {
		if o.only != "" && o.only != s.name {
			continue
		}
		fleet := s.nodes
		fleet.Nodes, fleet.Still = o.shapeNodes, true
		// Nodes that live add the same to every shape; here they are silent
		// longer than a shape takes.
		quiet := o
		quiet.lease = 35 * time.Second
		err := withFleet(ctx, quiet, t, fleet, func(ctx context.Context, b *bench) error { return b.shape(ctx, s) })
		if err != nil && ctx.Err() != nil {
			return err
		}
		if err != nil {
			t.Add("shape "+s.name, "failed: "+err.Error(), "")
		}
	}
	return nil
}

// shapeTimeout bounds each wait of a shape, so that one that cannot end does not
// keep the others from being measured.
const shapeTimeout = 3 * time.Minute

func (b *bench) shape(ctx context.Context, s shape) error {
	if s.prepare != nil {
		if err := s.prepare(ctx, b); err != nil {
			return err
		}
	}
	before := s.before(b.shapePods)
	if err := b.createPods(ctx, before, s.initial); err != nil {
		return err
	}
	there := before
	if s.bound != nil {
		there = s.bound(before)
	}
	limited, cancel := context.WithTimeout(ctx, shapeTimeout)
	defer cancel()
	if _, err := b.pods.await(limited, "the initial pods are bound", func(t tally) bool { return t.bound >= there && t.exist >= before }); err != nil {
		return err
	}
	limited, cancel = context.WithTimeout(ctx, shapeTimeout)
	defer cancel()
	if s.meanwhile != nil {
		churning, stop := context.WithCancel(limited)
		done := make(chan struct{})
		go func() {
			defer close(done)
			if err := s.meanwhile(churning, b); err != nil && churning.Err() == nil {
				progress("churn: %v", err)
			}
		}()
		defer func() { stop(); <-done }()
	}
	wait := b.server.profile(ctx, b.options, "shape-"+s.name)
	defer wait()
	cpu, began := b.server.cpu(), time.Now()
	failed := make(chan error, 1)
	go func() { failed <- b.createPods(limited, b.shapePods, measured(s.pod)) }()
	_, err := b.pods.await(limited, "the measured pods are bound", func(t tally) bool { return t.measured >= b.shapePods })
	if err != nil {
		return err
	}
	took, used := time.Since(began), b.server.cpu()-cpu
	b.table.Add(fmt.Sprintf("shape %s, %d nodes, %d+%d pods", s.name, b.shapeNodes, before, b.shapePods),
		fmt.Sprintf("%.0f /s, %.2f CPU-ms a pod", float64(b.shapePods)/took.Seconds(), 1e3*used.Seconds()/float64(b.shapePods)), "")
	return <-failed
}

const mark = "measured"

// measured marks pods, so that those are counted and no others.
func measured(make func(int) *corev1.Pod) func(int) *corev1.Pod {
	return func(i int) *corev1.Pod {
		pod := make(i)
		pod.Annotations = map[string]string{mark: "yes"}
		return pod
	}
}

// basic is the pod of upstream's basic shapes.
func basic(int) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "pod-"},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "pause", Image: "hollow.invalid/pause:1", Ports: []corev1.ContainerPort{{ContainerPort: 80}},
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("500Mi"),
			}},
		}}},
	}
}

// with labels basic pods and changes them.
func with(labels map[string]string, change func(*corev1.Pod)) func(int) *corev1.Pod {
	return func(i int) *corev1.Pod {
		pod := basic(i)
		pod.Labels = labels
		change(pod)
		return pod
	}
}

func term(pod *corev1.Pod, key string) []corev1.PodAffinityTerm {
	return []corev1.PodAffinityTerm{{LabelSelector: &metav1.LabelSelector{MatchLabels: pod.Labels}, TopologyKey: key}}
}

func anti(pod *corev1.Pod) {
	pod.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: term(pod, corev1.LabelHostname),
	}}
}

func near(pod *corev1.Pod) {
	pod.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: term(pod, corev1.LabelTopologyZone),
	}}
}

func spread(pod *corev1.Pod) {
	pod.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
		MaxSkew: 5, TopologyKey: corev1.LabelTopologyZone, WhenUnsatisfiable: corev1.DoNotSchedule,
		LabelSelector: &metav1.LabelSelector{MatchLabels: pod.Labels},
	}}
}

func tooLarge(i int) *corev1.Pod {
	pod := basic(i)
	pod.Spec.Containers[0].Resources.Requests[corev1.ResourceCPU] = resource.MustParse("1000")
	return pod
}

// fill takes all nodes' CPU with pods of low priority, four a node as upstream,
// and makes the priority of those that come.
func fill(ctx context.Context, b *bench) error {
	_, err := b.server.client.SchedulingV1().PriorityClasses().Create(ctx,
		&schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "important"}, Value: 1000}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	n := 4 * b.shapeNodes
	if err := b.createPods(ctx, n, func(i int) *corev1.Pod {
		pod := basic(i)
		pod.Spec.Containers[0].Resources.Requests[corev1.ResourceCPU] = resource.MustParse("900m")
		none := int64(0)
		pod.Spec.TerminationGracePeriodSeconds = &none
		return pod
	}); err != nil {
		return err
	}
	_, err = b.pods.await(ctx, "all nodes are full", func(t tally) bool { return t.bound >= n })
	return err
}

func important(i int) *corev1.Pod {
	pod := basic(i)
	pod.Spec.PriorityClassName = "important"
	pod.Spec.Containers[0].Resources.Requests[corev1.ResourceCPU] = resource.MustParse("3")
	return pod
}

// churn makes and deletes nodes, services' like, and pods that fit nowhere,
// some five times a second, as upstream does between its pods.
func churn(ctx context.Context, b *bench) error {
	for i := 0; ; i++ {
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return nil
		}
		name := fmt.Sprintf("churn-%d", i)
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if _, err := b.server.client.CoreV1().Nodes().Create(ctx, node, metav1.CreateOptions{}); err != nil {
			return err
		}
		pod := tooLarge(i)
		pod.GenerateName, pod.Name = "", name
		if _, err := b.server.client.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
			return err
		}
		if i < 5 {
			continue
		}
		old := fmt.Sprintf("churn-%d", i-5)
		if err := b.server.client.CoreV1().Nodes().Delete(ctx, old, metav1.DeleteOptions{}); err != nil {
			return err
		}
		if err := b.server.client.CoreV1().Pods(namespace).Delete(ctx, old, metav1.DeleteOptions{}); err != nil {
			return err
		}
	}
}
