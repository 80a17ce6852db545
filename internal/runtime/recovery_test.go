package runtime_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/sinawi/sinawi/internal/runtime"
	"github.com/sinawi/sinawi/internal/runtime/runtimetest"
)

func TestContainersOutliveTheRuntime(t *testing.T) {
	r := runtimetest.Start(t)
	p := runPod(t, r, "survivor", nil)
	flags := t.TempDir()
	mount := func(c *cri.ContainerConfig) {
		c.Mounts = []*cri.Mount{{ContainerPath: "/flags", HostPath: flags}}
	}
	stays := p.run("stays", "trap 'exit 9' TERM; i=0; while true; do echo $((i++)); sleep 0.05; done", mount)
	ends := p.run("ends", "while ! test -e /flags/go; do sleep 0.02; done; exit 5", mount)
	dies := p.run("dies", "sleep 1000", nil)
	pid, endsPID, diesPID := initPID(t, r, stays), initPID(t, r, ends), initPID(t, r, dies)

	r.Kill(t)
	if err := os.WriteFile(filepath.Join(flags, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	awaitEnd(t, endsPID)
	if err := unix.Kill(diesPID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	awaitEnd(t, diesPID)
	time.Sleep(300 * time.Millisecond) // a shim sees an end a moment after it happened
	before := len(p.log("stays"))
	started := time.Now()
	r.Launch(t)

	if s := status(t, r, stays); s.State != cri.ContainerState_CONTAINER_RUNNING || initPID(t, r, stays) != pid {
		t.Errorf("the running container is %v, process %d, and was process %d", s.State, initPID(t, r, stays), pid)
	}
	for id, want := range map[string]int32{ends: 5, dies: 137} {
		s := status(t, r, id)
		if s.State != cri.ContainerState_CONTAINER_EXITED || s.ExitCode != want {
			t.Errorf("%s is %v with code %d, not %d", s.Metadata.Name, s.State, s.ExitCode, want)
		}
		if s.FinishedAt > started.UnixNano() {
			t.Errorf("%s is said to have ended %v after the restart", s.Metadata.Name, time.Duration(s.FinishedAt-started.UnixNano()))
		}
	}
	if out, code := exec(t, r, stays, "echo still here"); out != "still here\n" || code != 0 {
		t.Errorf("exec after the restart: %q, %d", out, code)
	}
	for deadline := time.Now().Add(20 * time.Second); len(p.log("stays")) <= before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the log does not go on after the restart")
		}
	}
	if _, err := r.Runtime.StopContainer(contextFor(t), &cri.StopContainerRequest{ContainerId: stays, Timeout: 10}); err != nil {
		t.Fatal(err)
	}
	if s := status(t, r, stays); s.ExitCode != 9 {
		t.Errorf("stopped after the restart it ended with %d, not 9", s.ExitCode)
	}
	if got := p.output("new", "echo new", nil); got != "new\n" {
		t.Errorf("a container started in the old pod printed %q", got)
	}
	p.remove()
}

// Where all processes were killed but the pods' own, containers start again in
// their pods at once.
func TestRuntimeAndShimsDie(t *testing.T) {
	r := runtimetest.Start(t)
	p := runPod(t, r, "empty", nil)
	id := p.run("first", "sleep 1000", nil)
	r.Kill(t)
	for _, process := range processesOf(t, r) {
		var shim int
		if _, err := fmt.Sscan(process, &shim); err == nil && strings.Contains(process, "-id node-") {
			if err := unix.Kill(shim, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	r.Launch(t)
	if s := status(t, r, id); s.State != cri.ContainerState_CONTAINER_EXITED || s.ExitCode == 0 {
		t.Errorf("the container of the dead shim is %v with code %d", s.State, s.ExitCode)
	}
	if got := p.output("second", "echo again", nil); got != "again\n" {
		t.Errorf("a container that started in the pod printed %q", got)
	}
	p.remove()
}

// After a reboot nothing of the pods is left but the records; they can be removed.
func TestReboot(t *testing.T) {
	r := runtimetest.Start(t)
	p := runPod(t, r, "before", nil)
	id := p.run("c", "sleep 1000", nil)
	r.Kill(t)
	if err := runtime.Stop(contextFor(t), r.Config, 0); err != nil { // ends what a reboot ends
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(r.State, "boot_id"), []byte("another boot"), 0o644); err != nil {
		t.Fatal(err)
	}
	r.Launch(t)
	if s := status(t, r, id); s.State != cri.ContainerState_CONTAINER_EXITED || s.ExitCode == 0 {
		t.Errorf("after a reboot the container is %v with code %d", s.State, s.ExitCode)
	}
	removeAll(t, r)
	if got := runPod(t, r, "before", nil).output("c", "echo after", nil); got != "after\n" {
		t.Errorf("after a reboot a container printed %q", got)
	}
}

// A crash at any moment of a pod's start leaves nothing that cannot be removed.
func TestCrashWhilePodsStart(t *testing.T) {
	r := runtimetest.Start(t)
	for round := range 4 {
		var started sync.WaitGroup
		for i := range 4 {
			started.Go(func() {
				name := fmt.Sprintf("r%d-%d", round, i)
				config := podConfig(r, name, t.TempDir())
				sandbox, err := r.Runtime.RunPodSandbox(contextFor(t), &cri.RunPodSandboxRequest{Config: config})
				if err != nil {
					return // the runtime was killed meanwhile
				}
				c, err := r.Runtime.CreateContainer(contextFor(t), &cri.CreateContainerRequest{
					PodSandboxId: sandbox.PodSandboxId, SandboxConfig: config,
					Config: containerConfig(config, "c", "sleep 1000"),
				})
				if err == nil {
					_, _ = r.Runtime.StartContainer(contextFor(t), &cri.StartContainerRequest{ContainerId: c.ContainerId})
				}
			})
		}
		time.Sleep(time.Duration(round*90+30) * time.Millisecond)
		r.Kill(t)
		started.Wait()
		r.Launch(t)
		// The same name must be free again, as the agent's next attempt has it.
		removeAll(t, r)
	}
	for _, left := range processesOf(t, r) {
		if !strings.Contains(left, "-id node-") { // the node's shims stay
			t.Errorf("a process is left behind: %v", left)
		}
	}
}

func removeAll(t testing.TB, r *runtimetest.Runtime) {
	t.Helper()
	pods, err := r.Runtime.ListPodSandbox(contextFor(t), &cri.ListPodSandboxRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pods.Items {
		if _, err := r.Runtime.StopPodSandbox(contextFor(t), &cri.StopPodSandboxRequest{PodSandboxId: p.Id}); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Runtime.RemovePodSandbox(contextFor(t), &cri.RemovePodSandboxRequest{PodSandboxId: p.Id}); err != nil {
			t.Fatal(err)
		}
	}
}

// initPID is the process of a container's first process, as the host sees it.
func initPID(t testing.TB, r *runtimetest.Runtime, id string) int {
	t.Helper()
	resp, err := r.Runtime.ContainerStatus(contextFor(t), &cri.ContainerStatusRequest{ContainerId: id, Verbose: true})
	if err != nil {
		t.Fatal(err)
	}
	var info struct{ PID int }
	if err := json.Unmarshal([]byte(resp.Info["info"]), &info); err != nil {
		t.Fatal(err)
	}
	return info.PID
}

func awaitEnd(t testing.TB, pid int) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 20_000); n == 0 || err != nil {
		t.Fatalf("process %d does not end: %v", pid, err)
	}
}

// processesOf are the processes of r's containers and shims, by what the kernel
// says of them.
func processesOf(t testing.TB, r *runtimetest.Runtime) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil || len(line) == 0 /* a kernel thread, or dead */ || e.Name() == "self" || e.Name() == fmt.Sprint(r.PID) || e.Name() == fmt.Sprint(os.Getpid()) {
			continue
		}
		groups, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cgroup"))
		if strings.Contains(string(line), r.Socket) || strings.Contains(string(groups), r.CgroupParent+"/") {
			out = append(out, e.Name()+" "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return out
}
