package workloads

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	typedapps "k8s.io/client-go/kubernetes/typed/apps/v1"
	"k8s.io/utils/ptr"

	"github.com/sinawi/sinawi/lab/simnode"
)

const daemonNodes = 3

func daemonSet(name string) *appsv1.DaemonSet {
	return &appsv1.DaemonSet{ObjectMeta: named(name), Spec: appsv1.DaemonSetSpec{
		Selector: selecting(name), Template: template(name, "agent:1"),
	}}
}

func (c *cluster) daemonSets() typedapps.DaemonSetInterface {
	return c.AppsV1().DaemonSets(c.namespace)
}

func (c *cluster) createDaemons(set *appsv1.DaemonSet) *appsv1.DaemonSet {
	c.Helper()
	return must[*appsv1.DaemonSet](c)(c.daemonSets().Create(c.ctx, set, metav1.CreateOptions{}))
}

// everywhere waits until one ready pod of the app is on each of n nodes.
func (c *cluster) everywhere(app string, n int) []*corev1.Pod {
	c.Helper()
	return untilAll(c, c.CoreV1().Pods(c.namespace), labels.Set{"app": app}, fmt.Sprint("on ", n, " nodes"), func(pods []*corev1.Pod) bool {
		nodes := map[string]bool{}
		for _, pod := range pods {
			if !ready(pod) {
				return false
			}
			nodes[pod.Spec.NodeName] = true
		}
		return len(pods) == n && len(nodes) == n
	})
}

// counted waits until the set says that all its pods are of its template and available.
func (c *cluster) counted(name string, n int32) *appsv1.DaemonSet {
	c.Helper()
	return until(c, c.daemonSets(), name, "counted", func(set *appsv1.DaemonSet) bool {
		st := set.Status
		return st.ObservedGeneration == set.Generation && st.DesiredNumberScheduled == n && st.CurrentNumberScheduled == n &&
			st.UpdatedNumberScheduled == n && st.NumberReady == n && st.NumberAvailable == n && st.NumberUnavailable == 0 && st.NumberMisscheduled == 0
	})
}

func TestDaemonSet(t *testing.T) {
	c := start(t, daemonNodes)
	// Conformance: [sig-apps] Daemon set [Serial] should run and stop simple daemon
	c.try("simple", simpleDaemon)
	// Conformance: [sig-apps] Daemon set [Serial] should run and stop complex daemon
	c.try("complex", complexDaemon)
	// Conformance: [sig-apps] Daemon set [Serial] should retry creating failed daemon pods
	c.try("failed", failedDaemon)
	// Conformance: [sig-apps] Daemon set [Serial] should update pod when spec was updated and update strategy is RollingUpdate
	c.try("update", updateDaemons)
	// Conformance: [sig-apps] Daemon set [Serial] should rollback without unnecessary restarts
	c.try("rollback", rollbackDaemons)
	// Conformance: [sig-apps] Daemon set [Serial] should list and delete a collection of DaemonSets
	c.try("collection", daemonCollection)
	// Conformance: [sig-apps] Daemon set [Serial] should verify changes to a daemon set status
	c.try("status", daemonStatus)
	// Conformance: [sig-apps] ControllerRevision [Serial] should manage the lifecycle of a ControllerRevision
	c.try("revisions", controllerRevisions)
	c.try("surge", surgeDaemons)
	c.try("on delete", daemonsOnDelete)
	c.try("tolerations", daemonTolerations)
	t.Run("node comes", func(t *testing.T) { nodeComes(c.in(t)) })
}

func simpleDaemon(c *cluster) {
	c.createDaemons(daemonSet("agent"))
	pods := c.everywhere("agent", daemonNodes)
	c.counted("agent", daemonNodes)
	c.ok(c.CoreV1().Pods(c.namespace).Delete(c.ctx, pods[0].Name, metav1.DeleteOptions{}))
	untilGone(c, c.CoreV1().Pods(c.namespace), pods[0])
	c.everywhere("agent", daemonNodes)
	c.ok(c.daemonSets().Delete(c.ctx, "agent", metav1.DeleteOptions{}))
	c.readyPods("agent", 0)
}

