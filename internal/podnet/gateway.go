package podnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sinawi/sinawi/internal/podnet/cni"
	"github.com/sinawi/sinawi/internal/podnet/ipam"
)

// ensureGateway makes the link that holds the gateway's address and the route by
// which an address without a pod is refused at once. The link is a bridge that
// never gets a port: every kernel that can run pods has those.
func ensureGateway(name string, o Options) error {
	link, err := netlink.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		link, err = addGateway(name, o)
	}
	if err != nil {
		return fmt.Errorf("set up link %s: %w", name, err)
	}
	if link.Type() != "bridge" {
		return fmt.Errorf("link %s exists and is no bridge but %s: remove it", name, link.Type())
	}
	if link.Attrs().MTU != o.MTU {
		if err := netlink.LinkSetMTU(link, o.MTU); err != nil {
			return fmt.Errorf("set MTU of %s: %w", name, err)
		}
	}
	// The length tells Teardown the range; the route that it stands for is ours to make.
	want := netip.PrefixFrom(ipam.Gateway(o.PodCIDR), o.PodCIDR.Bits())
	if err := syncAddress(link, want); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring %s up: %w", name, err)
	}
	if err := netlink.RouteReplace(refusal(want)); err != nil {
		return fmt.Errorf("refuse addresses of %s without a pod: %w", o.PodCIDR, err)
	}
	if !o.ServiceCIDR.IsValid() {
		return nil
	}
	// Instances that share a range of services have a route each, told apart by metric.
	index := link.Attrs().Index
	toServices := &netlink.Route{LinkIndex: index, Dst: ipNet(o.ServiceCIDR.Masked()), Src: want.Addr().AsSlice(), Scope: netlink.SCOPE_LINK, Priority: index}
	if err := netlink.RouteReplace(toServices); err != nil {
		return fmt.Errorf("add route to services %s: %w", o.ServiceCIDR, err)
	}
	return nil
}

// freeRange makes sure that no other link has addresses in the pods' range: pods
// would take them over, or lose theirs.
func freeRange(n Names, pods netip.Prefix) error {
	links, err := cni.Dump(netlink.LinkList)
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	for _, l := range links {
		name := l.Attrs().Name
		if name == n.Gateway || name == n.Overlay || strings.HasPrefix(name, n.VethPrefix) {
			continue
		}
		addrs, err := addresses(l)
		if err != nil {
			return fmt.Errorf("list addresses of %s: %w", name, err)
		}
		for _, a := range addrs {
			if p := prefixOf(a); p.Bits() > 0 && p.Overlaps(pods) {
				return fmt.Errorf("pod range %s overlaps %s of link %s, which is another instance's or the machine's own network: choose another range (--pod-cidr)", pods, p.Masked(), name)
			}
		}
	}
	return nil
}

func addGateway(name string, o Options) (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = name, o.MTU, cni.MAC(ipam.Gateway(o.PodCIDR))
	snooping := false
	err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, MulticastSnooping: &snooping})
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil, fmt.Errorf("the kernel lacks bridges (CONFIG_BRIDGE): %w", err)
	}
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, err
	}
	return netlink.LinkByName(name)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func refusal(p netip.Prefix) *netlink.Route {
	return &netlink.Route{Dst: ipNet(p.Masked()), Type: unix.RTN_UNREACHABLE}
}

// syncAddress gives the link the address and no other; with an old one goes its refusal.
func syncAddress(link netlink.Link, want netip.Prefix) error {
	have, err := addresses(link)
	if err != nil {
		return fmt.Errorf("list addresses of %s: %w", link.Attrs().Name, err)
	}
	found := false
	for _, a := range have {
		p := prefixOf(a)
		if p == want {
			found = true
			continue
		}
		if err := removeRefusal(p); err != nil {
			return err
		}
		if err := netlink.AddrDel(link, &a); err != nil {
			return fmt.Errorf("remove address %s from %s: %w", p, link.Attrs().Name, err)
		}
	}
	if found {
		return nil
	}
	if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: ipNet(want), Flags: unix.IFA_F_NOPREFIXROUTE}); err != nil {
		return fmt.Errorf("add address %s to %s: %w", want, link.Attrs().Name, err)
	}
	return nil
}

func addresses(l netlink.Link) ([]netlink.Addr, error) {
	return cni.Dump(func() ([]netlink.Addr, error) { return netlink.AddrList(l, unix.AF_INET) })
}

func prefixOf(a netlink.Addr) netip.Prefix {
	ip, _ := netip.AddrFromSlice(a.IP.To4())
	ones, _ := a.Mask.Size()
	return netip.PrefixFrom(ip, ones)
}

func removeRefusal(p netip.Prefix) error {
	if err := netlink.RouteDel(refusal(p)); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("remove route of %s: %w", p.Masked(), err)
	}
	return nil
}

// deleteLinks removes every link that carries the instance's names.
func deleteLinks(n Names) error {
	links, err := cni.Dump(netlink.LinkList)
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	var errs []error
	for _, l := range links {
		name := l.Attrs().Name
		ours := name == n.Gateway || name == n.Overlay ||
			(l.Type() == "veth" && strings.HasPrefix(name, n.VethPrefix) && len(name) == MaxLinkName)
		if !ours {
			continue
		}
		if name == n.Gateway {
			errs = append(errs, forgetGateway(l))
		}
		if err := netlink.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
			errs = append(errs, fmt.Errorf("delete link %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// forgetGateway removes the routes that stand for the link's addresses.
func forgetGateway(link netlink.Link) error {
	have, err := addresses(link)
	if err != nil {
		return fmt.Errorf("list addresses of %s: %w", link.Attrs().Name, err)
	}
	var errs []error
	for _, a := range have {
		errs = append(errs, removeRefusal(prefixOf(a)))
	}
	return errors.Join(errs...)
}
