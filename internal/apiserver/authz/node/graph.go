package node

import (
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sinawi/sinawi/internal/apiserver/authz/follow"
)

// kind is a kind of object that pods or nodes refer to.
type kind uint8

const (
	secrets kind = iota
	configMaps
	serviceAccounts
	claims
	volumes
	resourceClaims
	attachments
	resourceSlices
	pods
)

// object is an object of a kind; cluster-wide ones have no namespace.
type object struct {
	kind kind
	types.NamespacedName
}

// Graph knows which objects have to do with which node.
//
// uses[o][n] is the number of pods on node n that refer to o, never zero.
// through[s] are the volumes whose secret s is, and claimed[v] the claim that
// volume v is bound to.
type Graph struct {
	mu      sync.RWMutex
	pods    map[types.NamespacedName]podUse // guarded by mu
	uses    map[object]map[string]int       // guarded by mu
	owned   map[object]string               // guarded by mu; attachments and slices by node
	volumes map[string]volumeUse            // guarded by mu
	through map[object][]string             // guarded by mu

	gate *follow.Gate // open when the present state has been taken in
}

type podUse struct {
	node string
	refs []object
}

type volumeUse struct {
	claim   object
	secrets []object
}

// NewGraph returns an empty graph.
func NewGraph() *Graph {
	return &Graph{
		pods:    map[types.NamespacedName]podUse{},
		uses:    map[object]map[string]int{},
		owned:   map[object]string{},
		volumes: map[string]volumeUse{},
		through: map[object][]string{},
		gate:    follow.NewGate(),
	}
}

func (g *Graph) clearPods() {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.pods)
	clear(g.uses)
}

func (g *Graph) clearVolumes() {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.volumes)
	clear(g.through)
}

func (g *Graph) clearOwned(k kind) {
	g.mu.Lock()
	defer g.mu.Unlock()
	maps.DeleteFunc(g.owned, func(o object, _ string) bool { return o.kind == k })
}

// SetPod takes in a pod; one that is bound to no node gives access to nothing.
func (g *Graph) SetPod(pod *corev1.Pod) {
	g.mu.Lock()
	defer g.mu.Unlock()
	key := types.NamespacedName{Namespace: pod.Namespace, Name: pod.Name}
	g.dropPod(key)
	if pod.Spec.NodeName == "" {
		return
	}
	use := podUse{node: pod.Spec.NodeName, refs: podRefs(pod)}
	g.pods[key] = use
	for _, o := range use.refs {
		if g.uses[o] == nil {
			g.uses[o] = map[string]int{}
		}
		g.uses[o][use.node]++
	}
}

// DeletePod forgets a pod.
func (g *Graph) DeletePod(namespace, name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.dropPod(types.NamespacedName{Namespace: namespace, Name: name})
}

func (g *Graph) dropPod(key types.NamespacedName) {
	use, ok := g.pods[key]
	if !ok {
		return
	}
	delete(g.pods, key)
	for _, o := range use.refs {
		if g.uses[o][use.node]--; g.uses[o][use.node] == 0 {
			delete(g.uses[o], use.node)
		}
		if len(g.uses[o]) == 0 {
			delete(g.uses, o)
		}
	}
}

// SetVolume takes in a persistent volume.
func (g *Graph) SetVolume(pv *corev1.PersistentVolume) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.dropVolume(pv.Name)
	ref := pv.Spec.ClaimRef
	if ref == nil {
		return
	}
	use := volumeUse{claim: named(claims, ref.Namespace, ref.Name), secrets: volumeSecrets(pv)}
	g.volumes[pv.Name] = use
	for _, s := range use.secrets {
		g.through[s] = append(g.through[s], pv.Name)
	}
}

// DeleteVolume forgets a persistent volume.
func (g *Graph) DeleteVolume(name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.dropVolume(name)
}

func (g *Graph) dropVolume(name string) {
	for _, s := range g.volumes[name].secrets {
		g.through[s] = slices.DeleteFunc(g.through[s], func(v string) bool { return v == name })
		if len(g.through[s]) == 0 {
			delete(g.through, s)
		}
	}
	delete(g.volumes, name)
}

// setOwner takes in an object that names its node itself.
func (g *Graph) setOwner(k kind, name, node string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	o := named(k, "", name)
	if node == "" {
		delete(g.owned, o)
		return
	}
	g.owned[o] = node
}

// related says whether an object has to do with a node.
func (g *Graph) related(node string, o object) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	switch o.kind {
	case pods:
		use, ok := g.pods[o.NamespacedName]
		return ok && use.node == node
	case attachments, resourceSlices:
		owner, ok := g.owned[o]
		return ok && owner == node
	case volumes:
		return g.volumeOn(o.Name, node)
	}
	if g.uses[o][node] > 0 {
		return true
	}
	for _, v := range g.through[o] {
		if g.volumeOn(v, node) {
			return true
		}
	}
	return false
}

func (g *Graph) volumeOn(volume, node string) bool {
	use, ok := g.volumes[volume]
	return ok && g.uses[use.claim][node] > 0
}

func named(k kind, namespace, name string) object {
	return object{kind: k, NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}}
}
