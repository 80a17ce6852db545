package volumes

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

type claimKey struct {
	pod    types.UID
	volume string
}

// claimed is where the volume behind a claim lies on this node.
type claimed struct {
	path  string
	block bool
}

func (m *Manager) claimed(uid types.UID, volume string) claimed {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.claims[claimKey{uid, volume}]
}

// claim finds the volume behind a claim and makes it ready. It looks once: what
// a claim is bound to never changes.
func (m *Manager) claim(ctx context.Context, pod *corev1.Pod, volume *corev1.Volume) error {
	if m.claimed(pod.UID, volume.Name).path != "" {
		return nil
	}
	name, owner := pod.Name+"-"+volume.Name, pod
	if volume.PersistentVolumeClaim != nil {
		name, owner = volume.PersistentVolumeClaim.ClaimName, nil
	}
	pv, err := m.source.PersistentVolume(ctx, pod.Namespace, name, owner)
	if err != nil {
		return err
	}
	found := claimed{block: pv.Spec.VolumeMode != nil && *pv.Spec.VolumeMode == corev1.PersistentVolumeBlock}
	switch source := &pv.Spec.PersistentVolumeSource; {
	case source.HostPath != nil:
		found.path = source.HostPath.Path
		err = hostPath(source.HostPath)
	case source.Local != nil:
		found.path = source.Local.Path
		err = local(found, pod)
	default:
		err = unsupported(source)
	}
	if err != nil {
		return fmt.Errorf("persistentvolume %s: %w", pv.Name, err)
	}
	m.mu.Lock()
	m.claims[claimKey{pod.UID, volume.Name}] = found
	m.mu.Unlock()
	return nil
}

// local checks a local volume and gives it to the pod's group.
func local(found claimed, pod *corev1.Pod) error {
	info, err := os.Stat(found.path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("path %q does not exist on this node", found.path)
	}
	if err != nil {
		return err
	}
	device := info.Mode()&fs.ModeDevice != 0 && info.Mode()&fs.ModeCharDevice == 0
	switch {
	case found.block && !device:
		return fmt.Errorf("path %q is not a block device", found.path)
	case found.block:
		return nil
	case !info.IsDir():
		return fmt.Errorf("path %q is not a directory: a local volume with a file system must be mounted on one", found.path)
	}
	if group := fsGroup(pod); group != nil {
		policy := pod.Spec.SecurityContext.FSGroupChangePolicy
		return own(found.path, int(*group), policy != nil && *policy == corev1.FSGroupChangeOnRootMismatch)
	}
	return nil
}

// Device is the block device on the host behind a pod's volume.
func (m *Manager) Device(pod *corev1.Pod, volume string) (string, error) {
	found := m.claimed(pod.UID, volume)
	if found.path == "" || !found.block {
		return "", fmt.Errorf("volume %s is not a block device", volume)
	}
	return found.path, nil
}
