package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/sinawi/sinawi/internal/agent/observed"
)

var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// pod makes a pod of containers that are named by kind: "init1", "side1" or else.
func pod(policy corev1.RestartPolicy, names ...string) *corev1.Pod {
	p := &corev1.Pod{Spec: corev1.PodSpec{RestartPolicy: policy}}
	p.Name, p.Namespace, p.UID = "p", "default", "uid"
	always := corev1.ContainerRestartPolicyAlways
	for _, name := range names {
		c := corev1.Container{Name: name, Image: "image"}
		switch {
		case strings.HasPrefix(name, "init"):
			p.Spec.InitContainers = append(p.Spec.InitContainers, c)
		case strings.HasPrefix(name, "side"):
			c.RestartPolicy = &always
			p.Spec.InitContainers = append(p.Spec.InitContainers, c)
		default:
			p.Spec.Containers = append(p.Spec.Containers, c)
		}
	}
	return p
}

func box(ready bool) observed.Sandbox {
	return observed.Sandbox{ID: "box", Ready: ready, IPs: []string{"10.42.0.2"}}
}

func running(name string) observed.Container {
	return observed.Container{ID: name + "-id", Name: name, SandboxID: "box", State: observed.Running, Started: now.Add(-time.Minute)}
}

func exited(name string, code int32, ago time.Duration) observed.Container {
	c := running(name)
	c.State, c.ExitCode, c.Finished = observed.Exited, code, now.Add(-ago)
	return c
}

// trace writes a decision in one line.
func trace(a Actions) string {
	var parts []string
	if a.StopPod {
		parts = append(parts, "stop-pod")
	}
	if a.CreateSandbox {
		parts = append(parts, fmt.Sprintf("sandbox#%d", a.Attempt))
	}
	for _, s := range a.Stops {
		parts = append(parts, "stop:"+s.Container.Name+":"+s.Reason)
	}
	for _, s := range a.Starts {
		text := fmt.Sprintf("start:%s#%d", s.Container.Name, s.Attempt)
		if s.Backoff != nil {
			text += ":" + s.Backoff.Delay.String()
		}
		parts = append(parts, text)
	}
	var waits []string
	for name, w := range a.Waits {
		waits = append(waits, fmt.Sprintf("wait:%s:%s", name, w.Until.Sub(now)))
	}
	slices.Sort(waits)
	parts = append(parts, waits...)
	for _, id := range a.RemoveContainers {
		parts = append(parts, "remove:"+id)
	}
	return strings.Join(parts, " ")
}

