package worker

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/sinawi/sinawi/internal/agent/hook"
	"github.com/sinawi/sinawi/internal/agent/observed"
	"github.com/sinawi/sinawi/internal/agent/plan"
	"github.com/sinawi/sinawi/internal/agent/probe"
	"github.com/sinawi/sinawi/internal/agent/probe/check"
	"github.com/sinawi/sinawi/internal/agent/spec"
	"github.com/sinawi/sinawi/internal/agent/status"
)

// Reasons of waiting states.
const (
	reasonConfig    = "CreateContainerConfigError"
	reasonCreate    = "CreateContainerError"
	reasonRun       = "RunContainerError"
	reasonPostStart = "PostStartHookError"
)

// start starts containers, in order. A container that must wait holds back those
// after it; one that cannot start does not.
func (w *Worker) start(ctx, life context.Context, m moment, starts []plan.Start) (acted bool, again time.Time) {
	if len(starts) == 0 || !w.volumes.made {
		return false, time.Time{}
	}
	for _, s := range starts {
		if at := w.paused(s.Container.Name, m.now); !at.IsZero() {
			again = earlier(again, at)
			continue
		}
		ref, retry, blocked := w.image(life, m, s.Container)
		again = earlier(again, retry)
		if blocked {
			return acted, again
		}
		if ref == "" {
			if before, ok := w.shownProblem(s.Container.Name); !ok || before != w.problems[s.Container.Name].Reason {
				acted = true // a round shows why
			}
			continue
		}
		acted = true
		if err := w.startOne(ctx, life, m, s, ref); err != nil && life.Err() == nil {
			w.problems[s.Container.Name] = err.problem
			w.log.Warn("container not started", "container", s.Container.Name, "reason", err.problem.Reason, "err", err.problem.Message)
			if err.problem.Reason != reasonRun && err.problem.Reason != reasonPostStart {
				again = earlier(again, w.failed(s.Container.Name))
			}
			continue
		}
		delete(w.problems, s.Container.Name)
		delete(w.retries, s.Container.Name)
	}
	return acted, again
}

// shownProblem is the reason that a container was last shown to wait for.
func (w *Worker) shownProblem(name string) (string, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, list := range [][]corev1.ContainerStatus{w.shown.InitContainerStatuses, w.shown.ContainerStatuses, w.shown.EphemeralContainerStatuses} {
		for i := range list {
			if list[i].Name == name && list[i].State.Waiting != nil {
				return list[i].State.Waiting.Reason, true
			}
		}
	}
	return "", false
}

// failure is why a container did not start.
type failure struct{ problem status.Problem }

func (w *Worker) fail(life context.Context, c *corev1.Container, reason string, err error) *failure {
	if life.Err() != nil {
		return &failure{} // broken off: the pod goes, or the agent does
	}
	w.event(c.Name, corev1.EventTypeWarning, "Failed", "Error: "+err.Error())
	return &failure{status.Problem{Reason: reason, Message: err.Error()}}
}

func (w *Worker) startOne(ctx, life context.Context, m moment, s plan.Start, ref string) *failure {
	c := s.Container
	if s.Backoff != nil {
		w.memory.Backoffs[c.Name] = *s.Backoff
	}
	w.clearOld(ctx, m.state, c.Name)
	config, err := w.containerConfig(life, m, s, ref)
	if err != nil {
		return w.fail(life, c, reasonConfig, err)
	}
	box := m.state.Sandbox()
	logDir := filepath.Join(w.deps.Node.LogDir, spec.LogDirName(m.pod), c.Name)
	if err := os.MkdirAll(logDir, 0o755); err != nil {
		return w.fail(life, c, reasonCreate, err)
	}
	created, err := w.deps.Runtime.CreateContainer(life, &cri.CreateContainerRequest{
		PodSandboxId: box.ID, Config: config, SandboxConfig: w.sandboxConfig(m.pod, box.Attempt, ""),
	})
	if err != nil {
		return w.fail(life, c, reasonCreate, plain(err))
	}
	w.used(c.Name)
	w.event(c.Name, corev1.EventTypeNormal, "Created", "Container created")
	if _, err := w.deps.Runtime.StartContainer(life, &cri.StartContainerRequest{ContainerId: created.ContainerId}); err != nil {
		return w.fail(life, c, reasonRun, plain(err))
	}
	w.event(c.Name, corev1.EventTypeNormal, "Started", "Container started")
	w.log.Info("container started", "container", c.Name, "id", created.ContainerId, "attempt", s.Attempt)
	return w.postStart(ctx, life, m, c, created.ContainerId)
}

