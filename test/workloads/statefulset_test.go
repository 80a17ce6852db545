package workloads

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	typedapps "k8s.io/client-go/kubernetes/typed/apps/v1"
	"k8s.io/utils/ptr"

	"github.com/sinawi/sinawi/lab/simnode"
)

func statefulSet(name string, replicas int32) *appsv1.StatefulSet {
	return &appsv1.StatefulSet{ObjectMeta: named(name), Spec: appsv1.StatefulSetSpec{
		Replicas: &replicas, Selector: selecting(name), Template: template(name, "db:1"), ServiceName: name,
	}}
}

func (c *cluster) statefulSets() typedapps.StatefulSetInterface {
	return c.AppsV1().StatefulSets(c.namespace)
}

func (c *cluster) createStateful(set *appsv1.StatefulSet) *appsv1.StatefulSet {
	c.Helper()
	return must[*appsv1.StatefulSet](c)(c.statefulSets().Create(c.ctx, set, metav1.CreateOptions{}))
}

func (c *cluster) changeStateful(name string, f func(*appsv1.StatefulSetSpec)) {
	c.Helper()
	change(c, c.statefulSets(), name, func(set *appsv1.StatefulSet) { f(&set.Spec) })
}

func ordinal(pod *corev1.Pod) int {
	n, err := strconv.Atoi(pod.Name[strings.LastIndex(pod.Name, "-")+1:])
	if err != nil {
		return -1
	}
	return n
}

// imagesOf are those of the pods by number.
func imagesOf(pods []*corev1.Pod) []string {
	pods = slices.Clone(pods)
	slices.SortFunc(pods, func(a, b *corev1.Pod) int { return ordinal(a) - ordinal(b) })
	var out []string
	for _, pod := range pods {
		out = append(out, strings.TrimPrefix(pod.Spec.Containers[0].Image, "example.com/"))
	}
	return out
}

// imagesAre waits until the pods are ready with these images, by number.
func (c *cluster) imagesAre(app string, want ...string) {
	c.Helper()
	untilAll(c, c.CoreV1().Pods(c.namespace), labels.Set{"app": app}, fmt.Sprint("images ", want), func(pods []*corev1.Pod) bool {
		return !slices.ContainsFunc(pods, func(p *corev1.Pod) bool { return !ready(p) }) && slices.Equal(imagesOf(pods), want)
	})
}

// updated waits until no rollout is under way and returns the set.
func (c *cluster) updated(name string) *appsv1.StatefulSet {
	c.Helper()
	return until(c, c.statefulSets(), name, "updated", func(set *appsv1.StatefulSet) bool {
		st := set.Status
		return st.ObservedGeneration >= set.Generation && st.CurrentRevision == st.UpdateRevision &&
			st.UpdatedReplicas == *set.Spec.Replicas && st.ReadyReplicas == *set.Spec.Replicas
	})
}

func TestStatefulSet(t *testing.T) {
	c := start(t, 3)
	// Conformance: [sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] Scaling should happen in predictable order and halt if any stateful pod is unhealthy [Slow]
	c.try("order", orderedScaling)
	// Conformance: [sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] Burst scaling should run to completion even with unhealthy pods [Slow]
	c.try("burst", burstScaling)
	// Conformance: [sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] should have a working scale subresource
	c.try("scale", statefulScale)
	// Conformance: [sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] should list, patch and delete a collection of StatefulSets
	c.try("collection", statefulCollection)
	// Conformance: [sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] should perform rolling updates and roll backs of template modifications
	c.try("rolling update", statefulRolling)
	// Conformance: [sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] should perform canary updates and phased rolling updates of template modifications
	c.try("canary", statefulCanary)
	// Conformance: [sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] should validate Statefulset Status endpoints
	c.try("status", statefulStatus)
	c.try("claims", statefulClaims)
	c.try("start ordinal", startOrdinal)
	c.try("failed pod", statefulFailedPod)
	c.try("many at a time", statefulMaxUnavailable)
	c.try("on delete", statefulOnDelete)
}

