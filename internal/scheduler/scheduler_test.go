package scheduler_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
	"github.com/sinawi/sinawi/internal/apiserver/controlplane"
	"github.com/sinawi/sinawi/internal/apiserver/placing"
	"github.com/sinawi/sinawi/internal/scheduler"
)

// rig is a real API server with a scheduler that works from outside.
type rig struct {
	testing.TB
	ctx context.Context
	kubernetes.Interface
	config *rest.Config
	cache  cache.Cache // what the scheduler reads from
}

func start(t testing.TB) *rig { return startWith(t, scheduler.Options{}) }

func startWith(t testing.TB, opts scheduler.Options) *rig {
	return startVia(t, opts, func(c client.Client) client.Client { return c })
}

// startVia lets the scheduler write through what is made of its client.
func startVia(t testing.TB, opts scheduler.Options, via func(client.Client) client.Client) *rig {
	r, _ := startOn(t, apitest.Start(t), opts, via)
	return r
}

// startPlacing has the scheduler asked about pods as they are stored.
func startPlacing(t testing.TB) *rig {
	var places placing.Late
	server := apitest.StartWith(t, apitest.Options{Mutate: func(o *controlplane.Options) { o.Placer = &places }})
	r, s := startOn(t, server, scheduler.Options{}, func(c client.Client) client.Client { return c })
	places.Set(s)
	return r
}

func startOn(t testing.TB, server *apitest.Server, opts scheduler.Options, via func(client.Client) client.Client) (*rig, *scheduler.Scheduler) {
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	objects, err := cache.New(server.Config, cache.Options{Scheme: clientgoscheme.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(server.Config, client.Options{Scheme: clientgoscheme.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	typed := server.Clientset()
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: typed.EventsV1()})
	if err := broadcaster.StartRecordingToSinkWithContext(ctx); err != nil {
		t.Fatal(err)
	}
	recorder := broadcaster.NewRecorder(clientgoscheme.Scheme, corev1.DefaultSchedulerName)
	done := make(chan error, 2)
	go func() { done <- objects.Start(ctx) }()
	s := scheduler.New(via(c), objects, recorder, opts)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		broadcaster.Shutdown()
	})
	return &rig{TB: t, ctx: ctx, Interface: typed, config: server.Config, cache: objects}, s
}

func (r *rig) addNode(name, cpu string, taints ...corev1.Taint) *corev1.Node {
	r.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}}, Spec: corev1.NodeSpec{Taints: taints}}
	node, err := r.CoreV1().Nodes().Create(r.ctx, node, metav1.CreateOptions{})
	if err != nil {
		r.Fatal(err)
	}
	node.Status.Allocatable = corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse("8Gi"), corev1.ResourcePods: resource.MustParse("110"),
	}
	node.Status.Capacity = node.Status.Allocatable
	if node, err = r.CoreV1().Nodes().UpdateStatus(r.ctx, node, metav1.UpdateOptions{}); err != nil {
		r.Fatal(err)
	}
	// A new node is tainted until a controller, which is not here, has seen it ready.
	node.Spec.Taints = taints
	if node, err = r.CoreV1().Nodes().Update(r.ctx, node, metav1.UpdateOptions{}); err != nil {
		r.Fatal(err)
	}
	r.awaitSeen(node)
	return node
}

// awaitSeen waits until the scheduler's cache has a node as it is: nodes and pods
// come by different watches, and what is told of a pod is told of the nodes then.
func (r *rig) awaitSeen(node *corev1.Node) {
	r.Helper()
	for until := time.Now().Add(time.Minute); ; time.Sleep(2 * time.Millisecond) {
		var seen corev1.Node
		err := r.cache.Get(r.ctx, client.ObjectKeyFromObject(node), &seen)
		if err == nil && seen.ResourceVersion == node.ResourceVersion {
			return
		}
		if time.Now().After(until) {
			r.Fatalf("node %s is not seen: %v", node.Name, err)
		}
	}
}

func (r *rig) addPod(name, cpu string, change func(*corev1.Pod)) {
	r.Helper()
	r.addPodIn("default", name, cpu, change)
}

func (r *rig) addPodIn(namespace, name, cpu string, change func(*corev1.Pod)) {
	r.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "example.com/c:1", Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}}}}},
	}
	if change != nil {
		change(pod)
	}
	if _, err := r.CoreV1().Pods(namespace).Create(r.ctx, pod, metav1.CreateOptions{}); err != nil {
		r.Fatal(err)
	}
}

// addAccount makes the service account that pods of a namespace run as.
func (r *rig) addAccount(namespace string) {
	r.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	if _, err := r.CoreV1().ServiceAccounts(namespace).Create(r.ctx, account, metav1.CreateOptions{}); err != nil {
		r.Fatal(err)
	}
}

// await returns the pod once it is as wanted.
func (r *rig) await(name, what string, wanted func(*corev1.Pod) bool) *corev1.Pod {
	r.Helper()
	return r.awaitIn("default", name, what, wanted)
}

func (r *rig) get(name string) *corev1.Pod {
	r.Helper()
	p, err := r.CoreV1().Pods("default").Get(r.ctx, name, metav1.GetOptions{})
	if err != nil {
		r.Fatal(err)
	}
	return p
}

