package worker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/sinawi/sinawi/internal/agent/logs"
	"github.com/sinawi/sinawi/internal/agent/observed"
	"github.com/sinawi/sinawi/internal/agent/plan"
	"github.com/sinawi/sinawi/internal/agent/spec"
)

// prepare makes the pod's sandbox, its volumes and the first images side by side.
func (w *Worker) prepare(ctx, life context.Context, m moment, attempt uint32) (acted bool, again time.Time) {
	if at := w.paused("", m.now); !at.IsZero() {
		return false, at
	}
	if attempt > 0 {
		w.event("", corev1.EventTypeNormal, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
	}
	w.prefetch(life, m)
	var volumes sync.WaitGroup
	volumes.Go(func() { again = w.refreshVolumes(life, m) })
	err := w.runSandbox(life, m.pod, attempt)
	volumes.Wait()
	switch {
	case err == nil:
		delete(w.retries, "")
		return true, again
	case life.Err() != nil:
		return false, again
	}
	w.event("", corev1.EventTypeWarning, "FailedCreatePodSandBox", "Failed to create pod sandbox: "+err.Error())
	w.log.Warn("pod sandbox not created, trying again", "err", err)
	return false, earlier(again, w.failed(""))
}

func (w *Worker) runSandbox(ctx context.Context, pod *corev1.Pod, attempt uint32) error {
	if problem := spec.HostnameTooLong(pod, w.deps.Node.DNS.Domain); problem != "" {
		return errors.New(problem)
	}
	if pod.Spec.HostUsers != nil && !*pod.Spec.HostUsers {
		return errors.New("this node does not have user namespaces for pods yet; unset hostUsers")
	}
	handler := ""
	if class := pod.Spec.RuntimeClassName; class != nil && *class != "" {
		var err error
		if handler, err = w.deps.Handler(ctx, *class); err != nil {
			return err
		}
	}
	if err := w.deps.Cgroups.Ensure(pod); err != nil {
		return err
	}
	config := w.sandboxConfig(pod, attempt, handler)
	if err := os.MkdirAll(config.LogDirectory, 0o755); err != nil {
		return fmt.Errorf("create the pod's log directory: %w", err)
	}
	_, err := w.deps.Runtime.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: config, RuntimeHandler: handler})
	return err
}

func (w *Worker) sandboxConfig(pod *corev1.Pod, attempt uint32, handler string) *cri.PodSandboxConfig {
	return spec.Sandbox(pod, attempt, handler, w.deps.Cgroups.Path(pod), w.deps.Node)
}

// volumeState is how far the pod's volumes are.
type volumeState struct {
	made  bool // all of them were there once
	stale bool // what they show has changed
	renew time.Time
	retry retry
	told  string // the failure that was told of
}

// refreshVolumes makes the volumes, or brings them up to date, if there is reason
// to, and returns when to do it again.
func (w *Worker) refreshVolumes(ctx context.Context, m moment) time.Time {
	v := &w.volumes
	due := !v.renew.IsZero() && !m.now.Before(v.renew)
	if v.made && !v.stale && !due {
		return v.renew
	}
	if m.now.Before(v.retry.at) && !v.stale {
		return v.retry.at
	}
	renew, err := w.deps.Volumes.Setup(ctx, m.pod)
	v.stale = false
	if err == nil {
		*v = volumeState{made: true, renew: renew}
		return renew
	}
	if ctx.Err() != nil {
		return time.Time{}
	}
	v.retry.delay = min(max(2*v.retry.delay, retryFirst/10), 4*retryMost)
	v.retry.at = time.Now().Add(v.retry.delay)
	v.renew = renew
	for _, problem := range unjoin(err) {
		w.event("", corev1.EventTypeWarning, "FailedMount", problem.Error())
	}
	if v.told != err.Error() {
		v.told = err.Error()
		w.log.Warn("volumes not ready, trying again", "err", err)
	}
	return earlier(v.retry.at, renew)
}

func unjoin(err error) []error {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		return many.Unwrap()
	}
	return []error{err}
}

// collect removes what nothing needs any more.
func (w *Worker) collect(ctx context.Context, state *observed.Pod, actions *plan.Actions) {
	for _, id := range actions.RemoveContainers {
		w.removeContainer(ctx, state, id)
	}
	for _, id := range actions.RemoveSandboxes {
		if _, err := w.deps.Runtime.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: id}); err != nil {
			w.log.Warn("old sandbox not removed", "sandbox", id, "err", err)
		}
	}
}

func (w *Worker) removeContainer(ctx context.Context, state *observed.Pod, id string) {
	if _, err := w.deps.Runtime.RemoveContainer(ctx, &cri.RemoveContainerRequest{ContainerId: id}); err != nil {
		w.log.Warn("dead container not removed", "container", id, "err", err)
		return
	}
	i := slices.IndexFunc(state.Containers, func(c observed.Container) bool { return c.ID == id })
	if i < 0 || state.Containers[i].LogPath == "" {
		return
	}
	if err := logs.Remove(state.Containers[i].LogPath); err != nil {
		w.log.Warn("log of a dead container not removed", "err", err)
	}
}

// hosts writes the pod's /etc/hosts and returns its path.
func (w *Worker) hosts(pod *corev1.Pod, ips []string) (string, error) {
	path := filepath.Join(w.deps.Volumes.PodDir(pod.UID), "etc-hosts")
	node := ""
	if pod.Spec.HostNetwork {
		data, err := os.ReadFile(w.deps.NodeHosts)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("read the node's hosts file: %w", err)
		}
		node = string(data)
	}
	want := spec.Hosts(pod, ips, w.deps.Node.DNS.Domain, node)
	if have, err := os.ReadFile(path); err == nil && string(have) == want {
		return path, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return "", fmt.Errorf("create the pod's directory: %w", err)
	}
	// In place: running containers have this very file mounted.
	if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
		return "", fmt.Errorf("write the pod's hosts file: %w", err)
	}
	return path, nil
}

func sameMeta(a, b *corev1.Pod) bool {
	return maps.Equal(a.Labels, b.Labels) && maps.Equal(a.Annotations, b.Annotations)
}
