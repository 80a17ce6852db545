// Package volumeexpand tells of claims that ask for more than their volume has that
// somebody outside makes it larger: the CSI driver's resizer. It resizes nothing itself.
package volumeexpand

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/loop"
)

// Controller reconciles claims.
type Controller struct {
	loop.Deps
	loop *loop.Loop
}

// New returns a controller that works with the given dependencies.
func New(deps loop.Deps) *Controller {
	c := &Controller{Deps: deps}
	c.loop = loop.New("volumeexpand", 1, deps, c.reconcile)
	c.loop.WatchChanges(&corev1.PersistentVolumeClaim{}, func(before, after client.Object) []loop.Key {
		old, _ := before.(*corev1.PersistentVolumeClaim)
		if next, ok := after.(*corev1.PersistentVolumeClaim); ok && wants(next) && (old == nil || grew(old, next)) {
			return loop.Self(next)
		}
		return nil
	})
	return c
}

// Run reconciles until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

// wants says whether a claim asks for more than it has.
func wants(claim *corev1.PersistentVolumeClaim) bool {
	want, have := claim.Spec.Resources.Requests[corev1.ResourceStorage], claim.Status.Capacity[corev1.ResourceStorage]
	return claim.Status.Phase == corev1.ClaimBound && want.Cmp(have) > 0
}

// grew says whether a claim asks for more than before, or got more.
func grew(before, after *corev1.PersistentVolumeClaim) bool {
	wanted, wants := before.Spec.Resources.Requests[corev1.ResourceStorage], after.Spec.Resources.Requests[corev1.ResourceStorage]
	had, has := before.Status.Capacity[corev1.ResourceStorage], after.Status.Capacity[corev1.ResourceStorage]
	return wants.Cmp(wanted) > 0 || has.Cmp(had) > 0
}

func (c *Controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	claim := &corev1.PersistentVolumeClaim{}
	if err := c.Cache.Get(ctx, key, claim, client.UnsafeDisableDeepCopy); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	v := &corev1.PersistentVolume{}
	if err := c.Cache.Get(ctx, loop.Key{Name: claim.Spec.VolumeName}, v, client.UnsafeDisableDeepCopy); err != nil {
		// It may be seen later than the claim: tried again.
		return 0, fmt.Errorf("read the volume of claim %s: %w", key, err)
	}
	if wants(claim) && v.Spec.ClaimRef != nil && v.Spec.ClaimRef.UID == claim.UID {
		c.Events.Event(claim, corev1.EventTypeNormal, "ExternalExpanding", "waiting for an external controller to expand this PVC")
	}
	return 0, nil
}
