package deployment

import (
	"fmt"
	"math"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// syncStatus counts pods without judging progress.
func (r *rollout) syncStatus() {
	r.count()
}

// syncProgress counts pods and says in the Progressing condition how the rollout
// goes.
func (r *rollout) syncProgress() {
	before := r.d.Status
	r.count()
	current := condition(r.status, appsv1.DeploymentProgressing)
	done := current != nil && current.Reason == "NewReplicaSetAvailable" && r.status.Replicas == r.status.UpdatedReplicas
	switch {
	case !hasDeadline(r.d):
		r.dropCondition(appsv1.DeploymentProgressing)
	case done:
	case complete(r.d, r.status):
		r.setCondition(appsv1.DeploymentProgressing, corev1.ConditionTrue,
			"NewReplicaSetAvailable", r.what()+" has successfully progressed.")
	case progressed(before, r.status):
		r.noteProgress(current)
	case r.timedOut(current):
		r.setCondition(appsv1.DeploymentProgressing, corev1.ConditionFalse,
			"ProgressDeadlineExceeded", r.what()+" has timed out progressing.")
	}
	r.copyFailure()
	r.again = r.untilDeadline()
}

func (r *rollout) what() string {
	if r.fresh != nil {
		return fmt.Sprintf("ReplicaSet %q", r.fresh.Name)
	}
	return fmt.Sprintf("Deployment %q", r.d.Name)
}

// noteProgress renews the condition even if nothing in it changes: its update
// time is what the deadline counts from.
func (r *rollout) noteProgress(current *appsv1.DeploymentCondition) {
	since := metav1.NewTime(r.now)
	if current != nil && current.Status == corev1.ConditionTrue {
		since = current.LastTransitionTime
	}
	r.dropCondition(appsv1.DeploymentProgressing)
	r.status.Conditions = append(r.status.Conditions, appsv1.DeploymentCondition{
		Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue,
		LastUpdateTime: metav1.NewTime(r.now), LastTransitionTime: since,
		Reason: "ReplicaSetUpdated", Message: r.what() + " is progressing.",
	})
}

// count fills the numbers and the Available condition.
func (r *rollout) count() {
	actual := func(set *appsv1.ReplicaSet) int32 { return set.Status.Replicas }
	all := r.all()
	available := sum(all, availableReplicas)
	terminating, known := int32(0), true
	for _, set := range all {
		if set.Status.TerminatingReplicas == nil {
			known = known && r.create && set == r.fresh
			continue
		}
		terminating += *set.Status.TerminatingReplicas
	}
	r.status.ObservedGeneration = r.d.Generation
	r.status.Replicas = sum(all, actual)
	r.status.UpdatedReplicas = 0
	if r.fresh != nil {
		r.status.UpdatedReplicas = r.fresh.Status.Replicas
	}
	r.status.ReadyReplicas = sum(all, func(set *appsv1.ReplicaSet) int32 { return set.Status.ReadyReplicas })
	r.status.AvailableReplicas = available
	r.status.UnavailableReplicas = max(sum(all, specReplicas)-available, 0)
	r.status.TerminatingReplicas = nil
	if known {
		r.status.TerminatingReplicas = &terminating
	}
	if available >= r.replicas()-r.maxUnavailable() {
		r.setCondition(appsv1.DeploymentAvailable, corev1.ConditionTrue,
			"MinimumReplicasAvailable", "Deployment has minimum availability.")
	} else {
		r.setCondition(appsv1.DeploymentAvailable, corev1.ConditionFalse,
			"MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
	}
}

// copyFailure shows on the deployment why a set cannot make its pods.
func (r *rollout) copyFailure() {
	sets := r.all() // the new set's failure counts most, and it comes first
	for _, set := range sets {
		for _, c := range set.Status.Conditions {
			if c.Type == appsv1.ReplicaSetReplicaFailure {
				r.setCondition(appsv1.DeploymentReplicaFailure, c.Status, c.Reason, c.Message)
				return
			}
		}
	}
	r.dropCondition(appsv1.DeploymentReplicaFailure)
}

// markPaused notes pausing and resuming, so that the time in between does not
// count against the progress deadline.
func (r *rollout) markPaused() {
	if !hasDeadline(r.d) {
		return
	}
	c := condition(r.status, appsv1.DeploymentProgressing)
	if c != nil && c.Reason == "ProgressDeadlineExceeded" {
		return
	}
	marked := c != nil && c.Reason == "DeploymentPaused"
	switch {
	case r.d.Spec.Paused && !marked:
		r.setCondition(appsv1.DeploymentProgressing, corev1.ConditionUnknown, "DeploymentPaused", "Deployment is paused")
	case !r.d.Spec.Paused && marked:
		r.setCondition(appsv1.DeploymentProgressing, corev1.ConditionUnknown, "DeploymentResumed", "Deployment is resumed")
	}
}

// setCondition changes nothing if status and reason are the same already.
func (r *rollout) setCondition(kind appsv1.DeploymentConditionType, status corev1.ConditionStatus, reason, message string) {
	now := metav1.NewTime(r.now)
	next := appsv1.DeploymentCondition{
		Type: kind, Status: status, LastUpdateTime: now, LastTransitionTime: now, Reason: reason, Message: message,
	}
	if c := condition(r.status, kind); c != nil {
		if c.Status == status && c.Reason == reason {
			return
		}
		if c.Status == status {
			next.LastTransitionTime = c.LastTransitionTime
		}
		r.dropCondition(kind)
	}
	r.status.Conditions = append(r.status.Conditions, next)
}

func (r *rollout) dropCondition(kind appsv1.DeploymentConditionType) {
	var kept []appsv1.DeploymentCondition
	for _, c := range r.status.Conditions {
		if c.Type != kind {
			kept = append(kept, c)
		}
	}
	r.status.Conditions = kept
}

func condition(s appsv1.DeploymentStatus, kind appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range s.Conditions {
		if s.Conditions[i].Type == kind {
			c := s.Conditions[i]
			return &c
		}
	}
	return nil
}

func hasDeadline(d *appsv1.Deployment) bool {
	return d.Spec.ProgressDeadlineSeconds != nil && *d.Spec.ProgressDeadlineSeconds != math.MaxInt32
}

func complete(d *appsv1.Deployment, s appsv1.DeploymentStatus) bool {
	n := *d.Spec.Replicas
	return s.UpdatedReplicas == n && s.Replicas == n && s.AvailableReplicas == n && s.ObservedGeneration >= d.Generation
}

func progressed(before, after appsv1.DeploymentStatus) bool {
	return after.UpdatedReplicas > before.UpdatedReplicas ||
		after.Replicas-after.UpdatedReplicas < before.Replicas-before.UpdatedReplicas ||
		after.ReadyReplicas > before.ReadyReplicas ||
		after.AvailableReplicas > before.AvailableReplicas
}

func (r *rollout) timedOut(current *appsv1.DeploymentCondition) bool {
	switch {
	case current == nil || current.Reason == "NewReplicaSetAvailable":
		return false
	case current.Reason == "ProgressDeadlineExceeded":
		return true
	}
	return r.deadline(current).Before(r.now)
}

func (r *rollout) deadline(c *appsv1.DeploymentCondition) time.Time {
	return c.LastUpdateTime.Add(time.Duration(*r.d.Spec.ProgressDeadlineSeconds) * time.Second)
}

// untilDeadline is when a rollout that stands still must be looked at again.
func (r *rollout) untilDeadline() time.Duration {
	c := condition(r.status, appsv1.DeploymentProgressing)
	if !hasDeadline(r.d) || c == nil || complete(r.d, r.status) ||
		c.Reason == "ProgressDeadlineExceeded" || c.Reason == "NewReplicaSetAvailable" {
		return 0
	}
	return max(r.deadline(c).Sub(r.now), 0) + time.Second
}
