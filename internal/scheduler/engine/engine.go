package engine

import (
	"cmp"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1helper "k8s.io/component-helpers/scheduling/corev1"

	"github.com/sinawi/sinawi/internal/scheduler/engine/demand"
)

// Classes hold about 70 bytes a node each; these bound the memory they take.
const (
	maxClasses    = 512
	minClasses    = 16
	maxClassSlots = 1 << 20
)

// NamespaceLabels returns the labels of a namespace, which selectors of
// inter-pod affinity may ask for.
type NamespaceLabels func(namespace string) map[string]string

// Engine holds the cluster as the scheduler sees it.
type Engine struct {
	namespaces NamespaceLabels
	profile    *Profile // for pods that come without one
	values     *numbers
	terms      *terms

	slots  []*node // nil: free
	free   []int
	byName map[string]int
	known  int // nodes that have an object
	pods   map[types.UID]*placed

	nominated       map[types.UID]*placed
	images          map[string]*imageSpread
	hostnames       map[string]int
	sharedHostnames int // hostnames that several nodes have

	log     []int // slots in the order in which they changed; log[i] has sequence first+i
	first   uint64
	version uint64

	keys     map[string]bool // label keys that selectors speak of
	classes  map[Key]*class
	clock    uint64 // counts decisions
	prepared *placed
	offset   int      // where preemption begins to look
	weighers []*class // that keep what they weighed, who preempted last at the end
}

// New returns an engine that knows of no node.
func New(namespaces NamespaceLabels) *Engine {
	return &Engine{
		namespaces: namespaces,
		profile:    DefaultProfile(),
		values:     &numbers{of: map[string]int32{}},
		terms:      newTerms(namespaces),
		byName:     map[string]int{},
		pods:       map[types.UID]*placed{},
		nominated:  map[types.UID]*placed{},
		images:     map[string]*imageSpread{},
		hostnames:  map[string]int{},
		keys:       map[string]bool{},
		classes:    map[Key]*class{},
	}
}

// SetNode adds a node or takes in its new state. It returns what changed that
// scheduling looks at.
func (e *Engine) SetNode(obj *corev1.Node) NodeChange {
	slot := e.slot(obj.Name)
	n := e.slots[slot]
	what := changeOf(n.object, obj)
	if what == 0 {
		return 0
	}
	relabelled := n.object == nil || !maps.Equal(n.object.Labels, obj.Labels)
	if relabelled {
		e.uncount(n)
	}
	if n.object == nil {
		e.known++
	}
	n.setObject(obj)
	e.setImages(n, obj)
	if relabelled {
		e.count(n)
	}
	e.changed(slot)
	n.objects = n.version
	return what
}

// RemoveNode forgets a node. Pods that are still said to be on it stay counted.
func (e *Engine) RemoveNode(name string) {
	slot, ok := e.byName[name]
	if !ok || e.slots[slot].object == nil {
		return
	}
	n := e.slots[slot]
	e.uncount(n)
	n.object = nil
	e.known--
	e.setImages(n, nil)
	e.count(n)
	e.changed(slot)
	e.release(slot)
}

// uncount takes the pods of a node out of all domains, and count puts them into
// those of its labels now.
func (e *Engine) uncount(n *node) {
	if n.object != nil {
		e.addHostname(n.object.Labels[corev1.LabelHostname], -1)
	}
	e.recount(n, -1)
}

func (e *Engine) count(n *node) {
	if n.object != nil {
		e.addHostname(n.object.Labels[corev1.LabelHostname], 1)
	}
	e.recount(n, 1)
}

func (e *Engine) recount(n *node, sign int32) {
	for _, p := range n.pods {
		p.set.count(n, sign)
		for _, h := range p.held {
			h.add(n, sign)
		}
	}
}

