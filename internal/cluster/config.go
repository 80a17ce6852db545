package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/sinawi/sinawi/internal/apiserver/controlplane"
	"github.com/sinawi/sinawi/internal/instance"
	"github.com/sinawi/sinawi/internal/scheduler/config"
)

// Config is all that a server needs to be told. Flags become a Config; nothing
// below reads a flag or the environment.
type Config struct {
	Dir         instance.Dir
	APIPort     int
	AgentPort   int // 0: 10250, or any free port where that is taken
	PodCIDR     netip.Prefix
	ServiceCIDR netip.Prefix
	NodeName    string
	NodeIP      netip.Addr
	// RuntimeEndpoint is the CRI socket of another runtime; "" is our own.
	RuntimeEndpoint string
	// Guard is what an administrator sets about who may do what.
	Guard Guard
	// RuntimeConfig switches API versions on and off, by the keys of
	// kube-apiserver's --runtime-config.
	RuntimeConfig map[string]bool
	// Disable names parts that are not started: "scheduler", "controllers",
	// "agent". Another program that speaks the Kubernetes API may do their work.
	Disable []string
	// SchedulerConfig is a KubeSchedulerConfiguration file; "" is kube-scheduler's
	// defaults.
	SchedulerConfig string

	scheduling *config.Config // what that file says
}

// Guard says by which files and rules callers are let in, what is recorded of
// what they do, and how secrets lie on disk.
type Guard = controlplane.Guard

// AuditSend is how records leave the request that made them.
type AuditSend = controlplane.AuditSend

// DefaultGuard has upstream's defaults.
func DefaultGuard() Guard { return controlplane.DefaultGuard() }

// Defaults of a new cluster.
const (
	DefaultAPIPort     = 6443
	DefaultAgentPort   = 10250
	DefaultPodCIDR     = "10.42.0.0/16"
	DefaultServiceCIDR = "10.43.0.0/16"
	ClusterDomain      = "cluster.local"
)

// Parts that can be disabled.
const (
	PartScheduler   = "scheduler"
	PartControllers = "controllers"
	PartAgent       = "agent"
)

// nodeBits is the prefix length of the range that each node gets.
const nodeBits = 24

// Complete fills what was left out and checks what was given.
func (c *Config) Complete() error {
	if c.NodeName == "" {
		name, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("read host name: %w", err)
		}
		c.NodeName = strings.ToLower(name)
	}
	if !c.NodeIP.IsValid() {
		ip, err := hostAddress()
		if err != nil {
			return err
		}
		c.NodeIP = ip
	}
	if err := c.validate(); err != nil {
		return err
	}
	return c.readSchedulerConfig()
}

func (c *Config) validate() error {
	if problems := validation.IsDNS1123Subdomain(c.NodeName); len(problems) > 0 {
		return fmt.Errorf("node name %q: %s; give another with --node-name", c.NodeName, problems[0])
	}
	if c.APIPort < 1 || c.APIPort > 65535 {
		return fmt.Errorf("--api-port %d: a port is between 1 and 65535", c.APIPort)
	}
	for _, r := range []struct {
		flag           string
		prefix         netip.Prefix
		shortest, last int
	}{
		{"--pod-cidr", c.PodCIDR, 8, nodeBits},
		{"--service-cidr", c.ServiceCIDR, 8, 28},
	} {
		switch {
		case !r.prefix.Addr().Is4():
			return fmt.Errorf("%s %s: only IPv4 ranges are supported", r.flag, r.prefix)
		case r.prefix != r.prefix.Masked():
			return fmt.Errorf("%s %s has host bits set; did you mean %s?", r.flag, r.prefix, r.prefix.Masked())
		case r.prefix.Bits() < r.shortest || r.prefix.Bits() > r.last:
			return fmt.Errorf("%s %s: the prefix must be between /%d and /%d", r.flag, r.prefix, r.shortest, r.last)
		}
	}
	if c.PodCIDR.Overlaps(c.ServiceCIDR) {
		return fmt.Errorf("--pod-cidr %s and --service-cidr %s overlap; choose ranges that do not", c.PodCIDR, c.ServiceCIDR)
	}
	for _, part := range c.Disable {
		if !slices.Contains([]string{PartScheduler, PartControllers, PartAgent}, part) {
			return fmt.Errorf("--disable %s: no such part; choose from %s, %s, %s", part, PartScheduler, PartControllers, PartAgent)
		}
	}
	if err := controlplane.CheckRuntimeConfig(c.RuntimeConfig); err != nil {
		return fmt.Errorf("--runtime-config: %w", err)
	}
	return c.Guard.Check()
}

