package worker

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/sinawi/sinawi/internal/agent/spec"
)

const eraseTimeout = 10 * time.Second

// end brings a pod that shall not run one step nearer to its end.
func (w *Worker) end(ctx context.Context, m moment) (next time.Time, done bool) {
	w.mu.Lock()
	w.giveUp()
	w.mu.Unlock()
	w.probes.StopHealth()
	if isLive(m.state) {
		w.probes.Sync(ctx, targets(m.pod, m.state, w.deps.HostIPs))
		if w.probes.StopHealth(); !w.finished {
			w.show(m, nil, false)
		}
		w.kill(ctx, m, graceOf(m.pod))
		return time.Time{}, false
	}
	if w.busyKilling() {
		return time.Time{}, false // its end wakes the loop
	}
	w.probes.Stop()
	if !w.finished {
		// What is reported as ended has ended: nobody may act on less.
		w.show(m, nil, true)
	}
	if err := w.release(); err != nil {
		w.log.Warn("pod's volumes not removed, trying again", "err", err)
		return time.Now().Add(retryFirst), false
	}
	switch {
	case m.gone:
		w.erase(ctx, m)
		w.deps.Report.Forget(w.uid)
		w.log.Debug("pod is gone")
		return time.Time{}, true
	case m.pod.DeletionTimestamp != nil && !w.finished:
		status := w.show(m, nil, true)
		w.finished = true
		w.deps.Report.Finish(m.pod, status)
		w.erase(ctx, m)
	}
	return time.Time{}, false
}

// release gives back what a pod that has stopped needs no more.
func (w *Worker) release() error {
	if w.released {
		return nil
	}
	w.deps.Content.Unregister(w.uid)
	if err := w.deps.Volumes.Remove(w.uid); err != nil {
		return err
	}
	if err := w.deps.Cgroups.Remove(w.uid); err != nil {
		return err
	}
	w.released = true
	return nil
}

// erase removes the last traces of the pod: containers, sandboxes, logs.
func (w *Worker) erase(ctx context.Context, m moment) {
	// Half a removal costs more than one that outlives the agent's end a little.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), eraseTimeout)
	defer cancel()
	for _, box := range m.state.Sandboxes {
		if _, err := w.deps.Runtime.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: box.ID}); err != nil && ctx.Err() == nil {
			w.log.Warn("sandbox not removed", "sandbox", box.ID, "err", err)
		}
	}
	dir := filepath.Join(w.deps.Node.LogDir, spec.LogDirName(m.pod))
	if err := os.RemoveAll(dir); err != nil {
		w.log.Warn("pod's logs not removed", "err", fmt.Errorf("remove %s: %w", dir, err))
	}
}