// inOrder fails the test when a pod comes up before those below it are ready,
// or goes while those above are there.
func (c *cluster) inOrder(app string) (stop func()) {
	return never(c, c.CoreV1().Pods(c.namespace), labels.Set{"app": app}, "pods out of order", func(pods []*corev1.Pod) bool {
		there := map[int]bool{}
		for _, pod := range pods {
			there[ordinal(pod)] = true
		}
		for n := range there {
			for below := range n {
				if !there[below] {
					return true
				}
			}
		}
		return false
	})
}

func orderedScaling(c *cluster) {
	stop := c.inOrder("db")
	set := statefulSet("db", 3)
	set.Spec.Template.Annotations = map[string]string{simnode.Ready: "false"}
	c.createStateful(set)
	first := until(c, c.CoreV1().Pods(c.namespace), "db-0", "running", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning })
	// It is not ready, and nothing follows it.
	until(c, c.statefulSets(), "db", "waiting", func(set *appsv1.StatefulSet) bool { return set.Status.Replicas == 1 && set.Status.ReadyReplicas == 0 })
	c.annotate(first.Name, simnode.Ready, "true")
	for _, name := range []string{"db-1", "db-2"} {
		until(c, c.CoreV1().Pods(c.namespace), name, "running", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning })
		c.annotate(name, simnode.Ready, "true")
	}
	c.readyPods("db", 3)
	stop()
	// Scaling down halts as long as one is not well, and then goes from the top.
	c.annotate("db-0", simnode.Ready, "false")
	until(c, c.statefulSets(), "db", "one not ready", func(set *appsv1.StatefulSet) bool { return set.Status.ReadyReplicas == 2 })
	c.changeStateful("db", func(s *appsv1.StatefulSetSpec) { s.Replicas = ptr.To[int32](0) })
	until(c, c.statefulSets(), "db", "halted", func(set *appsv1.StatefulSet) bool {
		return set.Status.ObservedGeneration == set.Generation && set.Status.Replicas >= 2
	})
	c.annotate("db-0", simnode.Ready, "true")
	var seen []int
	untilAll(c, c.CoreV1().Pods(c.namespace), labels.Set{"app": "db"}, "none left", func(pods []*corev1.Pod) bool {
		seen = append(seen, len(pods))
		return len(pods) == 0
	})
	if !slices.IsSortedFunc(seen, func(a, b int) int { return b - a }) {
		c.Errorf("numbers of pods on the way down: %v", seen)
	}
}

func burstScaling(c *cluster) {
	set := statefulSet("db", 1)
	set.Spec.PodManagementPolicy = appsv1.ParallelPodManagement
	set.Spec.Template.Annotations = map[string]string{simnode.Ready: "false"}
	c.createStateful(set)
	running := func(n int) {
		c.Helper()
		c.podsAre("db", fmt.Sprint(n, " running"), func(pods []*corev1.Pod) bool {
			return len(pods) == n && !slices.ContainsFunc(pods, func(p *corev1.Pod) bool { return p.Status.Phase != corev1.PodRunning })
		})
	}
	running(1)
	c.changeStateful("db", func(s *appsv1.StatefulSetSpec) { s.Replicas = ptr.To[int32](3) })
	running(3) // though none is ready
	c.changeStateful("db", func(s *appsv1.StatefulSetSpec) { s.Replicas = ptr.To[int32](0) })
	running(0)
}

func statefulScale(c *cluster) {
	c.createStateful(statefulSet("db", 1))
	c.readyPods("db", 1)
	scale := must[*autoscalingv1.Scale](c)(c.statefulSets().GetScale(c.ctx, "db", metav1.GetOptions{}))
	if scale.Spec.Replicas != 1 || scale.Status.Replicas != 1 || scale.Status.Selector != "app=db" {
		c.Errorf("scale: got %+v %+v", scale.Spec, scale.Status)
	}
	scale.ResourceVersion = ""
	scale.Spec.Replicas = 2
	must[*autoscalingv1.Scale](c)(c.statefulSets().UpdateScale(c.ctx, "db", scale, metav1.UpdateOptions{}))
	if got := must[*appsv1.StatefulSet](c)(c.statefulSets().Get(c.ctx, "db", metav1.GetOptions{})); *got.Spec.Replicas != 2 {
		c.Errorf("replicas: got %d, want 2", *got.Spec.Replicas)
	}
	c.readyPods("db", 2)
	must[*appsv1.StatefulSet](c)(c.statefulSets().Patch(c.ctx, "db", types.StrategicMergePatchType, []byte(`{"spec":{"replicas":4}}`), metav1.PatchOptions{}, "scale"))
	c.readyPods("db", 4)
}

