package volumeprotection

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/loop"
)

const classFinalizer = "kubernetes.io/vac-protection"

// watchClasses brings a VolumeAttributesClass back when a claim or volume leaves it.
func (c *Controller) watchClasses() {
	c.classes.WatchSelf(&storagev1.VolumeAttributesClass{})
	left := func(before, after client.Object) (keys []loop.Key) {
		if before == nil {
			return nil
		}
		for _, name := range classesOf(before) {
			if after == nil || !slices.Contains(classesOf(after), name) {
				keys = append(keys, loop.Key{Name: name})
			}
		}
		return keys
	}
	c.classes.WatchChanges(&corev1.PersistentVolumeClaim{}, left)
	c.classes.WatchChanges(&corev1.PersistentVolume{}, left)
}

// classesOf are the attribute classes that a claim or volume has, had or is to get.
func classesOf(obj client.Object) (names []string) {
	add := func(name *string) {
		if name != nil && *name != "" {
			names = append(names, *name)
		}
	}
	switch o := obj.(type) {
	case *corev1.PersistentVolume:
		add(o.Spec.VolumeAttributesClassName)
	case *corev1.PersistentVolumeClaim:
		add(o.Spec.VolumeAttributesClassName)
		add(o.Status.CurrentVolumeAttributesClassName)
		if m := o.Status.ModifyVolumeStatus; m != nil {
			add(&m.TargetVolumeAttributesClassName)
		}
	}
	return names
}

func (c *Controller) class(ctx context.Context, key loop.Key) (time.Duration, error) {
	class := &storagev1.VolumeAttributesClass{}
	if err := c.Cache.Get(ctx, key, class, client.UnsafeDisableDeepCopy); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	return 0, c.protect(ctx, class, classFinalizer, func() (bool, error) { return c.classUsed(ctx, class.Name) })
}

// classUsed looks through all claims and volumes: classes are deleted seldom.
func (c *Controller) classUsed(ctx context.Context, name string) (bool, error) {
	var claims corev1.PersistentVolumeClaimList
	if err := c.Cache.List(ctx, &claims, client.UnsafeDisableDeepCopy); err != nil {
		return false, fmt.Errorf("list claims that may use class %s: %w", name, err)
	}
	for i := range claims.Items {
		if slices.Contains(classesOf(&claims.Items[i]), name) {
			return true, nil
		}
	}
	var volumes corev1.PersistentVolumeList
	if err := c.Cache.List(ctx, &volumes, client.UnsafeDisableDeepCopy); err != nil {
		return false, fmt.Errorf("list volumes that may use class %s: %w", name, err)
	}
	for i := range volumes.Items {
		if slices.Contains(classesOf(&volumes.Items[i]), name) {
			return true, nil
		}
	}
	return false, nil
}
