package workloads

import (
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	typedapps "k8s.io/client-go/kubernetes/typed/apps/v1"
	"k8s.io/utils/ptr"
)

func replicaSet(name string, replicas int32) *appsv1.ReplicaSet {
	return &appsv1.ReplicaSet{ObjectMeta: named(name), Spec: appsv1.ReplicaSetSpec{
		Replicas: &replicas, Selector: selecting(name), Template: template(name, "web:1"),
	}}
}

func (c *cluster) replicaSets() typedapps.ReplicaSetInterface {
	return c.AppsV1().ReplicaSets(c.namespace)
}

func (c *cluster) createSet(set *appsv1.ReplicaSet) *appsv1.ReplicaSet {
	c.Helper()
	return must[*appsv1.ReplicaSet](c)(c.replicaSets().Create(c.ctx, set, metav1.CreateOptions{}))
}

// loosePod is a pod of nobody's.
func (c *cluster) loosePod(name, app string) *corev1.Pod {
	c.Helper()
	t := template(app, "web:1")
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: t.Labels}, Spec: t.Spec}
	return must[*corev1.Pod](c)(c.CoreV1().Pods(c.namespace).Create(c.ctx, pod, metav1.CreateOptions{}))
}

func (c *cluster) label(pod, key, value string) {
	c.Helper()
	data := fmt.Appendf(nil, `{"metadata":{"labels":{%q:%q}}}`, key, value)
	must[*corev1.Pod](c)(c.CoreV1().Pods(c.namespace).Patch(c.ctx, pod, types.MergePatchType, data, metav1.PatchOptions{}))
}

// ownedBy waits until the pod's controller is that one, or nobody for "".
func (c *cluster) ownedBy(pod string, owner types.UID) *corev1.Pod {
	c.Helper()
	return until(c, c.CoreV1().Pods(c.namespace), pod, "of owner "+string(owner), func(p *corev1.Pod) bool {
		ref := metav1.GetControllerOf(p)
		return ref == nil && owner == "" || ref != nil && ref.UID == owner
	})
}

func TestReplicaSet(t *testing.T) {
	c := start(t, 2)
	// Conformance: [sig-apps] ReplicaSet Replace and Patch tests
	c.try("replace and patch", replaceAndPatch)
	// Conformance: [sig-apps] ReplicaSet Replicaset should have a working scale subresource
	c.try("scale", setScale)
	// Conformance: [sig-apps] ReplicaSet should adopt matching pods on creation and release no longer matching pods
	c.try("adopt and release", adoptAndRelease)
	// Conformance: [sig-apps] ReplicaSet should list and delete a collection of ReplicaSets
	c.try("collection", setCollection)
	// Conformance: [sig-apps] ReplicaSet should validate Replicaset Status endpoints
	c.try("status", setStatus)
	c.try("deletion cost", deletionCost)
	c.try("quota", setQuota)
}

func replaceAndPatch(c *cluster) {
	c.createSet(replicaSet("web", 1))
	c.readyPods("web", 1)
	change(c, c.replicaSets(), "web", func(set *appsv1.ReplicaSet) { set.Spec.Replicas = ptr.To[int32](2) })
	c.readyPods("web", 2)
	patched := must[*appsv1.ReplicaSet](c)(c.replicaSets().Patch(c.ctx, "web", types.StrategicMergePatchType,
		[]byte(`{"metadata":{"labels":{"test-rs":"patched"}},"spec":{"replicas":3,"template":{"spec":{"terminationGracePeriodSeconds":0,"containers":[{"name":"main","image":"example.com/web:2"}]}}}}`), metav1.PatchOptions{}))
	if patched.Labels["test-rs"] != "patched" || *patched.Spec.Replicas != 3 {
		c.Errorf("patched: got labels %v, replicas %d", patched.Labels, *patched.Spec.Replicas)
	}
	images := map[string]int{}
	for _, pod := range c.readyPods("web", 3) {
		images[pod.Spec.Containers[0].Image]++
	}
	if images["example.com/web:2"] != 1 || images["example.com/web:1"] != 2 {
		c.Errorf("images: got %v, want only the new pod of the new template", images)
	}
}

func setScale(c *cluster) {
	c.createSet(replicaSet("web", 1))
	c.readyPods("web", 1)
	scale := must[*autoscalingv1.Scale](c)(c.replicaSets().GetScale(c.ctx, "web", metav1.GetOptions{}))
	scale.ResourceVersion = ""
	scale.Spec.Replicas = 2
	scale = must[*autoscalingv1.Scale](c)(c.replicaSets().UpdateScale(c.ctx, "web", scale, metav1.UpdateOptions{}))
	if scale.Spec.Replicas != 2 {
		c.Errorf("scale: got %d, want 2", scale.Spec.Replicas)
	}
	c.readyPods("web", 2)
	must[*appsv1.ReplicaSet](c)(c.replicaSets().Patch(c.ctx, "web", types.StrategicMergePatchType, []byte(`{"spec":{"replicas":4}}`), metav1.PatchOptions{}, "scale"))
	c.readyPods("web", 4)
}

