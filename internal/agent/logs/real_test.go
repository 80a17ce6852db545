package logs_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/sinawi/sinawi/internal/agent/logs"
	"github.com/sinawi/sinawi/internal/runtime/runtimetest"
)

func TestMain(m *testing.M) { runtimetest.Main(m) }

// A follower gets every line of a real container once and in order while its
// log is rotated under it, and ends with the container.
func TestFollowThroughRotation(t *testing.T) {
	r := runtimetest.Start(t)
	root := t.TempDir()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default", UID: "uid-web"}}
	labels := map[string]string{"io.kubernetes.pod.uid": "uid-web", "io.kubernetes.container.name": "c"}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	host := &cri.NamespaceOption{Network: cri.NamespaceMode_NODE, Pid: cri.NamespaceMode_CONTAINER}
	sandbox := &cri.PodSandboxConfig{Metadata: &cri.PodSandboxMetadata{Name: "web", Uid: "uid-web", Namespace: "default"}, Labels: labels, LogDirectory: logs.PodDir(root, pod),
		Linux: &cri.LinuxPodSandboxConfig{CgroupParent: r.CgroupParent + "/web", SecurityContext: &cri.LinuxSandboxSecurityContext{NamespaceOptions: host}}}
	box, err := r.Runtime.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: sandbox})
	if err != nil {
		t.Fatal(err)
	}
	const lines = 20000
	created, err := r.Runtime.CreateContainer(ctx, &cri.CreateContainerRequest{PodSandboxId: box.PodSandboxId, SandboxConfig: sandbox, Config: &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: "c"}, Labels: labels, Image: &cri.ImageSpec{Image: runtimetest.BusyBox}, LogPath: logs.ContainerPath("c", 0),
		Command: []string{"/bin/sh", "-c", fmt.Sprintf("i=0; while [ $i -lt %d ]; do echo line $i; i=$((i+1)); done; exit 4", lines)},
		Linux:   &cri.LinuxContainerConfig{SecurityContext: &cri.LinuxContainerSecurityContext{NamespaceOptions: host}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Runtime.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: created.ContainerId}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(logs.PodDir(root, pod), logs.ContainerPath("c", 0))
	var out bytes.Buffer
	done := make(chan error, 1)
	go func() {
		done <- logs.Read(ctx, path, logs.ReadOptions{Follow: true, Running: func(ctx context.Context) (bool, error) {
			answer, err := r.Runtime.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: created.ContainerId})
			return err == nil && answer.Status.State == cri.ContainerState_CONTAINER_RUNNING, nil
		}}, &out, nil)
	}()
	rotator := logs.New(r.Runtime, logs.Options{Dir: root, MaxSize: 100 << 10, MaxFiles: 4})
	for ended := false; !ended; {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			ended = true
		case <-time.After(20 * time.Millisecond):
			if err := rotator.Once(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	var want strings.Builder
	for i := range lines {
		fmt.Fprintln(&want, "line", i)
	}
	if out.String() != want.String() {
		got := strings.Split(out.String(), "\n")
		for i, line := range got {
			if line != fmt.Sprint("line ", i) {
				t.Fatalf("line %d of %d is %q", i, len(got)-1, line)
			}
		}
		t.Fatalf("%d lines of %d", len(got)-1, lines)
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) < 2 || len(entries) > 4 {
		t.Errorf("files after rotation: %v %v", entries, err)
	}
	// As upstream's, a message comes from the current file alone: it is empty if the
	// last rotation came after the last line.
	if info, err := os.Stat(path); err != nil || info.Size() == 0 {
		return
	}
	if got := logs.Message("", string(corev1.TerminationMessageFallbackToLogsOnError), path, true); !strings.HasSuffix(got, fmt.Sprintf("line %d\n", lines-1)) {
		t.Errorf("message %q", got)
	}
}
