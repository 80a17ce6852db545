package job

import (
	"context"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/loop"
	"github.com/sinawi/sinawi/internal/controllers/workload"
)

// expire deletes a finished Job whose time to live is over, pods first.
func (c *Controller) expire(ctx context.Context, job *batchv1.Job, now time.Time) (time.Duration, error) {
	at, limited := expiry(job)
	if !limited || job.DeletionTimestamp != nil {
		return 0, nil
	}
	if wait := at.Sub(now); wait > 0 {
		return wait, nil
	}
	// Somebody may have prolonged it a moment ago.
	fresh := &batchv1.Job{}
	if err := c.Client.Get(ctx, client.ObjectKeyFromObject(job), fresh); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	if at, limited = expiry(fresh); !limited || fresh.UID != job.UID || at.After(now) {
		return 0, nil
	}
	err := c.Client.Delete(ctx, fresh, client.PropagationPolicy(metav1.DeletePropagationForeground),
		client.Preconditions{UID: &fresh.UID, ResourceVersion: &fresh.ResourceVersion})
	if client.IgnoreNotFound(err) != nil {
		return 0, fmt.Errorf("delete expired job %s: %w", job.Name, err)
	}
	return 0, nil
}

// orphanChanged finds pods with our finalizer that no Job will ever count.
func (c *Controller) orphanChanged(_, after client.Object) []loop.Key {
	pod, ok := after.(*corev1.Pod)
	if !ok || !tracked(pod) {
		return nil
	}
	if job, err := c.owner(context.Background(), c.Cache, pod); err == nil && job != nil {
		return nil
	}
	return loop.Self(pod)
}

// jobGone wakes the pods that a deleted or finished Job leaves behind.
func (c *Controller) jobGone(before, after client.Object) []loop.Key {
	if after != nil && terminal(after.(*batchv1.Job)) == nil {
		return nil
	}
	if after == nil {
		c.pending.Forget(before.GetUID())
		c.streaks.forget(before.GetUID())
		after = before
	}
	pods, err := workload.Owned[*corev1.Pod](context.Background(), c.Cache, &corev1.PodList{}, after.GetNamespace(), after.GetUID())
	if err != nil {
		c.Log.Error("list pods of a job that ended", "job", after.GetName(), "err", err)
		return nil
	}
	var keys []loop.Key
	for _, pod := range pods {
		if tracked(pod) {
			keys = append(keys, loop.Self(pod)...)
		}
	}
	return keys
}

// owner returns the Job that will count the pod, or nil.
func (c *Controller) owner(ctx context.Context, r client.Reader, pod *corev1.Pod) (*batchv1.Job, error) {
	keys := workload.OwnerKey(pod, kind)
	if len(keys) == 0 {
		return nil, nil
	}
	job := &batchv1.Job{}
	err := r.Get(ctx, keys[0], job)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read job of pod %s: %w", pod.Name, err)
	case job.UID != metav1.GetControllerOfNoCopy(pod).UID || terminal(job) != nil:
		return nil, nil
	}
	return job, nil
}

// releaseOrphan takes the finalizer off a pod that nobody counts. It asks past
// the cache, which may not know a new Job yet.
func (c *Controller) releaseOrphan(ctx context.Context, key loop.Key) (time.Duration, error) {
	pod := &corev1.Pod{}
	if err := c.Cache.Get(ctx, key, pod, client.UnsafeDisableDeepCopy); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	if !tracked(pod) {
		return 0, nil
	}
	if job, err := c.owner(ctx, c.Client, pod); err != nil || job != nil {
		return 0, err
	}
	return 0, c.dropFinalizer(ctx, nil, pod)
}
