package scheduler_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"

	batchv1 "github.com/sinawi/sinawi/api/scheduling/v1"
)

func queuesOf(r *rig) dynamic.ResourceInterface {
	r.Helper()
	c, err := dynamic.NewForConfig(r.config)
	if err != nil {
		r.Fatal(err)
	}
	return c.Resource(schema.GroupVersionResource{Group: "scheduling.sinawi.dev", Version: "v1", Resource: "queues"})
}

// awaitQueues returns once the server serves queues.
func (r *rig) awaitQueues() {
	r.Helper()
	c, err := dynamic.NewForConfig(r.config)
	if err != nil {
		r.Fatal(err)
	}
	w, err := c.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}).
		Watch(r.ctx, metav1.ListOptions{FieldSelector: "metadata.name=queues.scheduling.sinawi.dev"})
	if err != nil {
		r.Fatal(err)
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		if e.Type != watch.Added && e.Type != watch.Modified {
			continue
		}
		conditions, _, _ := unstructured.NestedSlice(e.Object.(*unstructured.Unstructured).Object, "status", "conditions")
		for _, c := range conditions {
			if m := c.(map[string]any); m["type"] == "Established" && m["status"] == "True" {
				return
			}
		}
	}
	r.Fatal("queues are not served in time")
}

func queue(name string, spec map[string]any) *unstructured.Unstructured {
	q := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"name": name}, "spec": spec}}
	q.SetGroupVersionKind(batchv1.QueueKind())
	return q
}

func (r *rig) addQueue(name string, spec map[string]any) {
	r.Helper()
	if _, err := queuesOf(r).Create(r.ctx, queue(name, spec), metav1.CreateOptions{}); err != nil {
		r.Fatal(err)
	}
}

// awaitQueue returns a queue's status once it is as wanted.
func (r *rig) awaitQueue(name string, wanted func(batchv1.QueueStatus) bool) {
	r.Helper()
	w, err := queuesOf(r).Watch(r.ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err != nil {
		r.Fatal(err)
	}
	defer w.Stop()
	var q batchv1.Queue
	for e := range w.ResultChan() {
		q = batchv1.Queue{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(e.Object.(*unstructured.Unstructured).Object, &q); err != nil {
			r.Fatal(err)
		}
		if wanted(q.Status) {
			return
		}
	}
	r.Fatalf("queue %s: not as wanted in time; its status: %+v", name, q.Status)
}

func (r *rig) addGang(name string, least int32) {
	r.Helper()
	_, err := r.SchedulingV1beta1().PodGroups("default").Create(r.ctx, &schedulingv1beta1.PodGroup{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       schedulingv1beta1.PodGroupSpec{SchedulingPolicy: schedulingv1beta1.PodGroupSchedulingPolicy{Gang: &schedulingv1beta1.GangSchedulingPolicy{MinCount: least}}},
	}, metav1.CreateOptions{})
	if err != nil {
		r.Fatal(err)
	}
}

func (r *rig) awaitGroup(name string, status metav1.ConditionStatus, part string) {
	r.Helper()
	w, err := r.SchedulingV1beta1().PodGroups("default").Watch(r.ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + name})
	if err != nil {
		r.Fatal(err)
	}
	defer w.Stop()
	var last *metav1.Condition
	for e := range w.ResultChan() {
		last = meta.FindStatusCondition(e.Object.(*schedulingv1beta1.PodGroup).Status.Conditions, schedulingv1beta1.PodGroupInitiallyScheduled)
		if last != nil && last.Status == status && strings.Contains(last.Message, part) {
			return
		}
	}
	r.Fatalf("pod group %s: not %s with %q in time: %+v", name, status, part, last)
}

func inGroup(name string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.SchedulingGroup = &corev1.PodSchedulingGroup{PodGroupName: &name} }
}

func inQueue(name string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Labels = map[string]string{batchv1.QueueLabel: name} }
}

func both(changes ...func(*corev1.Pod)) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		for _, f := range changes {
			f(p)
		}
	}
}

func (r *rig) unbound(names ...string) {
	r.Helper()
	for _, name := range names {
		if p := r.get(name); p.Spec.NodeName != "" {
			r.Errorf("pod %s is on node %s", name, p.Spec.NodeName)
		}
	}
}

func (r *rig) remove(name string) {
	r.Helper()
	none := int64(0)
	if err := r.CoreV1().Pods("default").Delete(r.ctx, name, metav1.DeleteOptions{GracePeriodSeconds: &none}); err != nil {
		r.Fatal(err)
	}
}

