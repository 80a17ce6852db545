package outlook

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	batchv1 "github.com/sinawi/sinawi/api/scheduling/v1"
	"github.com/sinawi/sinawi/internal/scheduler/engine/demand"
	"github.com/sinawi/sinawi/internal/scheduler/fair"
	"github.com/sinawi/sinawi/internal/scheduler/gang"
)

func amountsOf(pod *corev1.Pod) fair.Amounts {
	out := fair.AmountsOf(demand.Requests(pod))
	out[corev1.ResourcePods] = 1
	return out
}

func (c *Cluster) charge(pod *corev1.Pod) {
	if queue := pod.Labels[batchv1.QueueLabel]; queue != "" {
		c.book.Charge(queue, amountsOf(pod), 1)
	}
}

// heldBack says why the group or the queue of a pod that waits keeps it waiting, ""
// that they do not.
func (c *Cluster) heldBack(pod *corev1.Pod) string {
	if pod.Spec.NodeName != "" || len(pod.Spec.SchedulingGates) > 0 {
		return ""
	}
	pods, problem := c.together(pod)
	if problem != "" {
		return problem
	}
	if queue := pod.Labels[batchv1.QueueLabel]; queue != "" {
		if s := c.takes[queue]; s != nil && !s.Matches(labels.Set(c.namespaces[pod.Namespace])) {
			return fair.TakesNoneOf(queue, pod.Namespace)
		}
		ask := fair.Amounts{}
		for _, p := range pods {
			ask.Add(amountsOf(p), 1)
		}
		if v := c.book.Ask(queue, nil, ask); v.Standing > fair.Borrows {
			return v.Words(queue)
		}
	}
	if len(pods) == 1 {
		return ""
	}
	t := &try{c, pods}
	placed, _ := gang.Place(t, len(pods), len(pods))
	for _, i := range slices.Backward(placed) {
		t.Take(i)
	}
	if placed == nil {
		return fmt.Sprintf("pod group %q: %d more of its pods must fit at once, and do not", *pod.Spec.SchedulingGroup.PodGroupName, len(pods))
	}
	return ""
}

// together are the pods that have to be placed with a pod, itself the first.
func (c *Cluster) together(pod *corev1.Pod) ([]*corev1.Pod, string) {
	out := []*corev1.Pod{pod}
	g := pod.Spec.SchedulingGroup
	if g == nil || g.PodGroupName == nil {
		return out, ""
	}
	group := c.groups[types.NamespacedName{Namespace: pod.Namespace, Name: *g.PodGroupName}]
	if group == nil {
		return out, fmt.Sprintf("waiting for pod group %q to be created", *g.PodGroupName)
	}
	if group.Spec.SchedulingPolicy.Gang == nil {
		return out, ""
	}
	least, placed := int(group.Spec.SchedulingPolicy.Gang.MinCount), 0
	var others []*corev1.Pod
	for _, p := range c.pods {
		switch o := p.Spec.SchedulingGroup; {
		case p.UID == pod.UID || p.Namespace != pod.Namespace || ended(p) || o == nil || o.PodGroupName == nil || *o.PodGroupName != group.Name:
		case p.Spec.NodeName != "":
			placed++
		case len(p.Spec.SchedulingGates) == 0:
			others = append(others, p)
		}
	}
	need := gang.Missing(least, placed)
	if there := placed + 1 + len(others); there < least {
		return out, fmt.Sprintf("pod group %q waits for its pods: %d of at least %d are there", group.Name, there, least)
	}
	slices.SortFunc(others, func(a, b *corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
	return append(out, others[:min(need-1, len(others))]...), ""
}

// try is a board of the picture's nodes.
type try struct {
	cluster *Cluster
	pods    []*corev1.Pod
}

// Put implements gang.Board.
func (t *try) Put(i int) bool {
	_, ok := t.cluster.place(t.pods[i])
	return ok
}

// Take implements gang.Board.
func (t *try) Take(i int) {
	pod := t.pods[i]
	t.cluster.storage.Forget(pod.UID)
	t.cluster.devices.Forget(pod.UID)
	t.cluster.forget(pod.UID)
	t.cluster.pods[pod.UID] = pod
}
