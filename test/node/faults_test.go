package node

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/sinawi/sinawi/lab"
)

const steady = `
apiVersion: v1
kind: Pod
metadata:
  name: steady
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: c
    image: sinawi.local/busybox:1
    imagePullPolicy: Never
    command: [sh, -c, "echo began; sleep 100000"]
---
apiVersion: v1
kind: Pod
metadata:
  name: ending
spec:
  restartPolicy: Never
  containers:
  - name: c
    image: sinawi.local/busybox:1
    imagePullPolicy: Never
    command: [sh, -c, "until [ -e /end/now ]; do sleep 0.1; done; exit 5"]
    volumeMounts:
    - {name: end, mountPath: /end}
  volumes:
  - name: end
    hostPath: {path: %s, type: DirectoryOrCreate}
`

// TestKill ends server and runtime with SIGKILL: the containers go on as the
// same processes and are found again, and one that ends while nobody watches
// has its exit code all the same.
func TestKill(t *testing.T) {
	for _, tt := range []struct {
		name    string
		kill    []lab.Part
		another bool // a runtime that nobody remembers is starting meanwhile
	}{
		{"server", []lab.Part{lab.Server}, false},
		{"runtime", []lab.Part{lab.Runtime}, false},
		{"both", []lab.Part{lab.Runtime, lab.Server}, false},
		{"both while a runtime starts", []lab.Part{lab.Server, lab.Runtime}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t)
			m.Up()
			m.ImportBusyBox()
			end := t.TempDir()
			m.Apply(fmt.Sprintf(steady, end))
			m.Kubectl("wait", "pod/steady", "pod/ending", "--for=condition=Ready", "--timeout=60s")
			pid := m.pidOf("steady")
			for _, part := range tt.kill {
				if err := m.Kill(m.Ctx, part); err != nil {
					t.Fatal(err)
				}
			}
			m.hostFile(end + "/now")
			if slices.Contains(tt.kill, lab.Server) {
				time.Sleep(time.Second) // the container ends meanwhile
				if tt.another {
					m.startRuntime()
				}
				m.Up()
			}
			m.Kubectl("wait", "pod/ending", "--for=jsonpath={.status.phase}=Failed", "--timeout=60s")
			code := m.Kubectl("get", "pod", "ending", "-o", "jsonpath={.status.containerStatuses[0].state.terminated.exitCode}")
			if code != "5" {
				t.Errorf("exit code of a container that ended meanwhile: got %s, want 5", code)
			}
			m.Kubectl("wait", "pod/steady", "--for=condition=Ready", "--timeout=60s")
			if now := m.pidOf("steady"); now != pid {
				t.Errorf("the container is another process: got %d, was %d", now, pid)
			}
			if n := m.Kubectl("get", "pod", "steady", "-o", "jsonpath={.status.containerStatuses[0].restartCount}"); n != "0" {
				t.Errorf("restarts: got %s, want 0", n)
			}
			m.Eventually("exec works again", func() string {
				out, err := m.Node.Kubectl(m.Ctx, "exec", "steady", "--", "echo", "alive")
				if err == nil && out == "alive\n" {
					return ""
				}
				return fmt.Sprint(out, err)
			})
			m.Contains(m.Kubectl("logs", "steady"), "began")
		})
	}
}

// startRuntime starts a runtime as a server does that is killed the moment after.
func (m *machine) startRuntime() {
	m.Helper()
	cmd := m.Command(context.WithoutCancel(m.Ctx), "runtime")
	if err := m.Start(cmd); err != nil {
		m.Fatal(err)
	}
	go func() { _ = cmd.Wait() }() // it goes with its node
}

// pidOf is the id of the process of a pod's only container, found in its cgroup.
func (m *machine) pidOf(pod string) int {
	m.Helper()
	uid := m.Kubectl("get", "pod", pod, "-o", "jsonpath={.metadata.uid}")
	for _, line := range m.processList() {
		fields := strings.SplitN(line, " ", 2)
		if strings.Contains(fields[1], uid) && strings.HasPrefix(fields[1], "sleep 100000") {
			pid, err := strconv.Atoi(fields[0])
			if err != nil {
				m.Fatal(err)
			}
			return pid
		}
	}
	m.Fatalf("no process of pod %s", pod)
	return 0
}
