package compile

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"
)

// batch follows elements through several changes and knows what came of them:
// two services may touch one element, and the second undo what the first did.
type batch struct {
	// first has each touched place as it was, now as it is; an absent element is
	// one with a Set beyond all.
	first, now map[place]Element
	fronts     map[Front]bool
}

func newBatch() *batch {
	return &batch{first: map[place]Element{}, now: map[place]Element{}, fronts: map[Front]bool{}}
}

func (b *batch) changed(before, after []Element) {
	absent := Element{Set: Sets}
	for _, e := range before {
		at := place{e.Set, e.Key}
		if _, seen := b.first[at]; !seen {
			b.first[at] = e
		}
		b.now[at] = absent
	}
	for _, e := range after {
		at := place{e.Set, e.Key}
		if _, seen := b.first[at]; !seen {
			b.first[at] = absent
		}
		b.now[at] = e
	}
}

func (b *batch) delta() Delta {
	var d Delta
	for at, was := range b.first {
		is := b.now[at]
		if was == is {
			continue
		}
		if was.Set != Sets {
			d.Delete = append(d.Delete, was)
		}
		if is.Set != Sets {
			d.Add = append(d.Add, is)
		}
	}
	slices.SortFunc(d.Delete, InOrder)
	slices.SortFunc(d.Add, InOrder)
	return d
}

// InOrder compares elements by where they lie.
func InOrder(a, b Element) int {
	return cmp.Or(cmp.Compare(a.Set, b.Set), cmp.Compare(a.Key, b.Key))
}

// Compare returns what turns the elements of have into those of want.
func Compare(have, want []Element) Delta {
	b := newBatch()
	b.changed(have, want)
	return b.delta()
}

// brokenFlows are the datagram frontends from which flows may lead nowhere now:
// that lost an endpoint, or themselves, or got their first endpoint.
func brokenFlows(old, next *service) []Front {
	is := make(map[Front]*front, len(next.fronts))
	for i := range next.fronts {
		is[next.fronts[i].Front] = &next.fronts[i]
	}
	var out []Front
	for i := range old.fronts {
		was := &old.fronts[i]
		if was.Proto != udp {
			continue
		}
		f := is[was.Front]
		if f == nil || was.to == nil && f.to != nil || was.inside == nil && f.inside != nil && was.to == nil || lost(was.endpoints(), f.endpoints()) {
			out = append(out, was.Front)
		}
		delete(is, was.Front)
	}
	for at := range is {
		if at.Proto == udp { // flows to it went elsewhere or nowhere until now
			out = append(out, at)
		}
	}
	return out
}

func lost(before, after map[netip.AddrPort]bool) bool {
	for e := range before {
		if !after[e] {
			return true
		}
	}
	return false
}

// endpoints that the frontend may lead to.
func (f *front) endpoints() map[netip.AddrPort]bool {
	out := map[netip.AddrPort]bool{}
	for _, p := range []*pool{f.to, f.inside} {
		if p == nil {
			continue
		}
		for _, e := range p.endpoints {
			out[e.addr] = true
		}
	}
	return out
}

func (s *State) flows(fronts iter.Seq[Front]) Flows {
	out := Flows{}
	for at := range fronts {
		out[at] = nil
		if c := s.claims[at]; len(c) > 0 {
			out[at] = c[0].front.endpoints()
		}
	}
	return out
}