func adoptAndRelease(c *cluster) {
	loose := c.loosePod("loose", "web")
	set := c.createSet(replicaSet("web", 1))
	c.ownedBy("loose", set.UID)
	if pods := c.readyPods("web", 1); pods[0].UID != loose.UID {
		c.Errorf("pod %s was made instead of adopting", pods[0].Name)
	}
	c.label("loose", "app", "other")
	c.ownedBy("loose", "")
	c.readyPods("web", 1) // another has taken its place
	c.readyPods("other", 1)
}

func setCollection(c *cluster) {
	for _, name := range []string{"a", "b", "c"} {
		set := replicaSet(name, 1)
		set.Labels["group"] = "all"
		c.createSet(set)
		c.readyPods(name, 1)
	}
	list := must[*appsv1.ReplicaSetList](c)(c.replicaSets().List(c.ctx, metav1.ListOptions{LabelSelector: "group=all"}))
	if len(list.Items) != 3 {
		c.Errorf("list: got %d, want 3", len(list.Items))
	}
	c.ok(c.replicaSets().DeleteCollection(c.ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "group=all"}))
	for _, name := range []string{"a", "b", "c"} {
		c.readyPods(name, 0)
	}
}

func setStatus(c *cluster) {
	c.createSet(replicaSet("web", 1))
	until(c, c.replicaSets(), "web", "counted", func(set *appsv1.ReplicaSet) bool {
		st := set.Status
		return st.ObservedGeneration == set.Generation && st.Replicas == 1 && st.FullyLabeledReplicas == 1 && st.ReadyReplicas == 1 && st.AvailableReplicas == 1
	})
	writesConditions(c, c.replicaSets(), "web", func(set *appsv1.ReplicaSet) {
		set.Status.Conditions = append(set.Status.Conditions, appsv1.ReplicaSetCondition{Type: "StatusUpdate", Status: "True", Reason: reasonUpdated})
	})
}

// deletionCost shows that of several pods the cheapest goes.
func deletionCost(c *cluster) {
	for name, cost := range map[string]string{"dear": "10", "cheap": "-5", "normal": "0"} {
		t := template("web", "web:1")
		t.Name, t.Annotations = name, map[string]string{corev1.PodDeletionCost: cost}
		must[*corev1.Pod](c)(c.CoreV1().Pods(c.namespace).Create(c.ctx, &corev1.Pod{ObjectMeta: t.ObjectMeta, Spec: t.Spec}, metav1.CreateOptions{}))
	}
	c.readyPods("web", 3)
	c.createSet(replicaSet("web", 3))
	until(c, c.replicaSets(), "web", "adopted", func(set *appsv1.ReplicaSet) bool { return set.Status.AvailableReplicas == 3 })
	for i, gone := range []string{"cheap", "normal"} {
		change(c, c.replicaSets(), "web", func(set *appsv1.ReplicaSet) { set.Spec.Replicas = ptr.To(int32(2 - i)) })
		for _, pod := range c.readyPods("web", 2-i) {
			if pod.Name == gone {
				c.Errorf("pod %s is still there", pod.Name)
			}
		}
	}
}

func (c *cluster) quota(pods string) {
	c.Helper()
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "few"}, Spec: corev1.ResourceQuotaSpec{
		Hard: corev1.ResourceList{corev1.ResourcePods: resource.MustParse(pods)},
	}}
	must[*corev1.ResourceQuota](c)(c.CoreV1().ResourceQuotas(c.namespace).Create(c.ctx, quota, metav1.CreateOptions{}))
	until(c, c.CoreV1().ResourceQuotas(c.namespace), "few", "counted", func(q *corev1.ResourceQuota) bool { return len(q.Status.Hard) > 0 })
}

func setQuota(c *cluster) {
	c.quota("2")
	c.createSet(replicaSet("web", 3))
	set := until(c, c.replicaSets(), "web", "failing", func(set *appsv1.ReplicaSet) bool { return len(set.Status.Conditions) > 0 })
	got := set.Status.Conditions[0]
	if got.Type != appsv1.ReplicaSetReplicaFailure || got.Reason != "FailedCreate" || !strings.Contains(got.Message, "exceeded quota") {
		c.Errorf("condition: got %+v", got)
	}
	change(c, c.replicaSets(), "web", func(set *appsv1.ReplicaSet) { set.Spec.Replicas = ptr.To[int32](2) })
	until(c, c.replicaSets(), "web", "well", func(set *appsv1.ReplicaSet) bool {
		return len(set.Status.Conditions) == 0 && set.Status.ReadyReplicas == 2
	})
}
