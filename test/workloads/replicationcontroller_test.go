package workloads

import (
	"slices"
	"strings"
	"testing"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	typedcore "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/utils/ptr"
)

func (c *cluster) controllers() typedcore.ReplicationControllerInterface {
	return c.CoreV1().ReplicationControllers(c.namespace)
}

func (c *cluster) createController(name string, replicas int32) *corev1.ReplicationController {
	c.Helper()
	t := template(name, "web:1")
	rc := &corev1.ReplicationController{ObjectMeta: named(name), Spec: corev1.ReplicationControllerSpec{
		Replicas: &replicas, Selector: t.Labels, Template: &t,
	}}
	return must[*corev1.ReplicationController](c)(c.controllers().Create(c.ctx, rc, metav1.CreateOptions{}))
}

func TestReplicationController(t *testing.T) {
	c := start(t, 2)
	// Conformance: [sig-apps] ReplicationController should adopt matching pods on creation
	c.try("adopt", func(c *cluster) {
		loose := c.loosePod("loose", "web")
		rc := c.createController("web", 1)
		c.ownedBy("loose", rc.UID)
		if pods := c.readyPods("web", 1); pods[0].UID != loose.UID {
			c.Errorf("pod %s was made instead of adopting", pods[0].Name)
		}
	})
	// Conformance: [sig-apps] ReplicationController should release no longer matching pods
	c.try("release", func(c *cluster) {
		rc := c.createController("web", 1)
		pod := c.readyPods("web", 1)[0]
		c.ownedBy(pod.Name, rc.UID)
		c.label(pod.Name, "app", "other")
		c.ownedBy(pod.Name, "")
		c.readyPods("web", 1)
	})
	// Conformance: [sig-apps] ReplicationController should get and update a ReplicationController scale
	c.try("scale", func(c *cluster) {
		c.createController("web", 1)
		c.readyPods("web", 1)
		scale := must[*autoscalingv1.Scale](c)(c.controllers().GetScale(c.ctx, "web", metav1.GetOptions{}))
		if scale.Spec.Replicas != 1 || scale.Status.Selector != "app=web" {
			c.Errorf("scale: got %+v %+v", scale.Spec, scale.Status)
		}
		scale.ResourceVersion = ""
		scale.Spec.Replicas = 2
		must[*autoscalingv1.Scale](c)(c.controllers().UpdateScale(c.ctx, "web", scale, metav1.UpdateOptions{}))
		c.readyPods("web", 2)
	})
	// Conformance: [sig-apps] ReplicationController should surface a failure condition on a common issue like exceeded quota
	c.try("quota", controllerQuota)
	// Conformance: [sig-apps] ReplicationController should test the lifecycle of a ReplicationController
	c.try("lifecycle", controllerLifecycle)
}

func controllerQuota(c *cluster) {
	c.quota("2")
	c.createController("web", 3)
	rc := until(c, c.controllers(), "web", "failing", func(rc *corev1.ReplicationController) bool { return len(rc.Status.Conditions) > 0 })
	got := rc.Status.Conditions[0]
	if got.Type != corev1.ReplicationControllerReplicaFailure || got.Status != corev1.ConditionTrue || got.Reason != "FailedCreate" || !strings.Contains(got.Message, "exceeded quota") {
		c.Errorf("condition: got %+v", got)
	}
	change(c, c.controllers(), "web", func(rc *corev1.ReplicationController) { rc.Spec.Replicas = ptr.To[int32](2) })
	until(c, c.controllers(), "web", "well", func(rc *corev1.ReplicationController) bool { return len(rc.Status.Conditions) == 0 })
}

func controllerLifecycle(c *cluster) {
	c.createController("web", 1)
	c.readyPods("web", 1)
	rc := must[*corev1.ReplicationController](c)(c.controllers().Patch(c.ctx, "web", types.StrategicMergePatchType,
		[]byte(`{"metadata":{"labels":{"test-rc":"patched"}},"spec":{"replicas":2}}`), metav1.PatchOptions{}))
	if rc.Labels["test-rc"] != "patched" {
		c.Errorf("labels after the patch: got %v", rc.Labels)
	}
	until(c, c.controllers(), "web", "grown", func(rc *corev1.ReplicationController) bool {
		return rc.Status.Replicas == 2 && rc.Status.ReadyReplicas == 2 && rc.Status.AvailableReplicas == 2 && rc.Status.ObservedGeneration == rc.Generation
	})
	patched := must[*corev1.ReplicationController](c)(c.controllers().Patch(c.ctx, "web", types.MergePatchType, []byte(`{"status":{"availableReplicas":0}}`), metav1.PatchOptions{}, "status"))
	if patched.Status.AvailableReplicas != 0 {
		c.Errorf("available after the patch: got %d", patched.Status.AvailableReplicas)
	}
	until(c, c.controllers(), "web", "counted anew", func(rc *corev1.ReplicationController) bool { return rc.Status.AvailableReplicas == 2 })
	all := must[*corev1.ReplicationControllerList](c)(c.CoreV1().ReplicationControllers("").List(c.ctx, metav1.ListOptions{LabelSelector: "test-rc=patched"}))
	if !slices.ContainsFunc(all.Items, func(rc corev1.ReplicationController) bool { return rc.UID == patched.UID }) {
		c.Error("the list of all namespaces lacks the controller")
	}
	change(c, c.controllers(), "web", func(rc *corev1.ReplicationController) { rc.Spec.Replicas = ptr.To[int32](3) })
	c.readyPods("web", 3)
	c.ok(c.controllers().DeleteCollection(c.ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "test-rc=patched"}))
	untilGone(c, c.controllers(), patched) // its pods stay, as the API has it for this kind
}
