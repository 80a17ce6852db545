package workloads

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	typedapps "k8s.io/client-go/kubernetes/typed/apps/v1"
	"k8s.io/utils/ptr"

	"github.com/sinawi/sinawi/lab/simnode"
)

const revision = "deployment.kubernetes.io/revision"

func deployment(name string, replicas int32) *appsv1.Deployment {
	return &appsv1.Deployment{ObjectMeta: named(name), Spec: appsv1.DeploymentSpec{
		Replicas: &replicas, Selector: selecting(name), Template: template(name, "web:1"),
	}}
}

func (c *cluster) deployments() typedapps.DeploymentInterface {
	return c.AppsV1().Deployments(c.namespace)
}

func (c *cluster) createDeployment(d *appsv1.Deployment) *appsv1.Deployment {
	c.Helper()
	return must[*appsv1.Deployment](c)(c.deployments().Create(c.ctx, d, metav1.CreateOptions{}))
}

// rolledOut waits until all pods of the deployment are of its template and available.
func (c *cluster) rolledOut(name string) *appsv1.Deployment {
	c.Helper()
	return until(c, c.deployments(), name, "rolled out", func(d *appsv1.Deployment) bool {
		n := *d.Spec.Replicas
		st := d.Status
		return st.ObservedGeneration >= d.Generation && st.UpdatedReplicas == n && st.Replicas == n && st.AvailableReplicas == n && st.UnavailableReplicas == 0
	})
}

// sets are the replica sets of an app, oldest revision first.
func (c *cluster) sets(app string) []*appsv1.ReplicaSet {
	c.Helper()
	list := must[*appsv1.ReplicaSetList](c)(c.AppsV1().ReplicaSets(c.namespace).List(c.ctx, metav1.ListOptions{LabelSelector: "app=" + app}))
	var out []*appsv1.ReplicaSet
	for i := range list.Items {
		out = append(out, &list.Items[i])
	}
	slices.SortFunc(out, func(a, b *appsv1.ReplicaSet) int {
		return strings.Compare(a.Annotations[revision], b.Annotations[revision])
	})
	return out
}

func (c *cluster) setImage(name, image string) {
	c.Helper()
	change(c, c.deployments(), name, func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "example.com/" + image })
}

func progressing(d *appsv1.Deployment) appsv1.DeploymentCondition {
	return *deploymentCondition(d, appsv1.DeploymentProgressing)
}

func deploymentCondition(d *appsv1.Deployment, kind appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range d.Status.Conditions {
		if d.Status.Conditions[i].Type == kind {
			return &d.Status.Conditions[i]
		}
	}
	return &appsv1.DeploymentCondition{}
}

func TestDeployment(t *testing.T) {
	c := start(t, 3)
	// Conformance: [sig-apps] Deployment RollingUpdateDeployment should delete old pods and create new ones
	c.try("rolling update", rollingUpdate)
	// Conformance: [sig-apps] Deployment RecreateDeployment should delete old pods and create new ones
	c.try("recreate", recreate)
	// Conformance: [sig-apps] Deployment deployment should delete old replica sets
	c.try("old replica sets go", oldSetsGo)
	// Conformance: [sig-apps] Deployment deployment should support rollover
	c.try("rollover", rollover)
	// Conformance: [sig-apps] Deployment deployment should support proportional scaling
	c.try("proportional scaling", proportional)
	// Conformance: [sig-apps] Deployment Deployment should have a working scale subresource
	c.try("scale", deploymentScale)
	// Conformance: [sig-apps] Deployment should run the lifecycle of a Deployment
	c.try("lifecycle", deploymentLifecycle)
	// Conformance: [sig-apps] Deployment should validate Deployment Status endpoints
	c.try("status", deploymentStatus)
	c.try("rolling bounds", rollingBounds)
	c.try("pause", pauseAndResume)
	c.try("deadline", progressDeadline)
	c.try("undo", undo)
	c.try("terminating", terminatingReplicas)
}

