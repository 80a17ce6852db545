package engine

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	ndf "k8s.io/component-helpers/nodedeclaredfeatures"
	corev1helper "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/klog/v2"

	"github.com/sinawi/sinawi/internal/scheduler/engine/demand"
)

// node is what the engine knows of one node.
type node struct {
	name        string
	slot        int
	object      *corev1.Node // nil: pods are known to be on it, the node is not known (yet)
	values      *numbers
	allocatable demand.Amounts
	maxPods     int64
	features    ndf.FeatureSet // that it declares to support
	used        demand.Amounts
	scoring     demand.Amounts // used, with the floor for pods that ask for nothing
	pods        map[types.UID]*placed
	ports       int // host ports taken
	images      map[string]bool
	nominated   map[types.UID]*placed // pods that preempted here and wait for room
	version     uint64                // raised by every change, so that a class can skip what it has seen
	starts      uint64                // raised when a pod on it is seen to have started, which counts in preemption alone
	objects     uint64                // the version when object last changed
}

// placed is a pod on a node, or nominated to one.
type placed struct {
	pod      *corev1.Pod
	node     *node
	set      *labelSet
	held     []*held
	amounts  demand.Amounts
	scoring  demand.Amounts
	ports    []demand.Port
	priority int32
}

// numbers gives every text a number, from 1.
type numbers struct{ of map[string]int32 }

func (x *numbers) number(s string) int32 {
	n, ok := x.of[s]
	if !ok {
		n = int32(len(x.of)) + 1
		x.of[s] = n
	}
	return n
}

// domain returns the number of the node's value of a topology key, or 0.
func (n *node) domain(key string) int32 {
	if n.object == nil {
		return 0
	}
	value, ok := n.object.Labels[key]
	if !ok {
		return 0
	}
	return n.values.number(value)
}

func (n *node) setObject(obj *corev1.Node) {
	n.object = obj
	n.allocatable = demand.AmountsOf(obj.Status.Allocatable)
	n.features = demand.Declarable.TryMap(slices.Sorted(slices.Values(obj.Status.DeclaredFeatures)))
	n.maxPods = obj.Status.Allocatable.Pods().Value()
}

// attach counts a pod on its node, or with -1 no longer.
func (n *node) attach(p *placed, sign int64) {
	n.used.Add(&p.amounts, sign)
	n.scoring.Add(&p.scoring, sign)
	n.ports += int(sign) * len(p.ports)
	p.set.count(n, int32(sign))
	for _, h := range p.held {
		h.add(n, int32(sign))
	}
	if sign > 0 {
		n.pods[p.pod.UID] = p
	} else {
		delete(n.pods, p.pod.UID)
	}
}

// staticRefusals are those that follow from the node's object alone. With all
// unset the first one is enough.
func (n *node) staticRefusals(r *request, all bool) []Refusal {
	// Nodes that a pod does not name are not asked anything else.
	if r.names != nil && !r.names[n.name] && !r.profile.Off[RuleNodeAffinity] {
		return []Refusal{{Rule: RuleNodeAffinity, Reason: reasonNames, Final: true}}
	}
	var out []Refusal
	rules := [...]struct {
		rule Rule
		ask  func(*request) *Refusal
	}{
		{RuleUnschedulable, n.refusalByCordon}, {RuleNodeName, n.refusalByName},
		{RuleTaints, n.refusalByTaints}, {RuleNodeAffinity, n.refusalByAffinity},
	}
	for i := range rules {
		if r.profile.Off[rules[i].rule] {
			continue
		}
		if refusal := rules[i].ask(r); refusal != nil {
			refusal.Rule, refusal.Final = rules[i].rule, true
			out = append(out, *refusal)
			if !all {
				return out
			}
		}
	}
	return out
}

func (n *node) refusalByCordon(r *request) *Refusal {
	if !n.object.Spec.Unschedulable {
		return nil
	}
	taint := corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}
	if corev1helper.TolerationsTolerateTaint(klog.Background(), r.tolerations, &taint, true) {
		return nil
	}
	return &Refusal{Reason: reasonUnschedulable, Taint: &taint}
}

func (n *node) refusalByName(r *request) *Refusal {
	if name := r.pod.Spec.NodeName; name != "" && name != n.name {
		return &Refusal{Reason: reasonNodeName}
	}
	return nil
}

func (n *node) refusalByTaints(r *request) *Refusal {
	for i := range n.object.Spec.Taints {
		t := &n.object.Spec.Taints[i]
		if t.Effect != corev1.TaintEffectNoSchedule && t.Effect != corev1.TaintEffectNoExecute {
			continue
		}
		if !corev1helper.TolerationsTolerateTaint(klog.Background(), r.tolerations, t, true) {
			return &Refusal{Reason: "node(s) had untolerated taint(s)", Taint: t}
		}
	}
	return nil
}

