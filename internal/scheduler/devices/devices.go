package devices

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/dynamic-resource-allocation/cel"
	"k8s.io/dynamic-resource-allocation/resourceclaim"
	"k8s.io/dynamic-resource-allocation/structured"

	"github.com/sinawi/sinawi/internal/scheduler/engine"
)

// Reasons in kube-scheduler's words.
const (
	reasonElsewhere = "resourceclaim not available on the node"
	reasonNone      = "cannot allocate all claims"
)

// searchTimeout bounds the search on one node: which devices fit together is a
// puzzle that can take for ever.
const searchTimeout = 10 * time.Second

// expressions is how many compiled selectors are kept.
const expressions = 500

// World is what is known of devices. It has no lock.
type World struct {
	claims  map[types.NamespacedName]*resourcev1.ResourceClaim
	classes map[string]*resourcev1.DeviceClass
	slices  map[string]*resourcev1.ResourceSlice
	rules   map[string]*resourcev1.DeviceTaintRule
	offered []*resourcev1.ResourceSlice // slices with the taints of rules; nil: to be made
	cache   *cel.Cache

	offers  map[corev1.ResourceName]*resourcev1.DeviceClass // by the resources that they offer; nil: to be made
	renamed []corev1.ResourceName                           // that other classes may offer than when it was asked last
	made    map[types.UID]types.NamespacedName              // claims for resources, by the pods that ask for them

	pending map[types.UID]Decision // by pod
	given   map[types.UID]*resourcev1.AllocationResult
	now     func() time.Time
}

// New returns a world without devices.
func New() *World {
	return &World{
		claims:  map[types.NamespacedName]*resourcev1.ResourceClaim{},
		classes: map[string]*resourcev1.DeviceClass{},
		slices:  map[string]*resourcev1.ResourceSlice{},
		rules:   map[string]*resourcev1.DeviceTaintRule{},
		cache:   cel.NewCache(expressions, cel.Features{EnableConsumableCapacity: true}),
		made:    map[types.UID]types.NamespacedName{},
		pending: map[types.UID]Decision{},
		given:   map[types.UID]*resourcev1.AllocationResult{},
		now:     time.Now,
	}
}

// Set takes in an object of a kind that matters to devices, or that it is gone.
// It reports whether it is of such a kind.
func (w *World) Set(obj any, deleted bool) bool {
	switch o := obj.(type) {
	case *resourcev1.ResourceClaim:
		w.setClaim(o, deleted)
	case *resourcev1.DeviceClass:
		w.setClass(o, deleted)
	case *resourcev1.ResourceSlice:
		keep(w.slices, o.Name, o, deleted)
		w.offered = nil
	case *resourcev1.DeviceTaintRule:
		keep(w.rules, o.Name, o, deleted)
		w.offered = nil
	default:
		return false
	}
	return true
}

func keep[K comparable, V any](m map[K]V, key K, value V, deleted bool) {
	if deleted {
		delete(m, key)
		return
	}
	m[key] = value
}

// List and Get make the world the allocator's list of device classes.
func (w *World) List() ([]*resourcev1.DeviceClass, error) {
	out := make([]*resourcev1.DeviceClass, 0, len(w.classes))
	for _, c := range w.classes {
		out = append(out, c)
	}
	return out, nil
}

// Get returns a device class.
func (w *World) Get(name string) (*resourcev1.DeviceClass, error) {
	if c := w.classes[name]; c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("device class %q does not exist", name)
}

// Decision is what has to be written for a pod: every claim is to be reserved
// for it, and those that have an allocation here are to get it.
type Decision struct {
	Claims []Claim
}

// Claim is one claim of a decision.
type Claim struct {
	Object     *resourcev1.ResourceClaim
	Allocation *resourcev1.AllocationResult // what it gets, or has
	// Uses says which container uses what of a claim that is still to be made, for the
	// resources that the pod asks for; nil of a claim that is there.
	Uses []corev1.ContainerExtendedResourceRequest
}

// Plan says on which nodes a pod's claims can be had.
type Plan struct {
	world    *World
	pod      *corev1.Pod
	claims   []*resourcev1.ResourceClaim
	reaches  []reach // of claims that are allocated
	open     []*resourcev1.ResourceClaim
	extended *extended // nil: no class offers a resource that it asks for
	allocate structured.Allocator
}

// reach is the nodes from which what a claim has can be used.
type reach struct {
	claim *resourcev1.ResourceClaim
	nodes *nodeaffinity.NodeSelector // nil: none, for its devices could not be prepared
}

func (r *reach) has(node *corev1.Node) bool { return r.nodes != nil && r.nodes.Match(node) }

