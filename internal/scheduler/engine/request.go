package engine

import (
	"cmp"

	corev1 "k8s.io/api/core/v1"
	ndf "k8s.io/component-helpers/nodedeclaredfeatures"
	corev1helper "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"github.com/sinawi/sinawi/internal/scheduler/engine/demand"
)

// Ask is a pod with what the scheduler found out about it.
type Ask struct {
	Pod *corev1.Pod
	// Profile is how to place it; nil is the engine's default.
	Profile *Profile
	// Spread selects the pods that default spread constraints count: those of
	// the pod's services and owner. nil: it has none.
	Spread podSelector
	// Extras are rules that are this pod's alone.
	Extras []Extra
	// Delegated are the resources that the pod asks for and that can be had as devices
	// too: a node that has none of its own is not refused for them, an Extra decides.
	Delegated map[corev1.ResourceName]bool
}

// Extra is a rule of one pod that does not follow from pods and nodes: where
// its volumes are reachable, which devices are free. It must be pure for as long
// as one decision takes, and is asked for nodes that all other rules allow.
type Extra interface {
	Refuse(n NodeView) []Refusal
}

// Scorer is an Extra that scores the nodes which it allows, from 0 to 100.
type Scorer interface {
	// Scored is the rule whose weight the score has, "" when it tells no nodes apart.
	// A relative score counts by how much of the greatest it is.
	Scored() (rule Rule, relative bool)
	Score(n NodeView) int64
}

// Stock is an Extra that has resources of which a node has none of its own.
type Stock interface {
	// Stock is how much of a resource there is for a node, and how much of that is taken.
	Stock(n NodeView, name corev1.ResourceName) (total, taken int64)
}

// NodeView is a node as an Extra sees it. While preemption is weighed, victims
// are not on it.
type NodeView struct {
	engine *Engine
	node   *node
}

// Object returns the node.
func (v NodeView) Object() *corev1.Node { return v.node.object }

// Pods calls yield for every pod on the node.
func (v NodeView) Pods(yield func(*corev1.Pod) bool) {
	for _, p := range v.node.pods {
		if !yield(p.pod) {
			return
		}
	}
}

// Placed reports whether a pod counts on any node.
func (v NodeView) Placed(pod *corev1.Pod) bool { return v.engine.pods[pod.UID] != nil }

// request is what a class of pods asks of a node, compiled once.
type request struct {
	pod     *corev1.Pod // one of the class
	profile *Profile
	amounts demand.Amounts
	scoring demand.Amounts // amounts, with a floor for pods that ask for nothing
	others  []corev1.ResourceName
	ports   []demand.Port

	delegated map[corev1.ResourceName]bool

	required    nodeaffinity.RequiredNodeAffinity
	names       map[string]bool // the nodes that required names; nil is any
	added       *nodeaffinity.NodeSelector
	preferred   []*nodeaffinity.PreferredSchedulingTerms
	tolerations []corev1.Toleration
	priority    int32

	images   []string       // at most demand.MaxImages
	features ndf.FeatureSet // that its node must declare

	terms     podTerms
	spread    []corev1.TopologySpreadConstraint
	ownSpread bool
	byOwner   podSelector
}

func (e *Engine) compile(ask Ask) *request {
	p := ask.Profile
	if p == nil {
		p = e.profile
	}
	spec := &ask.Pod.Spec
	amounts, scoring := demand.Uses(ask.Pod, demand.ScoringRequests)
	r := &request{
		pod: ask.Pod, profile: p,
		amounts: amounts, scoring: scoring, ports: demand.Ports(spec),
		required: nodeaffinity.GetRequiredNodeAffinity(ask.Pod), tolerations: spec.Tolerations,
		priority: corev1helper.PodPriority(ask.Pod), terms: termsOf(ask.Pod), images: demand.Images(spec),
	}
	r.others, r.delegated = demand.SortedKeys(r.amounts.Others), ask.Delegated
	r.features = demand.Features(spec)
	r.spread, r.ownSpread = p.spreadOf(ask)
	if !r.ownSpread {
		r.byOwner = ask.Spread
	}
	if spec.Affinity != nil && spec.Affinity.NodeAffinity != nil {
		r.prefer(spec.Affinity.NodeAffinity)
		r.names = demand.Nodes(spec.Affinity.NodeAffinity)
	}
	if p.AddedAffinity != nil {
		r.prefer(p.AddedAffinity)
		if s := p.AddedAffinity.RequiredDuringSchedulingIgnoredDuringExecution; s != nil {
			// A configuration with a malformed selector does not load.
			if ns, err := nodeaffinity.NewNodeSelector(s); err == nil {
				r.added = ns
			}
		}
	}
	return r
}