func statefulCollection(c *cluster) {
	set := statefulSet("db", 1)
	set.Labels["group"] = "all"
	c.createStateful(set)
	c.readyPods("db", 1)
	patched := must[*appsv1.StatefulSet](c)(c.statefulSets().Patch(c.ctx, "db", types.StrategicMergePatchType,
		[]byte(`{"metadata":{"labels":{"test-ss":"patched"}},"spec":{"replicas":2,"template":{"spec":{"containers":[{"name":"main","image":"example.com/db:2"}]}}}}`), metav1.PatchOptions{}))
	if patched.Labels["test-ss"] != "patched" {
		c.Errorf("labels: got %v", patched.Labels)
	}
	c.imagesAre("db", "db:2", "db:2")
	all := must[*appsv1.StatefulSetList](c)(c.AppsV1().StatefulSets("").List(c.ctx, metav1.ListOptions{LabelSelector: "test-ss=patched"}))
	if len(all.Items) != 1 || all.Items[0].UID != patched.UID {
		c.Errorf("list of all namespaces: got %d", len(all.Items))
	}
	c.ok(c.statefulSets().DeleteCollection(c.ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "group=all"}))
	c.readyPods("db", 0)
}

func statefulRolling(c *cluster) {
	c.createStateful(statefulSet("db", 3))
	set := c.updated("db")
	first := set.Status.CurrentRevision
	for _, pod := range c.readyPods("db", 3) {
		if got := pod.Labels[appsv1.ControllerRevisionHashLabelKey]; got != first {
			c.Errorf("revision of pod %s: got %s, want %s", pod.Name, got, first)
		}
		if pod.Spec.Hostname != pod.Name || pod.Spec.Subdomain != "db" || pod.Labels[appsv1.StatefulSetPodNameLabel] != pod.Name || pod.Labels[appsv1.PodIndexLabel] != strconv.Itoa(ordinal(pod)) {
			c.Errorf("identity of pod %s: hostname %s, labels %v", pod.Name, pod.Spec.Hostname, pod.Labels)
		}
	}
	// From the highest number down, one at a time, and back again.
	for _, image := range []string{"db:2", "db:1"} {
		old := map[types.UID]bool{}
		for _, pod := range c.readyPods("db", 3) {
			old[pod.UID] = true
		}
		stop := never(c, c.CoreV1().Pods(c.namespace), labels.Set{"app": "db"}, "replaced out of order", func(pods []*corev1.Pod) bool {
			well, oldest := 0, -1
			for _, pod := range pods {
				if ready(pod) {
					well++
				}
				if old[pod.UID] {
					oldest = max(oldest, ordinal(pod))
				}
			}
			for _, pod := range pods {
				if !old[pod.UID] && ordinal(pod) < oldest {
					return true
				}
			}
			return well < 2
		})
		c.changeStateful("db", func(s *appsv1.StatefulSetSpec) { s.Template.Spec.Containers[0].Image = "example.com/" + image })
		c.imagesAre("db", image, image, image)
		set = c.updated("db")
		stop()
	}
	if set.Status.CurrentRevision != first {
		c.Errorf("revision after the way back: got %s, want the first, %s", set.Status.CurrentRevision, first)
	}
	revisions := must[*appsv1.ControllerRevisionList](c)(c.AppsV1().ControllerRevisions(c.namespace).List(c.ctx, metav1.ListOptions{LabelSelector: "app=db"}))
	if len(revisions.Items) != 2 {
		c.Errorf("revisions: got %d, want 2", len(revisions.Items))
	}
}

