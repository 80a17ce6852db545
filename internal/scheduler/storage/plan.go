package storage

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/storage/ephemeral"
	"k8s.io/component-helpers/storage/volume"

	"github.com/sinawi/sinawi/internal/scheduler/engine"
)

// Reasons in kube-scheduler's words.
const (
	reasonUnbound   = "pod has unbound immediate PersistentVolumeClaims"
	reasonNodeOf    = "node(s) didn't match PersistentVolume's node affinity"
	reasonNoVolume  = "node(s) didn't find available persistent volumes to bind"
	reasonNotThere  = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
	reasonCapacity  = "node(s) did not have enough free storage"
	reasonZone      = "node(s) had no available volume zone"
	reasonExclusive = "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod"
	reasonLimit     = "node(s) exceed max volume count"
	reasonDisk      = "node(s) had no available disk"
)

// Plan says where one pod's volumes let it go, and what its claims get there. It
// is good until the world changes.
type Plan struct {
	world *World
	pod   *corev1.Pod
	off   map[engine.Rule]bool

	shape     []engine.Point             // how the use of storage becomes a score
	bound     []*corev1.PersistentVolume // of claims that have theirs; nil: it is not there
	open      []*corev1.PersistentVolumeClaim
	lost      string                 // a volume that is not there, of a claim that the pod names
	exclusive []types.NamespacedName // claims that one pod at a time may use
	attached  map[string][]string    // by driver: what the pod needs attached
	disks     bool                   // the pod mounts disks without a claim
}

// Binding gives a volume to a claim.
type Binding struct {
	Volume string
	Claim  types.NamespacedName
}

// Decision is what has to be done for a pod's claims on the node chosen.
type Decision struct {
	Node      string
	Bind      []Binding
	Provision []types.NamespacedName
}

// Empty reports whether nothing has to be done.
func (d Decision) Empty() bool { return len(d.Bind)+len(d.Provision) == 0 }

// Plan makes a pod's plan. A problem is why it can go nowhere yet; a nil plan
// without a problem is a pod whose volumes allow every node.
func (w *World) Plan(pod *corev1.Pod, profile *engine.Profile) (*Plan, string) {
	p := &Plan{world: w, pod: pod, attached: map[string][]string{}}
	if profile != nil {
		p.off, p.shape = profile.Off, profile.VolumeShape
	}
	if name := w.absent(pod); name != "" && !p.off[engine.RuleVolumeSharing] {
		return nil, fmt.Sprintf("persistentvolumeclaim %q not found", name)
	}
	any, unbound := false, false
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		p.disks = p.disks || isDisk(v)
		name := claimName(pod, v)
		if name == "" {
			continue
		}
		any = true
		claim := w.claims[types.NamespacedName{Namespace: pod.Namespace, Name: name}]
		if problem := claimProblem(pod, v, claim, name); problem != "" {
			return nil, problem
		}
		unbound = p.add(claim) || unbound
		if Bound(claim) && w.volumes[claim.Spec.VolumeName] == nil && v.Ephemeral == nil && p.lost == "" {
			p.lost = claim.Spec.VolumeName
		}
	}
	if unbound && !p.off[engine.RuleVolumeBinding] {
		return nil, reasonUnbound
	}
	if p.lost != "" && !p.off[engine.RuleVolumeZone] {
		return nil, fmt.Sprintf("persistentvolume %q not found", p.lost)
	}
	if !any && !p.disks {
		return nil, ""
	}
	return p, ""
}

// absent is the first claim that a pod names and that is not there, or "".
func (w *World) absent(pod *corev1.Pod) string {
	for i := range pod.Spec.Volumes {
		if c := pod.Spec.Volumes[i].PersistentVolumeClaim; c != nil && w.claims[types.NamespacedName{Namespace: pod.Namespace, Name: c.ClaimName}] == nil {
			return c.ClaimName
		}
	}
	return ""
}

func claimProblem(pod *corev1.Pod, v *corev1.Volume, claim *corev1.PersistentVolumeClaim, name string) string {
	switch {
	case claim == nil && v.Ephemeral != nil:
		return fmt.Sprintf("waiting for ephemeral volume controller to create the persistentvolumeclaim %q", name)
	case claim == nil:
		return fmt.Sprintf("persistentvolumeclaim %q not found", name)
	case claim.Status.Phase == corev1.ClaimLost:
		return fmt.Sprintf("persistentvolumeclaim %q bound to non-existent persistentvolume %q", name, claim.Spec.VolumeName)
	case claim.DeletionTimestamp != nil:
		return fmt.Sprintf("persistentvolumeclaim %q is being deleted", name)
	case v.Ephemeral != nil:
		if err := ephemeral.VolumeIsForPod(pod, claim); err != nil {
			return err.Error()
		}
	}
	return ""
}

