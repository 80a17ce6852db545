package services

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
)

// What people read when a value cannot be had.
var (
	errFull  = errors.New("range is full")
	errTaken = errors.New("provided IP is already allocated")
	errPort  = errors.New("provided port is already allocated")
)

// pool is a range of numbered places, of which the first band are given out
// only on request or when there is no other: whoever picks a value by hand
// finds one there that chance has not taken.
type pool struct {
	size, band uint64
	taken      map[uint64]struct{}
}

func newPool(size, band uint64) pool {
	return pool{size: size, band: band, taken: map[uint64]struct{}{}}
}

// band is how much of a range of size is kept for requests: a part of it,
// within bounds, and nothing of a range smaller than the least.
func band(size, part, least, most uint64) uint64 {
	if size < least {
		return 0
	}
	return min(max(size/part, least), most)
}

// take reserves one place and tells whether it was free.
func (p *pool) take(i uint64) bool {
	if _, taken := p.taken[i]; taken {
		return false
	}
	p.taken[i] = struct{}{}
	return true
}

func (p *pool) release(i uint64) { delete(p.taken, i) }

// next reserves a free place: by chance above the band, in order within it.
func (p *pool) next() (uint64, bool) {
	if uint64(len(p.taken)) >= p.size {
		return 0, false
	}
	if span := p.size - p.band; span > 0 {
		start := rand.Uint64N(span)
		for i := range span {
			if at := p.band + (start+i)%span; p.take(at) {
				return at, true
			}
		}
	}
	for at := range p.band {
		if p.take(at) {
			return at, true
		}
	}
	return 0, false
}

// addresses is the range of cluster IPs of one family.
type addresses struct {
	pool
	network netip.Prefix
	first   netip.Addr // of the places; the network's own address is none
	closed  bool       // nothing more is given of it
}

// maxAddresses bounds the places of a very large network; arithmetic on
// indexes stays within 64 bits.
const maxAddresses = 1 << 62

func newAddresses(network netip.Prefix) *addresses {
	network = network.Masked()
	size := uint64(maxAddresses)
	if host := network.Addr().BitLen() - network.Bits(); host < 62 {
		size = 1 << host
	}
	size-- // the network itself
	if network.Addr().Is4() && size > 0 {
		size-- // broadcast
	}
	return &addresses{pool: newPool(size, band(size, 16, 16, 256)), network: network, first: network.Addr().Next()}
}

// index returns the place of ip.
func (a *addresses) index(ip netip.Addr) (uint64, bool) {
	if !a.network.Contains(ip) {
		return 0, false
	}
	offset, base := low64(ip), low64(a.first)
	if offset < base || offset-base >= a.size {
		return 0, false
	}
	return offset - base, true
}

func (a *addresses) at(i uint64) netip.Addr {
	value := low64(a.first) + i
	raw := a.first.As16()
	for b := range 8 {
		raw[15-b] = byte(value >> (8 * b))
	}
	ip := netip.AddrFrom16(raw)
	if a.first.Is4() {
		return ip.Unmap()
	}
	return ip
}

// low64 is the lower half of an address as a number.
func low64(ip netip.Addr) uint64 {
	var n uint64
	raw := ip.As16()
	for _, b := range raw[8:] {
		n = n<<8 | uint64(b)
	}
	return n
}

// ports is the range of node ports.
type ports struct {
	pool
	first int32
}

func newPorts(first, last int32) *ports {
	size := uint64(last - first + 1)
	return &ports{pool: newPool(size, band(size, 32, 16, 128)), first: first}
}

func (p *ports) contains(port int32) bool {
	return port >= p.first && uint64(port-p.first) < p.size
}

func (p *ports) claim(port int32) error {
	if !p.contains(port) {
		return fmt.Errorf("provided port is not in the valid range. The range of valid ports is %d-%d", p.first, p.first+int32(p.size)-1)
	}
	if !p.take(uint64(port - p.first)) {
		return errPort
	}
	return nil
}

func (p *ports) free(port int32) {
	if p.contains(port) {
		p.release(uint64(port - p.first))
	}
}