func TestDecide(t *testing.T) {
	type containers = []observed.Container
	up := Health{Started: true, Ready: true}
	tests := []struct {
		name   string
		pod    *corev1.Pod
		boxes  []observed.Sandbox
		state  containers
		health map[string]Health
		memory map[string]Backoff
		want   string
	}{
		{name: "a new pod gets its sandbox", pod: pod("Always", "a"), want: "sandbox#0"},
		{name: "then all its containers", pod: pod("Always", "a", "b"), boxes: []observed.Sandbox{box(true)}, want: "start:a#0 start:b#0"},
		{name: "running is enough", pod: pod("Always", "a"), boxes: []observed.Sandbox{box(true)}, state: containers{running("a")}, health: map[string]Health{"a-id": up}, want: ""},
		{name: "a lost sandbox is replaced", pod: pod("Always", "a"), boxes: []observed.Sandbox{box(false)}, state: containers{exited("a", 137, time.Second)}, want: "sandbox#1"},
		{name: "not for a pod that never restarts", pod: pod("Never", "a"), boxes: []observed.Sandbox{box(false)}, state: containers{exited("a", 137, time.Second)}, want: ""},
		{name: "first restart at once", pod: pod("Always", "a"), boxes: []observed.Sandbox{box(true)}, state: containers{exited("a", 1, 0)}, want: "start:a#1:10s"},
		{name: "second waits", pod: pod("Always", "a"), boxes: []observed.Sandbox{box(true)}, state: containers{exited("a", 1, 4*time.Second)},
			memory: map[string]Backoff{"a": {Delay: 10 * time.Second, Since: now.Add(-5 * time.Second)}}, want: "wait:a:6s"},
		{name: "and doubles", pod: pod("Always", "a"), boxes: []observed.Sandbox{box(true)}, state: containers{exited("a", 1, 10*time.Second)},
			memory: map[string]Backoff{"a": {Delay: 10 * time.Second, Since: now.Add(-15 * time.Second)}}, want: "start:a#1:20s"},
		{name: "up to five minutes", pod: pod("Always", "a"), boxes: []observed.Sandbox{box(true)}, state: containers{exited("a", 1, 5*time.Minute)},
			memory: map[string]Backoff{"a": {Delay: 5 * time.Minute, Since: now.Add(-6 * time.Minute)}}, want: "start:a#1:5m0s"},
		{name: "a long run forgives", pod: pod("Always", "a"), boxes: []observed.Sandbox{box(true)}, state: containers{exited("a", 1, 0)},
			memory: map[string]Backoff{"a": {Delay: 5 * time.Minute, Since: now.Add(-11 * time.Minute)}}, want: "start:a#1:10s"},
		{name: "success ends a pod that restarts on failure", pod: pod("OnFailure", "a"), boxes: []observed.Sandbox{box(true)}, state: containers{exited("a", 0, 0)}, want: "stop-pod"},
		{name: "failure restarts it", pod: pod("OnFailure", "a"), boxes: []observed.Sandbox{box(true)}, state: containers{exited("a", 2, 0)}, want: "start:a#1:10s"},
		{name: "init containers one by one", pod: pod("Always", "init1", "init2", "a"), boxes: []observed.Sandbox{box(true)}, want: "start:init1#0"},
		{name: "the next after success", pod: pod("Always", "init1", "init2", "a"), boxes: []observed.Sandbox{box(true)}, state: containers{exited("init1", 0, 0)}, want: "start:init2#0"},
		{name: "again after failure", pod: pod("Always", "init1", "a"), boxes: []observed.Sandbox{box(true)}, state: containers{exited("init1", 1, 0)}, want: "start:init1#1:10s"},
		{name: "or the end", pod: pod("Never", "init1", "a"), boxes: []observed.Sandbox{box(true)}, state: containers{exited("init1", 1, 0)}, want: "stop-pod"},
		{name: "a sidecar must have started", pod: pod("Always", "side1", "a"), boxes: []observed.Sandbox{box(true)}, state: containers{running("side1")}, want: ""},
		{name: "then the rest goes on", pod: pod("Always", "side1", "a"), boxes: []observed.Sandbox{box(true)}, state: containers{running("side1")}, health: map[string]Health{"side1-id": up}, want: "start:a#0"},
		{name: "a sidecar is kept running", pod: pod("Never", "side1", "a"), boxes: []observed.Sandbox{box(true)}, state: containers{exited("side1", 0, 0), running("a")}, health: map[string]Health{"a-id": up}, want: "start:side1#1:10s"},
		{name: "not beyond the work", pod: pod("Never", "side1", "a"), boxes: []observed.Sandbox{box(true)}, state: containers{running("side1"), exited("a", 0, 0)}, health: map[string]Health{"side1-id": up}, want: "stop-pod"},
		{name: "liveness", pod: pod("Always", "a"), boxes: []observed.Sandbox{box(true)}, state: containers{running("a")}, health: map[string]Health{"a-id": {Started: true, Failed: "liveness"}}, want: "stop:a:liveness"},
		{name: "a dead sandbox under a running container", pod: pod("Always", "a"), boxes: []observed.Sandbox{box(false)}, state: containers{running("a")}, want: "stop-pod sandbox#1"},
		{name: "one dead instance is kept", pod: pod("Always", "a"), boxes: []observed.Sandbox{box(true)},
			state:  containers{running("a"), {ID: "old1", Name: "a", State: observed.Exited}, {ID: "old2", Name: "a", State: observed.Exited}},
			health: map[string]Health{"a-id": up}, want: "remove:old2"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			in := Input{Pod: test.pod, State: &observed.Pod{Sandboxes: test.boxes, Containers: test.state}, Health: test.health, Memory: Memory{Backoffs: test.memory}, Now: now}
			if got := trace(Decide(in)); got != test.want {
				t.Errorf("decided %q, want %q", got, test.want)
			}
		})
	}
}

func TestNewImageRestarts(t *testing.T) {
	p := pod("Always", "a")
	c := running("a")
	c.Hash = Hash(&p.Spec.Containers[0])
	in := Input{Pod: p, State: &observed.Pod{Sandboxes: []observed.Sandbox{box(true)}, Containers: []observed.Container{c}}, Health: map[string]Health{"a-id": {Started: true}}, Now: now}
	if got := trace(Decide(in)); got != "" {
		t.Errorf("an unchanged container: %q", got)
	}
	p.Spec.Containers[0].Image = "other"
	if got := trace(Decide(in)); got != "stop:a:" {
		t.Errorf("a changed image: %q", got)
	}
}

func TestRestartRulesGoBeforeThePolicy(t *testing.T) {
	p := pod("Never", "a")
	never := corev1.ContainerRestartPolicyNever
	p.Spec.Containers[0].RestartPolicy = &never
	p.Spec.Containers[0].RestartPolicyRules = []corev1.ContainerRestartRule{{
		Action:    corev1.ContainerRestartRuleActionRestart,
		ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: corev1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{42}},
	}}
	for code, want := range map[int32]bool{42: true, 1: false, 0: false} {
		c := exited("a", code, 0)
		if got := Restarts(p, &p.Spec.Containers[0], &c); got != want {
			t.Errorf("exit %d restarts: %t, want %t", code, got, want)
		}
	}
}
