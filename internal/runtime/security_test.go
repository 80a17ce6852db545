package runtime_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/sinawi/sinawi/internal/runtime/runtimetest"
)

const statusOf = "grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status | tr -d '\t' | tr '\n' ' '"

// What a container may do, as seen from inside it.
func TestSecurity(t *testing.T) {
	r := runtimetest.Start(t)
	p := runPod(t, r, "security", func(c *cri.PodSandboxConfig) {
		c.Linux.SecurityContext.Privileged = true // as it is if one of the containers is
	})
	for name, tt := range map[string]struct {
		change func(*cri.LinuxContainerSecurityContext)
		script string
		want   string
	}{
		"default capabilities": {
			script: statusOf,
			want:   "CapEff:00000000a80425fb NoNewPrivs:0 Seccomp:0 \n",
		},
		"seccomp RuntimeDefault": {
			change: func(c *cri.LinuxContainerSecurityContext) {
				c.Seccomp = &cri.SecurityProfile{ProfileType: cri.SecurityProfile_RuntimeDefault}
			},
			script: statusOf + "; unshare -U true 2>&1 || true",
			want:   "CapEff:00000000a80425fb NoNewPrivs:0 Seccomp:2 unshare: unshare(0x10000000): Operation not permitted\n",
		},
		"capabilities": {
			change: func(c *cri.LinuxContainerSecurityContext) {
				c.Capabilities = &cri.Capability{DropCapabilities: []string{"ALL"}, AddCapabilities: []string{"NET_BIND_SERVICE"}}
				c.NoNewPrivs = true
			},
			script: statusOf,
			want:   "CapEff:0000000000000400 NoNewPrivs:1 Seccomp:0 \n",
		},
		"privileged": {
			change: func(c *cri.LinuxContainerSecurityContext) { c.Privileged = true },
			script: "mkdir /m && mount -t tmpfs none /m && echo mounted; test -e /dev/kmsg && echo devices; touch /proc/sys/kernel/hostname && echo writable",
			want:   "mounted\ndevices\nwritable\n",
		},
		"unprivileged": {
			script: "mkdir /m; mount -t tmpfs none /m 2>/dev/null || echo no mount; test -e /dev/kmsg || echo no devices",
			want:   "no mount\nno devices\n",
		},
		"user and groups": {
			change: func(c *cri.LinuxContainerSecurityContext) {
				c.RunAsUser, c.RunAsGroup = &cri.Int64Value{Value: 1000}, &cri.Int64Value{Value: 3000}
				c.SupplementalGroups = []int64{4000, 5000}
			},
			script: "id -u; id -g; id -G",
			want:   "1000\n3000\n3000 4000 5000\n",
		},
		"user by name": {
			change: func(c *cri.LinuxContainerSecurityContext) { c.RunAsUsername = "app" },
			script: "id -u; id -g",
			want:   "1000\n1000\n",
		},
		"read-only root": {
			change: func(c *cri.LinuxContainerSecurityContext) { c.ReadonlyRootfs = true },
			script: "touch /x 2>&1; touch /dev/shm/x && echo shared memory",
			want:   "touch: /x: Read-only file system\nshared memory\n",
		},
		"masked and read-only paths": {
			change: func(c *cri.LinuxContainerSecurityContext) {
				c.MaskedPaths = []string{"/proc/interrupts", "/proc/fs"}
				c.ReadonlyPaths = []string{"/proc/sys"}
			},
			script: "wc -c < /proc/interrupts; ls /proc/fs; echo x 2>/dev/null > /proc/sys/kernel/hostname || echo read-only",
			want:   "0\nread-only\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := *p
			p.t = t
			got := p.output(fileName(name), tt.script, func(c *cri.ContainerConfig) {
				if tt.change != nil {
					tt.change(c.Linux.SecurityContext)
				}
			})
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
		})
	}
}

func fileName(s string) string {
	out := []byte(s)
	for i, b := range out {
		if b == ' ' {
			out[i] = '-'
		}
	}
	return string(out)
}

// Which namespaces containers of a pod share, with each other and with the host.
func TestNamespaces(t *testing.T) {
	c := runtimetest.Config(t)
	network(t, c)
	r := runtimetest.StartWith(t, c)
	links := func(p *pod, name string) []string {
		id := p.run(name, "sleep 1000", nil)
		out, _ := exec(t, r, id, "for kind in net pid ipc uts; do readlink /proc/self/ns/$kind; done")
		return strings.Fields(out)
	}
	same := func(a, b []string) (out [4]bool) {
		for i := range a {
			out[i] = a[i] == b[i]
		}
		return out
	}
	namespaces := func(net, pid, ipc cri.NamespaceMode) func(*cri.PodSandboxConfig) {
		return func(c *cri.PodSandboxConfig) {
			c.Linux.SecurityContext.NamespaceOptions = &cri.NamespaceOption{Network: net, Pid: pid, Ipc: ipc}
		}
	}
	const pod, container, node = cri.NamespaceMode_POD, cri.NamespaceMode_CONTAINER, cri.NamespaceMode_NODE
	host := runPod(t, r, "host", namespaces(node, node, node))
	usual := runPod(t, r, "usual", namespaces(pod, container, pod))
	shared := runPod(t, r, "shared", namespaces(pod, pod, pod))
	hostLinks := links(host, "a")
	// The order is network, processes, IPC, host name.
	if got := same(hostLinks, hostNamespaces(t)); got != [4]bool{true, true, true, true} {
		t.Errorf("a pod in the host's namespaces shares with it %v", got)
	}
	if got := same(links(usual, "a"), hostLinks); got != [4]bool{} {
		t.Errorf("a pod shares with the host %v", got)
	}
	if got := same(links(usual, "b"), links(usual, "c")); got != [4]bool{true, false, true, true} {
		t.Errorf("containers of a pod share %v", got)
	}
	if got := same(links(shared, "b"), links(shared, "c")); got != [4]bool{true, true, true, true} {
		t.Errorf("containers of a pod with one process namespace share %v", got)
	}
}

func TestSandboxSysctls(t *testing.T) {
	c := runtimetest.Config(t)
	network(t, c)
	r := runtimetest.StartWith(t, c)
	p := runPod(t, r, "sysctls", func(c *cri.PodSandboxConfig) {
		onPodNetwork(c)
		c.Linux.Sysctls = map[string]string{"net.ipv4.ip_local_port_range": "20000 30000", "kernel.shm_rmid_forced": "1"}
	})
	got := p.output("read", "cat /proc/sys/net/ipv4/ip_local_port_range /proc/sys/kernel/shm_rmid_forced; df /dev/shm | tail -1 | cut -c1-3", nil)
	if want := "20000\t30000\n1\nshm\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
