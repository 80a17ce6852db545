package runtime_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/sinawi/sinawi/internal/runtime/runtimetest"
)

// A pod that shares its processes' namespace sees the pause process, but nothing of
// the host through it.
func TestSharedProcessNamespace(t *testing.T) {
	r := runtimetest.Start(t)
	p := runPod(t, r, "shared", func(c *cri.PodSandboxConfig) {
		c.Linux.SecurityContext.NamespaceOptions.Pid = cri.NamespaceMode_POD
	})
	p.run("other", "exec sleep 4242", nil)
	got := p.output("looks", "tr '\\0' '\\n' < /proc/1/cmdline | head -1; ps -o args | grep -c 'sleep 424[2]'; readlink /proc/1/root || echo hidden", nil)
	if want := "/pause\n1\nhidden\n"; got != want {
		t.Errorf("it sees %q, not %q", got, want)
	}
	if got := p.output("privileged", "ls /proc/1/root", func(c *cri.ContainerConfig) {
		c.Linux.SecurityContext.Capabilities = &cri.Capability{AddCapabilities: []string{"SYS_PTRACE"}}
	}); got != "pause\n" {
		t.Errorf("with CAP_SYS_PTRACE it sees %q in the pause process's root", got)
	}
}

// The end of the process that holds a pod together is the end of the pod's sandbox.
func TestSandboxDies(t *testing.T) {
	r := runtimetest.Start(t)
	p := runPod(t, r, "dies", nil)
	resp, err := r.Runtime.PodSandboxStatus(contextFor(t), &cri.PodSandboxStatusRequest{PodSandboxId: p.id, Verbose: true})
	if err != nil {
		t.Fatal(err)
	}
	var pid int
	if _, err := fmt.Sscanf(resp.Info["info"], `{"pid":%d`, &pid); err != nil {
		t.Fatalf("%v in %s", err, resp.Info["info"])
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		list, err := r.Runtime.ListPodSandbox(contextFor(t), &cri.ListPodSandboxRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if list.Items[0].State == cri.PodSandboxState_SANDBOX_NOTREADY {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the sandbox is still said to be ready")
		}
	}
	p.remove()
}

// The end of a node's shim ends its containers; they start again in the same pods.
func TestNodeShimDies(t *testing.T) {
	r := runtimetest.Start(t)
	p := runPod(t, r, "survives", nil)
	id := p.run("first", "sleep 1000", nil)
	for _, process := range processesOf(t, r) {
		var shim int
		if _, err := fmt.Sscan(process, &shim); err == nil && strings.Contains(process, "-id node-") {
			if err := unix.Kill(shim, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	if s := wait(t, r, id); s.ExitCode == 0 {
		t.Error("the container is said to have ended well")
	}
	var got string
	for deadline := time.Now().Add(20 * time.Second); got == "" && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		created := p.create(fmt.Sprint("again", time.Now().UnixNano()), "echo again", nil)
		if _, err := r.Runtime.StartContainer(contextFor(t), &cri.StartContainerRequest{ContainerId: created}); err == nil {
			if s := wait(t, r, created); s.ExitCode == 0 {
				got = "again"
			}
		}
	}
	if got == "" {
		t.Error("no container starts in the pod any more")
	}
	p.remove()
}

// A RuntimeClass can give a pod a shim of its own.
func TestShimOfItsOwn(t *testing.T) {
	r := runtimetest.Start(t)
	p := runPodBy(t, r, "runc", "alone", nil)
	if got := p.output("hello", "echo hello", nil); got != "hello\n" {
		t.Errorf("it printed %q", got)
	}
	r.Kill(t)
	r.Launch(t)
	if got := p.output("again", "echo again", nil); got != "again\n" {
		t.Errorf("after a restart of the runtime it printed %q", got)
	}
	p.remove()
	if left := processesOf(t, r); len(left) > 0 {
		t.Errorf("processes are left behind: %v", left)
	}
}
