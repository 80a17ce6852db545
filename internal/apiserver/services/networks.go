package services

import (
	"fmt"
	"net/netip"
	"slices"
)

// networks are the ranges of cluster addresses of one family: that of the
// cluster, and those that were added. An address that lies in several is taken
// in all of them.
type networks struct{ ranges []*addresses }

func (n *networks) find(network netip.Prefix) *addresses {
	i := slices.IndexFunc(n.ranges, func(a *addresses) bool { return a.network == network })
	if i < 0 {
		return nil
	}
	return n.ranges[i]
}

// add opens a range; what is taken of it is taken in it too.
func (n *networks) add(network netip.Prefix) {
	added := newAddresses(network)
	for _, a := range n.ranges {
		for i := range a.taken {
			if at, ok := added.index(a.at(i)); ok {
				added.take(at)
			}
		}
	}
	n.ranges = append(n.ranges, added)
}

func (n *networks) remove(network netip.Prefix) {
	n.ranges = slices.DeleteFunc(n.ranges, func(a *addresses) bool { return a.network == network })
}

// next takes a free address of an open range.
func (n *networks) next() (netip.Addr, bool) {
	for _, a := range n.ranges {
		if a.closed {
			continue
		}
		if i, ok := a.next(); ok {
			ip := a.at(i)
			n.mark(ip)
			return ip, true
		}
	}
	return netip.Addr{}, false
}

func (n *networks) mark(ip netip.Addr) {
	for _, a := range n.ranges {
		if i, ok := a.index(ip); ok {
			a.take(i)
		}
	}
}

// claim takes an address by value.
func (n *networks) claim(ip netip.Addr) error {
	open := false
	for _, a := range n.ranges {
		i, ok := a.index(ip)
		if !ok {
			continue
		}
		if _, taken := a.taken[i]; taken {
			return errTaken
		}
		open = open || !a.closed
	}
	if !open {
		return fmt.Errorf("the provided IP (%v) is not in the valid range. The range of valid IPs is %s", ip, n.ranges[0].network)
	}
	n.mark(ip)
	return nil
}

func (n *networks) free(ip netip.Addr) {
	for _, a := range n.ranges {
		if i, ok := a.index(ip); ok {
			a.release(i)
		}
	}
}

// needed tells whether a range has addresses in use that no other open one
// has.
func (n *networks) needed(network netip.Prefix) bool {
	own := n.find(network)
	if own == nil {
		return false
	}
	for i := range own.taken {
		ip := own.at(i)
		if !slices.ContainsFunc(n.ranges, func(a *addresses) bool {
			_, covers := a.index(ip)
			return a != own && !a.closed && covers
		}) {
			return true
		}
	}
	return false
}
