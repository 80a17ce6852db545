package volumeprotection

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/ephemeral"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/persistentvolume"
	"github.com/sinawi/sinawi/internal/controllers/workload"
)

// noteUse says in a bound claim's status since when no pod refers to it. Before
// it is bound its status is the binder's.
func (c *Controller) noteUse(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	if claim.DeletionTimestamp != nil || claim.Status.Phase != corev1.ClaimBound {
		return nil
	}
	pods, err := persistentvolume.Users(ctx, c.Cache, claim)
	if err != nil {
		return err
	}
	used := false
	for i := range pods {
		used = used || refers(&pods[i], claim)
	}
	// Few looks at a claim find something new: the rest cost no copy.
	if i := conditionOf(&claim.Status); i >= 0 && claims(&claim.Status.Conditions[i]) == !used {
		return nil
	}
	changed := claim.DeepCopy()
	setUnused(&changed.Status, used, time.Now())
	if err := c.Client.Status().Update(ctx, changed); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("note whether claim %s/%s is used: %w", claim.Namespace, claim.Name, err)
	}
	return nil
}

// conditionOf is the place of the condition, or -1.
func conditionOf(status *corev1.PersistentVolumeClaimStatus) int {
	return slices.IndexFunc(status.Conditions, func(c corev1.PersistentVolumeClaimCondition) bool {
		return c.Type == corev1.PersistentVolumeClaimUnused
	})
}

// claims reports whether a condition says that nobody uses the claim. Anything but
// true is taken for false.
func claims(c *corev1.PersistentVolumeClaimCondition) bool { return c.Status == corev1.ConditionTrue }

// setUnused reports whether that changed the condition.
func setUnused(status *corev1.PersistentVolumeClaimStatus, used bool, now time.Time) bool {
	next := corev1.PersistentVolumeClaimCondition{
		Type: corev1.PersistentVolumeClaimUnused, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now),
		Reason: "NoPodsUsingPVC", Message: "No pods are currently referencing this PVC",
	}
	if used {
		next.Status, next.Reason, next.Message = corev1.ConditionFalse, "PodUsingPVC", "A pod is currently referencing this PVC"
	}
	if i := conditionOf(status); i >= 0 {
		if claims(&status.Conditions[i]) == !used {
			return false
		}
		status.Conditions[i] = next
		return true
	}
	status.Conditions = append(status.Conditions, next)
	return true
}

// refers says whether a pod that has not ended names a claim, with a node or not.
func refers(pod *corev1.Pod, claim *corev1.PersistentVolumeClaim) bool {
	if ended(pod) {
		return false
	}
	for i := range pod.Spec.Volumes {
		switch v := &pod.Spec.Volumes[i]; {
		case v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == claim.Name:
			return true
		case v.Ephemeral != nil && ephemeral.VolumeClaimName(pod, v) == claim.Name && ephemeral.VolumeIsForPod(pod, claim) == nil:
			return true
		}
	}
	return false
}

// ended says that no container of a pod runs, nor will.
func ended(pod *corev1.Pod) bool {
	if workload.Finished(pod) {
		return true
	}
	if pod.DeletionTimestamp == nil {
		return false
	}
	for i := range pod.Status.ContainerStatuses {
		if s := &pod.Status.ContainerStatuses[i].State; s.Terminated == nil && s.Waiting == nil {
			return false
		}
	}
	return true
}
