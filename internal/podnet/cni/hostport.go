package cni

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sinawi/sinawi/internal/podnet/ipam"
	"github.com/sinawi/sinawi/internal/podnet/nft"
)

// HostPorts are the maps of host ports in the pod table. podnet makes them and
// the rules that read them; the plugin adds and removes elements.
type HostPorts struct {
	Table *nftables.Table
	// Any maps protocol and port, on every address of the node, to a pod's endpoint.
	Any *nftables.Set
	// ByAddr does the same for one address of the node.
	ByAddr *nftables.Set
	// Self holds pairs of a pod's address with itself: a pod that reaches itself
	// through the node must see the node as the source.
	Self *nftables.Set
}

// HostPortsOf describes the maps in a table.
func HostPortsOf(table string) HostPorts {
	t := &nftables.Table{Family: nftables.TableFamilyIPv4, Name: table}
	endpoint := nft.SetType(nftables.TypeIPAddr, nftables.TypeInetService)
	return HostPorts{
		Table:  t,
		Any:    nft.NewMap(t, "hostports", endpoint, nftables.TypeInetProto, nftables.TypeInetService),
		ByAddr: nft.NewMap(t, "hostports-by-addr", endpoint, nftables.TypeIPAddr, nftables.TypeInetProto, nftables.TypeInetService),
		Self:   nft.NewSet(t, "self", nftables.TypeIPAddr, nftables.TypeIPAddr),
	}
}

func protocol(name string) (byte, error) {
	switch strings.ToLower(name) {
	case "tcp", "":
		return unix.IPPROTO_TCP, nil
	case "udp":
		return unix.IPPROTO_UDP, nil
	case "sctp":
		return unix.IPPROTO_SCTP, nil
	}
	return 0, fmt.Errorf("host port protocol %q is none of tcp, udp, sctp", name)
}

// elements are the map elements of one lease.
func (h HostPorts) elements(lease ipam.Lease) (any, byAddr, self []nftables.SetElement, err error) {
	for _, p := range lease.Ports {
		proto, err := protocol(p.Protocol)
		if err != nil {
			return nil, nil, nil, err
		}
		to := nft.Endpoint(netip.AddrPortFrom(lease.Addr, p.Port))
		if p.HostIP.IsValid() && !p.HostIP.IsUnspecified() {
			byAddr = append(byAddr, nftables.SetElement{Key: nft.Key(nft.Addr(p.HostIP), []byte{proto}, nft.Port(p.HostPort)), Val: to})
		} else {
			any = append(any, nftables.SetElement{Key: nft.Key([]byte{proto}, nft.Port(p.HostPort)), Val: to})
		}
	}
	self = []nftables.SetElement{{Key: nft.Key(nft.Addr(lease.Addr), nft.Addr(lease.Addr))}}
	return any, byAddr, self, nil
}

// publish makes a pod's host ports lead to it, all or none.
func publish(table string, lease ipam.Lease) error {
	if len(lease.Ports) == 0 {
		return nil
	}
	err := eachElement(table, lease, func(c *nftables.Conn, s *nftables.Set, e []nftables.SetElement) error {
		return c.SetAddElements(s, e)
	})
	if errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("publish host ports of %s: one of them leads to another pod already: %w", lease.Addr, err)
	}
	if err != nil {
		return fmt.Errorf("publish host ports of %s: %w", lease.Addr, err)
	}
	return forget(lease)
}

// unpublish takes a pod's host ports back; ports that lead elsewhere stay.
func unpublish(table string, lease ipam.Lease) error {
	if len(lease.Ports) == 0 {
		return nil
	}
	h := HostPortsOf(table)
	c, err := nftables.New()
	if err != nil {
		return err
	}
	ours := map[string]bool{}
	for _, s := range []*nftables.Set{h.Any, h.ByAddr} {
		elements, err := c.GetSetElements(s)
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read host ports: %w", err)
		}
		for _, e := range elements {
			if to, ok := nft.ParseEndpoint(e.Val); ok && to.Addr() == lease.Addr {
				ours[s.Name+string(e.Key)] = true
			}
		}
	}
	err = eachElement(table, lease, func(c *nftables.Conn, s *nftables.Set, e []nftables.SetElement) error {
		var kept []nftables.SetElement
		for _, x := range e {
			if ours[s.Name+string(x.Key)] {
				kept = append(kept, x)
			}
		}
		if len(kept) == 0 {
			return nil
		}
		return c.SetDeleteElements(s, kept)
	})
	if err != nil {
		return fmt.Errorf("take back host ports of %s: %w", lease.Addr, err)
	}
	if err := deleteSelf(h, lease); err != nil {
		return err
	}
	return forget(lease)
}

func deleteSelf(h HostPorts, lease ipam.Lease) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	_, _, self, err := h.elements(lease)
	if err != nil {
		return err
	}
	if err := c.SetDeleteElements(h.Self, self); err != nil {
		return err
	}
	if err := c.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("take back host ports of %s: %w", lease.Addr, err)
	}
	return nil
}

// eachElement calls f for each map with a lease's elements, in one transaction.
func eachElement(table string, lease ipam.Lease, f func(*nftables.Conn, *nftables.Set, []nftables.SetElement) error) error {
	h := HostPortsOf(table)
	c, err := nftables.New()
	if err != nil {
		return err
	}
	any, byAddr, self, err := h.elements(lease)
	if err != nil {
		return err
	}
	for _, x := range []struct {
		set      *nftables.Set
		elements []nftables.SetElement
	}{{h.Any, any}, {h.ByAddr, byAddr}, {h.Self, self}} {
		if len(x.elements) == 0 {
			continue
		}
		if err := f(c, x.set, x.elements); err != nil {
			return err
		}
	}
	return c.Flush()
}

// forget drops the kernel's memory of datagram flows to the lease's host ports:
// it would keep sending them to where they went before.
func forget(lease ipam.Lease) error {
	filter := hostPortFlows{pod: lease.Addr}
	for _, p := range lease.Ports {
		if strings.EqualFold(p.Protocol, "udp") {
			filter.ports = append(filter.ports, p)
		}
	}
	if len(filter.ports) == 0 {
		return nil
	}
	if _, err := Dump(func() (uint, error) {
		return netlink.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, filter)
	}); err != nil {
		return fmt.Errorf("forget flows to host ports of %s: %w", lease.Addr, err)
	}
	return nil
}

// hostPortFlows matches conntrack entries of datagrams to any of the ports that
// were translated to the pod, or that were not translated at all.
type hostPortFlows struct {
	pod   netip.Addr
	ports []ipam.HostPort
}

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (f hostPortFlows) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	there, back := flow.Forward, flow.Reverse
	from, _ := netip.AddrFromSlice(back.SrcIP.To4())
	plain := back.SrcIP.Equal(there.DstIP) && back.DstIP.Equal(there.SrcIP)
	if there.Protocol != unix.IPPROTO_UDP || (from != f.pod && !plain) {
		return false
	}
	dst, _ := netip.AddrFromSlice(there.DstIP.To4())
	for _, p := range f.ports {
		if there.DstPort == p.HostPort && (!p.HostIP.IsValid() || p.HostIP.IsUnspecified() || p.HostIP == dst) {
			return true
		}
	}
	return false
}
