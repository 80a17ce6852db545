package outlook

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sinawi/sinawi/internal/scheduler/engine"
)

// Fate is what becomes of a pod whose node goes.
type Fate string

// The fates.
const (
	Moves  Fate = "moves"  // its replacement has a node
	Waits  Fate = "waits"  // its replacement has none
	Lost   Fate = "lost"   // nobody makes a replacement
	Leaves Fate = "leaves" // it belongs to the node and goes with it
)

// Move is one pod of a node that goes.
type Move struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	Owner     *Owner `json:"owner,omitempty"`
	Fate      Fate   `json:"fate"`
	To        string `json:"to,omitempty"`
	// Budget is a disruption budget that keeps it from being evicted now.
	Budget string `json:"budget,omitempty"`
	// Data says that it has data on the node that go with it.
	Data bool    `json:"data,omitempty"`
	Why  *Answer `json:"why,omitempty"`
}

// Drain says what becomes of a node's pods when it goes. What it moves stays moved in
// the picture.
func (c *Cluster) Drain(node string) ([]Move, error) {
	if c.nodes[node] == nil {
		return nil, fmt.Errorf("there is no node %q", node)
	}
	pods := c.on(node)
	slices.SortStableFunc(pods, func(a, b *corev1.Pod) int { return int(priority(b)) - int(priority(a)) })
	allowed := map[types.UID]int32{}
	for _, b := range c.budgets {
		allowed[b.UID] = b.Status.DisruptionsAllowed
	}
	for _, pod := range pods {
		c.forget(pod.UID)
	}
	c.engine.RemoveNode(node)
	delete(c.nodes, node)
	out := make([]Move, 0, len(pods))
	for _, pod := range pods {
		out = append(out, c.move(pod, allowed))
	}
	return out, nil
}

func (c *Cluster) move(pod *corev1.Pod, allowed map[types.UID]int32) Move {
	m := Move{Namespace: pod.Namespace, Name: pod.Name, Owner: ownerOf(pod), Data: keepsData(pod)}
	switch {
	case m.Owner != nil && (m.Owner.Kind == "DaemonSet" || m.Owner.Kind == "Node"):
		m.Fate = Leaves
		return m
	case m.Owner == nil:
		m.Fate = Lost
	}
	m.Budget = c.held(pod, allowed)
	if m.Fate == Lost {
		return m
	}
	next := pod.DeepCopy()
	next.UID, next.Spec.NodeName, next.Status = "next/"+pod.UID, "", corev1.PodStatus{Phase: corev1.PodPending}
	if to, ok := c.place(next); ok {
		m.Fate, m.To = Moves, to
		return m
	}
	why := c.Why(next)
	m.Fate, m.Why = Waits, &why
	return m
}

// keepsData says whether a pod has files on its node that are gone with it.
func keepsData(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool {
		return v.EmptyDir != nil && v.EmptyDir.Medium != corev1.StorageMediumMemory
	})
}

// held names a budget that has no eviction left for a pod, and counts the eviction.
func (c *Cluster) held(pod *corev1.Pod, allowed map[types.UID]int32) (name string) {
	for _, b := range c.budgets {
		if b.Namespace != pod.Namespace || !selects(b, pod) {
			continue
		}
		if allowed[b.UID] <= 0 {
			name = b.Name
			continue
		}
		allowed[b.UID]--
	}
	return name
}

func selects(b *policyv1.PodDisruptionBudget, pod *corev1.Pod) bool {
	selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
	return err == nil && selector.Matches(labels.Set(pod.Labels))
}

func (c *Cluster) engineBudgets() []engine.Budget {
	var out []engine.Budget
	for _, b := range c.budgets {
		selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
		if err != nil {
			continue
		}
		out = append(out, engine.Budget{
			Namespace: b.Namespace, Selector: selector,
			Allowed: b.Status.DisruptionsAllowed, Disrupted: b.Status.DisruptedPods,
		})
	}
	return out
}
