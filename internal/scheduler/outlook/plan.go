package outlook

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sinawi/sinawi/internal/scheduler/engine"
)

// Workload is one object of an application with the pods that it asks for.
type Workload struct {
	Kind      string
	Namespace string
	Name      string
	// Pod is what each of its pods is like, as the API would store it.
	Pod *corev1.Pod
	// Selector is by which its pods belong together, where that counts for spreading them.
	Selector *metav1.LabelSelector
	// Count is how many it asks for; PerNode asks for one on each node that it may
	// run on.
	Count   int
	PerNode bool
	// Refused is why the API would not take its pods; then Pod may be nil.
	Refused string
	// Replaces are the pods that it has now, which make room for the new ones.
	Replaces []types.UID
}

// Placement is where a workload's pods would land.
type Placement struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Count     int    `json:"count"`
	// On counts the pods by node.
	On map[string]int `json:"on"`
	// Waiting is how many would find no node; Why asks the nodes about the first one.
	Waiting int     `json:"waiting"`
	Why     *Answer `json:"why,omitempty"`
	Refused string  `json:"refused,omitempty"`
}

// Serve makes services be there, those of an application that is planned.
func (c *Cluster) Serve(services ...*corev1.Service) {
	for _, s := range services {
		c.kin.Set(s, false)
	}
}

// Plan places the pods of workloads as the scheduler would: the more important first,
// else in the order in which they are given. What it places stays in the picture.
func (c *Cluster) Plan(workloads []Workload) []Placement {
	for _, w := range workloads {
		for _, uid := range w.Replaces {
			c.forget(uid)
		}
	}
	order := make([]int, len(workloads))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(priority(workloads[b].Pod), priority(workloads[a].Pod))
	})
	out := make([]Placement, len(workloads))
	for _, i := range order {
		out[i] = c.planOne(workloads[i])
	}
	return out
}

func priority(pod *corev1.Pod) int32 {
	if pod == nil || pod.Spec.Priority == nil {
		return 0
	}
	return *pod.Spec.Priority
}

func (c *Cluster) planOne(w Workload) Placement {
	out := Placement{Kind: w.Kind, Namespace: w.Namespace, Name: w.Name, Count: w.Count, On: map[string]int{}, Refused: w.Refused}
	if w.Refused != "" || w.Pod == nil {
		out.Waiting = w.Count
		return out
	}
	if w.Selector != nil {
		// Where there is more between it and its pods, as for a Deployment, that has
		// the same pods.
		c.kin.Set(&appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{UID: w.uid()}, Spec: appsv1.ReplicaSetSpec{Selector: w.Selector}}, false)
	}
	pods := c.copies(w)
	out.Count = len(pods)
	for _, pod := range pods {
		if node, ok := c.place(pod); ok {
			out.On[node]++
			continue
		}
		out.Waiting++
		if out.Why == nil {
			why := c.Why(pod)
			out.Why = &why
		}
	}
	return out
}

// uid is what a workload is known by that may not exist yet.
func (w *Workload) uid() types.UID {
	return types.UID(fmt.Sprintf("plan/%s/%s/%s", w.Kind, w.Namespace, w.Name))
}

// copies are a workload's pods. Those of a DaemonSet are each for one node; nodes that
// it is not for have none.
func (c *Cluster) copies(w Workload) []*corev1.Pod {
	one := func(name string) *corev1.Pod {
		pod := w.Pod.DeepCopy()
		pod.Name, pod.Namespace, pod.Spec.NodeName = name, w.Namespace, ""
		pod.UID = types.UID(fmt.Sprintf("plan/%s/%s/%s", w.Kind, w.Namespace, name))
		isController := true
		if w.Kind != "Pod" {
			pod.OwnerReferences = []metav1.OwnerReference{{Kind: w.Kind, Name: w.Name, UID: w.uid(), Controller: &isController}}
		}
		return pod
	}
	var out []*corev1.Pod
	if !w.PerNode {
		for i := range w.Count {
			name := w.Name
			if w.Kind != "Pod" {
				name = fmt.Sprintf("%s-%d", w.Name, i)
			}
			out = append(out, one(name))
		}
		return out
	}
	for _, name := range slices.Sorted(maps.Keys(c.nodes)) {
		pod := one(w.Name + "-" + name)
		pin(pod, name)
		if !c.never(pod, name) {
			out = append(out, pod)
		}
	}
	return out
}

// pin lets a pod run on one node only, as the DaemonSet controller does.
func pin(pod *corev1.Pod, node string) {
	term := corev1.NodeSelectorTerm{MatchFields: []corev1.NodeSelectorRequirement{
		{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{node}},
	}}
	if pod.Spec.Affinity == nil {
		pod.Spec.Affinity = &corev1.Affinity{}
	}
	if pod.Spec.Affinity.NodeAffinity == nil {
		pod.Spec.Affinity.NodeAffinity = &corev1.NodeAffinity{}
	}
	required := &pod.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	if *required == nil {
		*required = &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{term}}
		return
	}
	for i := range (*required).NodeSelectorTerms {
		t := &(*required).NodeSelectorTerms[i]
		t.MatchFields = append(t.MatchFields, term.MatchFields...)
	}
}

// never says that a DaemonSet has no pod on a node: its labels or taints are not for it.
func (c *Cluster) never(pod *corev1.Pod, node string) bool {
	for _, n := range c.engine.Diagnose(c.ask(pod).Ask) {
		if n.Node != node {
			continue
		}
		return slices.ContainsFunc(n.Refusals, func(r engine.Refusal) bool {
			return r.Rule == engine.RuleNodeAffinity || r.Rule == engine.RuleTaints || r.Rule == engine.RuleNodeName
		})
	}
	return false
}
