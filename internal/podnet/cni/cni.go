package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/sinawi/sinawi/internal/podnet/ipam"
)

// Version is the newest CNI version the plugin speaks.
const Version = "1.1.0"

// Error codes of the CNI specification for STATUS.
const (
	notAvailable     = 50
	limitedNewPods   = 51
	aboutThisProgram = "Sinawi's CNI plugin: a pod's link, address and host ports"
)

// Main answers the CNI command in the environment and ends the process with
// status 1 if it failed, with the error as JSON on standard output.
func Main() {
	err := skel.PluginMainFuncsWithError(skel.CNIFuncs{Add: add, Del: del, Check: check, GC: gc, Status: status},
		version.All, aboutThisProgram)
	if err == nil {
		return
	}
	if printErr := err.Print(); printErr != nil {
		fmt.Fprintln(os.Stderr, "print CNI error:", printErr)
	}
	os.Exit(1)
}

func owner(args *skel.CmdArgs) ipam.Owner {
	return ipam.Owner{Container: args.ContainerID, Interface: args.IfName}
}

func add(args *skel.CmdArgs) error {
	conf, err := parse(args.StdinData)
	if err != nil {
		return err
	}
	if conf.Type == LoopbackType {
		return addLoopback(args, conf)
	}
	ports, err := conf.hostPorts()
	if err != nil {
		return err
	}
	pool, err := conf.pool()
	if err != nil {
		return err
	}
	lease, err := pool.Allocate(ipam.Lease{Owner: owner(args), Netns: args.Netns, Ports: ports})
	if err != nil {
		return err
	}
	result, err := connect(conf, args.Netns, lease)
	if err != nil {
		return errors.Join(err, disconnect(conf, lease.Owner, lease), pool.Release(lease.Owner))
	}
	return types.PrintResult(result, conf.CNIVersion)
}

// connect makes the pod's link and publishes its host ports.
func connect(conf *Config, netns string, lease ipam.Lease) (*current.Result, error) {
	link, err := attach(conf, netns, lease)
	if err != nil {
		return nil, fmt.Errorf("attach pod to network %s: %w", conf.Name, err)
	}
	if err := publish(conf.Table, lease); err != nil {
		return nil, err
	}
	podInterface := 1
	return &current.Result{
		CNIVersion: current.ImplementedSpecVersion,
		Interfaces: []*current.Interface{
			{Name: link.host, Mac: link.hostMAC},
			{Name: lease.Interface, Mac: link.podMAC, Sandbox: netns, Mtu: conf.MTU},
		},
		IPs: []*current.IPConfig{{
			Interface: &podInterface,
			Address:   hostNet(lease.Addr),
			Gateway:   ipam.Gateway(conf.PodCIDR).AsSlice(),
		}},
		Routes: []*types.Route{{Dst: net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}, GW: ipam.Gateway(conf.PodCIDR).AsSlice()}},
	}, nil
}

// hostNet is an address as a network of one.
func hostNet(a netip.Addr) net.IPNet {
	return net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(a.BitLen(), a.BitLen())}
}

func del(args *skel.CmdArgs) error {
	conf, err := parse(args.StdinData)
	if err != nil {
		return err
	}
	if conf.Type == LoopbackType {
		return nil // it goes with the namespace
	}
	pool, err := conf.pool()
	if err != nil {
		return err
	}
	lease, _, err := pool.Find(owner(args))
	if err != nil {
		return err
	}
	// The lease goes last: the address is not reused while anything leads to it.
	if err := disconnect(conf, owner(args), lease); err != nil {
		return err
	}
	return pool.Release(owner(args))
}

func disconnect(conf *Config, o ipam.Owner, lease ipam.Lease) error {
	if err := unpublish(conf.Table, lease); err != nil {
		return err
	}
	return detach(conf, o)
}

func check(args *skel.CmdArgs) error {
	conf, err := parse(args.StdinData)
	if err != nil {
		return err
	}
	if conf.Type == LoopbackType {
		return checkLoopback(args.Netns)
	}
	pool, err := conf.pool()
	if err != nil {
		return err
	}
	lease, ok, err := pool.Find(owner(args))
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("container %s has no address on interface %s", args.ContainerID, args.IfName)
	}
	return checkLink(conf, args.Netns, lease)
}

func status(args *skel.CmdArgs) error {
	conf, err := parse(args.StdinData)
	if err != nil {
		return err
	}
	if conf.Type == LoopbackType {
		return nil
	}
	if err := checkGateway(conf); err != nil {
		return types.NewError(notAvailable, err.Error(), "the node's agent sets the pod network up when it starts")
	}
	pool, err := conf.pool()
	if err != nil {
		return err
	}
	free, err := pool.Free()
	if err != nil {
		return types.NewError(notAvailable, err.Error(), "")
	}
	if free <= 0 {
		return types.NewError(limitedNewPods, fmt.Sprintf("%s: %s", ipam.ErrExhausted, conf.PodCIDR), "")
	}
	return nil
}

// gc removes what belongs to attachments that the runtime no longer knows.
func gc(args *skel.CmdArgs) error {
	conf, err := parse(args.StdinData)
	if err != nil || conf.Type == LoopbackType {
		return err
	}
	valid := map[ipam.Owner]bool{}
	for _, a := range conf.ValidAttachments {
		valid[ipam.Owner{Container: a.ContainerID, Interface: a.IfName}] = true
	}
	pool, err := conf.pool()
	if err != nil {
		return err
	}
	leases, err := pool.Leases()
	if err != nil {
		return err
	}
	var errs []error
	for _, lease := range leases {
		if valid[lease.Owner] {
			continue
		}
		if err := disconnect(conf, lease.Owner, lease); err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, pool.Release(lease.Owner))
	}
	errs = append(errs, detachUnknown(conf, valid))
	return errors.Join(errs...)
}

// Marshal renders the configuration list that the runtime loads.
func Marshal(c Config) ([]byte, error) {
	c.Type = PluginType
	c.Capabilities = map[string]bool{"portMappings": true}
	list := struct {
		CNIVersion string   `json:"cniVersion"`
		Name       string   `json:"name"`
		Plugins    []Config `json:"plugins"`
	}{Version, c.Name, []Config{c}}
	return json.MarshalIndent(list, "", "  ")
}
