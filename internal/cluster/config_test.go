package cluster

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/sinawi/sinawi/internal/instance"
)

func valid(change ...func(*Config)) Config {
	c := Config{
		Dir: "/data", APIPort: 6443, NodeName: "n1", NodeIP: netip.MustParseAddr("127.0.0.1"),
		PodCIDR: netip.MustParsePrefix(DefaultPodCIDR), ServiceCIDR: netip.MustParsePrefix(DefaultServiceCIDR),
	}
	for _, f := range change {
		f(&c)
	}
	return c
}

func TestValidate(t *testing.T) {
	for _, tt := range []struct {
		name string
		cfg  Config
		want string // part of the error; "" is none
	}{
		{"defaults", valid(), ""},
		{"port too high", valid(func(c *Config) { c.APIPort = 70000 }), "between 1 and 65535"},
		{"host bits", valid(func(c *Config) { c.PodCIDR = netip.MustParsePrefix("10.42.0.1/16") }), "did you mean 10.42.0.0/16?"},
		{"too small for one node", valid(func(c *Config) { c.PodCIDR = netip.MustParsePrefix("10.42.0.0/25") }), "between /8 and /24"},
		{"IPv6", valid(func(c *Config) { c.ServiceCIDR = netip.MustParsePrefix("fd00::/112") }), "only IPv4"},
		{"overlap", valid(func(c *Config) { c.ServiceCIDR = netip.MustParsePrefix("10.42.128.0/17") }), "overlap"},
		{"unknown part", valid(func(c *Config) { c.Disable = []string{"kubelet"} }), "no such part"},
		{"a beta version", valid(func(c *Config) { c.RuntimeConfig = map[string]bool{"resource.k8s.io/v1beta1": true} }), ""},
		{"no such API", valid(func(c *Config) { c.RuntimeConfig = map[string]bool{"apps/v7": true} }), "--runtime-config: apps/v7: there is no such API; name a group version"},
		{"node name", valid(func(c *Config) { c.NodeName = "My_Node" }), "--node-name"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.cfg.validate()
			if (err == nil) != (tt.want == "") || (err != nil && !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestServiceAddresses(t *testing.T) {
	c := valid()
	if got := c.apiServiceIP().String(); got != "10.43.0.1" {
		t.Errorf("kubernetes service at %s, want 10.43.0.1", got)
	}
	if got := c.DNSServiceIP().String(); got != "10.43.0.10" {
		t.Errorf("DNS at %s, want 10.43.0.10", got)
	}
}

func TestRemember(t *testing.T) {
	for _, tt := range []struct {
		name   string
		second func(*Config)
		damage func(file string) error
		want   string
	}{
		{"the same again", func(*Config) {}, nil, ""},
		{"another pod range", func(c *Config) { c.PodCIDR = netip.MustParsePrefix("10.50.0.0/16") }, nil, "start with --pod-cidr 10.42.0.0/16"},
		{"a newer format", func(*Config) {}, func(f string) error { return os.WriteFile(f, []byte(`{"format":99}`), 0o600) }, "has format 99"},
		{"damaged", func(*Config) {}, func(f string) error { return os.WriteFile(f, []byte(`{"for`), 0o600) }, "is damaged"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := instance.Dir(t.TempDir())
			first := valid(func(c *Config) { c.Dir = dir })
			if err := first.remember(); err != nil {
				t.Fatal(err)
			}
			if tt.damage != nil {
				if err := tt.damage(dir.Record()); err != nil {
					t.Fatal(err)
				}
			}
			second := valid(func(c *Config) { c.Dir = dir }, tt.second)
			err := second.remember()
			if (err == nil) != (tt.want == "") || (err != nil && !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