func (r *request) prefer(a *corev1.NodeAffinity) {
	if len(a.PreferredDuringSchedulingIgnoredDuringExecution) == 0 {
		return
	}
	// Validation has refused malformed terms; one that slipped through is a
	// preference that matches nothing.
	if p, err := nodeaffinity.NewPreferredSchedulingTerms(a.PreferredDuringSchedulingIgnoredDuringExecution); err == nil {
		r.preferred = append(r.preferred, p)
	}
}

// Key identifies a class.
type Key [16]byte

func always(string) bool { return true }

// KeyOf returns the class of a pod: pods to which every rule and score is the
// same share one. Of a pod's labels only those count that some selector speaks
// of. The pod's extras are not part of its class.
func (e *Engine) KeyOf(ask Ask) Key { return e.keyOf(e.compile(ask)) }

func (e *Engine) keyOf(r *request) Key {
	e.learnKeys(r)
	spec := &r.pod.Spec
	id := demand.NewIdentity()
	id.Text(r.profile.Name)
	id.Text(r.pod.Namespace)
	id.Number(int64(r.priority))
	id.Labels(r.pod.Labels, func(k string) bool { return e.keys[k] })
	id.Amounts(&r.amounts)
	id.Amounts(&r.scoring)
	for _, name := range demand.SortedKeys(r.delegated) {
		id.Text(string(name))
	}
	id.End()
	id.Labels(spec.NodeSelector, always)
	for i := range spec.Tolerations {
		t := &spec.Tolerations[i]
		id.Text(t.Key)
		id.Text(string(t.Operator))
		id.Text(t.Value)
		id.Text(string(t.Effect))
	}
	id.End()
	for _, p := range r.ports {
		id.Text(p.IP)
		id.Text(string(p.Protocol))
		id.Number(int64(p.Number))
	}
	id.End()
	for _, image := range r.images {
		id.Text(image)
	}
	id.End()
	if !r.features.IsEmpty() {
		id.Text(r.features.String())
	}
	id.End()
	if spec.Affinity != nil {
		id.JSON(spec.Affinity)
	}
	if r.ownSpread {
		id.JSON(r.spread)
	} else if r.byOwner != nil {
		id.Text(r.byOwner.String())
	}
	return Key(id.Sum())
}

// learnKeys notes the label keys that a pod's own terms select by. A new one
// changes what is a class, so all are made again.
func (e *Engine) learnKeys(r *request) {
	for _, list := range [][]podTerm{r.terms.affinity, r.terms.anti, r.terms.preferAffinity, r.terms.preferAnti} {
		for i := range list {
			e.learn(list[i].keys())
		}
	}
	for i := range r.spread {
		m := spreadMatcher(r.pod, &r.spread[i], r.byOwner)
		e.learn(m.keys())
	}
}

func (e *Engine) learn(keys []string) {
	for _, k := range keys {
		if !e.keys[k] {
			e.keys[k] = true
			e.forgetClasses()
		}
	}
}

// moreImportant orders pods as preemption does: priority, then who started first.
func moreImportant(a, b *corev1.Pod) int {
	if c := cmp.Compare(corev1helper.PodPriority(b), corev1helper.PodPriority(a)); c != 0 {
		return c
	}
	return startOf(a).Compare(startOf(b).Time)
}
