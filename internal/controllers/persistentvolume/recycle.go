package persistentvolume

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/loop"
	"github.com/sinawi/sinawi/internal/controllers/workload"
)

const (
	// recycler is followed by the name of the volume that the pod empties.
	recycler = "recycler-for-"
	// recycleAgain is after how long a volume that could not be emptied is tried again.
	recycleAgain = 15 * time.Second
	// recyclerImage has a shell and find. A cluster without a way out imports it.
	recyclerImage = "busybox"
	// perGiB is how many seconds a pod has for each GiB, beyond a least time.
	perGiB = 30
)

// recyclerOf is the pod that empties a volume, nil if none can.
func recyclerOf(v *corev1.PersistentVolume) *corev1.Pod {
	var source corev1.VolumeSource
	var least int64
	switch s := &v.Spec.PersistentVolumeSource; {
	case s.HostPath != nil:
		source.HostPath, least = &corev1.HostPathVolumeSource{Path: s.HostPath.Path}, 60
	case s.NFS != nil:
		source.NFS, least = &corev1.NFSVolumeSource{Server: s.NFS.Server, Path: s.NFS.Path}, 300
	default:
		return nil
	}
	size := v.Spec.Capacity[corev1.ResourceStorage]
	limit := max(size.Value()>>30*perGiB, least)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: recycler + v.Name},
		Spec: corev1.PodSpec{
			ActiveDeadlineSeconds: &limit,
			RestartPolicy:         corev1.RestartPolicyNever,
			Volumes:               []corev1.Volume{{Name: "vol", VolumeSource: source}},
			Containers: []corev1.Container{{
				Name:         "pv-recycler",
				Image:        recyclerImage,
				Command:      []string{"/bin/sh"},
				Args:         []string{"-c", `test -e /scrub && find /scrub -mindepth 1 -delete && test -z "$(ls -A /scrub)" || exit 1`},
				VolumeMounts: []corev1.VolumeMount{{Name: "vol", MountPath: "/scrub"}},
			}},
		},
	}
}

// recycledBy is the volume that a pod empties.
func recycledBy(before, after client.Object) []loop.Key {
	pod := after
	if pod == nil {
		pod = before
	}
	name, ours := strings.CutPrefix(pod.GetName(), recycler)
	if !ours || pod.GetNamespace() != metav1.NamespaceDefault {
		return nil
	}
	return []loop.Key{{Name: name}}
}

// recycle brings the emptying of a released volume one step on. The pod at work is
// remembered: another of its name, from before a restart or of somebody else, is none
// that can be trusted.
func (c *Controller) recycle(ctx context.Context, v *corev1.PersistentVolume) (time.Duration, error) {
	at := c.recyclers[v.Name]
	if left := time.Until(at.again); left > 0 {
		return left, nil // what we wrote of the last time woke us
	}
	users, err := c.usersOf(ctx, v.Spec.ClaimRef)
	if err != nil {
		return 0, err
	}
	if len(users) > 0 {
		c.Events.Event(v, corev1.EventTypeNormal, "VolumeFailedRecycle", "Volume is used by pods: "+strings.Join(users, ","))
		return recycleAgain, nil
	}
	want := recyclerOf(v)
	pod := &corev1.Pod{}
	err = c.Client.Get(ctx, client.ObjectKeyFromObject(want), pod)
	switch {
	case apierrors.IsNotFound(err) && at.pod == "":
		return c.beginRecycling(ctx, v, want)
	case apierrors.IsNotFound(err):
		return c.unrecycled(ctx, v, "failed to recycle volume: recycler pod was deleted")
	case err != nil:
		return 0, fmt.Errorf("read pod that recycles volume %s: %w", v.Name, err)
	case pod.UID == at.pod && !workload.Finished(pod):
		return 0, nil // it wakes us
	}
	if err := c.dropRecycler(ctx, pod); err != nil {
		return 0, err
	}
	switch {
	case pod.UID != at.pod:
		return c.unrecycled(ctx, v, "old recycler pod found, will retry later")
	case pod.Status.Phase == corev1.PodFailed:
		why := pod.Status.Message
		if why == "" {
			why = "pod failed, pod.Status.Message unknown"
		}
		return c.unrecycled(ctx, v, "failed to recycle volume: "+why)
	}
	c.Events.Event(v, corev1.EventTypeNormal, "VolumeRecycled", "Volume recycled")
	delete(c.recyclers, v.Name)
	if v, err = c.unbind(ctx, v); err != nil {
		return 0, err
	}
	return 0, c.writePhase(ctx, v, volumePlan{phase: corev1.VolumeAvailable})
}

func (c *Controller) beginRecycling(ctx context.Context, v *corev1.PersistentVolume, pod *corev1.Pod) (time.Duration, error) {
	if err := c.Client.Create(ctx, pod); err != nil {
		return c.unrecycled(ctx, v, "unexpected error creating recycler pod:  "+err.Error())
	}
	c.recyclers[v.Name] = attempt{pod: pod.UID}
	return 0, nil
}

// unrecycled says why a volume was not emptied; it is tried again.
func (c *Controller) unrecycled(ctx context.Context, v *corev1.PersistentVolume, why string) (time.Duration, error) {
	c.recyclers[v.Name] = attempt{again: time.Now().Add(recycleAgain)}
	if v.Status.Phase == corev1.VolumeFailed {
		return recycleAgain, nil
	}
	why = "Recycle failed: " + why
	c.Events.Event(v, corev1.EventTypeWarning, "VolumeFailedRecycle", why)
	return recycleAgain, c.writePhase(ctx, v, volumePlan{phase: corev1.VolumeFailed, reason: why})
}

// forgetRecycler ends the emptying of a volume that is gone.
func (c *Controller) forgetRecycler(ctx context.Context, name string) error {
	if uid := c.recyclers[name].pod; uid != "" {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: recycler + name, UID: uid}}
		if err := c.dropRecycler(ctx, pod); err != nil {
			return err
		}
	}
	delete(c.recyclers, name)
	return nil
}

func (c *Controller) dropRecycler(ctx context.Context, pod *corev1.Pod) error {
	err := c.Client.Delete(ctx, pod, client.Preconditions{UID: &pod.UID})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("delete pod %s: %w", pod.Name, err)
	}
	return nil
}

// usersOf are the pods that still use the claim that is gone. Those of another claim of
// its name use another volume.
func (c *Controller) usersOf(ctx context.Context, ref *corev1.ObjectReference) ([]string, error) {
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: ref.Namespace, Name: ref.Name}}
	err := c.Cache.Get(ctx, client.ObjectKeyFromObject(claim), &corev1.PersistentVolumeClaim{}, client.UnsafeDisableDeepCopy)
	if !apierrors.IsNotFound(err) {
		return nil, err
	}
	pods, err := Users(ctx, c.Cache, claim)
	if err != nil {
		return nil, err
	}
	var names []string
	for i := range pods {
		if !workload.Finished(&pods[i]) {
			names = append(names, pods[i].Namespace+"/"+pods[i].Name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// attempt is how far the emptying of a volume is: the pod at work, or else when one may be
// next.
type attempt struct {
	pod   types.UID
	again time.Time
}
