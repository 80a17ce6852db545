package agent

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// diskPeriod is how often pods with limits on the node's disk are measured: no
// watch tells how full a directory is.
const diskPeriod = 10 * time.Second

// watchDisk ends the pods that keep more on the node's disk than they may.
func (a *Agent) watchDisk(ctx context.Context) error {
	ticker := time.NewTicker(diskPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		over, err := a.stats.Overused(ctx, a.runningPods())
		if err != nil && ctx.Err() == nil {
			a.deps.Log.Warn("pods' use of the disk not measured, trying again", "err", err)
		}
		for uid, why := range over {
			if w := a.worker(uid); w != nil {
				w.Evict(why)
			}
		}
	}
}

// runningPods are those that still have something to end.
func (a *Agent) runningPods() []*corev1.Pod {
	var out []*corev1.Pod
	for _, w := range a.all() {
		pod := w.Pod()
		if phase := pod.Status.Phase; phase != corev1.PodSucceeded && phase != corev1.PodFailed && pod.DeletionTimestamp == nil {
			out = append(out, pod)
		}
	}
	return out
}