// enabled reports whether a part is to be started.
func (c *Config) enabled(part string) bool { return !slices.Contains(c.Disable, part) }

// apiServiceIP is the address of the kubernetes service: the range's first.
func (c *Config) apiServiceIP() netip.Addr { return c.ServiceCIDR.Addr().Next() }

// DNSServiceIP is the address of the cluster's DNS: the range's tenth.
func (c *Config) DNSServiceIP() netip.Addr {
	ip := c.ServiceCIDR.Addr()
	for range 10 {
		ip = ip.Next()
	}
	return ip
}

// hostAddress returns the address by which others reach this machine: the
// source address of its default route, else the first global one, else
// loopback, with which a machine without a network still works.
func hostAddress() (netip.Addr, error) {
	// Connecting a datagram socket sends nothing; it asks the kernel's routes.
	if conn, err := net.Dial("udp4", "192.0.2.1:9"); err == nil {
		defer conn.Close()
		if addr, ok := netip.AddrFromSlice(conn.LocalAddr().(*net.UDPAddr).IP.To4()); ok {
			return addr, nil
		}
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err == nil && p.Addr().Is4() && p.Addr().IsGlobalUnicast() {
			return p.Addr(), nil
		}
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1}), nil
}

// record is what a data directory remembers of the cluster in it.
type record struct {
	Format      int    `json:"format"`
	PodCIDR     string `json:"podCIDR"`
	ServiceCIDR string `json:"serviceCIDR"`
	NodeName    string `json:"nodeName"`
}

// recordFormat is raised when a data directory's layout changes in a way that
// older versions cannot read.
const recordFormat = 1

// remember writes the record of a new data directory, or checks that the
// configuration fits the one that is there.
func (c *Config) remember() error {
	file := c.Dir.Record()
	want := record{Format: recordFormat, PodCIDR: c.PodCIDR.String(), ServiceCIDR: c.ServiceCIDR.String(), NodeName: c.NodeName}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return writeRecord(file, want)
	}
	if err != nil {
		return fmt.Errorf("read data directory: %w", err)
	}
	var got record
	if err := json.Unmarshal(data, &got); err != nil {
		return fmt.Errorf("%s is damaged: %w; restore it from a backup, or start afresh after sinawi down --purge --data-dir %s", file, err, c.Dir)
	}
	if got.Format != recordFormat {
		return fmt.Errorf("data directory %s has format %d, this version of sinawi reads format %d; use the version that wrote it, or another --data-dir", c.Dir, got.Format, recordFormat)
	}
	for _, f := range []struct{ flag, was, is string }{
		{"--pod-cidr", got.PodCIDR, want.PodCIDR},
		{"--service-cidr", got.ServiceCIDR, want.ServiceCIDR},
		{"--node-name", got.NodeName, want.NodeName},
	} {
		if f.was != f.is {
			return fmt.Errorf("data directory %s was set up with %s %s, not %s; start with %s %s, or use another --data-dir", c.Dir, f.flag, f.was, f.is, f.flag, f.was)
		}
	}
	return nil
}

func writeRecord(file string, r record) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode record: %w", err)
	}
	if err := replaceFile(file, append(data, '\n')); err != nil {
		return fmt.Errorf("write data directory: %w", err)
	}
	return nil
}