func rollingUpdate(c *cluster) {
	// A replica set of the same pods is there before: it is adopted, and rolled over.
	old := replicaSet("web", 2)
	must[*appsv1.ReplicaSet](c)(c.AppsV1().ReplicaSets(c.namespace).Create(c.ctx, old, metav1.CreateOptions{}))
	before := c.readyPods("web", 2)
	d := deployment("web", 2)
	d.Spec.Template.Spec.Containers[0].Image = "example.com/web:2"
	c.createDeployment(d)
	d = c.rolledOut("web")
	for _, pod := range c.readyPods("web", 2) {
		for _, b := range before {
			if b.UID == pod.UID {
				c.Errorf("pod %s is still there", pod.Name)
			}
		}
		if got := pod.Spec.Containers[0].Image; got != "example.com/web:2" {
			c.Errorf("image of pod %s: got %s", pod.Name, got)
		}
	}
	sets := c.sets("web")
	if len(sets) != 2 || !metav1.IsControlledBy(sets[0], d) || !metav1.IsControlledBy(sets[1], d) {
		c.Fatalf("got %d replica sets, want the adopted and the new one, both the deployment's", len(sets))
	}
	if got := progressing(d); got.Reason != "NewReplicaSetAvailable" || got.Status != corev1.ConditionTrue {
		c.Errorf("condition Progressing: got %+v", got)
	}
	if got := deploymentCondition(d, appsv1.DeploymentAvailable); got.Reason != "MinimumReplicasAvailable" {
		c.Errorf("condition Available: got %+v", got)
	}
	if got := c.event("web", "ScalingReplicaSet"); !strings.HasPrefix(got, "Scaled ") {
		c.Errorf("event: got %q", got)
	}
}

func recreate(c *cluster) {
	d := deployment("web", 3)
	d.Spec.Strategy.Type = appsv1.RecreateDeploymentStrategyType
	c.createDeployment(d)
	c.rolledOut("web")
	stop := never(c, c.CoreV1().Pods(c.namespace), labels.Set{"app": "web"}, "old and new pods at a time", func(pods []*corev1.Pod) bool {
		images := map[string]bool{}
		for _, pod := range pods {
			images[pod.Spec.Containers[0].Image] = true
		}
		return len(images) > 1
	})
	defer stop()
	c.setImage("web", "web:2")
	c.rolledOut("web")
	c.readyPods("web", 3)
}

func oldSetsGo(c *cluster) {
	d := deployment("web", 1)
	d.Spec.RevisionHistoryLimit = ptr.To[int32](0)
	c.createDeployment(d)
	c.rolledOut("web")
	c.setImage("web", "web:2")
	c.rolledOut("web")
	untilAll(c, c.AppsV1().ReplicaSets(c.namespace), labels.Set{"app": "web"}, "one replica set", func(sets []*appsv1.ReplicaSet) bool {
		return len(sets) == 1 && sets[0].Spec.Template.Spec.Containers[0].Image == "example.com/web:2"
	})
}

func rollover(c *cluster) {
	d := deployment("web", 2)
	d.Spec.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{MaxUnavailable: ptr.To(intstr.FromInt32(0)), MaxSurge: ptr.To(intstr.FromInt32(1))}
	c.createDeployment(d)
	c.rolledOut("web")
	// The second template never becomes ready; the third takes over from both.
	change(c, c.deployments(), "web", func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.Containers[0].Image = "example.com/web:2"
		d.Spec.Template.Annotations = map[string]string{simnode.Ready: "false"}
	})
	c.podsAre("web", "one of the second template", func(pods []*corev1.Pod) bool {
		return slices.ContainsFunc(pods, func(p *corev1.Pod) bool {
			return p.Spec.Containers[0].Image == "example.com/web:2" && p.Status.Phase == corev1.PodRunning
		})
	})
	change(c, c.deployments(), "web", func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.Containers[0].Image = "example.com/web:3"
		d.Spec.Template.Annotations = nil
	})
	c.rolledOut("web")
	for _, set := range c.sets("web") {
		want := int32(0)
		if set.Spec.Template.Spec.Containers[0].Image == "example.com/web:3" {
			want = 2
		}
		if *set.Spec.Replicas != want {
			c.Errorf("replica set %s: got size %d, want %d", set.Name, *set.Spec.Replicas, want)
		}
	}
}

func proportional(c *cluster) {
	d := deployment("web", 10)
	d.Spec.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{MaxSurge: ptr.To(intstr.FromInt32(3)), MaxUnavailable: ptr.To(intstr.FromInt32(2))}
	c.createDeployment(d)
	c.rolledOut("web")
	change(c, c.deployments(), "web", func(d *appsv1.Deployment) {
		d.Spec.Template.Spec.Containers[0].Image = "example.com/web:404"
		d.Spec.Template.Annotations = map[string]string{simnode.Ready: "false"}
	})
	sizes := func(what string, want ...int32) {
		c.Helper()
		untilAll(c, c.AppsV1().ReplicaSets(c.namespace), labels.Set{"app": "web"}, what, func(sets []*appsv1.ReplicaSet) bool {
			slices.SortFunc(sets, func(a, b *appsv1.ReplicaSet) int {
				return strings.Compare(a.Annotations[revision], b.Annotations[revision])
			})
			var got []int32
			for _, set := range sets {
				got = append(got, *set.Spec.Replicas)
			}
			return slices.Equal(got, want)
		})
	}
	sizes("stuck with 8 old and 5 new pods", 8, 5)
	until(c, c.deployments(), "web", "settled", func(d *appsv1.Deployment) bool {
		return d.Status.Replicas == 13 && d.Status.AvailableReplicas == 8 && d.Status.UpdatedReplicas == 5
	})
	change(c, c.deployments(), "web", func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](30) })
	sizes("30 and the surge, in the ratio from before", 20, 13)
}