func (n *node) refusalByAffinity(r *request) *Refusal {
	if r.added != nil && !r.added.Match(n.object) {
		return &Refusal{Reason: reasonAdded}
	}
	if ok, err := r.required.Match(n.object); err != nil || !ok {
		return &Refusal{Reason: reasonAffinity}
	}
	return nil
}

// lacksFeatures reports whether a pod asks for what its node must declare to support,
// and this one does not.
func (n *node) lacksFeatures(r *request) bool {
	if r.profile.Off[RuleFeatures] || r.features.IsEmpty() {
		return false
	}
	has, err := r.features.IsSubset(n.features)
	return err != nil || !has
}

// refusals are those that follow from what is on the node.
func (n *node) refusals(r *request, all bool) []Refusal {
	var out []Refusal
	if !r.profile.Off[RulePorts] && n.portsTaken(r.ports) {
		out = append(out, Refusal{Rule: RulePorts, Reason: reasonPorts})
		if !all {
			return out
		}
	}
	if !r.profile.Off[RuleResources] && !n.roomFor(r) {
		out = append(out, n.insufficient(r)...)
	}
	return out
}

func (n *node) portsTaken(wanted []demand.Port) bool {
	if len(wanted) == 0 || n.ports == 0 {
		return false
	}
	for _, p := range n.pods {
		for _, taken := range p.ports {
			for _, w := range wanted {
				if w.Conflicts(taken) {
					return true
				}
			}
		}
	}
	return false
}

// roomFor answers the common case without making reasons.
func (n *node) roomFor(r *request) bool {
	a, u, t := &r.amounts, &n.used, &n.allocatable
	if int64(len(n.pods))+1 > n.maxPods ||
		(a.MilliCPU > 0 && a.MilliCPU > t.MilliCPU-u.MilliCPU) ||
		(a.Memory > 0 && a.Memory > t.Memory-u.Memory) ||
		(a.Ephemeral > 0 && a.Ephemeral > t.Ephemeral-u.Ephemeral) {
		return len(r.profile.IgnoredResources)+len(r.profile.IgnoredResourceGroups) > 0 && len(n.insufficient(r)) == 0
	}
	for _, name := range r.others {
		if want := a.Others[name]; want > 0 && want > t.Others[name]-u.Others[name] && !n.leaves(r, name) {
			return false
		}
	}
	return true
}

// leaves reports whether it is not for the node to say whether it has enough of a
// resource.
func (n *node) leaves(r *request, name corev1.ResourceName) bool {
	return r.delegated[name] && n.allocatable.Of(name) == 0 || r.profile.ignores(name, groupOf(name))
}

func (n *node) insufficient(r *request) []Refusal {
	var out []Refusal
	if int64(len(n.pods))+1 > n.maxPods {
		out = append(out, Refusal{
			Rule: RuleResources, Reason: reasonTooManyPods,
			Resource: corev1.ResourcePods, Wanted: 1, Used: int64(len(n.pods)), Total: n.maxPods,
		})
	}
	short := func(name corev1.ResourceName) {
		want, used, total := r.amounts.Of(name), n.used.Of(name), n.allocatable.Of(name)
		if want <= 0 || want <= total-used || n.leaves(r, name) {
			return
		}
		out = append(out, Refusal{
			Rule: RuleResources, Reason: "Insufficient " + string(name), Final: want > total,
			Resource: name, Wanted: want, Used: used, Total: total,
		})
	}
	short(corev1.ResourceCPU)
	short(corev1.ResourceMemory)
	short(corev1.ResourceEphemeralStorage)
	for _, name := range r.others {
		short(name)
	}
	return out
}

func (n *node) intolerablePreferences(r *request) int16 {
	count := int16(0)
	for i := range n.object.Spec.Taints {
		t := &n.object.Spec.Taints[i]
		if t.Effect == corev1.TaintEffectPreferNoSchedule && !corev1helper.TolerationsTolerateTaint(klog.Background(), r.tolerations, t, true) {
			count++
		}
	}
	return count
}

func (n *node) preference(r *request) int32 {
	sum := int64(0)
	for _, p := range r.preferred {
		sum += p.Score(n.object)
	}
	return int32(sum)
}

func (n *node) presentImages(r *request) uint32 {
	bits := uint32(0)
	for i, name := range r.images {
		if n.images[name] {
			bits |= 1 << i
		}
	}
	return bits
}