// Missing is why a pod is not even tried: a claim of its is not there yet, or not
// for it. Until then users hear nothing of it; claims of templates come at once.
func (w *World) Missing(pod *corev1.Pod) string {
	for i := range pod.Spec.ResourceClaims {
		name, mine, err := resourceclaim.Name(pod, &pod.Spec.ResourceClaims[i])
		if err != nil {
			return err.Error()
		}
		if name == nil {
			continue
		}
		claim := w.claims[types.NamespacedName{Namespace: pod.Namespace, Name: *name}]
		switch {
		case claim == nil:
			return fmt.Sprintf("resourceclaim %q not found", *name)
		case claim.DeletionTimestamp != nil:
			return fmt.Sprintf("resourceclaim %q is being deleted", *name)
		}
		if mine {
			if err := resourceclaim.IsForPod(pod, claim, false); err != nil {
				return err.Error()
			}
		}
	}
	return ""
}

// Plan makes a pod's plan. A problem is why it can go nowhere yet; a nil plan
// without a problem is a pod that claims nothing.
func (w *World) Plan(pod *corev1.Pod) (*Plan, string) {
	if problem := w.Missing(pod); problem != "" {
		return nil, problem
	}
	p := &Plan{world: w, pod: pod, extended: w.extended(pod)}
	for i := range pod.Spec.ResourceClaims {
		name, _, err := resourceclaim.Name(pod, &pod.Spec.ResourceClaims[i])
		if err != nil || name == nil {
			continue // its template turned out to need none
		}
		if problem := p.add(types.NamespacedName{Namespace: pod.Namespace, Name: *name}); problem != "" {
			return nil, problem
		}
	}
	if len(p.claims) == 0 && p.extended == nil {
		return nil, ""
	}
	if len(p.open) > 0 || p.extended != nil {
		if problem := p.prepare(); problem != "" {
			return nil, problem
		}
	}
	return p, ""
}

// add takes in a claim that is there.
func (p *Plan) add(key types.NamespacedName) string {
	claim := p.world.claims[key]
	p.claims = append(p.claims, claim)
	allocation := p.world.allocation(claim)
	if allocation == nil {
		p.open = append(p.open, claim)
		return p.world.classProblem(claim)
	}
	if len(claim.Status.ReservedFor) >= resourcev1.ResourceClaimReservedForMaxSize && !resourceclaim.IsReservedForPod(p.pod, claim, false) {
		return "resourceclaim in use"
	}
	if p.world.failed(claim) {
		p.reaches = append(p.reaches, reach{claim, nil})
		return ""
	}
	if allocation.NodeSelector != nil {
		s, err := nodeaffinity.NewNodeSelector(allocation.NodeSelector)
		if err != nil {
			return err.Error()
		}
		p.reaches = append(p.reaches, reach{claim, s})
	}
	return ""
}

// allocation is what a claim has, or is about to get.
func (w *World) allocation(claim *resourcev1.ResourceClaim) *resourcev1.AllocationResult {
	if claim.Status.Allocation != nil {
		return claim.Status.Allocation
	}
	return w.given[claim.UID]
}

func (w *World) classProblem(claim *resourcev1.ResourceClaim) string {
	missing := func(request, class string) string {
		if w.classes[class] != nil {
			return ""
		}
		return fmt.Sprintf("request %s: device class %s does not exist", request, class)
	}
	for _, r := range claim.Spec.Devices.Requests {
		if r.Exactly != nil {
			if problem := missing(r.Name, r.Exactly.DeviceClassName); problem != "" {
				return problem
			}
		}
		for _, sub := range r.FirstAvailable {
			if problem := missing(r.Name+"/"+sub.Name, sub.DeviceClassName); problem != "" {
				return problem
			}
		}
	}
	return ""
}

// prepare makes the allocator over all that is not taken.
func (p *Plan) prepare() string {
	features := structured.Features{AdminAccess: true, PrioritizedList: true, PartitionableDevices: true, DeviceTaints: true, ConsumableCapacity: true,
		DeviceBindingAndStatus: true}
	a, err := structured.NewAllocator(context.Background(), features, p.world.taken(), p.world, p.world.offer(), p.world.cache)
	if err != nil {
		return err.Error()
	}
	p.allocate = a
	return ""
}

// taken is which devices claims have, or are about to get.
func (w *World) taken() structured.AllocatedState {
	out := structured.AllocatedState{
		AllocatedDevices:         sets.New[structured.DeviceID](),
		AllocatedSharedDeviceIDs: sets.New[structured.SharedDeviceID](),
		AggregatedCapacity:       structured.NewConsumedCapacityCollection(),
	}
	for _, claim := range w.claims {
		take(&out, w.allocation(claim))
	}
	for uid, d := range w.pending {
		for _, c := range d.Claims {
			if made := w.Made(uid); c.Uses != nil && (made == nil || made.Status.Allocation == nil) {
				take(&out, c.Allocation)
			}
		}
	}
	return out
}

