package scheduler

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/scheduler/devices"
)

// makeClaim creates the claim for the resources that a pod asks for and that its node
// has as devices, with what it got, and names it in the pod. What it leaves undone it
// takes back.
func (s *Scheduler) makeClaim(ctx context.Context, pod *corev1.Pod, c devices.Claim) error {
	claim := c.Object.DeepCopy()
	claim.UID = "" // it tells it from others that are not written
	if err := s.client.Create(ctx, claim); err != nil {
		return fmt.Errorf("create claim for extended resources %s/%s: %w", claim.Namespace, claim.Name, err)
	}
	err := s.writeClaim(ctx, pod, devices.Claim{Object: claim, Allocation: c.Allocation})
	if err == nil {
		err = s.nameClaim(ctx, pod, claim.Name, c.Uses)
	}
	if err != nil {
		s.unmake(claim)
	}
	return err
}

// nameClaim says in a pod's status which claim its containers have devices of.
func (s *Scheduler) nameClaim(ctx context.Context, pod *corev1.Pod, claim string, uses []corev1.ContainerExtendedResourceRequest) error {
	changed := pod.DeepCopy()
	changed.Status.ExtendedResourceClaimStatus = &corev1.PodExtendedResourceClaimStatus{RequestMappings: uses, ResourceClaimName: claim}
	if err := s.client.Status().Patch(ctx, changed, client.StrategicMergeFrom(pod)); err != nil {
		return fmt.Errorf("update pod %s/%s ExtendedResourceClaimStatus: %w", pod.Namespace, pod.Name, err)
	}
	return nil
}

// unmakeFor deletes the claim that was made for the resources that a pod asks for, for
// the pod lost its place. One that is not known of yet is found when the pod is tried
// again.
func (s *Scheduler) unmakeFor(pod *corev1.Pod) {
	if claim := s.devices.Made(pod.UID); claim != nil {
		s.unmake(claim)
	}
}

// unmake deletes a claim though it has devices.
func (s *Scheduler) unmake(claim *resourcev1.ResourceClaim) {
	key, uid := client.ObjectKeyFromObject(claim), claim.UID
	s.errands.give(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, writeTimeout)
		defer cancel()
		if err := s.unmakeNow(ctx, key, uid); client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) && ctx.Err() == nil {
			slog.Warn("claim of a pod that lost its place not deleted", "claim", key, "err", err)
		}
	})
}

func (s *Scheduler) unmakeNow(ctx context.Context, key types.NamespacedName, uid types.UID) error {
	var claim resourcev1.ResourceClaim
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		if err := s.client.Get(ctx, key, &claim); err != nil || claim.UID != uid {
			return err
		}
		changed := claim.DeepCopy()
		changed.Finalizers = slices.DeleteFunc(changed.Finalizers, func(f string) bool { return f == resourcev1.Finalizer })
		if len(changed.Finalizers) == len(claim.Finalizers) {
			return nil
		}
		return s.client.Update(ctx, changed)
	})
	if err != nil {
		return err
	}
	return s.client.Delete(ctx, &resourcev1.ResourceClaim{ObjectMeta: claim.ObjectMeta}, client.Preconditions{UID: &uid})
}
