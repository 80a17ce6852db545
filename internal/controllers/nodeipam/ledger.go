package nodeipam

import (
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// The sizes of a node's part.
const (
	nodeBits4 = 24
	nodeBits6 = 64
)

// errFull says that a cluster range has no free part left.
var errFull = errors.New("no free range is left for another node")

// ledger knows which node holds which ranges, so that a new node costs the same
// however many there are. It is safe for concurrent use.
type ledger struct {
	mu    sync.Mutex
	pools []*pool
	held  map[types.UID][]netip.Prefix // guarded by mu
}

func newLedger(ranges []netip.Prefix) *ledger {
	l := &ledger{held: map[types.UID][]netip.Prefix{}}
	for _, r := range ranges {
		bits := nodeBits4
		if r.Addr().Is6() {
			bits = nodeBits6
		}
		l.pools = append(l.pools, newPool(r, max(bits, r.Bits())))
	}
	return l
}

// give returns what the node holds, or else a free part of every range.
func (l *ledger) give(node types.UID) ([]netip.Prefix, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if parts, holds := l.held[node]; holds {
		return parts, nil
	}
	var parts []netip.Prefix
	for _, p := range l.pools {
		part, err := p.next()
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
	l.set(node, parts)
	return parts, nil
}

// hold notes what the node was seen to hold, in place of what was known.
func (l *ledger) hold(node types.UID, parts []netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Equal(l.held[node], parts) {
		l.set(node, parts)
	}
}

// free takes back what a node held that is gone.
func (l *ledger) free(node types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.set(node, nil)
}

// set is called with mu held.
func (l *ledger) set(node types.UID, parts []netip.Prefix) {
	for _, p := range l.pools {
		for _, part := range l.held[node] {
			p.count(part, -1)
		}
		for _, part := range parts {
			p.count(part, 1)
		}
	}
	if len(parts) == 0 {
		delete(l.held, node)
		return
	}
	l.held[node] = parts
}

// pool is one cluster range, cut into parts of one size.
type pool struct {
	cluster netip.Prefix
	bits    int
	taken   map[netip.Prefix]int // parts, by how many ranges lie in them
	larger  map[netip.Prefix]int // ranges larger than a part, as other tools give them
	// low is a part's address; all parts before it are taken.
	low netip.Addr
}

func newPool(cluster netip.Prefix, bits int) *pool {
	cluster = cluster.Masked()
	return &pool{cluster: cluster, bits: bits, taken: map[netip.Prefix]int{}, larger: map[netip.Prefix]int{}, low: cluster.Addr()}
}

// count notes that a range is held once more, or once less.
func (p *pool) count(held netip.Prefix, by int) {
	if !p.cluster.Overlaps(held) {
		return
	}
	held = held.Masked()
	counts := p.larger
	if held.Bits() >= p.bits {
		held, counts = netip.PrefixFrom(held.Addr(), p.bits).Masked(), p.taken
	}
	if counts[held] += by; counts[held] > 0 {
		return
	}
	delete(counts, held)
	if freed := held.Addr(); freed.Less(p.low) {
		p.low = freed
		if !p.cluster.Contains(freed) { // it was larger than the cluster's
			p.low = p.cluster.Addr()
		}
	}
}

// next is the first free part.
func (p *pool) next() (netip.Prefix, error) {
	for at := p.low; at.IsValid() && p.cluster.Contains(at); at = addRange(at, p.bits) {
		p.low = at
		if part := netip.PrefixFrom(at, p.bits); p.taken[part] == 0 && !p.inLarger(part) {
			return part, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("cut a /%d from %s: %w", p.bits, p.cluster, errFull)
}

func (p *pool) inLarger(part netip.Prefix) bool {
	for held := range p.larger {
		if held.Overlaps(part) {
			return true
		}
	}
	return false
}

// addRange is the first address after the subnet of this length that begins at
// addr; the zero Addr if there is none.
func addRange(addr netip.Addr, bits int) netip.Addr {
	n := new(big.Int).SetBytes(addr.AsSlice())
	n.Add(n, new(big.Int).Lsh(big.NewInt(1), uint(addr.BitLen()-bits)))
	if n.BitLen() > addr.BitLen() {
		return netip.Addr{}
	}
	raw := n.FillBytes(make([]byte, addr.BitLen()/8))
	next, _ := netip.AddrFromSlice(raw)
	return next
}
