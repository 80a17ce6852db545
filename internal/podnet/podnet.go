package podnet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/sinawi/sinawi/internal/podnet/cni"
	"github.com/sinawi/sinawi/internal/podnet/ipam"
	"github.com/sinawi/sinawi/internal/podnet/nft"
)

// Options say what the node's pod network looks like.
type Options struct {
	// Instance is the instance's name; see NamesOf.
	Instance string
	// PodCIDR is this node's range of pod addresses.
	PodCIDR netip.Prefix
	// ClusterCIDR is the range of all pods: traffic within it is never masqueraded.
	ClusterCIDR netip.Prefix
	// LocalIPs are service addresses that every node answers itself, as the cluster DNS's.
	LocalIPs []netip.Addr
	// MTU of pod links; 0 takes that of the link with the default route.
	MTU int
	// CNIConfDir gets the network configuration for the runtime.
	CNIConfDir string
	// CNIBinDir gets links by the plugin's names to Plugin; nothing if Plugin is empty.
	CNIBinDir string
	// Plugin is the program that calls cni.Main when CNI_COMMAND is set.
	Plugin string
	// StateDir keeps the leases of pod addresses.
	StateDir string
}

func (o Options) validate() error {
	if o.Instance == "" || o.CNIConfDir == "" || o.StateDir == "" {
		return errors.New("pod network: instance, CNI configuration and state directories are required")
	}
	if !o.PodCIDR.Addr().Is4() || o.PodCIDR.Bits() > 29 {
		return fmt.Errorf("pod network: pod range %s must be IPv4 with room for pods (/29 or larger)", o.PodCIDR)
	}
	if !o.ClusterCIDR.Contains(o.PodCIDR.Addr()) || o.ClusterCIDR.Bits() > o.PodCIDR.Bits() {
		return fmt.Errorf("pod network: the node's range %s lies outside the cluster's %s", o.PodCIDR, o.ClusterCIDR)
	}
	return nil
}

// confFile is the configuration's name: low, so that ours comes first.
const confFile = "10-sinawi.conflist"

// Setup makes the network, or brings what an earlier run made to what o says.
// The configuration file comes last: a runtime that sees it may start pods.
func Setup(_ context.Context, o Options) error {
	if err := o.validate(); err != nil {
		return err
	}
	n := NamesOf(o.Instance)
	if o.MTU == 0 {
		mtu, err := uplinkMTU()
		if err != nil {
			return err
		}
		o.MTU = mtu
	}
	if err := setSysctl("net/ipv4/ip_forward", "1"); err != nil {
		return err
	}
	gateway := netip.PrefixFrom(ipam.Gateway(o.PodCIDR), o.PodCIDR.Bits())
	if err := ensureLink(n.Bridge, o.MTU, []netip.Prefix{gateway}); err != nil {
		return err
	}
	var local []netip.Prefix
	for _, ip := range o.LocalIPs {
		local = append(local, netip.PrefixFrom(ip, ip.BitLen()))
	}
	if err := ensureLink(n.Local, o.MTU, local); err != nil {
		return err
	}
	if err := applyTable(n, o); err != nil {
		return fmt.Errorf("set up nftables table %s: %w", n.PodTable, explain(err))
	}
	if err := openForward(n); err != nil {
		return err
	}
	boot, err := ipam.BootID()
	if err != nil {
		return err
	}
	if err := ipam.Open(o.StateDir, o.PodCIDR, boot).Prune(); err != nil {
		return err
	}
	if err := linkPlugin(o); err != nil {
		return err
	}
	return writeConf(n, o)
}

// Teardown removes the network: links, tables, configuration and leases. What
// is not there is no error.
func Teardown(_ context.Context, o Options) error {
	n := NamesOf(o.Instance)
	var errs []error
	if o.CNIConfDir != "" {
		errs = append(errs, removeFile(filepath.Join(o.CNIConfDir, confFile)))
	}
	errs = append(errs, deleteLinks(n), closeForward(n), nft.DeleteTable(nftables.TableFamilyIPv4, n.PodTable))
	if o.StateDir != "" {
		if err := os.RemoveAll(o.StateDir); err != nil {
			errs = append(errs, fmt.Errorf("remove pod address leases: %w", err))
		}
	}
	if o.CNIBinDir != "" {
		for _, name := range pluginNames() {
			errs = append(errs, removeFile(filepath.Join(o.CNIBinDir, name)))
		}
	}
	return errors.Join(errs...)
}

func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	return nil
}

