package worker

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/sinawi/sinawi/internal/agent/hook"
	"github.com/sinawi/sinawi/internal/agent/observed"
	"github.com/sinawi/sinawi/internal/agent/plan"
	"github.com/sinawi/sinawi/internal/agent/probe/check"
)

const (
	// graceDefault is what the API fills in.
	graceDefault = 30 * time.Second
	// graceLeast is what a container gets between SIGTERM and SIGKILL after its hook
	// took all of its time.
	graceLeast = 2 * time.Second
	// graceForced is what a pod gets that was deleted without any.
	graceForced = time.Second
	// drainMost is how long services may take to let go of a pod: some hundred
	// times what they need. The last endpoint of a service never leaves it.
	drainMost = 2 * time.Second
)

// killing is the stop of all of a pod, beside the loop.
type killing struct {
	grace  time.Duration
	cancel context.CancelFunc
	done   chan struct{}
}

// busyKilling says whether the pod is being stopped.
func (w *Worker) busyKilling() bool {
	if w.killing == nil {
		return false
	}
	select {
	case <-w.killing.done:
		w.killing = nil
		return false
	default:
		return true
	}
}

// graceOf is how long the pod's containers may take to stop.
func graceOf(pod *corev1.Pod) time.Duration {
	grace := graceDefault
	if s := pod.Spec.TerminationGracePeriodSeconds; s != nil {
		grace = time.Duration(*s) * time.Second
	}
	if s := pod.DeletionGracePeriodSeconds; s != nil {
		grace = time.Duration(*s) * time.Second
	}
	return max(grace, graceForced)
}

// kill begins to stop everything of the pod, and again if it has to go faster.
func (w *Worker) kill(ctx context.Context, m moment, grace time.Duration) {
	if w.busyKilling() {
		if grace >= w.killing.grace {
			return
		}
		w.killing.cancel()
		<-w.killing.done
	}
	ctx, cancel := context.WithCancel(ctx)
	k := &killing{grace: grace, cancel: cancel, done: make(chan struct{})}
	w.killing = k
	w.beside.Go(func() {
		defer w.Wake()
		defer close(k.done)
		defer cancel()
		w.killAll(ctx, m.pod, m.state, grace)
	})
}

// killAll stops the main containers together, then the sidecars in the opposite
// order of their start, then the sandboxes. All share one grace period.
func (w *Worker) killAll(ctx context.Context, pod *corev1.Pod, state *observed.Pod, grace time.Duration) {
	until := time.Now().Add(grace)
	w.drain(ctx, pod, state, grace)
	var sidecars []string
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; plan.Sidecar(c) {
			sidecars = append(sidecars, c.Name)
		}
	}
	byName := map[string][]observed.Container{}
	var first []observed.Container
	for _, c := range state.Containers {
		if c.State == observed.Exited {
			continue
		}
		late := false
		for _, name := range sidecars {
			late = late || name == c.Name
		}
		if late {
			byName[c.Name] = append(byName[c.Name], c)
		} else {
			first = append(first, c)
		}
	}
	failed := w.stopAll(ctx, pod, state, first, grace)
	for i := len(sidecars) - 1; i >= 0; i-- {
		failed = w.stopAll(ctx, pod, state, byName[sidecars[i]], max(time.Until(until), graceLeast)) || failed
	}
	for _, box := range state.Sandboxes {
		if !box.Ready || ctx.Err() != nil {
			continue
		}
		if _, err := w.deps.Runtime.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: box.ID}); err != nil && ctx.Err() == nil {
			w.event("", corev1.EventTypeWarning, "FailedKillPod", "error killing pod: "+plain(err).Error())
			w.log.Warn("sandbox not stopped", "sandbox", box.ID, "err", err)
			failed = true
		}
	}
	if !failed {
		return
	}
	// The loop begins anew as soon as this ends; not at once.
	select {
	case <-ctx.Done():
	case <-time.After(retryFirst):
	}
}

