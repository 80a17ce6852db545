package garbagecollector

import (
	"slices"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// identity says which object is meant. Of a virtual node it is what a dependent
// claims.
type identity struct {
	kind      schema.GroupVersionKind
	namespace string
	name      string
	uid       types.UID
}

// node is one object. Links go both ways: n is in the dependents of every node
// that is in its owners.
type node struct {
	identity
	owners     []metav1.OwnerReference
	dependents map[types.UID]*node
	virtual    bool

	deleting   bool // is being deleted
	foreground bool // waits for its dependents to be deleted
	orphaning  bool // waits for its dependents to forget it
}

// graph is who owns whom. Its methods return the uids of the nodes that must be
// looked at because of the change.
type graph struct {
	mu    sync.Mutex // guards the fields below
	nodes map[types.UID]*node
	// gone remembers some objects that were seen to go; they never come back.
	gone *recent
	// astray is told of references to owners in another namespace. It must not block.
	astray func(dependent identity, ref metav1.OwnerReference)
}

func newGraph() *graph {
	return &graph{
		nodes: map[types.UID]*node{}, gone: newRecent(4096),
		astray: func(identity, metav1.OwnerReference) {},
	}
}

// observe takes in the state of an object.
func (g *graph) observe(kind schema.GroupVersionKind, obj *metav1.PartialObjectMetadata) []types.UID {
	g.mu.Lock()
	defer g.mu.Unlock()
	id := identity{kind: kind, namespace: obj.Namespace, name: obj.Name, uid: obj.UID}
	n := g.nodes[obj.UID]
	var wake []types.UID
	switch {
	case n == nil:
		n = &node{identity: id, dependents: map[types.UID]*node{}}
		g.nodes[obj.UID] = n
	case n.virtual:
		n.identity, n.virtual = id, false
		wake = append(wake, n.misled()...)
		g.report(n)
	}
	before := n.owners
	foreground := obj.DeletionTimestamp != nil && slices.Contains(obj.Finalizers, metav1.FinalizerDeleteDependents)
	orphaning := obj.DeletionTimestamp != nil && slices.Contains(obj.Finalizers, metav1.FinalizerOrphanDependents)
	if foreground && !n.foreground {
		wake = append(append(wake, n.uid), n.dependentUIDs()...)
	}
	if orphaning && !n.orphaning {
		wake = append(wake, n.uid)
	}
	n.deleting, n.foreground, n.orphaning = obj.DeletionTimestamp != nil, foreground, orphaning
	n.owners = slices.Clone(obj.OwnerReferences)
	return append(wake, g.relink(n, before)...)
}

// relink brings the links to owners up to date after n.owners changed.
func (g *graph) relink(n *node, before []metav1.OwnerReference) []types.UID {
	var wake []types.UID
	for _, ref := range before {
		owner := g.nodes[ref.UID]
		if owner == nil {
			continue
		}
		still := slices.ContainsFunc(n.owners, func(o metav1.OwnerReference) bool { return o.UID == ref.UID })
		if !still {
			delete(owner.dependents, n.uid)
		}
		if owner.foreground && (!still || !g.blocks(n, owner.uid)) {
			wake = append(wake, owner.uid) // it may have waited for us
		}
		if !still && owner.virtual && len(owner.dependents) == 0 {
			delete(g.nodes, owner.uid)
		}
	}
	for _, ref := range n.owners {
		owner := g.nodes[ref.UID]
		if owner != nil && owner.dependents[n.uid] != nil {
			continue
		}
		if owner == nil {
			owner = &node{identity: claimed(ref, n.namespace), virtual: true, dependents: map[types.UID]*node{}}
			g.nodes[ref.UID] = owner
			wake = append(wake, ref.UID)
		} else if owner.virtual {
			wake = append(wake, ref.UID)
			if !names(ref, n, owner) {
				wake = append(wake, n.uid) // what it means is asked for by nobody else
			}
		} else if owner.foreground || !names(ref, n, owner) {
			wake = append(wake, n.uid)
			if elsewhere(n, owner) {
				g.astray(n.identity, ref)
			}
		}
		owner.dependents[n.uid] = n
	}
	return wake
}

// report tells of all dependents that refer to n, which just came to light, from another
// namespace.
func (g *graph) report(n *node) {
	for _, d := range n.dependents {
		at := slices.IndexFunc(d.owners, func(ref metav1.OwnerReference) bool { return ref.UID == n.uid })
		if at >= 0 && elsewhere(d, n) {
			g.astray(d.identity, d.owners[at])
		}
	}
}

// elsewhere says that n cannot have the owner, because that is in another namespace.
func elsewhere(n, owner *node) bool {
	return owner.namespace != "" && owner.namespace != n.namespace
}

// blocks says whether n keeps the owner with that uid from going.
func (g *graph) blocks(n *node, owner types.UID) bool {
	for _, ref := range n.owners {
		if ref.UID == owner && ref.BlockOwnerDeletion != nil && *ref.BlockOwnerDeletion {
			return true
		}
	}
	return false
}

// claimed is the identity that a dependent in this namespace gives its owner. An
// owner of cluster scope is found without the namespace too.
func claimed(ref metav1.OwnerReference, namespace string) identity {
	return identity{
		kind:      schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind),
		namespace: namespace, name: ref.Name, uid: ref.UID,
	}
}