func TestGangWaitsUntilAllFit(t *testing.T) {
	r := start(t)
	r.addNode("n1", "2")
	r.addPod("g-0", "1", inGroup("g"))
	r.awaitUnschedulable("g-0", `waiting for pod group "g" to be created`)
	r.addGang("g", 3)
	r.awaitGroup("g", metav1.ConditionFalse, "1 of at least 3 are there")
	r.addPod("g-1", "1", inGroup("g"))
	r.addPod("g-2", "1", inGroup("g"))
	r.awaitGroup("g", metav1.ConditionFalse, "Insufficient cpu")
	r.addPod("other", "1", nil) // takes what the gang must not hold
	r.awaitNode("other", "n1")
	r.unbound("g-0", "g-1", "g-2")
	r.addNode("n2", "1")
	r.addNode("n3", "1")
	for i := range 3 {
		r.await(fmt.Sprint("g-", i), "bound", bound)
	}
	r.awaitGroup("g", metav1.ConditionTrue, "")
	r.addNode("n4", "1")
	r.addPod("g-3", "1", inGroup("g")) // beyond the least count: on its own
	r.awaitNode("g-3", "n4")
}

func TestGangPreemptsAsAWhole(t *testing.T) {
	r := start(t)
	r.addPriorities()
	r.addNode("n1", "2")
	r.addNode("n2", "2")
	for i := range 2 {
		r.addPod(fmt.Sprint("low-", i), "2", withPriority("low"))
		r.await(fmt.Sprint("low-", i), "bound", bound)
	}
	r.addGang("huge", 3)
	for i := range 3 {
		r.addPod(fmt.Sprint("huge-", i), "2", both(inGroup("huge"), withPriority("high")))
	}
	r.awaitUnschedulable("huge-0", "evicting pods of lower priority would not make room for all 3")
	for i := range 2 {
		if p := r.get(fmt.Sprint("low-", i)); p.DeletionTimestamp != nil {
			t.Errorf("pod %s was evicted for a gang that does not fit even then", p.Name)
		}
	}
	r.addGang("g", 2)
	for i := range 2 {
		r.addPod(fmt.Sprint("g-", i), "2", both(inGroup("g"), withPriority("high")))
	}
	r.leave("low-0")
	r.leave("low-1")
	for i := range 2 {
		r.await(fmt.Sprint("g-", i), "bound", bound)
	}
}

func TestQueuesBorrowAndReclaim(t *testing.T) {
	r := start(t)
	r.awaitQueues()
	r.addNode("n1", "4")
	r.addQueue("a", map[string]any{"cohort": "all", "quota": map[string]any{"cpu": "2"}})
	r.addQueue("b", map[string]any{"cohort": "all", "quota": map[string]any{"cpu": "2"}, "limit": map[string]any{"cpu": "4"}})
	for i := range 5 {
		r.addPod(fmt.Sprint("b-", i), "1", inQueue("b"))
	}
	for i := range 4 { // two of its own, two borrowed
		r.await(fmt.Sprint("b-", i), "bound", bound)
	}
	r.awaitUnschedulable("b-4", `queue "b" is full: 1 cpu wanted, 0 of 4 in its limit free`)
	r.awaitQueue("b", func(s batchv1.QueueStatus) bool {
		return s.AdmittedPods == 4 && s.PendingPods == 1 && s.DominantShare == "1.000"
	})
	// A gang of a within its quota takes back what b borrowed, all at once.
	r.addGang("g", 2)
	for i := range 2 {
		r.addPod(fmt.Sprint("g-", i), "1", both(inGroup("g"), inQueue("a")))
	}
	for _, victim := range []string{"b-2", "b-3"} {
		p := r.leave(victim)
		if c := condition(p, corev1.DisruptionTarget); c == nil || !strings.Contains(c.Message, "taking back the quota of queue a") {
			t.Errorf("condition of %s: %+v", victim, c)
		}
	}
	for i := range 2 {
		r.awaitNode(fmt.Sprint("g-", i), "n1")
	}
	r.awaitQueue("a", func(s batchv1.QueueStatus) bool {
		return s.AdmittedPods == 2 && s.PendingGroups == 0 && s.DominantShare == "0.500"
	})
	r.unbound("b-4")
	// What a leaves goes to who waits.
	r.remove("g-0")
	r.awaitNode("b-4", "n1")
	for _, kept := range []string{"b-0", "b-1"} {
		if p := r.get(kept); p.DeletionTimestamp != nil {
			t.Errorf("pod %s was evicted though it is within its queue's quota", kept)
		}
	}
}

