package runtime_test

import (
	"context"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/sinawi/sinawi/internal/runtime/runtimetest"
)

func hostNamespaces(t testing.TB) []string {
	t.Helper()
	var out []string
	for _, kind := range []string{"net", "pid", "ipc", "uts"} {
		link, err := os.Readlink("/proc/self/ns/" + kind)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, link)
	}
	return out
}

// unifiedEnv makes the tests see a machine that has cgroup v2 alone.
const unifiedEnv = "SINAWI_TEST_UNIFIED"

// showUnified puts the v2 hierarchy of a machine that has both in the place of all.
// The process is in a mount namespace of its own.
func showUnified() error {
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.procs"); err == nil {
		return nil // we are a child of the one that did it
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	return unix.Mount("/sys/fs/cgroup/unified", "/sys/fs/cgroup", "", unix.MS_BIND, "")
}

// On a machine with both versions of cgroups the tests run with v1; some run again
// with v2, though without the controllers that v1 has taken.
func TestUnifiedCgroups(t *testing.T) {
	if _, err := os.Stat("/sys/fs/cgroup/unified/cgroup.procs"); err != nil || os.Geteuid() != 0 {
		t.Skip("this machine has one version of cgroups, or we are not root")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := osexec.CommandContext(t.Context(), self, "-test.run=^(TestContainerLifecycle|TestPurgeLeavesNothing|TestContainersOutliveTheRuntime|TestSandboxDies)$")
	cmd.Env = append(os.Environ(), unifiedEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// limits reads what the kernel holds a container to, in the words of cgroup v1 or v2.
func limits(t testing.TB, group string) map[string]string {
	t.Helper()
	v1 := map[string]string{"memory": "memory/memory.limit_in_bytes", "quota": "cpu/cpu.cfs_quota_us", "shares": "cpu/cpu.shares", "pids": "pids/pids.max"}
	v2 := map[string]string{"memory": "memory.max", "quota": "cpu.max", "shares": "cpu.weight", "pids": "pids.max"}
	out := map[string]string{}
	for name := range v1 {
		controller, file := filepath.Split(v1[name])
		path := filepath.Join("/sys/fs/cgroup", controller, group, file)
		if unified(t) {
			path = filepath.Join("/sys/fs/cgroup", group, v2[name])
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		out[name] = strings.TrimSpace(string(data))
	}
	return out
}

func unified(t testing.TB) bool {
	t.Helper()
	_, err := os.Stat("/sys/fs/cgroup/cgroup.controllers")
	return err == nil
}

func TestResources(t *testing.T) {
	r := runtimetest.Start(t)
	p := runPod(t, r, "resources", nil)
	id := p.run("limited", "sleep 1000", func(c *cri.ContainerConfig) {
		c.Linux.Resources = &cri.LinuxContainerResources{
			MemoryLimitInBytes: 64 << 20, CpuQuota: 50_000, CpuPeriod: 100_000, CpuShares: 512,
			Unified: unifiedOnly(t, map[string]string{"pids.max": "77"}),
		}
	})
	group := filepath.Join(p.config.Linux.CgroupParent, id)
	want := map[string]string{"memory": "67108864", "quota": "50000", "shares": "512", "pids": "max"}
	if unified(t) {
		want = map[string]string{"memory": "67108864", "quota": "50000 100000", "shares": "20", "pids": "77"}
	}
	if diff := cmp.Diff(want, limits(t, group)); diff != "" {
		t.Errorf("limits: -want +got\n%s", diff)
	}
	if _, err := r.Runtime.UpdateContainerResources(contextFor(t), &cri.UpdateContainerResourcesRequest{
		ContainerId: id,
		Linux:       &cri.LinuxContainerResources{MemoryLimitInBytes: 96 << 20, CpuQuota: 75_000, CpuPeriod: 100_000, CpuShares: 1024},
	}); err != nil {
		t.Fatal(err)
	}
	got := limits(t, group)
	if got["memory"] != "100663296" || !strings.HasPrefix(got["quota"], "75000") {
		t.Errorf("after the update the limits are %v", got)
	}
}

func unifiedOnly(t testing.TB, m map[string]string) map[string]string {
	if unified(t) {
		return m
	}
	return nil
}

func TestOutOfMemory(t *testing.T) {
	r := runtimetest.Start(t)
	p := runPod(t, r, "memory", nil)
	id := p.run("hungry", "x=$(dd if=/dev/zero bs=1M count=100 | tr '\\0' x); echo survived", func(c *cri.ContainerConfig) {
		c.Linux.Resources = &cri.LinuxContainerResources{MemoryLimitInBytes: 16 << 20}
	})
	s := wait(t, r, id)
	if s.Reason != "OOMKilled" || s.ExitCode == 0 {
		t.Errorf("it ended with %d, reason %q", s.ExitCode, s.Reason)
	}
}

func TestStats(t *testing.T) {
	r := runtimetest.Start(t)
	p := runPod(t, r, "stats", nil)
	id := p.run("busy", "while true; do :; done", nil)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		resp, err := r.Runtime.ContainerStats(ctx, &cri.ContainerStatsRequest{ContainerId: id})
		if err != nil {
			t.Fatal(err)
		}
		s := resp.Stats
		if s.GetCpu().GetUsageCoreNanoSeconds().GetValue() > 0 && s.GetMemory().GetWorkingSetBytes().GetValue() > 0 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	all, err := r.Runtime.ListPodSandboxStats(ctx, &cri.ListPodSandboxStatsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if len(all.Stats) != 1 || all.Stats[0].Linux.GetCpu().GetUsageCoreNanoSeconds().GetValue() == 0 || len(all.Stats[0].Linux.Containers) != 1 {
		t.Errorf("the pod's usage is %v", all.Stats)
	}
}
