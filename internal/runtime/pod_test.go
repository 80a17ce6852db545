package runtime_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/sinawi/sinawi/internal/runtime/runtimetest"
)

func TestMain(m *testing.M) {
	if os.Getenv(unifiedEnv) != "" {
		if err := showUnified(); err != nil {
			panic(err)
		}
	}
	runtimetest.Main(m)
}

// pod is one sandbox of a test, on the host's network unless changed.
type pod struct {
	t      testing.TB
	r      *runtimetest.Runtime
	id     string
	config *cri.PodSandboxConfig
	logs   string
}

func contextFor(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// podConfig is a pod on the host's network.
func podConfig(r *runtimetest.Runtime, name, logs string) *cri.PodSandboxConfig {
	return &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: name, Uid: name + "-uid", Namespace: "test"},
		LogDirectory: logs,
		Linux: &cri.LinuxPodSandboxConfig{
			CgroupParent: r.CgroupParent + "/" + name,
			SecurityContext: &cri.LinuxSandboxSecurityContext{
				NamespaceOptions: &cri.NamespaceOption{Network: cri.NamespaceMode_NODE, Pid: cri.NamespaceMode_CONTAINER},
			},
		},
	}
}

// containerConfig is a container of the BusyBox image that runs script in a shell.
func containerConfig(pod *cri.PodSandboxConfig, name, script string) *cri.ContainerConfig {
	return &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: name},
		Image:    &cri.ImageSpec{Image: runtimetest.BusyBox},
		Command:  []string{"/bin/sh", "-c", script},
		LogPath:  name + ".log",
		Linux:    &cri.LinuxContainerConfig{SecurityContext: &cri.LinuxContainerSecurityContext{NamespaceOptions: pod.Linux.SecurityContext.NamespaceOptions}},
	}
}

func runPod(t testing.TB, r *runtimetest.Runtime, name string, change func(*cri.PodSandboxConfig)) *pod {
	t.Helper()
	return runPodBy(t, r, "", name, change)
}

// runPodBy runs a pod by a RuntimeClass's handler.
func runPodBy(t testing.TB, r *runtimetest.Runtime, handler, name string, change func(*cri.PodSandboxConfig)) *pod {
	t.Helper()
	logs := t.TempDir()
	p := &pod{t: t, r: r, logs: logs, config: podConfig(r, name, logs)}
	if change != nil {
		change(p.config)
	}
	resp, err := r.Runtime.RunPodSandbox(contextFor(t), &cri.RunPodSandboxRequest{Config: p.config, RuntimeHandler: handler})
	if err != nil {
		t.Fatal(err)
	}
	p.id = resp.PodSandboxId
	return p
}

// remove stops and removes the pod with its containers.
func (p *pod) remove() {
	p.t.Helper()
	if _, err := p.r.Runtime.StopPodSandbox(contextFor(p.t), &cri.StopPodSandboxRequest{PodSandboxId: p.id}); err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.r.Runtime.RemovePodSandbox(contextFor(p.t), &cri.RemovePodSandboxRequest{PodSandboxId: p.id}); err != nil {
		p.t.Fatal(err)
	}
}

func (p *pod) create(name, script string, change func(*cri.ContainerConfig)) string {
	p.t.Helper()
	config := containerConfig(p.config, name, script)
	if change != nil {
		change(config)
	}
	resp, err := p.r.Runtime.CreateContainer(contextFor(p.t), &cri.CreateContainerRequest{
		PodSandboxId: p.id, Config: config, SandboxConfig: p.config,
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return resp.ContainerId
}

// run creates and starts a container.
func (p *pod) run(name, script string, change func(*cri.ContainerConfig)) string {
	p.t.Helper()
	id := p.create(name, script, change)
	if _, err := p.r.Runtime.StartContainer(contextFor(p.t), &cri.StartContainerRequest{ContainerId: id}); err != nil {
		p.t.Fatal(err)
	}
	return id
}

func status(t testing.TB, r *runtimetest.Runtime, id string) *cri.ContainerStatus {
	t.Helper()
	resp, err := r.Runtime.ContainerStatus(contextFor(t), &cri.ContainerStatusRequest{ContainerId: id})
	if err != nil {
		t.Fatal(err)
	}
	return resp.Status
}

// wait waits until the container has ended and returns its status.
func wait(t testing.TB, r *runtimetest.Runtime, id string) *cri.ContainerStatus {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if s := status(t, r, id); s.State == cri.ContainerState_CONTAINER_EXITED {
			return s
		}
	}
	t.Fatalf("container %s does not end", id)
	return nil
}

// output runs a script to its end in a container of its own and returns what it
// printed, which must be followed by the exit code 0.
func (p *pod) output(name, script string, change func(*cri.ContainerConfig)) string {
	p.t.Helper()
	id := p.run(name, script, change)
	s := wait(p.t, p.r, id)
	out := p.log(name)
	if s.ExitCode != 0 {
		p.t.Fatalf("%q ended with %d: %s", script, s.ExitCode, out)
	}
	return out
}

// log is what a container wrote to its log, without the CRI format's prefixes.
func (p *pod) log(name string) string {
	p.t.Helper()
	data, err := os.ReadFile(filepath.Join(p.logs, name+".log"))
	if err != nil {
		p.t.Fatal(err)
	}
	var out strings.Builder
	for line := range strings.Lines(string(data)) {
		if fields := strings.SplitN(line, " ", 4); len(fields) == 4 {
			out.WriteString(fields[3])
		}
	}
	return out.String()
}

// exec runs a script in a running container.
func exec(t testing.TB, r *runtimetest.Runtime, id, script string) (string, int32) {
	t.Helper()
	resp, err := r.Runtime.ExecSync(contextFor(t), &cri.ExecSyncRequest{
		ContainerId: id, Cmd: []string{"/bin/sh", "-c", script}, Timeout: 20,
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(resp.Stdout) + string(resp.Stderr), resp.ExitCode
}
