package sandbox

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestResolver(t *testing.T) {
	for want, dns := range map[string]*cri.DNSConfig{
		"":                      {},
		"nameserver 10.0.0.1\n": {Servers: []string{"10.0.0.1"}},
		"search a.b b\nnameserver 10.0.0.1\nnameserver ::1\noptions ndots:5 edns0\n": {
			Servers: []string{"10.0.0.1", "::1"}, Searches: []string{"a.b", "b"}, Options: []string{"ndots:5", "edns0"},
		},
	} {
		if diff := cmp.Diff(want, resolver(dns)); diff != "" {
			t.Errorf("-want +got\n%s", diff)
		}
	}
}

func TestSysctlPath(t *testing.T) {
	for name, want := range map[string]string{
		"net.core.somaxconn":     "/proc/sys/net/core/somaxconn",
		"kernel.shm_rmid_forced": "/proc/sys/kernel/shm_rmid_forced",
		"kernel.sem":             "/proc/sys/kernel/sem",
		"fs.mqueue.msg_max":      "/proc/sys/fs/mqueue/msg_max",
		"kernel.core_pattern":    "",
		"vm.overcommit_memory":   "",
		"net.../kernel/hostname": "",
	} {
		got, err := sysctlPath(name)
		if got != want || (err != nil) != (want == "") {
			t.Errorf("%s is at %q (%v), not %q", name, got, err, want)
		}
	}
}

func TestSysctls(t *testing.T) {
	config := &cri.PodSandboxConfig{Linux: &cri.LinuxPodSandboxConfig{Sysctls: map[string]string{"net/ipv4/ip_unprivileged_port_start": "1024"}}}
	want := map[string]string{"net.ipv4.ip_unprivileged_port_start": "1024", "net.ipv4.ping_group_range": "0 2147483647"}
	if diff := cmp.Diff(want, sysctls(config)); diff != "" {
		t.Errorf("with a network of its own: -want +got\n%s", diff)
	}
	config.Linux.SecurityContext = &cri.LinuxSandboxSecurityContext{NamespaceOptions: &cri.NamespaceOption{Network: cri.NamespaceMode_NODE}}
	if got := sysctls(config); len(got) != 1 {
		t.Errorf("on the node's network: %v", got)
	}
}

func TestCloneFlags(t *testing.T) {
	const pod, node = cri.NamespaceMode_POD, cri.NamespaceMode_NODE
	for _, tt := range []struct {
		net, ipc cri.NamespaceMode
		want     uintptr
	}{
		{pod, pod, unix.CLONE_NEWUTS | unix.CLONE_NEWIPC},
		{node, pod, unix.CLONE_NEWIPC},
		{pod, node, unix.CLONE_NEWUTS},
		{node, node, 0},
	} {
		config := &cri.PodSandboxConfig{Linux: &cri.LinuxPodSandboxConfig{SecurityContext: &cri.LinuxSandboxSecurityContext{
			NamespaceOptions: &cri.NamespaceOption{Network: tt.net, Ipc: tt.ipc},
		}}}
		if got := cloneFlags(config); got != tt.want {
			t.Errorf("network %v, IPC %v: %#x, not %#x", tt.net, tt.ipc, got, tt.want)
		}
	}
}
