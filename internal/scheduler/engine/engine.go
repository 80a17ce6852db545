package engine

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// maxClasses bounds the memory that classes take: each holds 40 bytes a node.
const maxClasses = 512

// NamespaceLabels returns the labels of a namespace, which selectors of
// inter-pod affinity may ask for.
type NamespaceLabels func(namespace string) map[string]string

// Engine holds the cluster as the scheduler sees it.
type Engine struct {
	namespaces NamespaceLabels

	slots  []*node // nil: free
	free   []int
	byName map[string]int
	pods   map[types.UID]*placed
	anti   map[types.UID]*placed // those with required anti-affinity, which binds others too

	log     []int // slots in the order in which they changed; log[i] has sequence first+i
	first   uint64
	version uint64

	classes map[Key]*class
	clock   uint64 // counts decisions
}

// New returns an engine that knows of no node.
func New(namespaces NamespaceLabels) *Engine {
	return &Engine{
		namespaces: namespaces,
		byName:     map[string]int{},
		pods:       map[types.UID]*placed{},
		anti:       map[types.UID]*placed{},
		classes:    map[Key]*class{},
	}
}

// SetNode adds a node or takes in its new state. It reports whether anything
// changed that scheduling looks at.
func (e *Engine) SetNode(obj *corev1.Node) bool {
	slot := e.slot(obj.Name)
	n := e.slots[slot]
	if n.object != nil && sameForScheduling(n.object, obj) {
		return false
	}
	n.setObject(obj)
	e.changed(slot)
	return true
}

// RemoveNode forgets a node. Pods that are still said to be on it stay counted.
func (e *Engine) RemoveNode(name string) {
	slot, ok := e.byName[name]
	if !ok {
		return
	}
	n := e.slots[slot]
	n.object = nil
	e.changed(slot)
	e.release(slot)
}

// SetPod takes in a pod that is on a node (bound, or assumed to be), with what
// it uses now. It reports whether that frees or takes anything.
func (e *Engine) SetPod(ask Ask, nodeName string) bool {
	p := &placed{
		pod:     ask.Pod,
		key:     KeyOf(ask),
		amounts: amounts(requests(ask.Pod)),
		scoring: scoringAmounts(ask.Pod),
		ports:   hostPorts(&ask.Pod.Spec),
	}
	if old := e.pods[ask.Pod.UID]; old != nil {
		if old.node.name == nodeName && sameUse(old, p) {
			old.pod = ask.Pod
			return false
		}
		e.RemovePod(ask.Pod.UID)
	}
	slot := e.slot(nodeName)
	p.node = e.slots[slot]
	p.node.attach(p, 1)
	e.pods[ask.Pod.UID] = p
	if len(antiAffinityTerms(ask.Pod)) > 0 {
		e.anti[ask.Pod.UID] = p
	}
	e.changed(slot)
	return true
}

// RemovePod forgets a pod that has ended, is gone, or was not bound after all.
func (e *Engine) RemovePod(uid types.UID) bool {
	p := e.pods[uid]
	if p == nil {
		return false
	}
	delete(e.pods, uid)
	delete(e.anti, uid)
	p.node.attach(p, -1)
	slot := e.byName[p.node.name]
	e.changed(slot)
	e.release(slot)
	return true
}

// NodeOf returns the node a pod is counted on, or "".
func (e *Engine) NodeOf(uid types.UID) string {
	if p := e.pods[uid]; p != nil {
		return p.node.name
	}
	return ""
}

// Place returns the best node for a pod, or false when none is feasible; then
// Explain says why. It does not count the pod: SetPod does.
func (e *Engine) Place(ask Ask) (string, bool) {
	c := e.class(ask)
	if len(c.heap) == 0 {
		return "", false
	}
	rules := e.rulesFor(ask.Pod)
	if rules == nil {
		return e.slots[c.heap[0]].name, true
	}
	candidates := slices.Clone(c.heap)
	slices.SortFunc(candidates, func(a, b int) int {
		return cmp.Or(cmp.Compare(c.score[b], c.score[a]), cmp.Compare(a, b))
	})
	best, bestScore := -1, 0.0
	for _, slot := range candidates {
		n := e.slots[slot]
		if rules.refusal(n) != "" {
			continue
		}
		if s := c.score[slot] + rules.score(n); best < 0 || s > bestScore {
			best, bestScore = slot, s
		}
	}
	if best < 0 {
		return "", false
	}
	return e.slots[best].name, true
}

// Feasible reports whether some node could take a pod of the class, leaving
// rules between pods aside. The class must have been asked for before; one that
// was dropped since is said to be feasible, so that it is tried again.
func (e *Engine) Feasible(key Key) bool {
	c := e.classes[key]
	if c == nil {
		return true
	}
	e.catchUp(c)
	return len(c.heap) > 0
}

func (e *Engine) class(ask Ask) *class {
	e.clock++
	key := KeyOf(ask)
	c := e.classes[key]
	if c == nil {
		if len(e.classes) >= maxClasses {
			e.dropClasses()
		}
		c = newClass(key, compile(ask))
		e.classes[key] = c
		e.rebuild(c)
	}
	c.used = e.clock
	e.catchUp(c)
	return c
}

// dropClasses drops the half that was not asked for the longest.
func (e *Engine) dropClasses() {
	all := make([]*class, 0, len(e.classes))
	for _, c := range e.classes {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b *class) int { return cmp.Compare(a.used, b.used) })
	for _, c := range all[:len(all)/2] {
		delete(e.classes, c.key)
	}
}

func (e *Engine) catchUp(c *class) {
	end := e.first + uint64(len(e.log))
	if c.next < e.first {
		e.rebuild(c)
		return
	}
	for _, slot := range e.log[c.next-e.first:] {
		c.refresh(slot, e.slots[slot])
	}
	c.next = end
}

func (e *Engine) rebuild(c *class) {
	for slot, n := range e.slots {
		c.refresh(slot, n)
	}
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
	n := &node{name: name, pods: map[types.UID]*placed{}, perClass: map[Key]int{}}
	var slot int
	if last := len(e.free) - 1; last >= 0 {
		slot, e.free = e.free[last], e.free[:last]
		e.slots[slot] = n
	} else {
		slot = len(e.slots)
		e.slots = append(e.slots, n)
	}
	e.byName[name] = slot
	return slot
}

// release frees a slot whose node is gone and holds no pod.
func (e *Engine) release(slot int) {
	n := e.slots[slot]
	if n.object != nil || len(n.pods) > 0 {
		return
	}
	delete(e.byName, n.name)
	e.slots[slot] = nil
	e.free = append(e.free, slot)
}
