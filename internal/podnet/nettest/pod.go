package nettest

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
)

// Runtime calls the node's CNI plugins as a container runtime does.
type Runtime struct {
	List  *libcni.NetworkConfigList
	calls *libcni.CNIConfig
}

// Pod is a network namespace that the plugins attached to the pod network.
type Pod struct {
	Netns
	ID   string
	Addr netip.Addr
	// Result is what the plugin answered.
	Result *current.Result

	runtime Runtime
	conf    *libcni.RuntimeConf
}

// PortMapping is one entry of the portMappings capability.
type PortMapping struct {
	HostPort      int    `json:"hostPort"`
	ContainerPort int    `json:"containerPort"`
	Protocol      string `json:"protocol"`
	HostIP        string `json:"hostIP,omitempty"`
}

// LoadRuntime reads the configuration that the pod network wrote.
func LoadRuntime(t testing.TB, confDir, binDir string) Runtime {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(confDir, "*.conflist"))
	if err != nil || len(files) != 1 {
		t.Fatalf("CNI configurations in %s: %v %v, want one", confDir, files, err)
	}
	list, err := libcni.ConfListFromFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	return Runtime{list, libcni.NewCNIConfigWithCacheDir([]string{binDir}, t.TempDir(), nil)}
}

// Prepare makes a namespace for a pod and does not attach it.
func (r Runtime) Prepare(t testing.TB, id string, ports ...PortMapping) *Pod {
	t.Helper()
	ns := New(t)
	conf := &libcni.RuntimeConf{ContainerID: id, NetNS: ns.Path, IfName: "eth0"}
	if len(ports) > 0 {
		conf.CapabilityArgs = map[string]any{"portMappings": ports}
	}
	return &Pod{Netns: ns, ID: id, runtime: r, conf: conf}
}

// Pod makes a namespace and attaches it until the test ends.
func (r Runtime) Pod(t testing.TB, id string, ports ...PortMapping) *Pod {
	t.Helper()
	p := r.Prepare(t, id, ports...)
	if err := p.Add(); err != nil {
		t.Fatalf("add pod %s: %v", id, err)
	}
	t.Cleanup(func() {
		if err := p.Del(); err != nil {
			t.Errorf("remove pod %s: %v", id, err)
		}
	})
	return p
}

// Add attaches the pod.
func (p *Pod) Add() error {
	r, err := p.runtime.calls.AddNetworkList(context.Background(), p.runtime.List, p.conf)
	if err != nil {
		return err
	}
	result, err := current.NewResultFromResult(r)
	if err != nil {
		return err
	}
	if len(result.IPs) != 1 {
		return fmt.Errorf("plugin answered addresses %v, want one", result.IPs)
	}
	p.Result = result
	p.Addr, _ = netip.AddrFromSlice(result.IPs[0].Address.IP.To4())
	return nil
}

// Check asks the plugin whether the pod is attached as it was.
func (p *Pod) Check() error {
	return p.runtime.calls.CheckNetworkList(context.Background(), p.runtime.List, p.conf)
}

// Del detaches the pod; it may be repeated.
func (p *Pod) Del() error {
	return p.runtime.calls.DelNetworkList(context.Background(), p.runtime.List, p.conf)
}

// Status asks the plugin whether it can attach pods.
func (r Runtime) Status() error {
	return r.calls.GetStatusNetworkList(context.Background(), r.List)
}

// GC has the plugin remove what belongs to no pod but these.
func (r Runtime) GC(valid ...*Pod) error {
	args := &libcni.GCArgs{}
	for _, p := range valid {
		args.ValidAttachments = append(args.ValidAttachments, types.GCAttachment{ContainerID: p.ID, IfName: p.conf.IfName})
	}
	return r.calls.GCNetworkList(context.Background(), r.List, args)
}
