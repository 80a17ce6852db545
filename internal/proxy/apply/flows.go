package apply

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sinawi/sinawi/internal/podnet/cni"
	"github.com/sinawi/sinawi/internal/proxy/compile"
)

// DropFlows makes the kernel forget datagram flows to the frontends that lead to
// endpoints they should not lead to any more, or to none.
func DropFlows(flows compile.Flows) error {
	if len(flows) == 0 {
		return nil
	}
	here := map[netip.Addr]bool{}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return fmt.Errorf("list this node's addresses: %w", err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok {
				here[ip.Unmap()] = true
			}
		}
	}
	if _, err := cni.Dump(func() (uint, error) {
		return netlink.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, stale{flows, here})
	}); err != nil {
		return fmt.Errorf("drop datagram flows to endpoints that are gone: %w", err)
	}
	return nil
}

// stale matches the flows to drop.
type stale struct {
	flows compile.Flows
	here  map[netip.Addr]bool
}

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (s stale) MatchConntrackFlow(f *netlink.ConntrackFlow) bool {
	if f.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	dst, _ := netip.AddrFromSlice(f.Forward.DstIP.To4())
	at := compile.Front{Addr: dst, Proto: unix.IPPROTO_UDP, Port: f.Forward.DstPort}
	endpoints, ours := s.flows[at]
	if !ours && s.here[dst] {
		at.Addr = netip.Addr{}
		endpoints, ours = s.flows[at]
	}
	to, _ := netip.AddrFromSlice(f.Reverse.SrcIP.To4())
	return ours && !endpoints[netip.AddrPortFrom(to, f.Reverse.SrcPort)]
}