func deploymentScale(c *cluster) {
	c.createDeployment(deployment("web", 1))
	c.rolledOut("web")
	scale := must[*autoscalingv1.Scale](c)(c.deployments().GetScale(c.ctx, "web", metav1.GetOptions{}))
	if scale.Spec.Replicas != 1 || scale.Status.Replicas != 1 || scale.Status.Selector != "app=web" {
		c.Errorf("scale: got %+v %+v", scale.Spec, scale.Status)
	}
	scale.ResourceVersion = ""
	scale.Spec.Replicas = 2
	scale = must[*autoscalingv1.Scale](c)(c.deployments().UpdateScale(c.ctx, "web", scale, metav1.UpdateOptions{}))
	if scale.Spec.Replicas != 2 {
		c.Errorf("scale after the update: got %d, want 2", scale.Spec.Replicas)
	}
	c.readyPods("web", 2)
	must[*appsv1.Deployment](c)(c.deployments().Patch(c.ctx, "web", types.StrategicMergePatchType, []byte(`{"spec":{"replicas":4}}`), metav1.PatchOptions{}, "scale"))
	c.readyPods("web", 4)
	if got := must[*appsv1.Deployment](c)(c.deployments().Get(c.ctx, "web", metav1.GetOptions{})); *got.Spec.Replicas != 4 {
		c.Errorf("replicas after the patch: got %d, want 4", *got.Spec.Replicas)
	}
}

func deploymentLifecycle(c *cluster) {
	d := deployment("web", 1)
	d.Labels["test-deployment-static"] = "true"
	c.createDeployment(d)
	c.rolledOut("web")
	d = must[*appsv1.Deployment](c)(c.deployments().Patch(c.ctx, "web", types.StrategicMergePatchType,
		[]byte(`{"metadata":{"labels":{"test-deployment":"patched"}},"spec":{"replicas":2,"template":{"spec":{"containers":[{"name":"main","image":"example.com/web:2"}]}}}}`), metav1.PatchOptions{}))
	if d.Labels["test-deployment"] != "patched" {
		c.Errorf("labels after the patch: got %v", d.Labels)
	}
	c.rolledOut("web")
	all := must[*appsv1.DeploymentList](c)(c.AppsV1().Deployments("").List(c.ctx, metav1.ListOptions{LabelSelector: "test-deployment-static=true"}))
	if !slices.ContainsFunc(all.Items, func(d appsv1.Deployment) bool { return d.Namespace == c.namespace && d.Name == "web" }) {
		c.Error("the list of all namespaces lacks the deployment")
	}
	change(c, c.deployments(), "web", func(d *appsv1.Deployment) {
		d.Labels["test-deployment"] = "updated"
		d.Spec.Template.Spec.Containers[0].Image = "example.com/web:3"
	})
	c.rolledOut("web")
	// Status is read and written by itself, and the controller puts it right again.
	d, err := c.deployments().Patch(c.ctx, "web", types.MergePatchType, []byte(`{"status":{"readyReplicas":0,"availableReplicas":0,"unavailableReplicas":2}}`), metav1.PatchOptions{}, "status")
	c.ok(err)
	if d.Labels["test-deployment"] != "updated" {
		c.Errorf("labels after a patch of the status: got %v", d.Labels)
	}
	until(c, c.deployments(), "web", "counted anew", func(d *appsv1.Deployment) bool { return d.Status.ReadyReplicas == 2 })
	c.ok(c.deployments().DeleteCollection(c.ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "test-deployment-static=true"}))
	untilGone(c, c.deployments(), d)
	c.readyPods("web", 0)
}

func deploymentStatus(c *cluster) {
	c.createDeployment(deployment("web", 1))
	c.rolledOut("web")
	d := writesConditions(c, c.deployments(), "web", func(d *appsv1.Deployment) {
		d.Status.Conditions = append(d.Status.Conditions, appsv1.DeploymentCondition{Type: "StatusUpdate", Status: "True", Reason: reasonUpdated})
		d.Spec.Replicas = ptr.To[int32](7) // not to be taken over
	})
	if *d.Spec.Replicas != 1 {
		c.Errorf("an update of the status changed the spec: replicas %d", *d.Spec.Replicas)
	}
}