// add takes a claim into the plan, and reports whether it should be bound by now
// and is not.
func (p *Plan) add(claim *corev1.PersistentVolumeClaim) (unbound bool) {
	key := types.NamespacedName{Namespace: claim.Namespace, Name: claim.Name}
	if slices.Contains(claim.Spec.AccessModes, corev1.ReadWriteOncePod) {
		p.exclusive = append(p.exclusive, key)
	}
	if driver, handle := p.world.attachment(claim); driver != "" {
		p.attached[driver] = append(p.attached[driver], handle)
	}
	switch {
	case Bound(claim):
		p.bound = append(p.bound, p.world.volumes[claim.Spec.VolumeName])
	case p.world.waits(claim) && claim.Spec.VolumeName == "":
		p.open = append(p.open, claim)
	default:
		return true
	}
	return false
}

// attachment is the CSI driver that attaches a claim's volume, and what is
// attached; "" when none does.
func (w *World) attachment(claim *corev1.PersistentVolumeClaim) (driver, handle string) {
	if v := w.volumes[claim.Spec.VolumeName]; v != nil {
		if v.Spec.CSI == nil {
			return "", ""
		}
		return v.Spec.CSI.Driver, v.Spec.CSI.VolumeHandle
	}
	class := w.classOf(claim)
	if class == nil {
		return "", ""
	}
	return class.Provisioner, "claim:" + claim.Namespace + "/" + claim.Name
}

// Refuse is the engine's question about one node.
func (p *Plan) Refuse(n engine.NodeView) []engine.Refusal {
	for _, rule := range []struct {
		name  engine.Rule
		ask   func(engine.NodeView) []string
		final bool
	}{
		{engine.RuleVolumeSharing, p.refusalBySharing, false},
		{engine.RuleVolumeLimits, p.refusalByLimits, false},
		{engine.RuleVolumeBinding, p.refusalsByBinding, true},
		{engine.RuleVolumeZone, p.refusalByZone, true},
	} {
		if p.off[rule.name] {
			continue
		}
		var out []engine.Refusal
		for _, reason := range rule.ask(n) {
			out = append(out, engine.Refusal{Rule: rule.name, Reason: reason, Final: rule.final})
		}
		if len(out) > 0 {
			return out
		}
	}
	return nil
}

// refusalBySharing says that another pod has what the pod must have alone. One whose
// node is not known any more still has its claims, which kube-scheduler lets go of.
// One that waits for room on the node has them too; kube-scheduler looks at these
// only for a pod that mounts disks, or whose claims placed pods have.
func (p *Plan) refusalBySharing(n engine.NodeView) []string {
	if p.disks {
		for other := range n.Pods {
			if sharesDisk(p.pod, other) {
				return []string{reasonDisk}
			}
		}
	}
	for _, key := range p.exclusive {
		for uid, other := range p.world.users[key] {
			if uid != p.pod.UID && n.Placed(other) {
				return []string{reasonExclusive}
			}
		}
		for other := range n.Pods {
			if other.UID != p.pod.UID && slices.Contains(p.world.claimsOf(other), key) {
				return []string{reasonExclusive}
			}
		}
	}
	return nil
}

func (p *Plan) refusalsByBinding(n engine.NodeView) (out []string) {
	there, reachable := p.boundOn(n.Object())
	if !reachable {
		out = append(out, reasonNodeOf)
	}
	if _, reason := p.on(n.Object()); reason != "" {
		out = append(out, reason)
	}
	if !there {
		out = append(out, reasonNotThere)
	}
	return out
}

// boundOn reports whether the volumes that claims have are there, and whether a node
// reaches those before the first that is not.
func (p *Plan) boundOn(node *corev1.Node) (there, reachable bool) {
	for _, v := range p.bound {
		switch {
		case v == nil:
			return false, true
		case volume.CheckNodeAffinity(v, node.Labels) != nil:
			return true, false
		}
	}
	return true, true
}

// Decide is what has to be done for the pod's claims on a node that the plan
// does not refuse.
func (p *Plan) Decide(node *corev1.Node) Decision {
	d, _ := p.on(node)
	return d
}