func statefulCanary(c *cluster) {
	set := statefulSet("db", 3)
	set.Spec.UpdateStrategy = appsv1.StatefulSetUpdateStrategy{
		Type: appsv1.RollingUpdateStatefulSetStrategyType, RollingUpdate: &appsv1.RollingUpdateStatefulSetStrategy{Partition: ptr.To[int32](3)},
	}
	c.createStateful(set)
	c.readyPods("db", 3)
	partition := func(n int32) {
		c.changeStateful("db", func(s *appsv1.StatefulSetSpec) { s.UpdateStrategy.RollingUpdate.Partition = &n })
	}
	c.changeStateful("db", func(s *appsv1.StatefulSetSpec) { s.Template.Spec.Containers[0].Image = "example.com/db:2" })
	until(c, c.statefulSets(), "db", "with two revisions", func(set *appsv1.StatefulSet) bool {
		return set.Status.ObservedGeneration == set.Generation && set.Status.CurrentRevision != set.Status.UpdateRevision && set.Status.UpdatedReplicas == 0
	})
	c.imagesAre("db", "db:1", "db:1", "db:1")
	partition(2)
	c.imagesAre("db", "db:1", "db:1", "db:2")
	// Each comes back as what it was.
	for _, name := range []string{"db-0", "db-2"} {
		pod := must[*corev1.Pod](c)(c.CoreV1().Pods(c.namespace).Get(c.ctx, name, metav1.GetOptions{}))
		c.ok(c.CoreV1().Pods(c.namespace).Delete(c.ctx, name, metav1.DeleteOptions{}))
		untilGone(c, c.CoreV1().Pods(c.namespace), pod)
	}
	c.imagesAre("db", "db:1", "db:1", "db:2")
	partition(1)
	c.imagesAre("db", "db:1", "db:2", "db:2")
	partition(0)
	c.imagesAre("db", "db:2", "db:2", "db:2")
	c.updated("db")
}

func statefulStatus(c *cluster) {
	c.createStateful(statefulSet("db", 1))
	c.updated("db")
	until(c, c.statefulSets(), "db", "available", func(set *appsv1.StatefulSet) bool {
		return set.Status.AvailableReplicas == 1 && set.Status.CurrentReplicas == 1
	})
	writesConditions(c, c.statefulSets(), "db", func(set *appsv1.StatefulSet) {
		set.Status.Conditions = append(set.Status.Conditions, appsv1.StatefulSetCondition{Type: "StatusUpdate", Status: "True", Reason: reasonUpdated})
	})
}

// statefulClaims checks with whom claims go.
func statefulClaims(c *cluster) {
	set := statefulSet("db", 2)
	set.Spec.PodManagementPolicy = appsv1.ParallelPodManagement
	set.Spec.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{
		WhenDeleted: appsv1.DeletePersistentVolumeClaimRetentionPolicyType, WhenScaled: appsv1.RetainPersistentVolumeClaimRetentionPolicyType,
	}
	set.Spec.VolumeClaimTemplates = []corev1.PersistentVolumeClaim{{
		ObjectMeta: metav1.ObjectMeta{Name: "data"},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: ptr.To("none"), AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}}
	set = c.createStateful(set)
	claims := c.CoreV1().PersistentVolumeClaims(c.namespace)
	for _, name := range []string{"data-db-0", "data-db-1"} {
		until(c, claims, name, "of the set", func(p *corev1.PersistentVolumeClaim) bool {
			return len(p.OwnerReferences) == 1 && p.OwnerReferences[0].UID == set.UID
		})
	}
	c.podsAre("db", "two", func(pods []*corev1.Pod) bool { return len(pods) == 2 })
	c.changeStateful("db", func(s *appsv1.StatefulSetSpec) { s.Replicas = ptr.To[int32](1) })
	c.podsAre("db", "one", func(pods []*corev1.Pod) bool { return len(pods) == 1 })
	kept := must[*corev1.PersistentVolumeClaim](c)(claims.Get(c.ctx, "data-db-1", metav1.GetOptions{}))
	c.changeStateful("db", func(s *appsv1.StatefulSetSpec) {
		s.PersistentVolumeClaimRetentionPolicy.WhenDeleted = appsv1.RetainPersistentVolumeClaimRetentionPolicyType
	})
	until(c, claims, "data-db-0", "of nobody", func(p *corev1.PersistentVolumeClaim) bool { return len(p.OwnerReferences) == 0 })
	if kept.DeletionTimestamp != nil {
		c.Error("the claim of a number that was given up is deleted, though it is to be retained")
	}
}