// complexDaemon runs where a label of the node says, and follows it.
func complexDaemon(c *cluster) {
	key := c.namespace + "/color"
	set := daemonSet("agent")
	set.Spec.Template.Spec.NodeSelector = map[string]string{key: "blue"}
	c.createDaemons(set)
	paint := func(color string) {
		data := fmt.Appendf(nil, `{"metadata":{"labels":{%q:%q}}}`, key, color)
		must[*corev1.Node](c)(c.CoreV1().Nodes().Patch(c.ctx, "node-0", types.MergePatchType, data, metav1.PatchOptions{}))
	}
	on := func(n int) {
		c.Helper()
		for _, pod := range c.everywhere("agent", n) {
			if pod.Spec.NodeName != "node-0" {
				c.Errorf("pod %s is on %s", pod.Name, pod.Spec.NodeName)
			}
		}
	}
	until(c, c.daemonSets(), "agent", "seen", func(set *appsv1.DaemonSet) bool { return set.Status.ObservedGeneration == set.Generation })
	on(0)
	paint("blue")
	on(1)
	paint("green")
	on(0)
	change(c, c.daemonSets(), "agent", func(set *appsv1.DaemonSet) {
		set.Spec.Template.Spec.NodeSelector = map[string]string{key: "green"}
		set.Spec.UpdateStrategy = appsv1.DaemonSetUpdateStrategy{Type: appsv1.RollingUpdateDaemonSetStrategyType}
	})
	on(1)
}

func failedDaemon(c *cluster) {
	c.createDaemons(daemonSet("agent"))
	pod := c.everywhere("agent", daemonNodes)[0]
	must[*corev1.Pod](c)(c.CoreV1().Pods(c.namespace).Patch(c.ctx, pod.Name, types.MergePatchType, []byte(`{"status":{"phase":"Failed"}}`), metav1.PatchOptions{}, "status"))
	untilGone(c, c.CoreV1().Pods(c.namespace), pod)
	c.everywhere("agent", daemonNodes)
	want := fmt.Sprintf("Found failed daemon pod %s/%s on node %s, will try to kill it", c.namespace, pod.Name, pod.Spec.NodeName)
	if got := c.event("agent", "FailedDaemonPod"); got != want {
		c.Errorf("event: got %q, want %q", got, want)
	}
}

func updateDaemons(c *cluster) {
	c.createDaemons(daemonSet("agent"))
	c.everywhere("agent", daemonNodes)
	first := c.revisionsOf("agent", 1)[0]
	for _, pod := range c.everywhere("agent", daemonNodes) {
		if got := pod.Labels[appsv1.DefaultDaemonSetUniqueLabelKey]; got != first.Labels[appsv1.DefaultDaemonSetUniqueLabelKey] {
			c.Errorf("hash of pod %s: got %s", pod.Name, got)
		}
	}
	stop := never(c, c.CoreV1().Pods(c.namespace), labels.Set{"app": "agent"}, "more than one node without", func(pods []*corev1.Pod) bool {
		well := 0
		for _, pod := range pods {
			if ready(pod) {
				well++
			}
		}
		return well < daemonNodes-1
	})
	defer stop()
	change(c, c.daemonSets(), "agent", func(set *appsv1.DaemonSet) { set.Spec.Template.Spec.Containers[0].Image = "example.com/agent:2" })
	c.counted("agent", daemonNodes)
	for _, pod := range c.everywhere("agent", daemonNodes) {
		if got := pod.Spec.Containers[0].Image; got != "example.com/agent:2" {
			c.Errorf("image of pod %s: got %s", pod.Name, got)
		}
	}
	c.revisionsOf("agent", 2)
}

// revisionsOf waits until an app has that many revisions, oldest first.
func (c *cluster) revisionsOf(app string, n int) []*appsv1.ControllerRevision {
	c.Helper()
	out := untilAll(c, c.AppsV1().ControllerRevisions(c.namespace), labels.Set{"app": app}, fmt.Sprint(n, " revisions"), func(all []*appsv1.ControllerRevision) bool {
		return len(all) == n
	})
	slices.SortFunc(out, func(a, b *appsv1.ControllerRevision) int { return int(a.Revision - b.Revision) })
	return out
}

// rollbackDaemons goes back while an update is stuck: pods that were not updated
// yet stay as they are.
func rollbackDaemons(c *cluster) {
	c.createDaemons(daemonSet("agent"))
	before := c.everywhere("agent", daemonNodes)
	change(c, c.daemonSets(), "agent", func(set *appsv1.DaemonSet) {
		set.Spec.Template.Spec.Containers[0].Image = "example.com/agent:bad"
		set.Spec.Template.Annotations = map[string]string{simnode.Ready: "false"}
	})
	pods := c.podsAre("agent", "stuck", func(pods []*corev1.Pod) bool {
		return slices.ContainsFunc(pods, func(p *corev1.Pod) bool {
			return p.Spec.Containers[0].Image == "example.com/agent:bad" && p.Status.Phase == corev1.PodRunning
		})
	})
	untouched := map[types.UID]bool{}
	for _, pod := range pods {
		if pod.Spec.Containers[0].Image == "example.com/agent:1" {
			untouched[pod.UID] = true
		}
	}
	if len(untouched) != len(before)-1 {
		c.Fatalf("untouched pods: got %d, want %d", len(untouched), len(before)-1)
	}
	change(c, c.daemonSets(), "agent", func(set *appsv1.DaemonSet) {
		set.Spec.Template.Spec.Containers[0].Image = "example.com/agent:1"
		set.Spec.Template.Annotations = nil
	})
	c.counted("agent", daemonNodes)
	for _, pod := range c.everywhere("agent", daemonNodes) {
		delete(untouched, pod.UID)
	}
	if len(untouched) > 0 {
		c.Errorf("%d pods that were never updated were restarted", len(untouched))
	}
}