// rollingBounds counts at every change: never more pods than replicas and surge,
// never fewer available ones than the strategy allows.
func rollingBounds(c *cluster) {
	d := deployment("web", 8)
	d.Spec.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{MaxSurge: ptr.To(intstr.FromString("25%")), MaxUnavailable: ptr.To(intstr.FromString("25%"))}
	c.createDeployment(d)
	c.rolledOut("web")
	stop := never(c, c.CoreV1().Pods(c.namespace), labels.Set{"app": "web"}, "too many or too few pods", func(pods []*corev1.Pod) bool {
		active, available := 0, 0
		for _, pod := range pods {
			if pod.DeletionTimestamp == nil {
				active++
			}
			if ready(pod) {
				available++
			}
		}
		return active > 10 || available < 6
	})
	defer stop()
	for i := range 3 {
		c.setImage("web", fmt.Sprintf("web:%d", i+2))
		c.rolledOut("web")
	}
}

func pauseAndResume(c *cluster) {
	c.createDeployment(deployment("web", 2))
	c.rolledOut("web")
	change(c, c.deployments(), "web", func(d *appsv1.Deployment) {
		d.Spec.Paused = true
		d.Spec.Template.Spec.Containers[0].Image = "example.com/web:2"
	})
	until(c, c.deployments(), "web", "paused", func(d *appsv1.Deployment) bool {
		return progressing(d).Reason == "DeploymentPaused" && d.Status.ObservedGeneration == d.Generation
	})
	change(c, c.deployments(), "web", func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](4) })
	c.readyPods("web", 4) // it is scaled all the same
	if n := len(c.sets("web")); n != 1 {
		c.Errorf("a paused deployment made another replica set: %d", n)
	}
	change(c, c.deployments(), "web", func(d *appsv1.Deployment) { d.Spec.Paused = false })
	c.rolledOut("web")
}

func progressDeadline(c *cluster) {
	d := deployment("web", 1)
	d.Spec.ProgressDeadlineSeconds = ptr.To[int32](1)
	d.Spec.Template.Annotations = map[string]string{simnode.Ready: "false"}
	c.createDeployment(d)
	d = until(c, c.deployments(), "web", "past its deadline", func(d *appsv1.Deployment) bool {
		return progressing(d).Reason == "ProgressDeadlineExceeded"
	})
	if got := progressing(d); got.Status != corev1.ConditionFalse || !strings.Contains(got.Message, "has timed out progressing.") {
		c.Errorf("condition: got %+v", got)
	}
	pods := c.podsAre("web", "one", func(pods []*corev1.Pod) bool { return len(pods) == 1 })
	c.annotate(pods[0].Name, simnode.Ready, "true")
	until(c, c.deployments(), "web", "well again", func(d *appsv1.Deployment) bool {
		return progressing(d).Reason == "NewReplicaSetAvailable" && progressing(d).Status == corev1.ConditionTrue
	})
}

// undo goes back to a revision as `kubectl rollout undo` does: by its template.
func undo(c *cluster) {
	c.createDeployment(deployment("web", 1))
	c.rolledOut("web")
	c.setImage("web", "web:2")
	c.rolledOut("web")
	first := c.sets("web")[0]
	change(c, c.deployments(), "web", func(d *appsv1.Deployment) {
		d.Spec.Template = first.Spec.Template
		delete(d.Spec.Template.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	})
	c.rolledOut("web")
	sets := c.sets("web")
	if len(sets) != 2 || sets[1].UID != first.UID {
		c.Fatalf("the first replica set is not in use again: %d sets", len(sets))
	}
	if got := sets[1].Annotations; got[revision] != "3" || got["deployment.kubernetes.io/revision-history"] != "1" {
		c.Errorf("annotations of the set: got %v", got)
	}
	until(c, c.deployments(), "web", "of revision 3", func(d *appsv1.Deployment) bool { return d.Annotations[revision] == "3" })
}

func terminatingReplicas(c *cluster) {
	d := deployment("web", 2)
	d.Spec.Template.Finalizers = []string{"example.com/hold"}
	c.createDeployment(d)
	c.rolledOut("web")
	change(c, c.deployments(), "web", func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](1) })
	until(c, c.deployments(), "web", "counting pods", func(d *appsv1.Deployment) bool {
		return d.Status.Replicas == 1 && d.Status.TerminatingReplicas != nil
	})
	list := must[*corev1.PodList](c)(c.CoreV1().Pods(c.namespace).List(c.ctx, metav1.ListOptions{}))
	for _, pod := range list.Items {
		must[*corev1.Pod](c)(c.CoreV1().Pods(c.namespace).Patch(c.ctx, pod.Name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}))
	}
	c.readyPods("web", 1)
}