// drain waits until services have taken the pod out: requests that come while
// its processes end would be refused. It takes a part of the grace period only.
func (w *Worker) drain(ctx context.Context, pod *corev1.Pod, state *observed.Pod, grace time.Duration) {
	if w.deps.Drain == nil || pod.DeletionTimestamp == nil || pod.Spec.HostNetwork || grace <= graceForced {
		return
	}
	ip, err := netip.ParseAddr(address(pod, state, w.deps.HostIPs))
	if err != nil {
		return // it never had one
	}
	ctx, cancel := context.WithTimeout(ctx, min(drainMost, grace/2))
	defer cancel()
	if err := w.deps.Drain(ctx, ip); err != nil {
		w.log.Debug("stopping a pod that services still lead to", "ip", ip, "err", err)
	}
}

func (w *Worker) stopAll(ctx context.Context, pod *corev1.Pod, state *observed.Pod, list []observed.Container, grace time.Duration) (failed bool) {
	var stopping sync.WaitGroup
	var failures atomic.Int32
	for _, c := range list {
		stopping.Go(func() {
			if !w.stopContainer(ctx, pod, address(pod, state, w.deps.HostIPs), c, grace, "Stopping container "+c.Name) {
				failures.Add(1)
			}
		})
	}
	stopping.Wait()
	return failures.Load() > 0
}

// stopOne begins to stop one container, beside the loop, if it is not being
// stopped already.
func (w *Worker) stopOne(ctx context.Context, pod *corev1.Pod, stop plan.Stop) {
	id := stop.Container.ID
	w.mu.Lock()
	busy := w.stopping[id]
	w.stopping[id] = true
	state := w.state
	w.mu.Unlock()
	if busy {
		return
	}
	grace := graceOf(pod)
	if c := find(pod, stop.Container.Name); c != nil {
		grace = probeGrace(c, stop.Reason, grace)
	}
	w.beside.Go(func() {
		w.stopContainer(ctx, pod, address(pod, state, w.deps.HostIPs), stop.Container, grace, stop.Message)
		w.mu.Lock()
		delete(w.stopping, id)
		w.mu.Unlock()
		w.Wake()
	})
}

// probeGrace is the grace period of a container whose probe failed.
func probeGrace(c *corev1.Container, reason string, grace time.Duration) time.Duration {
	p := c.LivenessProbe
	switch reason {
	case "liveness":
	case "startup":
		p = c.StartupProbe
	default:
		return grace
	}
	if p != nil && p.TerminationGracePeriodSeconds != nil {
		return time.Duration(*p.TerminationGracePeriodSeconds) * time.Second
	}
	return grace
}

// stopContainer runs the container's last hook and stops it, within grace.
func (w *Worker) stopContainer(ctx context.Context, pod *corev1.Pod, ip string, c observed.Container, grace time.Duration, message string) bool {
	until := time.Now().Add(grace)
	if c.State == observed.Running {
		w.event(c.Name, corev1.EventTypeNormal, "Killing", message)
		w.preStop(ctx, pod, ip, c, until)
		grace = max(time.Until(until), min(grace, graceLeast))
	}
	seconds := int64((grace + time.Second/2) / time.Second)
	if _, err := w.deps.Runtime.StopContainer(ctx, &cri.StopContainerRequest{ContainerId: c.ID, Timeout: max(seconds, 1)}); err != nil {
		if ctx.Err() == nil {
			w.log.Warn("container not stopped", "container", c.Name, "id", c.ID, "err", err)
		}
		return false
	}
	w.log.Info("container stopped", "container", c.Name, "id", c.ID)
	return true
}

func (w *Worker) preStop(ctx context.Context, pod *corev1.Pod, ip string, instance observed.Container, until time.Time) {
	c := find(pod, instance.Name)
	if c == nil || c.Lifecycle == nil || c.Lifecycle.PreStop == nil {
		return
	}
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	err := hook.Run(ctx, w.deps.Runtime, check.Target{Container: c, ID: instance.ID, IP: ip}, c.Lifecycle.PreStop)
	if err != nil && ctx.Err() == nil {
		w.event(c.Name, corev1.EventTypeWarning, "FailedPreStopHook", "PreStopHook failed: "+err.Error())
	}
}

// find returns a container of any kind by its name.
func find(pod *corev1.Pod, name string) *corev1.Container {
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if e := &pod.Spec.EphemeralContainers[i]; e.Name == name {
			return (*corev1.Container)(&e.EphemeralContainerCommon)
		}
	}
	return nil
}