// addHostname notices when a hostname stops, or begins, to mean one node: then
// what classes group by is another.
func (e *Engine) addHostname(name string, by int) {
	if name == "" {
		return
	}
	was := e.hostnames[name]
	e.hostnames[name] += by
	shared := e.sharedHostnames
	switch {
	case was == 1 && by == 1:
		e.sharedHostnames++
	case was == 2 && by == -1:
		e.sharedHostnames--
	case was == 1 && by == -1:
		delete(e.hostnames, name)
	}
	if (shared == 0) != (e.sharedHostnames == 0) {
		e.forgetClasses()
	}
}

// prepare computes what a pod takes from a node.
func (e *Engine) prepare(pod *corev1.Pod) *placed {
	if p := e.prepared; p != nil && p.pod == pod {
		e.prepared = nil
		return p
	}
	amounts, scoring := demand.Uses(pod, demand.ScoringUse)
	return &placed{
		pod: pod, amounts: amounts, scoring: scoring,
		ports: demand.Ports(&pod.Spec), priority: corev1helper.PodPriority(pod),
	}
}

// SetPod takes in a pod that is on a node (bound, or assumed to be), with what
// it uses now. It reports whether that frees or takes anything.
func (e *Engine) SetPod(pod *corev1.Pod, nodeName string) bool {
	e.RemoveNomination(pod.UID)
	p := e.prepare(pod)
	p.set = e.terms.set(pod.Namespace, pod.Labels, pod.DeletionTimestamp != nil)
	if old := e.pods[pod.UID]; old != nil {
		if old.node.name == nodeName && sameUse(old, p) {
			if before, now := startOf(old.pod), startOf(pod); !before.Equal(&now) {
				old.node.starts++
			}
			old.pod = pod
			return false
		}
		p.set.pods++ // or it could go with the old state
		e.RemovePod(pod.UID)
		p.set.pods--
	}
	p.set.pods++
	p.held = e.hold(pod)
	slot := e.slot(nodeName)
	p.node = e.slots[slot]
	p.node.attach(p, 1)
	e.pods[pod.UID] = p
	e.changed(slot)
	return true
}

func (e *Engine) hold(pod *corev1.Pod) []*held {
	if pod.Spec.Affinity == nil {
		return nil
	}
	all := termsOf(pod)
	out := e.terms.hold(&all)
	for _, h := range out {
		e.learn(h.keys())
	}
	return out
}

// RemovePod forgets a pod that has ended, is gone, or was not bound after all.
func (e *Engine) RemovePod(uid types.UID) bool {
	e.RemoveNomination(uid)
	p := e.pods[uid]
	if p == nil {
		return false
	}
	delete(e.pods, uid)
	p.node.attach(p, -1)
	e.letGo(p)
	e.changed(p.node.slot)
	e.release(p.node.slot)
	return true
}

func (e *Engine) letGo(p *placed) {
	p.set.pods--
	e.terms.dropUnused(p.set)
	e.terms.letGo(p.held)
}

// NodeOf returns the node a pod is counted on, or "".
func (e *Engine) NodeOf(uid types.UID) string {
	if p := e.pods[uid]; p != nil {
		return p.node.name
	}
	return ""
}

// Nodes is the number of nodes known.
func (e *Engine) Nodes() int { return e.known }

// Node returns a node as it was last told of, or nil.
func (e *Engine) Node(name string) *corev1.Node {
	if slot, ok := e.byName[name]; ok {
		return e.slots[slot].object
	}
	return nil
}

// NamespaceChanged tells that a namespace has other labels than before.
func (e *Engine) NamespaceChanged(name string) {
	if !e.terms.byNamespaceLabels() {
		return
	}
	for s := range e.terms.byNamespace[name] {
		e.terms.rematch(s)
	}
	e.forgetClasses()
}