func daemonCollection(c *cluster) {
	set := daemonSet("agent")
	set.Labels["group"] = "all"
	c.createDaemons(set)
	c.everywhere("agent", daemonNodes)
	list := must[*appsv1.DaemonSetList](c)(c.AppsV1().DaemonSets("").List(c.ctx, metav1.ListOptions{LabelSelector: "group=all"}))
	if len(list.Items) != 1 {
		c.Errorf("list: got %d, want 1", len(list.Items))
	}
	c.ok(c.daemonSets().DeleteCollection(c.ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "group=all"}))
	c.readyPods("agent", 0)
	left := must[*appsv1.DaemonSetList](c)(c.daemonSets().List(c.ctx, metav1.ListOptions{}))
	if len(left.Items) != 0 {
		c.Errorf("left: %d", len(left.Items))
	}
}

func daemonStatus(c *cluster) {
	c.createDaemons(daemonSet("agent"))
	c.counted("agent", daemonNodes)
	writesConditions(c, c.daemonSets(), "agent", func(set *appsv1.DaemonSet) {
		set.Status.Conditions = append(set.Status.Conditions, appsv1.DaemonSetCondition{Type: "StatusUpdate", Status: "True", Reason: reasonUpdated})
	})
}

// controllerRevisions works on the history of a daemon set by its API.
func controllerRevisions(c *cluster) {
	set := c.createDaemons(daemonSet("agent"))
	c.counted("agent", daemonNodes)
	api := c.AppsV1().ControllerRevisions(c.namespace)
	first := c.revisionsOf("agent", 1)[0]
	if first.Revision != 1 || !metav1.IsControlledBy(first, set) || !strings.Contains(string(first.Data.Raw), `"$patch":"replace"`) {
		c.Errorf("first revision: got %+v", first)
	}
	patched := must[*appsv1.ControllerRevision](c)(api.Patch(c.ctx, first.Name, types.StrategicMergePatchType, []byte(`{"metadata":{"labels":{"`+first.Name+`":"patched"}}}`), metav1.PatchOptions{}))
	if patched.Labels[first.Name] != "patched" {
		c.Errorf("labels: got %v", patched.Labels)
	}
	// One of ours, of the same set: its number is beyond the first.
	own := &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{Name: "agent-own", Labels: map[string]string{"app": "agent"}, OwnerReferences: first.OwnerReferences},
		Data:       runtime.RawExtension{Raw: first.Data.Raw}, Revision: 2,
	}
	own = must[*appsv1.ControllerRevision](c)(api.Create(c.ctx, own, metav1.CreateOptions{}))
	c.revisionsOf("agent", 2)
	c.ok(api.Delete(c.ctx, first.Name, metav1.DeleteOptions{}))
	untilGone(c, api, first)
	replaced := change(c, api, own.Name, func(r *appsv1.ControllerRevision) { r.Labels["updated"] = "yes" })
	if replaced.Labels["updated"] != "yes" {
		c.Errorf("labels: got %v", replaced.Labels)
	}
	c.ok(api.DeleteCollection(c.ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "updated=yes"}))
	untilGone(c, api, replaced)
	all := must[*appsv1.ControllerRevisionList](c)(c.AppsV1().ControllerRevisions("").List(c.ctx, metav1.ListOptions{LabelSelector: "app=agent"}))
	for _, r := range all.Items {
		if r.Namespace == c.namespace && r.Name == own.Name {
			c.Error("the deleted revision is in the list")
		}
	}
	// The set makes a revision of the next template.
	change(c, c.daemonSets(), "agent", func(set *appsv1.DaemonSet) { set.Spec.Template.Spec.Containers[0].Image = "example.com/agent:2" })
	c.counted("agent", daemonNodes)
	untilAll(c, api, labels.Set{"app": "agent"}, "a revision of the new template", func(all []*appsv1.ControllerRevision) bool {
		return slices.ContainsFunc(all, func(r *appsv1.ControllerRevision) bool { return strings.Contains(string(r.Data.Raw), "agent:2") })
	})
}

