package nodelifecycle

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// relabel returns the labels that a node shall have beside its own: what it is called
// by now, under the names that were used before. It is asked with every heartbeat, and
// makes nothing where nothing is missing.
func relabel(have map[string]string) (out map[string]string) {
	for _, label := range [...]struct{ name, old string }{
		{corev1.LabelOSStable, "beta.kubernetes.io/os"}, {corev1.LabelArchStable, "beta.kubernetes.io/arch"},
	} {
		value, known := have[label.name]
		if was, there := have[label.old]; !known || there && was == value {
			continue
		}
		if out == nil {
			out = map[string]string{}
		}
		out[label.old] = value
	}
	return out
}

// condition returns the node's condition of that type, or nil.
func condition(node *corev1.Node, kind corev1.NodeConditionType) *corev1.NodeCondition {
	for i := range node.Status.Conditions {
		if node.Status.Conditions[i].Type == kind {
			return &node.Status.Conditions[i]
		}
	}
	return nil
}

// readiness is the status of the Ready condition; a node that never said
// anything is unknown.
func readiness(node *corev1.Node) corev1.ConditionStatus {
	if c := condition(node, corev1.NodeReady); c != nil {
		return c.Status
	}
	return corev1.ConditionUnknown
}

// reported are the conditions that a node reports itself.
func reported() [4]corev1.NodeConditionType {
	return [...]corev1.NodeConditionType{corev1.NodeReady, corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure}
}

// known says that a node's conditions say already that nothing is known of it.
func known(node *corev1.Node) bool {
	for _, kind := range reported() {
		if c := condition(node, kind); c == nil || c.Status != corev1.ConditionUnknown {
			return false
		}
	}
	return true
}

// silence returns the conditions of a node that does not report any more.
func silence(node *corev1.Node, now time.Time) []corev1.NodeCondition {
	out := slices.Clone(node.Status.Conditions)
	at := metav1.NewTime(now)
	for _, kind := range reported() {
		i := slices.IndexFunc(out, func(c corev1.NodeCondition) bool { return c.Type == kind })
		switch {
		case i < 0:
			out = append(out, corev1.NodeCondition{
				Type: kind, Status: corev1.ConditionUnknown, Reason: "NodeStatusNeverUpdated",
				Message:           "Kubelet never posted node status.",
				LastHeartbeatTime: node.CreationTimestamp, LastTransitionTime: at,
			})
		case out[i].Status != corev1.ConditionUnknown:
			out[i].Status = corev1.ConditionUnknown
			out[i].Reason = "NodeStatusUnknown"
			out[i].Message = "Kubelet stopped posting node status."
			out[i].LastTransitionTime = at
		}
	}
	return out
}

// taintFor says which taint keeps new pods off for which state of a condition.
func taintFor(kind corev1.NodeConditionType, status corev1.ConditionStatus) string {
	switch {
	case kind == corev1.NodeReady && status == corev1.ConditionFalse:
		return corev1.TaintNodeNotReady
	case kind == corev1.NodeReady && status == corev1.ConditionUnknown:
		return corev1.TaintNodeUnreachable
	case status != corev1.ConditionTrue:
		return ""
	case kind == corev1.NodeMemoryPressure:
		return corev1.TaintNodeMemoryPressure
	case kind == corev1.NodeDiskPressure:
		return corev1.TaintNodeDiskPressure
	case kind == corev1.NodePIDPressure:
		return corev1.TaintNodePIDPressure
	case kind == corev1.NodeNetworkUnavailable:
		return corev1.TaintNodeNetworkUnavailable
	default:
		return ""
	}
}

// ours says whether a taint is one that this package puts on and takes off.
func ours(t corev1.Taint) bool {
	switch t.Key {
	case corev1.TaintNodeNotReady, corev1.TaintNodeUnreachable:
		return t.Effect == corev1.TaintEffectNoSchedule || t.Effect == corev1.TaintEffectNoExecute
	case corev1.TaintNodeMemoryPressure, corev1.TaintNodeDiskPressure, corev1.TaintNodePIDPressure,
		corev1.TaintNodeNetworkUnavailable, corev1.TaintNodeUnschedulable:
		return t.Effect == corev1.TaintEffectNoSchedule
	}
	return false
}

// eviction is whether pods may be driven off a node that is not ready.
type eviction int

const (
	never eviction = iota // take the taint off if it is there
	hold                  // not now; leave it if it is there
	allow
)

// taints returns the taints that the node should have, others' untouched. A node that
// says nothing of its readiness is not held to be unready: it loses the taint that it
// was admitted with.
func taints(node *corev1.Node, evict eviction, now time.Time) []corev1.Taint {
	var want []corev1.Taint
	add := func(key string, effect corev1.TaintEffect) {
		if key != "" {
			want = append(want, corev1.Taint{Key: key, Effect: effect})
		}
	}
	for _, c := range node.Status.Conditions {
		add(taintFor(c.Type, c.Status), corev1.TaintEffectNoSchedule)
	}
	if node.Spec.Unschedulable {
		add(corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule)
	}
	if key := taintFor(corev1.NodeReady, readiness(node)); key != "" && condition(node, corev1.NodeReady) != nil {
		tainted := slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool {
			return ours(t) && t.Effect == corev1.TaintEffectNoExecute
		})
		if evict == allow || (evict == hold && tainted) {
			add(key, corev1.TaintEffectNoExecute)
		}
	}
	var out []corev1.Taint
	for _, have := range node.Spec.Taints {
		i := slices.IndexFunc(want, func(t corev1.Taint) bool { return t.Key == have.Key && t.Effect == have.Effect })
		if i >= 0 {
			want = slices.Delete(want, i, i+1)
		} else if ours(have) {
			continue
		}
		out = append(out, have)
	}
	at := metav1.NewTime(now)
	for _, t := range want {
		t.TimeAdded = &at
		out = append(out, t)
	}
	return out
}

// Limits of disruption.
const (
	// unhealthy is the share of nodes that are not ready at which a zone counts
	// as disrupted.
	unhealthy = 0.55
	// large is how many nodes a zone needs for evictions to go on while it is
	// disrupted.
	large = 50
	// between is the time between two nodes of a zone that pods are driven off.
	between = 10 * time.Second
	// betweenDisrupted is the same in a disrupted large zone.
	betweenDisrupted = 100 * time.Second
)

func zone(node *corev1.Node) string {
	return node.Labels[corev1.LabelTopologyRegion] + "/" + node.Labels[corev1.LabelTopologyZone]
}

// tally is how many nodes of a zone are ready and how many are not.
type tally struct{ ready, not int }

func (z *tally) add(ready bool, n int) {
	if ready {
		z.ready += n
	} else {
		z.not += n
	}
}

// pace says how long to wait between evicting nodes of a zone, if some node of
// the cluster is well; 0 is not to evict more.
func (z tally) pace() time.Duration {
	disrupted := z.not > 2 && float64(z.not)/float64(z.ready+z.not) >= unhealthy
	switch {
	case z.ready == 0: // others are well, so the zone is really gone
		return between
	case disrupted && z.ready+z.not > large:
		return betweenDisrupted
	case disrupted:
		return 0
	default:
		return between
	}
}