// clearOld does away with an instance that never came to run.
func (w *Worker) clearOld(ctx context.Context, state *observed.Pod, name string) {
	last := state.Latest(name)
	if last == nil || last.State != observed.Created && last.State != observed.Unknown {
		return
	}
	if _, err := w.deps.Runtime.StopContainer(ctx, &cri.StopContainerRequest{ContainerId: last.ID}); err != nil {
		w.log.Warn("stale container not stopped", "container", last.ID, "err", err)
	}
	w.removeContainer(ctx, state, last.ID)
}

func (w *Worker) postStart(ctx, life context.Context, m moment, c *corev1.Container, id string) *failure {
	if c.Lifecycle == nil || c.Lifecycle.PostStart == nil {
		return nil
	}
	t := check.Target{Container: c, ID: id, IP: address(m.pod, m.state, w.deps.HostIPs)}
	err := hook.Run(life, w.deps.Runtime, t, c.Lifecycle.PostStart)
	if err == nil || life.Err() != nil {
		return nil
	}
	w.event(c.Name, corev1.EventTypeWarning, "FailedPostStartHook", "PostStartHook failed: "+err.Error())
	instance := observed.Container{ID: id, Name: c.Name, State: observed.Running}
	w.stopOne(ctx, m.pod, plan.Stop{Container: instance, Reason: "FailedPostStartHook", Message: "FailedPostStartHook"})
	return &failure{status.Problem{Reason: reasonPostStart, Message: err.Error()}}
}

func (w *Worker) containerConfig(ctx context.Context, m moment, s plan.Start, ref string) (*cri.ContainerConfig, error) {
	c := s.Container
	pod := w.withAddresses(m)
	env, err := w.deps.Env.Env(ctx, pod, c)
	if err != nil {
		return nil, err
	}
	mounts, err := w.mounts(ctx, pod, c, env)
	if err != nil {
		return nil, err
	}
	in := spec.ContainerInput{Pod: pod, Container: c, Attempt: s.Attempt, Image: ref, Env: env, Mounts: mounts, Node: w.deps.Node}
	if spec.NeedsImageUser(pod, c) {
		answer, err := w.deps.ImageSvc.ImageStatus(ctx, &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: ref}})
		if err != nil {
			return nil, fmt.Errorf("read image %s: %w", c.Image, err)
		}
		in.ImageUser = spec.ParseImageUser(answer.Image)
	}
	if s.Kind == plan.Ephemeral {
		in.TargetID = ephemeralTarget(pod, m.state, c.Name)
	}
	config, err := spec.Container(in)
	if err != nil {
		return nil, err
	}
	config.Devices, err = w.devices(pod, c)
	return config, err
}

// withAddresses is the pod with the addresses that it has by now.
func (w *Worker) withAddresses(m moment) *corev1.Pod {
	pod := *m.pod
	pod.Status = *m.pod.Status.DeepCopy()
	status.Addresses(&pod, m.state, w.deps.HostIPs, &pod.Status)
	return &pod
}

func ephemeralTarget(pod *corev1.Pod, state *observed.Pod, name string) string {
	for i := range pod.Spec.EphemeralContainers {
		e := &pod.Spec.EphemeralContainers[i]
		if e.Name != name || e.TargetContainerName == "" {
			continue
		}
		if target := state.Latest(e.TargetContainerName); target != nil && target.State == observed.Running {
			return target.ID
		}
	}
	return ""
}

// targets are the running containers to probe.
func targets(pod *corev1.Pod, state *observed.Pod, hostIPs []string) []probe.Target {
	var out []probe.Target
	ip := address(pod, state, hostIPs)
	add := func(c *corev1.Container, known []corev1.ContainerStatus) {
		last := state.Latest(c.Name)
		if last == nil || last.State != observed.Running {
			return
		}
		t := probe.Target{Target: check.Target{Container: c, ID: last.ID, IP: ip}, Started: last.Started}
		if i := slices.IndexFunc(known, func(s corev1.ContainerStatus) bool { return s.Name == c.Name }); i >= 0 {
			if s := &known[i]; len(s.ContainerID) >= len(last.ID) && s.ContainerID[len(s.ContainerID)-len(last.ID):] == last.ID {
				t.WasReady, t.WasStarted = s.Ready, s.Started != nil && *s.Started
			}
		}
		out = append(out, t)
	}
	for i := range pod.Spec.InitContainers {
		add(&pod.Spec.InitContainers[i], pod.Status.InitContainerStatuses)
	}
	for i := range pod.Spec.Containers {
		add(&pod.Spec.Containers[i], pod.Status.ContainerStatuses)
	}
	return out
}

// address is where the pod's containers are reached from the node.
func address(pod *corev1.Pod, state *observed.Pod, hostIPs []string) string {
	if pod.Spec.HostNetwork {
		if len(hostIPs) > 0 {
			return hostIPs[0]
		}
		return ""
	}
	if box := state.Sandbox(); box != nil && len(box.IPs) > 0 {
		return box.IPs[0]
	}
	return ""
}