func (e *Engine) class(ask Ask) *class {
	e.clock++
	req := e.compile(ask)
	key := e.keyOf(req)
	c := e.classes[key]
	if c == nil {
		if len(e.classes) >= max(minClasses, min(maxClasses, maxClassSlots/max(len(e.slots), 1))) {
			e.dropClasses()
		}
		c = newClass(key, req)
		e.setBetween(c)
		e.classes[key] = c
		e.rebuild(c)
	}
	c.used = e.clock
	e.catchUp(c)
	e.prepared = &placed{pod: ask.Pod, amounts: req.amounts, scoring: req.scoring, ports: req.ports, priority: req.priority}
	if ask.Pod.Spec.Resources != nil {
		e.prepared.scoring = demand.ScoringUse(ask.Pod)
	}
	return c
}

// dropClasses drops the half that was not asked for the longest.
func (e *Engine) dropClasses() {
	all := make([]*class, 0, len(e.classes))
	for _, c := range e.classes {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b *class) int { return cmp.Compare(a.used, b.used) })
	for _, c := range all[:(len(all)+1)/2] {
		e.drop(c)
	}
}

func (e *Engine) forgetClasses() {
	for _, c := range e.classes {
		e.drop(c)
	}
}

func (e *Engine) drop(c *class) {
	delete(e.classes, c.key)
	for _, t := range c.tallies {
		e.terms.release(t)
	}
	c.tallies = nil
	e.weighers = slices.DeleteFunc(e.weighers, func(w *class) bool { return w == c })
}

func (e *Engine) catchUp(c *class) {
	if e.heldChanged(c) {
		e.setBetween(c)
		c.reset()
		e.rebuild(c)
		return
	}
	if c.next < e.first {
		e.rebuild(c)
		return
	}
	for _, slot := range e.log[c.next-e.first:] {
		c.refresh(slot, e.slots[slot])
	}
	c.next = e.first + uint64(len(e.log))
	c.dropEmptyGroups()
}

func (e *Engine) rebuild(c *class) {
	c.bulk = true
	for slot, n := range e.slots {
		c.refresh(slot, n)
	}
	c.bulk = false
	c.order()
	c.next = e.first + uint64(len(e.log))
}

// changed notes that a slot must be looked at again by every class.
func (e *Engine) changed(slot int) {
	e.version++
	e.slots[slot].version = e.version
	e.log = append(e.log, slot)
	if limit := 4*len(e.slots) + 1024; len(e.log) > limit {
		// A class that is further behind looks at all nodes once, which is no
		// more than reading the dropped half would have cost.
		cut := len(e.log) / 2
		e.log = append([]int(nil), e.log[cut:]...)
		e.first += uint64(cut)
	}
}

func (e *Engine) slot(name string) int {
	if slot, ok := e.byName[name]; ok {
		return slot
	}
	n := &node{name: name, values: e.values, pods: map[types.UID]*placed{}}
	if last := len(e.free) - 1; last >= 0 {
		n.slot, e.free = e.free[last], e.free[:last]
		e.slots[n.slot] = n
	} else {
		n.slot = len(e.slots)
		e.slots = append(e.slots, n)
	}
	e.byName[name] = n.slot
	return n.slot
}

// release frees a slot whose node is gone and holds no pod.
func (e *Engine) release(slot int) {
	n := e.slots[slot]
	if n.object != nil || len(n.pods)+len(n.nominated) > 0 {
		return
	}
	delete(e.byName, n.name)
	e.slots[slot] = nil
	e.free = append(e.free, slot)
}

// sameUse reports whether a pod takes the same from its node as before.
func sameUse(a, b *placed) bool {
	return a.set == b.set && a.amounts.Equal(&b.amounts) && a.scoring.Equal(&b.scoring) &&
		slices.Equal(a.ports, b.ports) && a.priority == b.priority
}

// PodsOn returns the pods that count on a node.
func (e *Engine) PodsOn(name string) []*corev1.Pod {
	slot, ok := e.byName[name]
	if !ok {
		return nil
	}
	out := make([]*corev1.Pod, 0, len(e.slots[slot].pods))
	for _, p := range e.slots[slot].pods {
		out = append(out, p.pod)
	}
	return out
}
