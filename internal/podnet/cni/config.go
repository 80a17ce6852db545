package cni

import (
	"encoding/json"
	"fmt"
	"net/netip"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/sinawi/sinawi/internal/podnet/ipam"
)

// PluginType is the name by which a network configuration calls the plugin.
const PluginType = "sinawi-cni"

// LoopbackType is the name by which runtimes ask for a pod's loopback.
const LoopbackType = "loopback"

// Config is the plugin's network configuration, as podnet writes it.
type Config struct {
	// The fields of every plugin. types.PluginConf has them too, but embedded it
	// would render itself alone.
	CNIVersion       string               `json:"cniVersion,omitempty"`
	Name             string               `json:"name,omitempty"`
	Type             string               `json:"type,omitempty"`
	Capabilities     map[string]bool      `json:"capabilities,omitempty"`
	ValidAttachments []types.GCAttachment `json:"cni.dev/valid-attachments,omitempty"`

	// GatewayLink holds the gateway's address; without it the network is not set up.
	GatewayLink string       `json:"gatewayLink"`
	VethPrefix  string       `json:"vethPrefix"`
	PodCIDR     netip.Prefix `json:"podCIDR"`
	MTU         int          `json:"mtu"`
	StateDir    string       `json:"stateDir"`
	// Table is the nftables table with the maps of host ports.
	Table string `json:"table"`

	// RuntimeConfig is what the runtime adds for one pod.
	RuntimeConfig struct {
		PortMappings []portMapping `json:"portMappings,omitempty"`
	} `json:"runtimeConfig,omitzero"`
}

// portMapping is the portMappings capability's entry.
type portMapping struct {
	HostPort      int    `json:"hostPort"`
	ContainerPort int    `json:"containerPort"`
	Protocol      string `json:"protocol"`
	HostIP        string `json:"hostIP"`
}

func parse(stdin []byte) (*Config, error) {
	var c Config
	if err := json.Unmarshal(stdin, &c); err != nil {
		return nil, types.NewError(types.ErrDecodingFailure, "parse network configuration: "+err.Error(), "")
	}
	if c.Type == LoopbackType {
		return &c, nil
	}
	if c.GatewayLink == "" || c.VethPrefix == "" || c.StateDir == "" || !c.PodCIDR.Addr().Is4() {
		return nil, types.NewError(types.ErrInvalidNetworkConfig, "gatewayLink, vethPrefix, stateDir and an IPv4 podCIDR are required", "")
	}
	return &c, nil
}

func (c *Config) pool() (*ipam.Pool, error) {
	boot, err := ipam.BootID()
	if err != nil {
		return nil, err
	}
	return ipam.Open(c.StateDir, c.PodCIDR, boot), nil
}

// hostPorts checks the port mappings; those without a host port ask for nothing.
func (c *Config) hostPorts() ([]ipam.HostPort, error) {
	var out []ipam.HostPort
	for _, m := range c.RuntimeConfig.PortMappings {
		if m.HostPort == 0 {
			continue
		}
		h := ipam.HostPort{HostPort: uint16(m.HostPort), Port: uint16(m.ContainerPort), Protocol: m.Protocol}
		if int(h.HostPort) != m.HostPort || int(h.Port) != m.ContainerPort {
			return nil, fmt.Errorf("port mapping %d to %d: not a port number", m.HostPort, m.ContainerPort)
		}
		if _, err := protocol(m.Protocol); err != nil {
			return nil, err
		}
		if m.HostIP != "" {
			addr, err := netip.ParseAddr(m.HostIP)
			if err != nil {
				return nil, fmt.Errorf("port mapping %d: host address: %w", m.HostPort, err)
			}
			if addr.Is6() {
				if addr.IsUnspecified() {
					addr = netip.Addr{}
				} else {
					continue // the pod network speaks IPv4 only
				}
			}
			h.HostIP = addr
		}
		out = append(out, h)
	}
	return out, nil
}