// deleteLinks removes every link that carries the instance's names.
func deleteLinks(n Names) error {
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	var errs []error
	for _, l := range links {
		name := l.Attrs().Name
		ours := name == n.Bridge || name == n.Local || name == n.Overlay ||
			(l.Type() == "veth" && strings.HasPrefix(name, n.VethPrefix) && len(name) == MaxLinkName)
		if !ours {
			continue
		}
		if err := netlink.LinkDel(l); err != nil && !errors.Is(err, unix.ENODEV) {
			errs = append(errs, fmt.Errorf("delete link %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// ensureLink makes a bridge that is up and has exactly the addresses. A bridge
// without ports serves as a link for local addresses too: every kernel that can
// run pods has it.
func ensureLink(name string, mtu int, want []netip.Prefix) error {
	link, err := netlink.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		link, err = addBridge(name, mtu, want)
	}
	if err != nil {
		return fmt.Errorf("set up link %s: %w", name, err)
	}
	if link.Type() != "bridge" {
		return fmt.Errorf("link %s exists and is no bridge but %s: remove it", name, link.Type())
	}
	if link.Attrs().MTU != mtu {
		if err := netlink.LinkSetMTU(link, mtu); err != nil {
			return fmt.Errorf("set MTU of %s: %w", name, err)
		}
	}
	if err := syncAddresses(link, want); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring %s up: %w", name, err)
	}
	return setSysctl("net/ipv4/conf/"+name+"/send_redirects", "0")
}

func addBridge(name string, mtu int, want []netip.Prefix) (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU = name, mtu
	if len(want) > 0 {
		attrs.HardwareAddr = cni.MAC(want[0].Addr()) // fixed, whatever ports come and go
	}
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

func syncAddresses(link netlink.Link, want []netip.Prefix) error {
	have, err := netlink.AddrList(link, unix.AF_INET)
	if err != nil {
		return fmt.Errorf("list addresses of %s: %w", link.Attrs().Name, err)
	}
	var missing = slices.Clone(want)
	for _, a := range have {
		ip, _ := netip.AddrFromSlice(a.IP.To4())
		ones, _ := a.Mask.Size()
		p := netip.PrefixFrom(ip, ones)
		if i := slices.Index(missing, p); i >= 0 {
			missing = slices.Delete(missing, i, i+1)
			continue
		}
		if err := netlink.AddrDel(link, &a); err != nil {
			return fmt.Errorf("remove address %s from %s: %w", p, link.Attrs().Name, err)
		}
	}
	for _, p := range missing {
		ipnet := &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
		if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: ipnet}); err != nil {
			return fmt.Errorf("add address %s to %s: %w", p, link.Attrs().Name, err)
		}
	}
	return nil
}

const defaultMTU = 1500

// uplinkMTU is the MTU of the link that the default route uses.
func uplinkMTU() (int, error) {
	routes, err := netlink.RouteList(nil, unix.AF_INET)
	if err != nil {
		return 0, fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		if r.LinkIndex == 0 || (r.Dst != nil && !r.Dst.IP.IsUnspecified()) {
			continue
		}
		link, err := netlink.LinkByIndex(r.LinkIndex)
		if err != nil {
			return 0, fmt.Errorf("find link of the default route: %w", err)
		}
		return link.Attrs().MTU, nil
	}
	return defaultMTU, nil
}

func setSysctl(name, value string) error {
	path := "/proc/sys/" + name
	if have, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(have)) == value {
		return nil // where /proc/sys is read-only it may still be right already
	}
	if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
		return fmt.Errorf("set sysctl %s to %s (set it on the host if this process may not): %w", strings.ReplaceAll(name, "/", "."), value, err)
	}
	return nil
}

func pluginNames() []string { return []string{cni.PluginType, cni.LoopbackType} }

// linkPlugin makes the plugin's names point at the program.
func linkPlugin(o Options) error {
	if o.Plugin == "" {
		return nil
	}
	if err := os.MkdirAll(o.CNIBinDir, 0o755); err != nil {
		return fmt.Errorf("create CNI plugin directory: %w", err)
	}
	for _, name := range pluginNames() {
		path := filepath.Join(o.CNIBinDir, name)
		if have, err := os.Readlink(path); err == nil && have == o.Plugin {
			continue
		}
		if err := removeFile(path); err != nil {
			return err
		}
		if err := os.Symlink(o.Plugin, path); err != nil {
			return fmt.Errorf("link CNI plugin: %w", err)
		}
	}
	return nil
}

func writeConf(n Names, o Options) error {
	conf := cni.Config{Bridge: n.Bridge, VethPrefix: n.VethPrefix, PodCIDR: o.PodCIDR.Masked(), MTU: o.MTU, StateDir: o.StateDir, Table: n.PodTable}
	conf.Name = o.Instance
	data, err := cni.Marshal(conf)
	if err != nil {
		return fmt.Errorf("render CNI configuration: %w", err)
	}
	if err := os.MkdirAll(o.CNIConfDir, 0o755); err != nil {
		return fmt.Errorf("create CNI configuration directory: %w", err)
	}
	path := filepath.Join(o.CNIConfDir, confFile)
	if have, err := os.ReadFile(path); err == nil && string(have) == string(data) {
		return nil
	}
	next := filepath.Join(o.CNIConfDir, "."+confFile+".next") // no runtime reads hidden files or this suffix
	if err := os.WriteFile(next, data, 0o644); err != nil {
		return fmt.Errorf("write CNI configuration: %w", err)
	}
	if err := os.Rename(next, path); err != nil {
		return fmt.Errorf("write CNI configuration: %w", err)
	}
	return nil
}
