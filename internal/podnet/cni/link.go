package cni

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/sinawi/sinawi/internal/podnet/ipam"
)

// link is a pod's link as it was made.
type link struct {
	host            string
	hostMAC, podMAC string
}

// MAC derives a hardware address from an IPv4 address: an address that comes
// back on another pod's interface then needs no neighbour cache to forget it.
func MAC(a netip.Addr) net.HardwareAddr {
	ip := a.As4()
	return net.HardwareAddr{0x0a, 0x58, ip[0], ip[1], ip[2], ip[3]}
}

// vethName is the host's end of an owner's link.
func vethName(prefix string, o ipam.Owner) string {
	sum := sha256.Sum256([]byte(o.Container + "/" + o.Interface))
	return prefix + hex.EncodeToString(sum[:4])
}

// inside opens a netlink connection into a pod's network namespace.
func inside(path string) (*netlink.Handle, netns.NsHandle, error) {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return nil, ns, types.NewError(types.ErrInvalidNetNS, fmt.Sprintf("open network namespace %s: %v", path, err), "")
	}
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		ns.Close()
		return nil, ns, fmt.Errorf("enter network namespace %s: %w", path, err)
	}
	return h, ns, nil
}

// attach makes the veth pair, its pod end configured, and the route to the pod.
func attach(conf *Config, nsPath string, lease ipam.Lease) (link, error) {
	if err := checkGateway(conf); err != nil {
		return link{}, fmt.Errorf("%w: the node's agent sets the network up when it starts", err)
	}
	pod, ns, err := inside(nsPath)
	if err != nil {
		return link{}, err
	}
	defer ns.Close()
	defer pod.Close()

	l := link{host: vethName(conf.VethPrefix, lease.Owner), podMAC: MAC(lease.Addr).String()}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = l.host, conf.MTU
	attrs.HardwareAddr = MAC(ipam.Gateway(conf.PodCIDR))
	l.hostMAC = attrs.HardwareAddr.String()
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: lease.Interface, PeerHardwareAddr: MAC(lease.Addr), PeerMTU: uint32(conf.MTU), PeerNamespace: netlink.NsFd(ns)}
	if err := addVeth(conf, pod, veth, lease); err != nil {
		return link{}, err
	}
	if err := configure(pod, lease, conf); err != nil {
		return link{}, err
	}
	return l, lead(conf, l.host, lease)
}

// lead makes the node's end of the link lead to the pod.
func lead(conf *Config, name string, lease ipam.Lease) error {
	host, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find host end %s: %w", name, err)
	}
	settings := []struct{ name, value string }{
		{"rp_filter", "1"},      // a pod sends from its own address only
		{"route_localnet", "1"}, // 127.0.0.1 on the node may lead to a host port; podnet's table keeps pods out
		{"send_redirects", "0"}, // a pod that reaches itself through the node has no shorter way
		{"forwarding", "1"},     // whatever the default for new links is
		{"accept_redirects", "0"},
	}
	for _, s := range settings {
		if err := setLink(name, s.name, s.value); err != nil {
			return err
		}
	}
	if err := netlink.LinkSetUp(host); err != nil {
		return fmt.Errorf("bring %s up: %w", name, err)
	}
	index, to := host.Attrs().Index, hostNet(lease.Addr)
	err = netlink.NeighSet(&netlink.Neigh{LinkIndex: index, State: netlink.NUD_PERMANENT, IP: lease.Addr.AsSlice(), HardwareAddr: MAC(lease.Addr)})
	if err != nil {
		return fmt.Errorf("add neighbour %s on %s: %w", lease.Addr, name, err)
	}
	route := &netlink.Route{LinkIndex: index, Scope: netlink.SCOPE_LINK, Dst: &to, Src: ipam.Gateway(conf.PodCIDR).AsSlice()}
	if err := netlink.RouteReplace(route); err != nil {
		return fmt.Errorf("add route to %s: %w", lease.Addr, err)
	}
	return nil
}

// setLink sets an IPv4 setting of a link, if it is not right already.
func setLink(link, name, value string) error {
	path := "/proc/sys/net/ipv4/conf/" + link + "/" + name
	if have, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(have)) == value {
		return nil
	}
	if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
		return fmt.Errorf("set %s of link %s to %s: %w", name, link, value, err)
	}
	return nil
}

// addVeth makes the pair, in the place of what a cut-off ADD left.
func addVeth(conf *Config, pod *netlink.Handle, veth *netlink.Veth, lease ipam.Lease) error {
	err := netlink.LinkAdd(veth)
	if errors.Is(err, unix.EEXIST) {
		if err := detach(conf, lease.Owner); err != nil {
			return err
		}
		if stale, err := pod.LinkByName(lease.Interface); err == nil {
			if err := pod.LinkDel(stale); err != nil {
				return fmt.Errorf("remove stale interface %s: %w", lease.Interface, err)
			}
		}
		veth.Index = 0
		err = netlink.LinkAdd(veth)
	}
	if errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("the kernel lacks veth links (CONFIG_VETH): %w", err)
	}
	if err != nil {
		return fmt.Errorf("add veth pair %s: %w", veth.Name, err)
	}
	return nil
}

