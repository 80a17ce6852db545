package engine

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Nominate notes that a pod waits for room on a node: pods that matter no more
// than it must leave it that room. A pod that is placed is not nominated.
func (e *Engine) Nominate(pod *corev1.Pod, nodeName string) {
	if e.pods[pod.UID] != nil {
		return
	}
	if old := e.nominated[pod.UID]; old != nil {
		if old.node.name == nodeName {
			return
		}
		e.RemoveNomination(pod.UID)
	}
	p := e.prepare(pod)
	p.set = e.terms.set(pod.Namespace, pod.Labels, pod.DeletionTimestamp != nil)
	p.set.pods++
	p.held = e.hold(pod)
	p.node = e.slots[e.slot(nodeName)]
	if p.node.nominated == nil {
		p.node.nominated = map[types.UID]*placed{}
	}
	p.node.nominated[pod.UID] = p
	e.nominated[pod.UID] = p
	e.changed(p.node.slot)
}

// RemoveNomination forgets that a pod waits for room on a node.
func (e *Engine) RemoveNomination(uid types.UID) bool {
	p := e.nominated[uid]
	if p == nil {
		return false
	}
	delete(e.nominated, uid)
	delete(p.node.nominated, uid)
	e.changed(p.node.slot)
	e.letGo(p)
	e.release(p.node.slot)
	return true
}

// NominatedTo returns the pods that wait for room on a node and matter less than
// priority.
func (e *Engine) NominatedTo(nodeName string, priority int32) []*corev1.Pod {
	slot, ok := e.byName[nodeName]
	if !ok {
		return nil
	}
	var out []*corev1.Pod
	for _, p := range e.slots[slot].nominated {
		if p.priority < priority {
			out = append(out, p.pod)
		}
	}
	return out
}

// Hopeless reports whether no pod that leaves a node would let a pod fit there, one
// that is gone included.
func (e *Engine) Hopeless(ask Ask, nodeName string) bool {
	slot, ok := e.byName[nodeName]
	if !ok || e.slots[slot].object == nil {
		return true
	}
	return anyFinal(e.refusals(e.class(ask), ask, e.slots[slot], false))
}

// mustYield reports whether any pod that the asking one has to leave room for is
// nominated anywhere.
func (e *Engine) mustYield(priority int32, ask Ask) bool {
	for uid, p := range e.nominated {
		if uid != ask.Pod.UID && p.priority >= priority {
			return true
		}
	}
	return false
}

// refusals says why a pod cannot go to a node, by every kind of rule, those that
// nominated pods cause included. With all unset the first rule is enough. The
// anti-affinity of nominated pods always counts; kube-scheduler forgets it for a pod
// that neither has such terms nor is spoken of by those of pods that are placed.
func (e *Engine) refusals(c *class, ask Ask, n *node, all bool) []Refusal {
	if guests := n.guests(c, ask.Pod.UID); len(guests) > 0 {
		// Once as if they were there, and once as if they never came: affinity
		// must not lean on pods that may not come.
		e.suppose(c, n, guests, nil)
		out := e.refusalsNow(c, ask, n, all)
		e.suppose(c, n, nil, guests)
		if len(out) > 0 {
			return out
		}
	}
	return e.refusalsNow(c, ask, n, all)
}

// guests are the pods nominated to a node, but for one, that a class leaves room for.
func (n *node) guests(c *class, but types.UID) (out []*placed) {
	for uid, p := range n.nominated {
		if uid != but && p.priority >= c.req.priority {
			out = append(out, p)
		}
	}
	return out
}

// suppose changes which pods are on a node for as long as a question takes.
// Whoever supposes takes it back.
func (e *Engine) suppose(c *class, n *node, come, leave []*placed) {
	for _, p := range come {
		n.attach(p, 1)
		e.pods[p.pod.UID] = p
	}
	for _, p := range leave {
		n.attach(p, -1)
		delete(e.pods, p.pod.UID)
	}
	c.moveSpots(n.slot, n)
}

func (e *Engine) refusalsNow(c *class, ask Ask, n *node, all bool) []Refusal {
	out := n.staticRefusals(c.req, all)
	if len(out) > 0 && !all {
		return out
	}
	out = append(out, n.refusals(c.req, all)...)
	if len(out) > 0 && !all {
		return out
	}
	for _, x := range ask.Extras {
		out = append(out, x.Refuse(NodeView{e, n})...)
		if len(out) > 0 && !all {
			return out
		}
	}
	if c.binds() {
		if g := c.describe(&c.slots[n.slot], n); all || !c.allows(g) {
			out = append(out, c.betweenRefusals(g, n, all)...)
		}
	}
	if (all || len(out) == 0) && n.lacksFeatures(c.req) {
		out = append(out, Refusal{Rule: RuleFeatures, Reason: reasonFeatures, Final: true})
	}
	return out
}
