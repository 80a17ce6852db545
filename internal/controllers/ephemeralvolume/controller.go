// Package ephemeralvolume makes the claims of pods' ephemeral volumes. A claim is
// named after the pod and the volume, is owned by the pod and goes with it. A claim of
// that name that is not the pod's is left alone, and the pod waits.
package ephemeralvolume

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/ephemeral"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/loop"
	"github.com/sinawi/sinawi/internal/controllers/workload"
)

// Controller reconciles pods.
type Controller struct {
	loop.Deps
	loop *loop.Loop
}

// New returns a controller that works with the given dependencies.
func New(deps loop.Deps) *Controller {
	c := &Controller{Deps: deps}
	c.loop = loop.New("ephemeralvolume", 2, deps, c.reconcile)
	c.loop.WatchChanges(&corev1.Pod{}, func(before, after client.Object) []loop.Key {
		if before != nil || after == nil || len(missing(after.(*corev1.Pod))) == 0 {
			return nil // the volumes of a pod never change
		}
		return loop.Self(after)
	})
	c.loop.WatchChanges(&corev1.PersistentVolumeClaim{}, func(before, after client.Object) []loop.Key {
		if after != nil {
			return nil
		}
		if owner := metav1.GetControllerOfNoCopy(before); owner != nil && owner.Kind == "Pod" {
			return []loop.Key{{Namespace: before.GetNamespace(), Name: owner.Name}}
		}
		return nil
	})
	return c
}

// Run reconciles until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

// missing are the claims that a pod should have.
func missing(pod *corev1.Pod) []*corev1.PersistentVolumeClaim {
	if pod.DeletionTimestamp != nil || workload.Finished(pod) {
		return nil
	}
	var out []*corev1.PersistentVolumeClaim
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.Ephemeral == nil || v.Ephemeral.VolumeClaimTemplate == nil {
			continue
		}
		template := v.Ephemeral.VolumeClaimTemplate
		out = append(out, &corev1.PersistentVolumeClaim{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: pod.Namespace, Name: ephemeral.VolumeClaimName(pod, v),
				Labels: template.Labels, Annotations: template.Annotations,
				OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(pod, corev1.SchemeGroupVersion.WithKind("Pod"))},
			},
			Spec: *template.Spec.DeepCopy(),
		})
	}
	return out
}

func (c *Controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	pod := &corev1.Pod{}
	if err := c.Cache.Get(ctx, key, pod, client.UnsafeDisableDeepCopy); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	for _, claim := range missing(pod) {
		if err := c.provide(ctx, pod, claim); err != nil {
			name, _ := strings.CutPrefix(claim.Name, pod.Name+"-")
			c.Events.Eventf(pod, corev1.EventTypeWarning, "FailedBinding", "ephemeral volume %s: %v", name, err)
			return 0, fmt.Errorf("pod %s, ephemeral volume %s: %w", key, name, err)
		}
	}
	return 0, nil
}

// provide makes a claim unless it is there.
func (c *Controller) provide(ctx context.Context, pod *corev1.Pod, claim *corev1.PersistentVolumeClaim) error {
	have := &corev1.PersistentVolumeClaim{}
	err := c.Cache.Get(ctx, client.ObjectKeyFromObject(claim), have, client.UnsafeDisableDeepCopy)
	switch {
	case err == nil && !metav1.IsControlledBy(have, pod):
		return fmt.Errorf("PVC %s was not created for pod %s (pod is not owner)", client.ObjectKeyFromObject(have), client.ObjectKeyFromObject(pod))
	case err == nil:
		return nil
	case !apierrors.IsNotFound(err):
		return err
	}
	if err := c.Client.Create(ctx, claim); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create PVC %s: %w", client.ObjectKeyFromObject(claim), err)
	}
	return nil
}
