package compile

import (
	"hash/fnv"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sinawi/sinawi/internal/podnet/nft"
)

// Redirect leads a service's address to a server on this very node, whether the
// service exists or not: the cluster's DNS.
type Redirect struct {
	From     netip.AddrPort
	Protocol corev1.Protocol
	To       netip.AddrPort
}

// State is what the objects said so far. Make one with New.
type State struct {
	at       Place
	services map[types.NamespacedName]*entry
	// dirty are the services that Changes has not seen as they are.
	dirty map[types.NamespacedName]bool
	// claims of a frontend; the first one has it.
	claims map[Front][]claim
	// pools has the names of pools by id; no two live ones share an id.
	pools map[uint32]string
	// local counts the pools that hold an endpoint of this node.
	local map[netip.Addr]int
	// staying counts those of them that hold it as an endpoint that is not leaving.
	staying map[netip.Addr]int
	// next gathers what changed until Changes returns it.
	next *batch
}

// entry is one service: its object, its slices, and what they compiled to.
type entry struct {
	svc      *corev1.Service
	slices   map[string]*discoveryv1.EndpointSlice
	compiled *service
}

type claim struct {
	owner types.NamespacedName
	front *front
}

// winner gives the elements of the one who has the frontend.
func winner(list []claim) []Element {
	if len(list) == 0 {
		return nil
	}
	return list[0].front.elements()
}

// Place is where the node is.
type Place struct {
	// Node is its name, Zone its topology zone, if it has one.
	Node, Zone string
}

// New returns an empty state of a node.
func New(at Place, redirects ...Redirect) *State {
	s := &State{
		at: at, services: map[types.NamespacedName]*entry{}, dirty: map[types.NamespacedName]bool{},
		claims: map[Front][]claim{}, pools: map[uint32]string{}, local: map[netip.Addr]int{}, staying: map[netip.Addr]int{}, next: newBatch(),
	}
	if len(redirects) == 0 {
		return s
	}
	own := &service{}
	for _, r := range redirects {
		proto, ok := protoOf(r.Protocol)
		if !ok {
			continue
		}
		at := Front{r.From.Addr(), proto, r.From.Port()}
		// No object is called so: names there are never empty, and sort behind.
		p := &pool{name: "redirect/" + at.key(), proto: proto, endpoints: []endpoint{{addr: r.To}}}
		own.pools = append(own.pools, p)
		own.fronts = append(own.fronts, front{Front: at, to: p})
	}
	s.services[types.NamespacedName{}] = &entry{compiled: &service{}}
	s.replace(s.next, types.NamespacedName{}, own)
	return s
}

// SetService takes a service as it is now.
func (s *State) SetService(svc *corev1.Service) {
	name := types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}
	s.touch(name).svc = svc
}

// DeleteService forgets a service; its slices may still be there.
func (s *State) DeleteService(name types.NamespacedName) { s.touch(name).svc = nil }

// SetSlice takes an endpoint slice as it is now.
func (s *State) SetSlice(slice *discoveryv1.EndpointSlice) {
	if owner, ok := ownerOf(slice); ok {
		s.touch(owner).slices[slice.Name] = slice
	}
}

// DeleteSlice forgets an endpoint slice.
func (s *State) DeleteSlice(slice *discoveryv1.EndpointSlice) {
	if owner, ok := ownerOf(slice); ok {
		delete(s.touch(owner).slices, slice.Name)
	}
}

// Serves reports whether a service leads to this address of the node, as of the
// last Changes, other than for want of anything better than a leaving pod.
func (s *State) Serves(ip netip.Addr) bool { return s.staying[ip] > 0 }

func ownerOf(slice *discoveryv1.EndpointSlice) (types.NamespacedName, bool) {
	name := slice.Labels[discoveryv1.LabelServiceName]
	return types.NamespacedName{Namespace: slice.Namespace, Name: name}, name != ""
}

func (s *State) touch(name types.NamespacedName) *entry {
	e := s.services[name]
	if e == nil {
		e = &entry{slices: map[string]*discoveryv1.EndpointSlice{}, compiled: &service{}}
		s.services[name] = e
	}
	s.dirty[name] = true
	return e
}

// Changes compiles what was touched and returns how the elements differ from
// those of the call before.
func (s *State) Changes() Delta {
	b := s.next
	s.next = newBatch()
	for _, name := range slices.SortedFunc(maps.Keys(s.dirty), byName) {
		e := s.services[name]
		s.replace(b, name, plan(s.at, e.svc, e.slices))
		if e.svc == nil && len(e.slices) == 0 {
			delete(s.services, name)
		}
	}
	clear(s.dirty)
	d := b.delta()
	if len(b.fronts) > 0 {
		d.Flows = s.flows(maps.Keys(b.fronts))
	}
	return d
}

