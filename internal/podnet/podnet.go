package podnet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
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
	// ServiceCIDR, if valid, has the service addresses: the node's own connections
	// to them come from the gateway's address, with or without a default route.
	ServiceCIDR netip.Prefix
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
	if err := freeRange(n, o.PodCIDR); err != nil {
		return err
	}
	if err := setSysctl("net/ipv4/ip_forward", "1"); err != nil {
		return err
	}
	if err := ensureGateway(n.Gateway, o); err != nil {
		return err
	}
	if err := applyTable(n, o); err != nil {
		return fmt.Errorf("set up nftables table %s: %w", n.PodTable, explain(err))
	}
	if err := openFirewalls(n); err != nil {
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
	errs = append(errs, deleteLinks(n), closeFirewalls(n), nft.DeleteTable(nftables.TableFamilyIPv4, n.PodTable))
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

const defaultMTU = 1500

// uplinkMTU is the MTU of the link that the default route uses.
func uplinkMTU() (int, error) {
	routes, err := cni.Dump(func() ([]netlink.Route, error) { return netlink.RouteList(nil, unix.AF_INET) })
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
	conf := cni.Config{GatewayLink: n.Gateway, VethPrefix: n.VethPrefix, PodCIDR: o.PodCIDR.Masked(), MTU: o.MTU, StateDir: o.StateDir, Table: n.PodTable}
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
