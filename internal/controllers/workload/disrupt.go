package workload

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Disrupt notes in a pod's status that the control plane, not its own doing,
// ends it, so that whoever counts failures can tell. A pod that cannot report
// any more is said to have failed if gone is set.
func Disrupt(ctx context.Context, c client.Client, pod *corev1.Pod, reason, message string, gone bool, now time.Time) error {
	changed := pod.DeepCopy()
	next := corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, ObservedGeneration: pod.Generation,
		Reason: reason, Message: message, LastTransitionTime: metav1.NewTime(now),
	}
	have := Condition(changed, corev1.DisruptionTarget)
	switch {
	case have == nil:
		changed.Status.Conditions = append(changed.Status.Conditions, next)
	case have.Status != corev1.ConditionTrue:
		*have = next
	}
	if gone && !Finished(pod) {
		changed.Status.Phase, changed.Status.ObservedGeneration = corev1.PodFailed, pod.Generation
	}
	err := c.Status().Patch(ctx, changed, client.StrategicMergeFrom(pod))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("note the disruption of pod %s: %w", pod.Name, err)
	}
	return nil
}

// Evict deletes a pod that has to leave where it is, and notes in its status why.
// One that is gone or was replaced meanwhile has left.
func Evict(ctx context.Context, c client.Client, pod *corev1.Pod, reason, message string, now time.Time) error {
	if err := Disrupt(ctx, c, pod, reason, message, false, now); err != nil {
		return err
	}
	err := c.Delete(ctx, pod, client.Preconditions{UID: &pod.UID})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("evict pod %s: %w", pod.Name, err)
	}
	return nil
}
