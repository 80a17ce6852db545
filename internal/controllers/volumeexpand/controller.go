// Package volumeexpand hands claims that ask for more than their volume has to the
// resizer that makes it larger: the CSI driver's, outside. It resizes nothing itself.
package volumeexpand

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/loop"
)

// resizer names who is asked, in an annotation of the claim, as upstream does.
const resizer = "volume.kubernetes.io/storage-resizer"

// Controller reconciles claims.
type Controller struct {
	loop.Deps
	loop *loop.Loop
}

// New returns a controller that works with the given dependencies.
func New(deps loop.Deps) *Controller {
	c := &Controller{Deps: deps}
	c.loop = loop.New("volumeexpand", 1, deps, c.reconcile)
	c.loop.WatchChanges(&corev1.PersistentVolumeClaim{}, func(_, after client.Object) []loop.Key {
		if after == nil || !wants(after.(*corev1.PersistentVolumeClaim)) {
			return nil
		}
		return loop.Self(after)
	})
	return c
}

// Run reconciles until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

// wants says whether a claim asks for more than it has.
func wants(claim *corev1.PersistentVolumeClaim) bool {
	want, have := claim.Spec.Resources.Requests[corev1.ResourceStorage], claim.Status.Capacity[corev1.ResourceStorage]
	return claim.Status.Phase == corev1.ClaimBound && claim.DeletionTimestamp == nil && want.Cmp(have) > 0
}

func (c *Controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	claim := &corev1.PersistentVolumeClaim{}
	if err := c.Cache.Get(ctx, key, claim, client.UnsafeDisableDeepCopy); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	v := &corev1.PersistentVolume{}
	if err := c.Cache.Get(ctx, loop.Key{Name: claim.Spec.VolumeName}, v, client.UnsafeDisableDeepCopy); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	if !wants(claim) || v.Spec.ClaimRef == nil || v.Spec.ClaimRef.UID != claim.UID {
		return 0, nil
	}
	if v.Spec.CSI == nil {
		c.Events.Event(claim, corev1.EventTypeWarning, "ExternalExpanding",
			"Ignoring the PVC: didn't find a plugin capable of expanding the volume; waiting for an external controller to process this PVC.")
		return 0, nil
	}
	if claim.Annotations[resizer] == v.Spec.CSI.Driver {
		return 0, nil
	}
	changed := claim.DeepCopy()
	if changed.Annotations == nil {
		changed.Annotations = map[string]string{}
	}
	changed.Annotations[resizer] = v.Spec.CSI.Driver
	if err := c.Client.Update(ctx, changed); err != nil {
		return 0, fmt.Errorf("hand claim %s to resizer %s: %w", key, v.Spec.CSI.Driver, err)
	}
	return 0, nil
}