func startOrdinal(c *cluster) {
	set := statefulSet("db", 2)
	set.Spec.Ordinals = &appsv1.StatefulSetOrdinals{Start: 5}
	c.createStateful(set)
	numbers := func() (out []int) {
		for _, pod := range c.readyPods("db", 2) {
			out = append(out, ordinal(pod))
		}
		slices.Sort(out)
		return out
	}
	if got := numbers(); !slices.Equal(got, []int{5, 6}) {
		c.Errorf("numbers: got %v, want 5 and 6", got)
	}
	c.changeStateful("db", func(s *appsv1.StatefulSetSpec) { s.Ordinals.Start = 4 })
	c.podsAre("db", "4 and 5", func(pods []*corev1.Pod) bool {
		return len(pods) == 2 && pods[0].Name != "db-6" && pods[1].Name != "db-6"
	})
	if got := numbers(); !slices.Equal(got, []int{4, 5}) {
		c.Errorf("numbers: got %v, want 4 and 5", got)
	}
}

func statefulFailedPod(c *cluster) {
	c.createStateful(statefulSet("db", 2))
	pods := c.readyPods("db", 2)
	at := slices.IndexFunc(pods, func(p *corev1.Pod) bool { return p.Name == "db-0" })
	// The node gives the pod up, as one under pressure does.
	must[*corev1.Pod](c)(c.CoreV1().Pods(c.namespace).Patch(c.ctx, "db-0", types.MergePatchType,
		[]byte(`{"status":{"phase":"Failed","reason":"Evicted"}}`), metav1.PatchOptions{}, "status"))
	untilGone(c, c.CoreV1().Pods(c.namespace), pods[at])
	c.readyPods("db", 2)
	if got, want := c.event("db", "SuccessfulDelete"), "Delete Pod db-0 in StatefulSet db successful"; got != want {
		c.Errorf("event: got %q, want %q", got, want)
	}
}

func statefulMaxUnavailable(c *cluster) {
	set := statefulSet("db", 5)
	set.Spec.PodManagementPolicy = appsv1.ParallelPodManagement
	set.Spec.UpdateStrategy = appsv1.StatefulSetUpdateStrategy{
		Type: appsv1.RollingUpdateStatefulSetStrategyType, RollingUpdate: &appsv1.RollingUpdateStatefulSetStrategy{MaxUnavailable: ptr.To(intstr.FromString("40%"))},
	}
	c.createStateful(set)
	c.readyPods("db", 5)
	stop := never(c, c.CoreV1().Pods(c.namespace), labels.Set{"app": "db"}, "more than two unavailable", func(pods []*corev1.Pod) bool {
		well := 0
		for _, pod := range pods {
			if ready(pod) {
				well++
			}
		}
		return well < 3
	})
	defer stop()
	c.changeStateful("db", func(s *appsv1.StatefulSetSpec) { s.Template.Spec.Containers[0].Image = "example.com/db:2" })
	c.imagesAre("db", "db:2", "db:2", "db:2", "db:2", "db:2")
}

func statefulOnDelete(c *cluster) {
	set := statefulSet("db", 2)
	set.Spec.UpdateStrategy = appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType}
	c.createStateful(set)
	pods := c.readyPods("db", 2)
	c.changeStateful("db", func(s *appsv1.StatefulSetSpec) { s.Template.Spec.Containers[0].Image = "example.com/db:2" })
	until(c, c.statefulSets(), "db", "seen", func(set *appsv1.StatefulSet) bool { return set.Status.ObservedGeneration == set.Generation })
	c.imagesAre("db", "db:1", "db:1")
	for _, pod := range pods {
		c.ok(c.CoreV1().Pods(c.namespace).Delete(c.ctx, pod.Name, metav1.DeleteOptions{}))
		untilGone(c, c.CoreV1().Pods(c.namespace), pod)
	}
	c.imagesAre("db", "db:2", "db:2")
}