// take counts the devices of an allocation, if there is one.
func take(out *structured.AllocatedState, a *resourcev1.AllocationResult) {
	if a == nil {
		return
	}
	for i := range a.Devices.Results {
		r := &a.Devices.Results[i]
		if r.AdminAccess != nil && *r.AdminAccess {
			continue // sees the device beside whoever has it
		}
		id := structured.MakeDeviceID(r.Driver, r.Pool, r.Device)
		if r.ShareID == nil {
			out.AllocatedDevices.Insert(id)
			continue
		}
		out.AllocatedSharedDeviceIDs.Insert(structured.MakeSharedDeviceID(id, r.ShareID))
		out.AggregatedCapacity.Insert(structured.NewDeviceConsumedCapacity(id, r.ConsumedCapacity))
	}
}

// Refuse is the engine's question about one node.
func (p *Plan) Refuse(n engine.NodeView) []engine.Refusal {
	if reason := p.refuse(n.Object()); reason != "" {
		// Evicting a pod frees no device before its claim is deallocated, which
		// the engine cannot foresee.
		return []engine.Refusal{{Rule: engine.RuleDevices, Reason: reason, Final: true}}
	}
	return nil
}

func (p *Plan) refuse(node *corev1.Node) string {
	made, _, problem := p.extended.on(node)
	if problem != "" {
		return problem
	}
	for _, r := range p.reaches {
		if !r.has(node) {
			return reasonElsewhere
		}
	}
	if len(p.open) == 0 && made == nil {
		return ""
	}
	_, problem = p.on(node)
	return problem
}

// Delegated are the resources of which a node that has none may get devices.
func (p *Plan) Delegated() map[corev1.ResourceName]bool {
	if p.extended == nil {
		return nil
	}
	out := map[corev1.ResourceName]bool{}
	for name := range p.extended.classes {
		out[name] = true
	}
	return out
}

// Leftover returns a claim that an attempt which failed has made for the pod, or nil:
// it must go before the pod can be placed.
func (p *Plan) Leftover() *resourcev1.ResourceClaim {
	if p.extended == nil {
		return nil
	}
	return p.extended.left
}

// Idle returns a claim whose devices keep the pod off one of the nodes though nobody
// uses them, or nil: were they given back, it could get others.
func (p *Plan) Idle(nodes []*corev1.Node) *resourcev1.ResourceClaim {
	for _, r := range p.reaches {
		if r.claim.Status.Allocation == nil || !idle(r.claim, p.pod) {
			continue
		}
		for _, n := range nodes {
			if !r.has(n) {
				return r.claim
			}
		}
	}
	return nil
}

// idle reports whether no other pod has reserved a claim.
func idle(claim *resourcev1.ResourceClaim, pod *corev1.Pod) bool {
	by := claim.Status.ReservedFor
	return len(by) == 0 || len(by) == 1 && by[0].UID == pod.UID
}

// on is what the claims get on a node that have nothing yet, that last which is made
// for the resources that the pod asks for.
func (p *Plan) on(node *corev1.Node) ([]Claim, string) {
	made, uses, problem := p.extended.on(node)
	if problem != "" {
		return nil, problem
	}
	open := p.open
	if made != nil {
		open = append(slices.Clone(open), made)
	}
	ctx, cancel := context.WithTimeout(context.Background(), searchTimeout)
	defer cancel()
	results, err := p.allocate.Allocate(ctx, node, open)
	switch {
	case err != nil:
		return nil, err.Error()
	case len(results) != len(open):
		return nil, reasonNone
	}
	out := make([]Claim, len(open))
	for i, claim := range open {
		out[i] = Claim{Object: claim, Allocation: &results[i]}
	}
	if made != nil {
		out[len(p.open)].Uses = uses
	}
	return out, ""
}

// Decide is what the claims get on a node that the plan does not refuse.
func (p *Plan) Decide(node *corev1.Node) (Decision, error) {
	var out Decision
	if p.allocate != nil {
		given, problem := p.on(node)
		if problem != "" {
			return out, fmt.Errorf("allocate devices on node %s: %s", node.Name, problem)
		}
		out.Claims = given
	}
	for _, claim := range p.claims {
		ready, _ := Ready(claim)
		if p.world.allocation(claim) != nil && (!resourceclaim.IsReservedForPod(p.pod, claim, false) || !ready) {
			out.Claims = append(out.Claims, Claim{Object: claim, Allocation: p.world.allocation(claim)})
		}
	}
	return out, nil
}

// Assume counts what a decision gives as taken for a pod.
func (w *World) Assume(pod *corev1.Pod, d Decision) {
	w.Forget(pod.UID)
	if len(d.Claims) == 0 {
		return
	}
	w.pending[pod.UID] = d
	for _, c := range d.Claims {
		if c.Allocation != nil && c.Uses == nil {
			w.given[c.Object.UID] = c.Allocation
		}
	}
}

// Forget frees what was assumed for a pod: it is written by now, or given up.
func (w *World) Forget(uid types.UID) {
	for _, c := range w.pending[uid].Claims {
		delete(w.given, c.Object.UID)
	}
	delete(w.pending, uid)
}