func (p *Plan) on(node *corev1.Node) (Decision, string) {
	d := Decision{Node: node.Name}
	if len(p.open) == 0 {
		return d, ""
	}
	var provision []*corev1.PersistentVolumeClaim
	excluded := map[string]*corev1.PersistentVolume{}
	for name := range p.world.taken {
		excluded[name] = p.world.volumes[name]
	}
	// Small claims first, so that they do not take the volumes large ones need.
	open := slices.Clone(p.open)
	slices.SortStableFunc(open, func(a, b *corev1.PersistentVolumeClaim) int {
		x, y := a.Spec.Resources.Requests[corev1.ResourceStorage], b.Spec.Resources.Requests[corev1.ResourceStorage]
		return x.Cmp(y)
	})
	for _, claim := range open {
		key := types.NamespacedName{Namespace: claim.Namespace, Name: claim.Name}
		// A claim that another pod has begun to bind goes where that one decided.
		if at := p.world.selectedNode(key, claim); at != "" {
			if at != node.Name {
				return d, reasonNoVolume
			}
			provision = append(provision, claim)
			continue
		}
		if name := p.world.takenFor(key); name != "" {
			if v := p.world.volumes[name]; v == nil || volume.CheckNodeAffinity(v, node.Labels) != nil {
				return d, reasonNoVolume
			}
			d.Bind = append(d.Bind, Binding{name, key})
			continue
		}
		v, err := volume.FindMatchingVolume(claim, p.world.candidates(claim), node, excluded, true, true)
		if err != nil || v == nil {
			provision = append(provision, claim)
			continue
		}
		excluded[v.Name] = v
		d.Bind = append(d.Bind, Binding{v.Name, key})
	}
	for _, claim := range provision {
		if reason := p.world.provisionRefusal(claim, node); reason != "" {
			return d, reason
		}
		d.Provision = append(d.Provision, types.NamespacedName{Namespace: claim.Namespace, Name: claim.Name})
	}
	return d, ""
}

func (w *World) selectedNode(key types.NamespacedName, claim *corev1.PersistentVolumeClaim) string {
	if at := w.placed[key]; at != "" {
		return at
	}
	return claim.Annotations[volume.AnnSelectedNode]
}

func (w *World) takenFor(key types.NamespacedName) string {
	if w.chosen[key] == "" {
		return ""
	}
	for name, claim := range w.taken {
		if claim == key {
			return name
		}
	}
	return ""
}

// candidates are the volumes of the claim's class, in an order that can be
// repeated.
func (w *World) candidates(claim *corev1.PersistentVolumeClaim) []*corev1.PersistentVolume {
	var out []*corev1.PersistentVolume
	class := volume.GetPersistentVolumeClaimClass(claim)
	for _, v := range w.volumes {
		if volume.GetPersistentVolumeClass(v) == class {
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(a, b *corev1.PersistentVolume) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return out
}

const noProvisioner = "kubernetes.io/no-provisioner"

// provisionRefusal says why no volume can be made for a claim on a node.
func (w *World) provisionRefusal(claim *corev1.PersistentVolumeClaim, node *corev1.Node) string {
	class := w.classOf(claim)
	if class == nil || class.Provisioner == "" || class.Provisioner == noProvisioner {
		return reasonNoVolume
	}
	if len(class.AllowedTopologies) > 0 && !slices.ContainsFunc(class.AllowedTopologies, func(t corev1.TopologySelectorTerm) bool {
		return allows(t, node.Labels)
	}) {
		return reasonNoVolume
	}
	if _, enough := w.capacityFor(class, claim, node); !enough {
		return reasonCapacity
	}
	return ""
}

func allows(t corev1.TopologySelectorTerm, set map[string]string) bool {
	for _, e := range t.MatchLabelExpressions {
		if value, ok := set[e.Key]; !ok || !slices.Contains(e.Values, value) {
			return false
		}
	}
	return true
}

// capacityFor asks what drivers that report capacity have reported: what there is of
// it for a node, if that is known, and whether it is enough.
func (w *World) capacityFor(class *storagev1.StorageClass, claim *corev1.PersistentVolumeClaim, node *corev1.Node) (most *resource.Quantity, enough bool) {
	driver := w.drivers[class.Provisioner]
	if driver == nil || driver.Spec.StorageCapacity == nil || !*driver.Spec.StorageCapacity {
		return nil, true
	}
	size, ok := claim.Spec.Resources.Requests[corev1.ResourceStorage]
	if !ok {
		return nil, true
	}
	for _, c := range w.capacities {
		limit := c.MaximumVolumeSize
		if limit == nil {
			limit = c.Capacity
		}
		if c.StorageClassName != class.Name || limit == nil || limit.Cmp(size) < 0 || c.NodeTopology == nil {
			continue
		}
		if s, err := metav1.LabelSelectorAsSelector(c.NodeTopology); err != nil || !s.Matches(labels.Set(node.Labels)) {
			continue
		}
		enough = true
		if c.Capacity != nil && (most == nil || c.Capacity.Cmp(*most) > 0) {
			most = c.Capacity
		}
	}
	return most, enough
}