func noteOf(r *rig, obj any) string {
	r.Helper()
	e, ok := obj.(*eventsv1.Event)
	if !ok {
		r.Fatalf("%T is no event", obj)
	}
	return e.Note
}

func (r *rig) awaitIn(namespace, name, what string, wanted func(*corev1.Pod) bool) *corev1.Pod {
	r.Helper()
	w, err := r.CoreV1().Pods(namespace).Watch(r.ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err != nil {
		r.Fatal(err)
	}
	defer w.Stop()
	var last *corev1.Pod
	for e := range w.ResultChan() {
		if e.Type == watch.Error {
			r.Fatal(e.Object)
		}
		last = e.Object.(*corev1.Pod)
		if wanted(last) {
			return last
		}
	}
	r.Fatalf("pod %s: not %s in time; its conditions: %v", name, what, last.Status.Conditions)
	return nil
}

func (r *rig) awaitNode(name, node string) {
	r.Helper()
	r.await(name, "on node "+node, func(p *corev1.Pod) bool {
		if p.Spec.NodeName != "" && p.Spec.NodeName != node {
			r.Fatalf("pod %s: got node %s, want %s", name, p.Spec.NodeName, node)
		}
		return p.Spec.NodeName == node
	})
}

func (r *rig) awaitUnschedulable(name string, parts ...string) {
	r.Helper()
	p := r.await(name, "told why it fits nowhere", func(p *corev1.Pod) bool {
		c := scheduled(p)
		return c != nil && c.Status == corev1.ConditionFalse
	})
	c := scheduled(p)
	if c.Reason != corev1.PodReasonUnschedulable {
		r.Errorf("reason: got %s, want %s", c.Reason, corev1.PodReasonUnschedulable)
	}
	for _, part := range parts {
		if !strings.Contains(c.Message, part) {
			r.Errorf("message: got %q, want %q in it", c.Message, part)
		}
	}
}

func scheduled(p *corev1.Pod) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == corev1.PodScheduled {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}

func TestBindsWhereItFits(t *testing.T) {
	r := start(t)
	r.addNode("small", "1")
	r.addNode("large", "4")
	r.addPod("big", "3", nil)
	r.awaitNode("big", "large")
	p := r.await("big", "scheduled", func(p *corev1.Pod) bool { c := scheduled(p); return c != nil && c.Status == corev1.ConditionTrue })
	if scheduled(p).Reason != "" {
		t.Errorf("reason: got %q, want none", scheduled(p).Reason)
	}
	if got, want := r.awaitEvent("big", "Scheduled"), "Successfully assigned default/big to large"; got != want {
		t.Errorf("event: got %q, want %q", got, want)
	}
}

func TestTellsWhyAndWakesUp(t *testing.T) {
	r := start(t)
	r.addNode("n1", "1")
	r.addNode("n2", "8", corev1.Taint{Key: "dedicated", Value: "db", Effect: corev1.TaintEffectNoSchedule})
	r.addPod("big", "3", nil)
	r.awaitUnschedulable("big", "0/2 nodes are available", "Insufficient cpu", "untolerated taint")
	r.addNode("n3", "4")
	r.awaitNode("big", "n3")
}

func TestWakesWhenAPodEnds(t *testing.T) {
	r := start(t)
	r.addNode("n1", "1")
	r.addPod("first", "1", nil)
	r.awaitNode("first", "n1")
	r.addPod("second", "1", nil)
	r.awaitUnschedulable("second", "Insufficient cpu")
	none := int64(0)
	if err := r.CoreV1().Pods("default").Delete(r.ctx, "first", metav1.DeleteOptions{GracePeriodSeconds: &none}); err != nil {
		t.Fatal(err)
	}
	r.awaitNode("second", "n1")
}

func TestLeavesAloneWhatIsNotItsOwn(t *testing.T) {
	r := start(t)
	r.addNode("n1", "8")
	r.addPod("other", "1", func(p *corev1.Pod) { p.Spec.SchedulerName = "another" })
	r.addPod("gated", "1", func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/wait"}} })
	r.addPod("own", "1", nil)
	r.awaitNode("own", "n1") // it was created last: whoever came before has been looked at
	for _, name := range []string{"other", "gated"} {
		p, err := r.CoreV1().Pods("default").Get(r.ctx, name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if p.Spec.NodeName != "" {
			t.Errorf("pod %s was bound to %s", name, p.Spec.NodeName)
		}
	}
	p, err := r.CoreV1().Pods("default").Get(r.ctx, "gated", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p.Spec.SchedulingGates = nil
	if _, err := r.CoreV1().Pods("default").Update(r.ctx, p, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	r.awaitNode("gated", "n1")
}

func TestManyPodsNeverOvercommit(t *testing.T) {
	r := start(t)
	for i := range 4 {
		r.addNode(fmt.Sprintf("n%d", i), "2")
	}
	const pods = 40
	for i := range pods {
		r.addPod(fmt.Sprintf("p%02d", i), "200m", nil)
	}
	perNode := map[string]int{}
	for i := range pods {
		p := r.await(fmt.Sprintf("p%02d", i), "bound", func(p *corev1.Pod) bool { return p.Spec.NodeName != "" })
		perNode[p.Spec.NodeName]++
	}
	for node, n := range perNode {
		if n != pods/4 {
			t.Errorf("node %s: got %d pods of 200m on 2 CPUs, want %d", node, n, pods/4)
		}
	}
}
