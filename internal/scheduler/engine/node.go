package engine

import (
	"fmt"
	"math"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1helper "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/klog/v2"
)

// node is what the engine knows of one node.
type node struct {
	name        string
	object      *corev1.Node // nil: pods are known to be on it, the node is not known (yet)
	allocatable Amounts
	maxPods     int64
	used        Amounts
	scoring     Amounts // used, with the floor for pods that ask for nothing
	pods        map[types.UID]*placed
	perClass    map[Key]int
	version     uint64 // raised by every change, so that a class can skip what it has seen
}

// placed is a pod on a node.
type placed struct {
	pod     *corev1.Pod
	node    *node
	key     Key
	amounts Amounts
	scoring Amounts
	ports   []hostPort
}

func (n *node) setObject(obj *corev1.Node) {
	n.object = obj
	n.allocatable = amounts(obj.Status.Allocatable)
	n.maxPods = obj.Status.Allocatable.Pods().Value()
}

func (n *node) attach(p *placed, sign int64) {
	n.used.add(p.amounts, sign)
	n.scoring.add(p.scoring, sign)
	if sign > 0 {
		n.pods[p.pod.UID] = p
		n.perClass[p.key]++
		return
	}
	delete(n.pods, p.pod.UID)
	if n.perClass[p.key]--; n.perClass[p.key] == 0 {
		delete(n.perClass, p.key)
	}
}

// Reasons in kube-scheduler's words.
const (
	reasonUnschedulable = "node(s) were unschedulable"
	reasonAffinity      = "node(s) didn't match Pod's node affinity/selector"
	reasonVolumes       = "node(s) didn't match PersistentVolume's node affinity"
	reasonPorts         = "node(s) didn't have free ports for the requested pod ports"
	reasonTooManyPods   = "Too many pods"
)

// refusal says why a pod that asks for r cannot run on n, or returns nil. It
// stops at the first rule that refuses, in kube-scheduler's order.
func (n *node) refusal(r *request) []string {
	if reason := n.refusalByTaints(r); reason != "" {
		return []string{reason}
	}
	if ok, err := r.required.Match(n.object); err != nil || !ok {
		return []string{reasonAffinity}
	}
	if n.portsTaken(r.ports) {
		return []string{reasonPorts}
	}
	if reasons := n.insufficient(r); reasons != nil {
		return reasons
	}
	if r.volumes != nil && !r.volumes.Match(n.object) {
		return []string{reasonVolumes}
	}
	return nil
}

func (n *node) refusalByTaints(r *request) string {
	logger := klog.Background()
	if n.object.Spec.Unschedulable {
		taint := corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}
		if !corev1helper.TolerationsTolerateTaint(logger, r.tolerations, &taint, false) {
			return reasonUnschedulable
		}
	}
	taint, found := corev1helper.FindMatchingUntoleratedTaint(logger, n.object.Spec.Taints, r.tolerations, func(t *corev1.Taint) bool {
		return t.Effect == corev1.TaintEffectNoSchedule || t.Effect == corev1.TaintEffectNoExecute
	}, false)
	if found {
		return fmt.Sprintf("node(s) had untolerated taint {%s: %s}", taint.Key, taint.Value)
	}
	return ""
}

func (n *node) portsTaken(wanted []hostPort) bool {
	if len(wanted) == 0 {
		return false
	}
	for _, p := range n.pods {
		for _, taken := range p.ports {
			for _, w := range wanted {
				if w.conflicts(taken) {
					return true
				}
			}
		}
	}
	return false
}

func (n *node) insufficient(r *request) []string {
	var out []string
	if int64(len(n.pods))+1 > n.maxPods {
		out = append(out, reasonTooManyPods)
	}
	short := func(name corev1.ResourceName, want, used, total int64) {
		if want > 0 && want > total-used {
			out = append(out, "Insufficient "+string(name))
		}
	}
	short(corev1.ResourceCPU, r.amounts.MilliCPU, n.used.MilliCPU, n.allocatable.MilliCPU)
	short(corev1.ResourceMemory, r.amounts.Memory, n.used.Memory, n.allocatable.Memory)
	short(corev1.ResourceEphemeralStorage, r.amounts.Ephemeral, n.used.Ephemeral, n.allocatable.Ephemeral)
	for _, name := range sortedKeys(r.amounts.Others) {
		short(name, r.amounts.Others[name], n.used.Others[name], n.allocatable.Others[name])
	}
	return out
}

// Weights are those of kube-scheduler's default profile.
const (
	weightLeastAllocated = 1
	weightBalanced       = 1
	weightTaints         = 3
	weightNodeAffinity   = 2
	weightSpread         = 2
)

// score says how good n is for a pod of the class; more is better. Every part
// is between 0 and 100 before its weight.
func (n *node) score(key Key, r *request) float64 {
	cpu := share(n.scoring.MilliCPU+r.scoring.MilliCPU, n.allocatable.MilliCPU)
	mem := share(n.scoring.Memory+r.scoring.Memory, n.allocatable.Memory)
	least := 100 * (2 - cpu - mem) / 2
	balanced := 100 * (1 - math.Abs(cpu-mem)/2)
	// Replicas of one owner spread: what the default topology spread
	// constraints of kube-scheduler are for.
	spread := 100 / float64(1+n.perClass[key])
	total := weightLeastAllocated*least + weightBalanced*balanced + weightSpread*spread
	total += weightTaints * 100 / float64(1+n.intolerablePreferences(r))
	if r.preferred != nil && r.preferMax > 0 {
		total += weightNodeAffinity * 100 * float64(r.preferred.Score(n.object)) / float64(r.preferMax)
	}
	return total
}

func share(used, total int64) float64 {
	if total <= 0 || used >= total {
		return 1
	}
	return float64(used) / float64(total)
}

func (n *node) intolerablePreferences(r *request) int {
	count := 0
	for i := range n.object.Spec.Taints {
		t := &n.object.Spec.Taints[i]
		if t.Effect == corev1.TaintEffectPreferNoSchedule && !corev1helper.TolerationsTolerateTaint(klog.Background(), r.tolerations, t, false) {
			count++
		}
	}
	return count
}