// names says whether the reference of n really means owner: same kind in any
// version, same name, and a place from where it may be owned.
func names(ref metav1.OwnerReference, n, owner *node) bool {
	kind := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind)
	return kind.GroupKind() == owner.kind.GroupKind() && ref.Name == owner.name &&
		(owner.namespace == "" || owner.namespace == n.namespace)
}

// missing says that a virtual node is not where a dependent claims. It stays,
// since another dependent may name it better, until none is left.
func (g *graph) missing(uid types.UID) []types.UID {
	g.mu.Lock()
	defer g.mu.Unlock()
	if n := g.nodes[uid]; n != nil && n.virtual {
		return n.dependentUIDs()
	}
	return nil
}

// remove takes out an object that was there and is no more.
func (g *graph) remove(uid types.UID) []types.UID {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.nodes[uid]
	if n == nil {
		return nil
	}
	if !n.virtual {
		g.gone.add(n.identity)
	}
	delete(g.nodes, uid)
	wake := n.dependentUIDs()
	for _, ref := range n.owners {
		owner := g.nodes[ref.UID]
		if owner == nil {
			continue
		}
		delete(owner.dependents, uid)
		if owner.foreground || owner.orphaning {
			wake = append(wake, owner.uid)
		}
		if owner.virtual && len(owner.dependents) == 0 {
			delete(g.nodes, owner.uid)
		}
	}
	return wake
}

// doubt makes all nodes of a kind virtual again, because its objects are no
// longer watched.
func (g *graph) doubt(kind schema.GroupKind) []types.UID {
	g.mu.Lock()
	defer g.mu.Unlock()
	var wake []types.UID
	for uid, n := range g.nodes {
		if n.kind.GroupKind() != kind || n.virtual {
			continue
		}
		n.virtual = true
		wake = append(wake, uid)
	}
	return wake
}

// view is a copy of a node and its surroundings to decide from.
type view struct {
	identity
	virtual, deleting, foreground, orphaning bool

	owners     []metav1.OwnerReference
	dependents []identity
	// blocking are the dependents that the node waits for.
	blocking []identity
	// stuck says that a dependent itself waits for its dependents.
	stuck bool
}

// look copies the node with that uid.
func (g *graph) look(uid types.UID) (view, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.nodes[uid]
	if n == nil {
		return view{}, false
	}
	v := view{identity: n.identity, virtual: n.virtual, deleting: n.deleting, foreground: n.foreground, orphaning: n.orphaning}
	v.owners = slices.Clone(n.owners)
	for _, d := range n.dependents {
		v.dependents = append(v.dependents, d.identity)
		if g.blocks(d, uid) {
			v.blocking = append(v.blocking, d.identity)
		}
		v.stuck = v.stuck || d.foreground
	}
	return v, true
}

// presence is what the graph knows of an owner.
type presence int

const (
	unknown presence = iota
	absent
	present
	waiting // present, but bound to go after its dependents
)

// find says what the graph knows of the owner that n refers to.
func (g *graph) find(ref metav1.OwnerReference, namespace string) presence {
	g.mu.Lock()
	defer g.mu.Unlock()
	owner := g.nodes[ref.UID]
	switch {
	case owner == nil && g.went(ref, namespace):
		return absent
	case owner == nil || owner.virtual || !names(ref, &node{identity: identity{namespace: namespace}}, owner):
		return unknown
	case owner.foreground:
		return waiting
	default:
		return present
	}
}

// went reports whether the object that ref means was seen to go. One that names
// it wrongly means another object, whatever its uid.
func (g *graph) went(ref metav1.OwnerReference, namespace string) bool {
	id, known := g.gone.members[ref.UID]
	return known && names(ref, &node{identity: identity{namespace: namespace}}, &node{identity: id})
}

// misled are the dependents that refer to n by wrong names: what they mean is
// another object, which may not exist.
func (n *node) misled() []types.UID {
	var uids []types.UID
	for uid, d := range n.dependents {
		for _, ref := range d.owners {
			if ref.UID == n.uid && !names(ref, d, n) {
				uids = append(uids, uid)
			}
		}
	}
	return uids
}

func (n *node) dependentUIDs() []types.UID {
	uids := make([]types.UID, 0, len(n.dependents))
	for uid := range n.dependents {
		uids = append(uids, uid)
	}
	return uids
}

// recent is a set that forgets its oldest members.
type recent struct {
	members map[types.UID]identity
	order   []types.UID
	next    int
}

func newRecent(size int) *recent {
	return &recent{members: make(map[types.UID]identity), order: make([]types.UID, size)}
}

func (r *recent) add(id identity) {
	if _, known := r.members[id.uid]; known {
		return
	}
	delete(r.members, r.order[r.next])
	r.order[r.next] = id.uid
	r.members[id.uid] = id
	r.next = (r.next + 1) % len(r.order)
}