func TestQueuesThatDoNotReclaimWait(t *testing.T) {
	r := start(t)
	r.awaitQueues()
	r.addNode("n1", "2")
	r.addPod("early", "1", inQueue("patient"))
	r.awaitUnschedulable("early", `there is no queue "patient"`)
	r.addQueue("patient", map[string]any{"cohort": "all", "quota": map[string]any{"cpu": "1"}, "reclaim": "Never"})
	r.awaitNode("early", "n1")
	r.remove("early")
	r.addQueue("greedy", map[string]any{"cohort": "all", "quota": map[string]any{"cpu": "1"}})
	for i := range 2 {
		r.addPod(fmt.Sprint("greedy-", i), "1", inQueue("greedy"))
		r.await(fmt.Sprint("greedy-", i), "bound", bound)
	}
	r.addPod("waits", "1", inQueue("patient"))
	r.awaitUnschedulable("waits", `queue "patient" is within its quota, but other queues use what it lent`)
	r.addPod("too-big", "3", inQueue("greedy"))
	r.awaitUnschedulable("too-big", `queue "greedy" can never have 3 cpu: its cohort is 2`)
	r.remove("greedy-0")
	r.awaitNode("waits", "n1")
}

func TestQueuesTakeTheNamespacesTheySelect(t *testing.T) {
	r := start(t)
	r.awaitQueues()
	r.addNode("n1", "1")
	r.addQueue("a", map[string]any{"quota": map[string]any{"cpu": "1"}, "namespaceSelector": map[string]any{
		"matchLabels":      map[string]any{"team": "a"},
		"matchExpressions": []any{map[string]any{"key": "closed", "operator": "DoesNotExist"}},
	}})
	namespace := func(name string, labels map[string]string) {
		_, err := r.CoreV1().Namespaces().Create(r.ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		r.addAccount(name)
	}
	namespace("outside", nil)
	namespace("inside", map[string]string{"team": "a"})
	r.addPodIn("outside", "early", "1", inQueue("a"))
	r.awaitIn("outside", "early", "told that it is not taken", func(p *corev1.Pod) bool {
		c := scheduled(p)
		return c != nil && c.Message == `queue "a" does not take pods of namespace "outside"`
	})
	r.addPodIn("inside", "late", "1", inQueue("a")) // is not held by who came first
	r.awaitIn("inside", "late", "bound", bound)
	none := int64(0)
	if err := r.CoreV1().Pods("inside").Delete(r.ctx, "late", metav1.DeleteOptions{GracePeriodSeconds: &none}); err != nil {
		t.Fatal(err)
	}
	labels := []byte(`{"metadata":{"labels":{"team":"a"}}}`)
	if _, err := r.CoreV1().Namespaces().Patch(r.ctx, "outside", types.MergePatchType, labels, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	r.awaitIn("outside", "early", "bound", bound)
}

func TestQueuesAreValidated(t *testing.T) {
	r := start(t)
	r.awaitQueues()
	for name, spec := range map[string]map[string]any{
		"limit":  {"quota": map[string]any{"cpu": "2"}, "limit": map[string]any{"cpu": "500m"}},
		"policy": {"reclaim": "Sometimes"}, "weight": {"weight": int64(0)}, "amount": {"quota": map[string]any{"cpu": "much"}},
		"label":    {"namespaceSelector": map[string]any{"matchLabels": map[string]any{"team": "no value"}}},
		"operator": {"namespaceSelector": map[string]any{"matchExpressions": []any{map[string]any{"key": "team", "operator": "Is"}}}},
		"values":   {"namespaceSelector": map[string]any{"matchExpressions": []any{map[string]any{"key": "team", "operator": "In"}}}},
	} {
		if _, err := queuesOf(r).Create(r.ctx, queue(name, spec), metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
			t.Errorf("a queue with a bad %s: %v", name, err)
		}
	}
	bad := &schedulingv1beta1.PodGroup{ObjectMeta: metav1.ObjectMeta{Name: "g"}}
	if _, err := r.SchedulingV1beta1().PodGroups("default").Create(r.ctx, bad, metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("a pod group without a policy: %v", err)
	}
	r.addGang("g", 2)
	g, err := r.SchedulingV1beta1().PodGroups("default").Get(r.ctx, "g", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if g.Spec.DisruptionMode == nil || g.Spec.DisruptionMode.Single == nil {
		t.Errorf("disruption mode: %+v, want single by default", g.Spec.DisruptionMode)
	}
	g.Spec.SchedulingPolicy.Gang.MinCount = 3
	if g, err = r.SchedulingV1beta1().PodGroups("default").Update(r.ctx, g, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	g.Spec.SchedulingPolicy = schedulingv1beta1.PodGroupSchedulingPolicy{Basic: &schedulingv1beta1.BasicSchedulingPolicy{}}
	if _, err := r.SchedulingV1beta1().PodGroups("default").Update(r.ctx, g, metav1.UpdateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("a gang became a basic group: %v", err)
	}
}
