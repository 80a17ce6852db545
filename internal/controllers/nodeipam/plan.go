package nodeipam

import (
	"errors"
	"fmt"
	"math/big"
	"net/netip"
)

// errFull says that a cluster range has no free part left.
var errFull = errors.New("no free range is left for another node")

// nextFree returns the first subnet of the given length inside cluster that
// overlaps none of used.
func nextFree(cluster netip.Prefix, bits int, used []netip.Prefix) (netip.Prefix, error) {
	if !cluster.IsValid() || bits < cluster.Bits() || bits > cluster.Addr().BitLen() {
		return netip.Prefix{}, fmt.Errorf("cut a /%d from %s: %w", bits, cluster, errFull)
	}
	cluster = cluster.Masked()
	taken := map[netip.Prefix]bool{}
	var larger []netip.Prefix
	for _, p := range used {
		switch {
		case !cluster.Overlaps(p):
		case p.Bits() >= bits:
			taken[netip.PrefixFrom(p.Addr(), bits).Masked()] = true
		default:
			larger = append(larger, p)
		}
	}
	for addr := cluster.Addr(); addr.IsValid() && cluster.Contains(addr); addr = addRange(addr, bits) {
		p := netip.PrefixFrom(addr, bits)
		if !taken[p] && !overlapsAny(p, larger) {
			return p, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("cut a /%d from %s: %w", bits, cluster, errFull)
}

func overlapsAny(p netip.Prefix, others []netip.Prefix) bool {
	for _, o := range others {
		if p.Overlaps(o) {
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
