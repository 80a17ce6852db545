package persistentvolume

import (
	"context"
	"fmt"
	"os"
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// erase deletes a directory below /tmp of this machine, and the volume that it is.
// A link does not lead it out of there.
func (c *Controller) erase(ctx context.Context, v *corev1.PersistentVolume, dir string) error {
	if err := eraseBelow("/tmp", dir); err != nil {
		plan := volumePlan{phase: corev1.VolumeFailed, reason: err.Error()}
		if v.Status.Phase != plan.phase || v.Status.Message != plan.reason {
			c.Events.Event(v, corev1.EventTypeWarning, "VolumeFailedDelete", plan.reason)
		}
		return c.writePhase(ctx, v, plan)
	}
	err := c.Client.Delete(ctx, v, client.Preconditions{UID: &v.UID})
	if err != nil {
		return client.IgnoreNotFound(fmt.Errorf("delete volume %s: %w", v.Name, err))
	}
	return nil
}

// eraseBelow deletes a directory that is below another.
func eraseBelow(top, dir string) error {
	root, err := os.OpenRoot(top)
	if err != nil {
		return err
	}
	defer root.Close()
	return root.RemoveAll(strings.TrimPrefix(path.Clean(dir), top+"/"))
}
