package runtime_test

import (
	"testing"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/sinawi/sinawi/internal/runtime/runtimetest"
)

func TestContainerLifecycle(t *testing.T) {
	r := runtimetest.Start(t)
	p := runPod(t, r, "lifecycle", nil)
	if got, want := p.output("hello", "echo out; id -u", nil), "out\n0\n"; got != want {
		t.Errorf("log is %q, not %q", got, want)
	}
	id := p.run("server", "trap 'exit 7' TERM; sleep 1000 & wait", nil)
	if s := status(t, r, id); s.State != cri.ContainerState_CONTAINER_RUNNING {
		t.Errorf("state is %v", s.State)
	}
	if out, code := exec(t, r, id, "echo in; exit 3"); out != "in\n" || code != 3 {
		t.Errorf("exec printed %q and ended with %d", out, code)
	}
	if _, err := r.Runtime.StopContainer(contextFor(t), &cri.StopContainerRequest{ContainerId: id, Timeout: 10}); err != nil {
		t.Fatal(err)
	}
	if s := status(t, r, id); s.ExitCode != 7 {
		t.Errorf("after SIGTERM the exit code is %d, not 7", s.ExitCode)
	}
	if _, err := r.Runtime.RemoveContainer(contextFor(t), &cri.RemoveContainerRequest{ContainerId: id}); err != nil {
		t.Fatal(err)
	}
}
