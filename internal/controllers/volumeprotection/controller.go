// Package volumeprotection keeps claims that pods use, volumes that claims have and
// attribute classes of either from going: they carry a finalizer, which is taken off a
// deleted one when nobody needs it any more.
//
// A pod uses a claim from when it has a node until it is deleted, also after it ended;
// one that has no node yet is not let start with a claim that is being deleted. A
// bound claim says in a condition since when no pod refers to it.
package volumeprotection

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/storage/ephemeral"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/sinawi/sinawi/internal/controllers/loop"
	"github.com/sinawi/sinawi/internal/controllers/persistentvolume"
)

// The finalizers, as upstream names them.
const (
	claimFinalizer  = "kubernetes.io/pvc-protection"
	volumeFinalizer = "kubernetes.io/pv-protection"
)

// Controller reconciles the finalizers of claims, volumes and attribute classes.
type Controller struct {
	loop.Deps
	claims, volumes, classes *loop.Loop
}

// New returns a controller that works with the given dependencies. The cache must
// have the indexes of package persistentvolume.
func New(deps loop.Deps) *Controller {
	c := &Controller{Deps: deps}
	c.claims = loop.New("pvcprotection", 1, deps, c.claim)
	c.claims.WatchSelf(&corev1.PersistentVolumeClaim{})
	c.claims.WatchChanges(&corev1.Pod{}, touched)
	c.volumes = loop.New("pvprotection", 1, deps, c.volume)
	c.volumes.WatchSelf(&corev1.PersistentVolume{})
	c.classes = loop.New("vacprotection", 1, deps, c.class)
	c.watchClasses()
	return c
}

// Run reconciles until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.claims.Run(ctx) })
	group.Go(func() error { return c.volumes.Run(ctx) })
	group.Go(func() error { return c.classes.Run(ctx) })
	return group.Wait()
}

// touched are the claims of a pod that came, ended, was let go or is gone.
func touched(before, after client.Object) []loop.Key {
	if before != nil && after != nil && before.GetUID() == after.GetUID() && alike(before.(*corev1.Pod), after.(*corev1.Pod)) {
		return nil
	}
	if after == nil {
		after = before
	}
	pod := after.(*corev1.Pod)
	var keys []loop.Key
	for _, name := range persistentvolume.Claims(pod) {
		keys = append(keys, loop.Key{Namespace: pod.Namespace, Name: name})
	}
	return keys
}

func (c *Controller) claim(ctx context.Context, key loop.Key) (time.Duration, error) {
	claim := &corev1.PersistentVolumeClaim{}
	if err := c.Cache.Get(ctx, key, claim, client.UnsafeDisableDeepCopy); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	if err := c.noteUse(ctx, claim); err != nil {
		return 0, err
	}
	return 0, c.protect(ctx, claim, claimFinalizer, func() (bool, error) { return c.used(ctx, claim) })
}

// used asks the cache, and if that says no the API: a finalizer is taken off once.
func (c *Controller) used(ctx context.Context, claim *corev1.PersistentVolumeClaim) (bool, error) {
	pods, err := persistentvolume.Users(ctx, c.Cache, claim)
	if err != nil {
		return false, err
	}
	for i := range pods {
		if uses(&pods[i], claim) {
			return true, nil
		}
	}
	var live corev1.PodList
	if err := c.Client.List(ctx, &live, client.InNamespace(claim.Namespace)); err != nil {
		return false, fmt.Errorf("list pods that may use claim %s/%s: %w", claim.Namespace, claim.Name, err)
	}
	for i := range live.Items {
		if uses(&live.Items[i], claim) {
			return true, nil
		}
	}
	return false, nil
}

// alike says that two states of a pod use what they name in the same way.
func alike(a, b *corev1.Pod) bool {
	return ended(a) == ended(b) && letGo(a) == letGo(b)
}

// letGo says that the node is done with a pod: it is only there because somebody's
// finalizer holds it, which may wait for the very claim.
func letGo(pod *corev1.Pod) bool {
	grace := pod.DeletionGracePeriodSeconds
	return pod.DeletionTimestamp != nil && grace != nil && *grace == 0
}

// uses says whether a pod needs a claim.
func uses(pod *corev1.Pod, claim *corev1.PersistentVolumeClaim) bool {
	if pod.Spec.NodeName == "" {
		return false
	}
	for i := range pod.Spec.Volumes {
		switch v := &pod.Spec.Volumes[i]; {
		case v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == claim.Name:
			return true
		case v.Ephemeral != nil && !letGo(pod) && ephemeral.VolumeClaimName(pod, v) == claim.Name && ephemeral.VolumeIsForPod(pod, claim) == nil:
			return true
		}
	}
	return false
}

func (c *Controller) volume(ctx context.Context, key loop.Key) (time.Duration, error) {
	v := &corev1.PersistentVolume{}
	if err := c.Cache.Get(ctx, key, v, client.UnsafeDisableDeepCopy); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	return 0, c.protect(ctx, v, volumeFinalizer, func() (bool, error) { return v.Status.Phase == corev1.VolumeBound, nil })
}

// protect puts the finalizer on an object of the cache, and takes it off a
// deleted one that is not needed.
func (c *Controller) protect(ctx context.Context, cached client.Object, finalizer string, needed func() (bool, error)) error {
	deleted := cached.GetDeletionTimestamp() != nil
	if controllerutil.ContainsFinalizer(cached, finalizer) != deleted {
		return nil // it is there while the object lives, and gone with its deletion
	}
	obj := cached.DeepCopyObject().(client.Object)
	if !deleted {
		controllerutil.AddFinalizer(obj, finalizer)
	} else {
		if is, err := needed(); is || err != nil {
			return err
		}
		controllerutil.RemoveFinalizer(obj, finalizer)
	}
	if err := c.Client.Update(ctx, obj); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("change finalizer %s of %s: %w", finalizer, client.ObjectKeyFromObject(obj), err)
	}
	return nil
}
