package disruption

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/loop"
	"github.com/sinawi/sinawi/internal/controllers/workload"
)

// undisrupted reports whether a pod was told to go and still does not: whoever
// counts failures must not take its end for that disruption. A kubelet takes the
// time that it needs.
func undisrupted(pod *corev1.Pod) bool {
	c := workload.Condition(pod, corev1.DisruptionTarget)
	return pod.DeletionTimestamp == nil && c != nil && c.Status == corev1.ConditionTrue &&
		c.Reason != corev1.PodReasonTerminationByKubelet && !workload.Finished(pod)
}

// staleIn is how long from now the condition of such a pod counts as forgotten.
func staleIn(pod *corev1.Pod, now time.Time) time.Duration {
	since := workload.Condition(pod, corev1.DisruptionTarget).LastTransitionTime
	return max(since.Add(evictionTime).Sub(now), 0)
}

// clear takes back a disruption that never came.
func (c *Controller) clear(ctx context.Context, key loop.Key) (time.Duration, error) {
	pod := &corev1.Pod{}
	if err := c.Cache.Get(ctx, key, pod, client.UnsafeDisableDeepCopy); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	if !undisrupted(pod) {
		return 0, nil
	}
	now := time.Now()
	if wait := staleIn(pod, now); wait > 0 {
		return wait, nil
	}
	changed := pod.DeepCopy()
	*workload.Condition(changed, corev1.DisruptionTarget) = corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionFalse,
		ObservedGeneration: pod.Generation, LastTransitionTime: metav1.NewTime(now),
	}
	if err := c.Client.Status().Update(ctx, changed); client.IgnoreNotFound(err) != nil {
		return 0, fmt.Errorf("take back the disruption of pod %s: %w", pod.Name, err)
	}
	return 0, nil
}