// configure gives the pod's end its address and routes and brings loopback up.
func configure(pod *netlink.Handle, lease ipam.Lease, conf *Config) error {
	gateway := ipam.Gateway(conf.PodCIDR)
	if err := loopbackUp(pod); err != nil {
		return err
	}
	eth, err := pod.LinkByName(lease.Interface)
	if err != nil {
		return fmt.Errorf("find interface %s in the pod: %w", lease.Interface, err)
	}
	addr := hostNet(lease.Addr)
	if err := pod.AddrAdd(eth, &netlink.Addr{IPNet: &addr}); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add address %s: %w", lease.Addr, err)
	}
	if err := pod.LinkSetUp(eth); err != nil {
		return fmt.Errorf("bring %s up: %w", lease.Interface, err)
	}
	index, gw := eth.Attrs().Index, hostNet(gateway)
	// Both ends know each other's hardware address: a first packet asks nobody.
	err = pod.NeighSet(&netlink.Neigh{LinkIndex: index, State: netlink.NUD_PERMANENT, IP: gateway.AsSlice(), HardwareAddr: MAC(gateway)})
	if err != nil {
		return fmt.Errorf("add neighbour %s: %w", gateway, err)
	}
	routes := []*netlink.Route{
		{LinkIndex: index, Scope: netlink.SCOPE_LINK, Dst: &gw},
		{LinkIndex: index, Gw: gateway.AsSlice()},
	}
	for _, r := range routes {
		if err := pod.RouteReplace(r); err != nil {
			return fmt.Errorf("add route %s: %w", r, err)
		}
	}
	return nil
}

func loopbackUp(pod *netlink.Handle) error {
	lo, err := pod.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find loopback: %w", err)
	}
	if err := pod.LinkSetUp(lo); err != nil {
		return fmt.Errorf("bring loopback up: %w", err)
	}
	return nil
}

// detach removes the pair by its host end; one that is gone is no error.
func detach(conf *Config, o ipam.Owner) error {
	name := vethName(conf.VethPrefix, o)
	veth, err := netlink.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("find veth %s: %w", name, err)
	}
	return deleteLink(veth)
}

func deleteLink(l netlink.Link) error {
	// The namespace may take its end, and with it ours, while we ask for it.
	if err := netlink.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("delete link %s: %w", l.Attrs().Name, err)
	}
	return nil
}

// detachUnknown removes the instance's pairs whose owner is not valid.
func detachUnknown(conf *Config, valid map[ipam.Owner]bool) error {
	keep := map[string]bool{}
	for o := range valid {
		keep[vethName(conf.VethPrefix, o)] = true
	}
	links, err := Dump(netlink.LinkList)
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	var errs []error
	for _, l := range links {
		if l.Type() == "veth" && strings.HasPrefix(l.Attrs().Name, conf.VethPrefix) && !keep[l.Attrs().Name] {
			errs = append(errs, deleteLink(l))
		}
	}
	return errors.Join(errs...)
}

// checkGateway says whether the node's side of the network is there.
func checkGateway(conf *Config) error {
	l, err := netlink.LinkByName(conf.GatewayLink)
	if err != nil {
		return fmt.Errorf("gateway link %s: %w", conf.GatewayLink, err)
	}
	if l.Attrs().Flags&net.FlagUp == 0 {
		return fmt.Errorf("gateway link %s is down", conf.GatewayLink)
	}
	return nil
}

// checkLink compares both ends of a pod's link with its lease.
func checkLink(conf *Config, nsPath string, lease ipam.Lease) error {
	name := vethName(conf.VethPrefix, lease.Owner)
	veth, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("host end %s: %w", name, err)
	}
	routes, err := netlink.RouteGet(lease.Addr.AsSlice())
	if err != nil {
		return fmt.Errorf("find route to %s: %w", lease.Addr, err)
	}
	if len(routes) == 0 || routes[0].LinkIndex != veth.Attrs().Index {
		return fmt.Errorf("the route to %s does not lead by %s", lease.Addr, name)
	}
	pod, ns, err := inside(nsPath)
	if err != nil {
		return err
	}
	defer ns.Close()
	defer pod.Close()
	eth, err := pod.LinkByName(lease.Interface)
	if err != nil {
		return fmt.Errorf("interface %s in the pod: %w", lease.Interface, err)
	}
	addrs, err := pod.AddrList(eth, unix.AF_INET)
	if err != nil {
		return fmt.Errorf("list addresses of %s: %w", lease.Interface, err)
	}
	for _, a := range addrs {
		if got, ok := netip.AddrFromSlice(a.IP.To4()); ok && got == lease.Addr {
			return nil
		}
	}
	return fmt.Errorf("interface %s lacks address %s", lease.Interface, lease.Addr)
}

func addLoopback(args *skel.CmdArgs, conf *Config) error {
	pod, ns, err := inside(args.Netns)
	if err != nil {
		return err
	}
	defer ns.Close()
	defer pod.Close()
	if err := loopbackUp(pod); err != nil {
		return err
	}
	first := 0
	return types.PrintResult(&current.Result{
		CNIVersion: current.ImplementedSpecVersion,
		Interfaces: []*current.Interface{{Name: "lo", Mac: "00:00:00:00:00:00", Sandbox: args.Netns}},
		IPs:        []*current.IPConfig{{Interface: &first, Address: net.IPNet{IP: net.IPv4(127, 0, 0, 1).To4(), Mask: net.CIDRMask(8, 32)}}},
	}, conf.CNIVersion)
}

func checkLoopback(nsPath string) error {
	pod, ns, err := inside(nsPath)
	if err != nil {
		return err
	}
	defer ns.Close()
	defer pod.Close()
	lo, err := pod.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find loopback: %w", err)
	}
	if lo.Attrs().Flags&net.FlagUp == 0 {
		return errors.New("loopback is down")
	}
	return nil
}
