package worker

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/sinawi/sinawi/internal/agent/observed"
	"github.com/sinawi/sinawi/internal/agent/plan"
	"github.com/sinawi/sinawi/internal/agent/resize"
	"github.com/sinawi/sinawi/internal/agent/spec"
	"github.com/sinawi/sinawi/internal/agent/status"
)

// deferRetry is when a pod that could not grow asks again, if nothing happens.
const deferRetry = 10 * time.Second

// resizing is how far the pod is on its way to other resources.
type resizing struct {
	grant   resize.Grant // nil before the first round
	before  resize.Grant // what the pod's group was last set to
	pending *status.Problem
	again   time.Time
	// moved: containers may have other resources than the pod was granted.
	moved bool
	// told is what the runtime was told of an instance, by ID: it is believed to
	// have done it, whatever it says.
	told map[string]string
}

// grant puts the resources that the node has granted into the pod of m, after
// asking for what it wants now.
func (w *Worker) grant(m *moment) {
	r := &w.resizing
	if r.grant == nil {
		if r.grant = resize.Asked(m.pod); len(m.state.Containers) > 0 {
			r.grant, r.moved = resize.Known(m.pod), true
		}
		r.told = map[string]string{}
		r.before = r.grant
	}
	asked := resize.Asked(m.pod)
	if resize.Equal(asked, r.grant) {
		r.pending, r.again = nil, time.Time{}
		return
	}
	if refusal := w.deps.Resize(m.pod); refusal != nil {
		r.pending = &status.Problem{Reason: refusal.Reason, Message: refusal.Message}
		r.again = time.Time{}
		if refusal.Reason == corev1.PodReasonDeferred {
			r.again = m.now.Add(deferRetry)
		}
		m.pod = r.grant.Apply(m.pod)
		w.granted(m.pod)
		return
	}
	r.grant, r.pending, r.again, r.moved = asked, nil, time.Time{}, true
	w.granted(m.pod)
}

// granted lets others know what the pod holds.
func (w *Worker) granted(pod *corev1.Pod) {
	w.mu.Lock()
	w.holds = pod
	w.mu.Unlock()
}

// Holds returns the pod with the resources that it was granted. It is read-only.
func (w *Worker) Holds() *corev1.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.holds != nil {
		return w.holds
	}
	return w.pod
}

// differing calls f for each running container that lacks what it was granted.
func (w *Worker) differing(m moment, f func(c *corev1.Container, instance *observed.Container, want *cri.LinuxContainerResources, change resize.Change)) {
	if !w.resizing.moved {
		return
	}
	visit := func(c *corev1.Container) {
		last := m.state.Latest(c.Name)
		if last == nil || last.State != observed.Running {
			return
		}
		want := spec.Resources(m.pod, c, w.deps.Node)
		if w.resizing.told[last.ID] == want.String() {
			return
		}
		if change := resize.Compare(want, last.Resources); change.Any() {
			f(c, last, want, change)
		}
	}
	for i := range m.pod.Spec.InitContainers {
		if c := &m.pod.Spec.InitContainers[i]; plan.Sidecar(c) {
			visit(c)
		}
	}
	for i := range m.pod.Spec.Containers {
		visit(&m.pod.Spec.Containers[i])
	}
}

// changing names the containers that lack what they were granted.
func (w *Worker) changing(m moment) map[string]bool {
	out := map[string]bool{}
	w.differing(m, func(c *corev1.Container, _ *observed.Container, _ *cri.LinuxContainerResources, _ resize.Change) {
		out[c.Name] = true
	})
	return out
}

// resize gives running containers what the pod was granted: first room in the
// pod's group, then each container its own, then the group its new size.
func (w *Worker) resize(ctx context.Context, m moment) (acted bool) {
	r := &w.resizing
	if resize.Equal(r.before, r.grant) && len(w.changing(m)) == 0 {
		return false
	}
	if at := w.paused(resizeRetry, m.now); !at.IsZero() {
		return false
	}
	if err := w.resizeAll(ctx, m); err != nil {
		if ctx.Err() == nil {
			w.log.Warn("pod not resized, trying again", "err", err)
			w.event("", corev1.EventTypeWarning, "ResizeError", "Error resizing pod: "+plain(err).Error())
			r.again = w.failed(resizeRetry)
		}
		return false
	}
	delete(w.retries, resizeRetry)
	r.before = r.grant
	return true
}

// resizeRetry names the retries of a resize among those of containers, whose names
// have no spaces.
const resizeRetry = "resize of the pod"

func (w *Worker) resizeAll(ctx context.Context, m moment) error {
	r := &w.resizing
	if err := w.deps.Cgroups.Ensure(resize.Wider(r.before, r.grant).Apply(m.pod)); err != nil {
		return err
	}
	var failed error
	w.differing(m, func(c *corev1.Container, instance *observed.Container, want *cri.LinuxContainerResources, change resize.Change) {
		if resize.Restarts(c, change) {
			w.stopOne(ctx, m.pod, plan.Stop{Container: *instance, Message: "Container " + c.Name + " resize requires restart"})
			return
		}
		_, err := w.deps.Runtime.UpdateContainerResources(ctx, &cri.UpdateContainerResourcesRequest{ContainerId: instance.ID, Linux: want})
		if err != nil {
			failed = err
			return
		}
		r.told[instance.ID] = want.String()
		w.log.Info("container resized", "container", c.Name, "id", instance.ID)
	})
	if failed != nil {
		return failed
	}
	return w.deps.Cgroups.Ensure(m.pod)
}
