package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	kubelettypes "k8s.io/kubelet/pkg/types"

	"github.com/sinawi/sinawi/internal/agent/worker"
)

// tidy looks, now and then, for what no worker answers for, and for what a worker
// has not heard of.
func (a *Agent) tidy(ctx context.Context) error {
	ticker := time.NewTicker(relistPeriod)
	defer ticker.Stop()
	for {
		if err := a.tidyOnce(ctx); err != nil && ctx.Err() == nil {
			a.deps.Log.Warn("node not tidied, trying again", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// found is what there is on the node of pods, listed before the workers are: what
// a worker makes in between is not taken for an orphan.
type found struct {
	boxes      []*cri.PodSandbox
	containers []*cri.Container
	dirs       []types.UID
	groups     []types.UID
	logs       map[string]types.UID
}

func (a *Agent) tidyOnce(ctx context.Context) error {
	f, err := a.find(ctx)
	if err != nil {
		return err
	}
	workers := a.all()
	orphan := func(uid types.UID) bool { return workers[uid] == nil }
	for _, box := range f.boxes {
		if uid := types.UID(box.GetMetadata().GetUid()); orphan(uid) {
			a.evict(ctx, box, f.containers)
		}
	}
	for _, uid := range f.dirs {
		if orphan(uid) {
			a.warn("volumes of a pod that is gone not removed", uid, a.volumes.Remove(uid))
		}
	}
	for _, uid := range f.groups {
		if orphan(uid) {
			a.warn("cgroup of a pod that is gone not removed", uid, a.groups.Remove(uid))
		}
	}
	for dir, uid := range f.logs {
		if orphan(uid) {
			a.warn("logs of a pod that is gone not removed", uid, os.RemoveAll(dir))
		}
	}
	a.wakeChanged(workers, f)
	return nil
}

func (a *Agent) warn(message string, uid types.UID, err error) {
	if err != nil {
		a.deps.Log.Warn(message, "uid", uid, "err", err)
	}
}

func (a *Agent) find(ctx context.Context) (found, error) {
	f := found{logs: map[string]types.UID{}}
	boxes, err := a.runtime.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
	if err != nil {
		return f, fmt.Errorf("list sandboxes: %w", err)
	}
	containers, err := a.runtime.ListContainers(ctx, &cri.ListContainersRequest{})
	if err != nil {
		return f, fmt.Errorf("list containers: %w", err)
	}
	f.boxes, f.containers = boxes.Items, containers.Containers
	if f.dirs, err = a.volumes.Pods(); err != nil {
		return f, fmt.Errorf("list pods' directories: %w", err)
	}
	if f.groups, err = a.groups.Pods(); err != nil {
		return f, err
	}
	entries, err := os.ReadDir(a.options.LogDir)
	if err != nil {
		return f, fmt.Errorf("list pods' logs: %w", err)
	}
	for _, entry := range entries {
		if parts := strings.Split(entry.Name(), "_"); len(parts) == 3 && entry.IsDir() {
			f.logs[filepath.Join(a.options.LogDir, entry.Name())] = types.UID(parts[2])
		}
	}
	return f, nil
}

// evict stops and removes a sandbox whose pod is gone: it was deleted while no
// agent ran. What its containers had of a grace period is long over.
func (a *Agent) evict(ctx context.Context, box *cri.PodSandbox, containers []*cri.Container) {
	log := a.deps.Log.With("namespace", box.Metadata.GetNamespace(), "pod", box.Metadata.GetName())
	for _, c := range containers {
		if c.PodSandboxId != box.Id || c.State != cri.ContainerState_CONTAINER_RUNNING {
			continue
		}
		if _, err := a.runtime.StopContainer(ctx, &cri.StopContainerRequest{ContainerId: c.Id, Timeout: 2}); err != nil {
			log.Warn("container of a pod that is gone not stopped", "container", c.Labels[kubelettypes.KubernetesContainerNameLabel], "err", err)
		}
	}
	if _, err := a.runtime.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: box.Id}); err != nil {
		log.Warn("sandbox of a pod that is gone not stopped", "err", err)
		return
	}
	if _, err := a.runtime.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: box.Id}); err != nil {
		log.Warn("sandbox of a pod that is gone not removed", "err", err)
		return
	}
	log.Info("removed what was left of a pod that is gone")
}

// wakeChanged wakes the workers whose picture differs from the runtime's.
func (a *Agent) wakeChanged(workers map[types.UID]*worker.Worker, f found) {
	real := map[types.UID]map[string]bool{}
	note := func(uid types.UID, id string, running bool) {
		if real[uid] == nil {
			real[uid] = map[string]bool{}
		}
		real[uid][id] = running
	}
	for _, box := range f.boxes {
		note(types.UID(box.GetMetadata().GetUid()), box.Id, box.State == cri.PodSandboxState_SANDBOX_READY)
	}
	for _, c := range f.containers {
		note(types.UID(c.Labels[kubelettypes.KubernetesPodUIDLabel]), c.Id, c.State == cri.ContainerState_CONTAINER_RUNNING)
	}
	for uid, w := range workers {
		if !w.Knows(real[uid]) {
			w.Wake()
		}
	}
}