// surgeDaemons replaces without a moment in which a node has none.
func surgeDaemons(c *cluster) {
	set := daemonSet("agent")
	set.Spec.UpdateStrategy = appsv1.DaemonSetUpdateStrategy{
		Type:          appsv1.RollingUpdateDaemonSetStrategyType,
		RollingUpdate: &appsv1.RollingUpdateDaemonSet{MaxSurge: ptr.To(intstr.FromInt32(1)), MaxUnavailable: ptr.To(intstr.FromInt32(0))},
	}
	c.createDaemons(set)
	c.everywhere("agent", daemonNodes)
	stop := never(c, c.CoreV1().Pods(c.namespace), labels.Set{"app": "agent"}, "a node without, or more than one with two", func(pods []*corev1.Pod) bool {
		perNode, active := map[string]int{}, 0
		for _, pod := range pods {
			if ready(pod) {
				perNode[pod.Spec.NodeName]++
			}
			if pod.DeletionTimestamp == nil {
				active++
			}
		}
		return len(perNode) < daemonNodes || active > daemonNodes+1
	})
	defer stop()
	change(c, c.daemonSets(), "agent", func(set *appsv1.DaemonSet) { set.Spec.Template.Spec.Containers[0].Image = "example.com/agent:2" })
	c.counted("agent", daemonNodes)
	c.everywhere("agent", daemonNodes)
}

func daemonsOnDelete(c *cluster) {
	set := daemonSet("agent")
	set.Spec.UpdateStrategy = appsv1.DaemonSetUpdateStrategy{Type: appsv1.OnDeleteDaemonSetStrategyType}
	c.createDaemons(set)
	pods := c.everywhere("agent", daemonNodes)
	change(c, c.daemonSets(), "agent", func(set *appsv1.DaemonSet) { set.Spec.Template.Spec.Containers[0].Image = "example.com/agent:2" })
	until(c, c.daemonSets(), "agent", "seen", func(set *appsv1.DaemonSet) bool {
		return set.Status.ObservedGeneration == set.Generation && set.Status.UpdatedNumberScheduled == 0
	})
	c.ok(c.CoreV1().Pods(c.namespace).Delete(c.ctx, pods[0].Name, metav1.DeleteOptions{}))
	until(c, c.daemonSets(), "agent", "one updated", func(set *appsv1.DaemonSet) bool { return set.Status.UpdatedNumberScheduled == 1 })
	got := imagesOf(c.everywhere("agent", daemonNodes))
	slices.Sort(got)
	if !slices.Equal(got, []string{"agent:1", "agent:1", "agent:2"}) {
		c.Errorf("images: got %v", got)
	}
}

func daemonTolerations(c *cluster) {
	set := daemonSet("agent")
	set.Spec.Template.Spec.HostNetwork = true
	c.createDaemons(set)
	pod := c.everywhere("agent", daemonNodes)[0]
	for _, want := range []corev1.Toleration{
		{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoExecute},
		{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute},
		{Key: corev1.TaintNodeDiskPressure, Effect: corev1.TaintEffectNoSchedule},
		{Key: corev1.TaintNodeMemoryPressure, Effect: corev1.TaintEffectNoSchedule},
		{Key: corev1.TaintNodePIDPressure, Effect: corev1.TaintEffectNoSchedule},
		{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule},
		{Key: corev1.TaintNodeNetworkUnavailable, Effect: corev1.TaintEffectNoSchedule},
	} {
		want.Operator = corev1.TolerationOpExists
		if !slices.Contains(pod.Spec.Tolerations, want) {
			c.Errorf("no toleration of %s: %s", want.Key, want.Effect)
		}
	}
}

// nodeComes runs when no other test counts nodes: a new node gets its daemon, a
// cordoned one too, and a removed one's goes.
func nodeComes(c *cluster) {
	c.createDaemons(daemonSet("agent"))
	c.everywhere("agent", daemonNodes)
	c.ok(c.nodes.Add(c.ctx, "late", nil))
	c.everywhere("agent", daemonNodes+1)
	c.counted("agent", daemonNodes+1)
	must[*corev1.Node](c)(c.CoreV1().Nodes().Patch(c.ctx, "late", types.MergePatchType, []byte(`{"spec":{"taints":[{"key":"example.com/away","effect":"NoExecute"}]}}`), metav1.PatchOptions{}))
	c.everywhere("agent", daemonNodes)
}
