package engine

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ndf "k8s.io/component-helpers/nodedeclaredfeatures"
	corev1helper "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
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
	amounts Amounts
	scoring Amounts // amounts, with a floor for pods that ask for nothing
	others  []corev1.ResourceName
	ports   []hostPort

	delegated map[corev1.ResourceName]bool

	required    nodeaffinity.RequiredNodeAffinity
	names       map[string]bool // the nodes that required names; nil is any
	added       *nodeaffinity.NodeSelector
	preferred   []*nodeaffinity.PreferredSchedulingTerms
	tolerations []corev1.Toleration
	priority    int32

	images   []string       // at most maxImages
	features ndf.FeatureSet // that its node must declare

	terms     podTerms
	spread    []corev1.TopologySpreadConstraint
	ownSpread bool
	byOwner   podSelector
}

// maxImages is how many of a pod's images are scored by where they are.
const maxImages = 32

func (e *Engine) compile(ask Ask) *request {
	p := ask.Profile
	if p == nil {
		p = e.profile
	}
	spec := &ask.Pod.Spec
	amounts, scoring := uses(ask.Pod, scoringRequests)
	r := &request{
		pod: ask.Pod, profile: p,
		amounts: amounts, scoring: scoring, ports: hostPorts(spec),
		required: nodeaffinity.GetRequiredNodeAffinity(ask.Pod), tolerations: spec.Tolerations,
		priority: corev1helper.PodPriority(ask.Pod), terms: termsOf(ask.Pod), images: imagesOf(spec),
	}
	r.others, r.delegated = sortedKeys(r.amounts.Others), ask.Delegated
	r.features = featuresOf(spec)
	r.spread, r.ownSpread = p.spreadOf(ask)
	if !r.ownSpread {
		r.byOwner = ask.Spread
	}
	if spec.Affinity != nil && spec.Affinity.NodeAffinity != nil {
		r.prefer(spec.Affinity.NodeAffinity)
		r.names = named(spec.Affinity.NodeAffinity)
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

// NamesConflict is why a pod has no place of which NamesNoNode is true, in
// kube-scheduler's words.
const NamesConflict = "pod affinity terms conflict"

// NamesNoNode reports whether every required term of a pod names nodes, and none of
// them one that it allows.
func NamesNoNode(pod *corev1.Pod) bool {
	if pod.Spec.Affinity == nil || pod.Spec.Affinity.NodeAffinity == nil {
		return false
	}
	names := named(pod.Spec.Affinity.NodeAffinity)
	return names != nil && len(names) == 0
}

// named are the nodes that every required term names, or nil if some names none.
func named(a *corev1.NodeAffinity) map[string]bool {
	required := a.RequiredDuringSchedulingIgnoredDuringExecution
	if required == nil || len(required.NodeSelectorTerms) == 0 {
		return nil
	}
	out := map[string]bool{}
	for i := range required.NodeSelectorTerms {
		names := namedBy(&required.NodeSelectorTerms[i])
		if names == nil {
			return nil
		}
		for _, name := range names {
			out[name] = true
		}
	}
	return out
}

// namedBy are the nodes that a term allows by name, or nil if it names none.
func namedBy(term *corev1.NodeSelectorTerm) []string {
	var out []string
	for i := range term.MatchFields {
		f := &term.MatchFields[i]
		switch {
		case f.Key != metav1.ObjectNameField || f.Operator != corev1.NodeSelectorOpIn:
		case out == nil:
			out = slices.Clone(f.Values)
		default:
			out = slices.DeleteFunc(out, func(name string) bool { return !slices.Contains(f.Values, name) })
		}
	}
	return out
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

// identity writes what makes two pods the same to every rule and score.
type identity struct{ b []byte }

func (id *identity) text(s string) {
	id.b = binary.AppendUvarint(id.b, uint64(len(s)))
	id.b = append(id.b, s...)
}

func (id *identity) number(n int64) { id.b = binary.AppendVarint(id.b, n) }

func (id *identity) json(v any) {
	data, err := json.Marshal(v)
	if err != nil {
		panic("part of a pod is plain data and always encodes: " + err.Error())
	}
	id.text(string(data))
}

func (id *identity) labels(set map[string]string, keep func(string) bool) {
	keys := make([]string, 0, len(set))
	for k := range set {
		if keep(k) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	id.number(int64(len(keys)))
	for _, k := range keys {
		id.text(k)
		id.text(set[k])
	}
}

func (id *identity) amounts(a *Amounts) {
	id.number(a.MilliCPU)
	id.number(a.Memory)
	id.number(a.Ephemeral)
	for _, name := range sortedKeys(a.Others) {
		id.text(string(name))
		id.number(a.Others[name])
	}
}

func always(string) bool { return true }

// KeyOf returns the class of a pod: pods to which every rule and score is the
// same share one. Of a pod's labels only those count that some selector speaks
// of. The pod's extras are not part of its class.
func (e *Engine) KeyOf(ask Ask) Key { return e.keyOf(e.compile(ask)) }

func (e *Engine) keyOf(r *request) Key {
	e.learnKeys(r)
	spec := &r.pod.Spec
	id := identity{b: make([]byte, 0, 512)}
	id.text(r.profile.Name)
	id.text(r.pod.Namespace)
	id.number(int64(r.priority))
	id.labels(r.pod.Labels, func(k string) bool { return e.keys[k] })
	id.amounts(&r.amounts)
	id.amounts(&r.scoring)
	for _, name := range sortedKeys(r.delegated) {
		id.text(string(name))
	}
	id.b = append(id.b, 0xff)
	id.labels(spec.NodeSelector, always)
	for i := range spec.Tolerations {
		t := &spec.Tolerations[i]
		id.text(t.Key)
		id.text(string(t.Operator))
		id.text(t.Value)
		id.text(string(t.Effect))
	}
	id.b = append(id.b, 0xff)
	for _, p := range r.ports {
		id.text(p.ip)
		id.text(string(p.protocol))
		id.number(int64(p.port))
	}
	id.b = append(id.b, 0xff)
	for _, image := range r.images {
		id.text(image)
	}
	id.b = append(id.b, 0xff)
	if !r.features.IsEmpty() {
		id.text(r.features.String())
	}
	id.b = append(id.b, 0xff)
	if spec.Affinity != nil {
		id.json(spec.Affinity)
	}
	if r.ownSpread {
		id.json(r.spread)
	} else if r.byOwner != nil {
		id.text(r.byOwner.String())
	}
	sum := sha256.Sum256(id.b)
	return Key(sum[:len(Key{})])
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