// Elements are all there should be.
func (s *State) Elements() []Element {
	var out []Element
	for _, e := range s.services {
		out = append(out, e.compiled.elements()...)
	}
	for _, c := range s.claims {
		out = append(out, c[0].front.elements()...)
	}
	for a := range s.local {
		out = append(out, hairpin(a))
	}
	slices.SortFunc(out, InOrder)
	return out
}

// Flows are all datagram frontends.
func (s *State) Flows() Flows {
	return s.flows(func(yield func(Front) bool) {
		for f := range s.claims {
			if f.Proto == udp && !yield(f) {
				return
			}
		}
	})
}

// Health lists what load balancers' health checks ask this node for.
func (s *State) Health() []Health {
	var out []Health
	for _, e := range s.services {
		if h := e.compiled.health; h != nil {
			out = append(out, *h)
		}
	}
	slices.SortFunc(out, func(a, b Health) int { return byName(a.Service, b.Service) })
	return out
}

// replace puts a service's new plan in the place of its old one.
func (s *State) replace(b *batch, name types.NamespacedName, next *service) {
	e := s.services[name]
	old := e.compiled
	for _, at := range brokenFlows(old, next) {
		b.fronts[at] = true
	}
	s.adopt(old, next)
	b.changed(old.elements(), next.elements())
	s.count(b, old, next)
	s.claim(b, name, old, next)
	e.compiled = next
}

// adopt gives next's pools the ids and the order of old's of the same name.
func (s *State) adopt(old, next *service) {
	had := map[string]*pool{}
	for _, p := range old.pools {
		had[p.name] = p
	}
	for _, p := range next.pools {
		if was := had[p.name]; was != nil {
			p.id, p.endpoints = was.id, keepOrder(was.endpoints, p.endpoints)
			delete(had, p.name)
			continue
		}
		p.id = s.newID(p.name)
	}
	for _, gone := range had {
		delete(s.pools, gone.id)
	}
}

// newID is a hash of the name, so that a process that starts anew mostly finds
// its elements as its predecessor left them.
func (s *State) newID(name string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	id := h.Sum32()
	for {
		if _, taken := s.pools[id]; !taken {
			s.pools[id] = name
			return id
		}
		id++
	}
}

func hairpin(a netip.Addr) Element {
	return Element{Set: Hairpin, Key: string(nft.Key(nft.Addr(a), nft.Addr(a)))}
}

// count keeps track of the endpoints on this node, which several pools may share.
func (s *State) count(b *batch, old, next *service) {
	by := map[netip.Addr]int{}
	add := func(svc *service, n int) {
		for _, p := range svc.pools {
			for _, e := range p.endpoints {
				if e.local {
					by[e.addr.Addr()] += n
				}
				if e.local && !e.leaving {
					s.stay(e.addr.Addr(), n)
				}
			}
		}
	}
	add(old, -1)
	add(next, 1)
	for a, n := range by {
		var before, after []Element
		if s.local[a] > 0 {
			before = []Element{hairpin(a)}
		}
		s.local[a] += n
		if s.local[a] > 0 {
			after = []Element{hairpin(a)}
		} else {
			delete(s.local, a)
		}
		b.changed(before, after)
	}
}

func (s *State) stay(a netip.Addr, n int) {
	s.staying[a] += n
	if s.staying[a] == 0 {
		delete(s.staying, a)
	}
}

// claim puts the service's frontends into effect, unless another has them.
func (s *State) claim(b *batch, name types.NamespacedName, old, next *service) {
	touched := map[Front]*front{}
	for i := range old.fronts {
		touched[old.fronts[i].Front] = nil
	}
	for i := range next.fronts {
		touched[next.fronts[i].Front] = &next.fronts[i]
	}
	for at, mine := range touched {
		list := s.claims[at]
		before := winner(list)
		list = slices.DeleteFunc(list, func(c claim) bool { return c.owner == name })
		if mine != nil {
			list = append(list, claim{name, mine})
			slices.SortFunc(list, func(a, b claim) int { return byName(a.owner, b.owner) })
		}
		s.claims[at] = list
		if len(list) == 0 {
			delete(s.claims, at)
		}
		b.changed(before, winner(list))
	}
}
