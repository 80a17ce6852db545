package runtime_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/sinawi/sinawi/internal/runtime"
	"github.com/sinawi/sinawi/internal/runtime/runtimetest"
)

func TestPurgeLeavesNothing(t *testing.T) {
	for name, crashed := range map[string]bool{"running": false, "crashed": true} {
		t.Run(name, func(t *testing.T) {
			r := runtimetest.Start(t)
			p := runPod(t, r, "purged", nil)
			p.run("forks", "trap '' TERM; sleep 1000 & sleep 1000 & wait", nil)
			runPod(t, r, "empty", func(c *cri.PodSandboxConfig) {
				c.Linux.SecurityContext.NamespaceOptions.Pid = cri.NamespaceMode_POD
			})
			if len(remains(t, r)) == 0 {
				t.Fatal("the test does not see what runs")
			}
			if crashed {
				r.Kill(t)
			}
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			if err := runtime.Purge(ctx, r.Config); err != nil {
				t.Fatal(err)
			}
			if left := remains(t, r); len(left) > 0 {
				t.Errorf("purge left %s", strings.Join(left, "\n"))
			}
			if err := runtime.Purge(ctx, r.Config); err != nil {
				t.Errorf("a second purge: %v", err)
			}
		})
	}
}

func TestStopKeepsImages(t *testing.T) {
	r := runtimetest.Start(t)
	p := runPod(t, r, "stopped", nil)
	p.run("graceful", "trap 'echo bye; exit 0' TERM; while true; do sleep 0.05; done", nil)
	if err := runtime.Stop(contextFor(t), r.Config, 20*time.Second); err != nil {
		t.Fatal(err)
	}
	if got := p.log("graceful"); got != "bye\n" {
		t.Errorf("the container was not asked to end: its log is %q", got)
	}
	if left := processesOf(t, r); len(left) > 0 {
		t.Errorf("stop left %v", left)
	}
	r.Launch(t)
	if got := runPod(t, r, "again", nil).output("again", "echo again", nil); got != "again\n" {
		t.Errorf("after the restart a container printed %q", got)
	}
}

// remains lists what the kernel knows of r: processes, mounts, cgroups, files.
func remains(t testing.TB, r *runtimetest.Runtime) []string {
	t.Helper()
	out := processesOf(t, r)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, r.Root) || strings.Contains(line, r.State) {
			out = append(out, "mount "+line)
		}
	}
	groups, err := filepath.Glob("/sys/fs/cgroup/*" + r.CgroupParent)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range append(groups, "/sys/fs/cgroup"+r.CgroupParent, r.Root, r.State, r.Socket, r.Socket+".ttrpc") {
		if _, err := os.Stat(path); err == nil {
			out = append(out, path)
		}
	}
	return out
}
