package plan

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"

	"github.com/sinawi/sinawi/internal/agent/observed"
)

// TestCarryingOutDecisionsEnds runs decisions against a model of a runtime in which
// containers end as they like, and checks what must hold of every one of them.
func TestCarryingOutDecisionsEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		policy := rapid.SampledFrom([]corev1.RestartPolicy{"Always", "OnFailure", "Never"}).Draw(t, "policy")
		var names []string
		for _, kind := range []string{"init", "side", "main"} {
			least := 0
			if kind == "main" {
				least = 1
			}
			for i := range rapid.IntRange(least, 3).Draw(t, kind) {
				names = append(names, fmt.Sprint(kind, i))
			}
		}
		m := &model{t: t, pod: pod(policy, names...), now: now, memory: Memory{Backoffs: map[string]Backoff{}}}
		for range 60 {
			m.step()
		}
		// Left alone, every pod comes to rest.
		for range 30 {
			if m.settle() {
				return
			}
		}
		t.Fatalf("decisions go on and on: %s", trace(m.decide()))
	})
}

type model struct {
	t      *rapid.T
	pod    *corev1.Pod
	state  observed.Pod
	memory Memory
	now    time.Time
	made   int
}

func (m *model) decide() Actions {
	health := map[string]Health{}
	for _, c := range m.state.Containers {
		health[c.ID] = Health{Started: true, Ready: true}
	}
	return Decide(Input{Pod: m.pod, State: &m.state, Health: health, Memory: m.memory, Now: m.now})
}

func (m *model) step() {
	m.check(m.decide())
	m.do(m.decide())
	m.now = m.now.Add(time.Duration(rapid.IntRange(0, 400).Draw(m.t, "seconds")) * time.Second)
	for i := range m.state.Containers {
		c := &m.state.Containers[i]
		if c.State == observed.Running && rapid.IntRange(0, 3).Draw(m.t, "ends") == 0 {
			m.end(c, int32(rapid.IntRange(0, 1).Draw(m.t, "code")))
		}
	}
	if len(m.state.Sandboxes) > 0 && rapid.IntRange(0, 9).Draw(m.t, "lost") == 0 {
		m.stop()
	}
}

// settle does what is decided and says whether there is nothing more to do.
func (m *model) settle() bool {
	a := m.decide()
	m.check(a)
	m.do(a)
	m.now = m.now.Add(time.Hour)
	for i := range m.state.Containers {
		// Init containers do their work in the end.
		if c := &m.state.Containers[i]; c.State == observed.Running && c.Name[:4] == "init" {
			m.end(c, 0)
		}
	}
	a = m.decide()
	return a.Nothing() && len(a.Waits) == 0
}

func (m *model) end(c *observed.Container, code int32) {
	c.State, c.ExitCode, c.Finished = observed.Exited, code, m.now
}

func (m *model) stop() {
	for i := range m.state.Sandboxes {
		m.state.Sandboxes[i].Ready = false
	}
	for i := range m.state.Containers {
		if c := &m.state.Containers[i]; c.State == observed.Running {
			m.end(c, 137)
		}
	}
}

func (m *model) do(a Actions) {
	if a.StopPod {
		m.stop()
	}
	if a.CreateSandbox {
		m.made++
		b := box(true)
		b.ID, b.Attempt = fmt.Sprint("box", m.made), a.Attempt
		m.state.Sandboxes = append([]observed.Sandbox{b}, m.state.Sandboxes...)
	}
	for _, s := range a.Starts {
		m.made++
		c := observed.Container{
			ID: fmt.Sprint(s.Container.Name, "-", m.made), Name: s.Container.Name, SandboxID: m.state.Sandboxes[0].ID,
			State: observed.Running, Started: m.now, RestartCount: s.Attempt,
		}
		m.state.Containers = append([]observed.Container{c}, m.state.Containers...)
		if s.Backoff != nil {
			m.memory.Backoffs[s.Container.Name] = *s.Backoff
		}
	}
	for _, id := range a.RemoveContainers {
		for i := range m.state.Containers {
			if m.state.Containers[i].ID == id {
				m.state.Containers = append(m.state.Containers[:i:i], m.state.Containers[i+1:]...)
				break
			}
		}
	}
}

// check holds a decision against what must never be.
func (m *model) check(a Actions) {
	box := m.state.Sandbox()
	if len(a.Starts) > 0 && (box == nil || !box.Ready) {
		m.t.Fatalf("starts without a sandbox: %s", trace(a))
	}
	if a.CreateSandbox && box != nil && box.Ready && !a.StopPod {
		m.t.Fatalf("a second sandbox beside a good one: %s", trace(a))
	}
	mains := 0
	for _, s := range a.Starts {
		last := m.state.Latest(s.Container.Name)
		if last != nil && last.State == observed.Running {
			m.t.Fatalf("starts what runs: %s", trace(a))
		}
		if last != nil && s.Attempt != last.RestartCount+1 {
			m.t.Fatalf("miscounts restarts: %s", trace(a))
		}
		if last != nil && last.State == observed.Exited && !Restarts(m.pod, s.Container, last) && s.Kind == Main {
			m.t.Fatalf("restarts what has ended: %s", trace(a))
		}
		if s.Kind == Main {
			mains++
		}
	}
	if mains > 0 {
		for i := range m.pod.Spec.InitContainers {
			c := &m.pod.Spec.InitContainers[i]
			if last := m.state.Latest(c.Name); !Sidecar(c) && last == nil {
				m.t.Fatalf("starts main containers before %s: %s", c.Name, trace(a))
			}
		}
	}
	for _, id := range a.RemoveContainers {
		for _, c := range m.state.Containers {
			if c.ID == id && (c.State == observed.Running || m.state.Latest(c.Name).ID == id) {
				m.t.Fatalf("removes what is needed: %s", trace(a))
			}
		}
	}
}
