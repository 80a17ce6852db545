package worker

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	corev1 "k8s.io/api/core/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/sinawi/sinawi/internal/agent/env"
	"github.com/sinawi/sinawi/internal/volumes"
)

const hostsPath = "/etc/hosts"

// mounts are what a container finds in its file system besides its image.
func (w *Worker) mounts(ctx context.Context, pod *corev1.Pod, c *corev1.Container, vars []*cri.KeyValue) ([]*cri.Mount, error) {
	var out []*cri.Mount
	for i := range c.VolumeMounts {
		mount, err := w.mount(ctx, pod, c, i, vars)
		if err != nil {
			return nil, err
		}
		out = append(out, mount)
	}
	if !slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == hostsPath }) {
		ips := make([]string, 0, len(pod.Status.PodIPs))
		for _, ip := range pod.Status.PodIPs {
			ips = append(ips, ip.IP)
		}
		path, err := w.hosts(pod, ips)
		if err != nil {
			return nil, err
		}
		out = append(out, &cri.Mount{ContainerPath: hostsPath, HostPath: path})
	}
	if c.TerminationMessagePath != "" {
		path, err := w.messageFile(pod, c)
		if err != nil {
			return nil, err
		}
		out = append(out, &cri.Mount{ContainerPath: c.TerminationMessagePath, HostPath: path})
	}
	return out, nil
}

func (w *Worker) mount(ctx context.Context, pod *corev1.Pod, c *corev1.Container, index int, vars []*cri.KeyValue) (*cri.Mount, error) {
	m := &c.VolumeMounts[index]
	at := slices.IndexFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name })
	if at < 0 {
		return nil, fmt.Errorf("cannot find volume %q to mount into container %q", m.Name, c.Name)
	}
	volume := &pod.Spec.Volumes[at]
	sub := m.SubPath
	if m.SubPathExpr != "" {
		var err error
		if sub, err = env.ExpandStrict(m.SubPathExpr, vars); err != nil {
			return nil, fmt.Errorf("expand subPathExpr of volume mount %q: %w", m.Name, err)
		}
	}
	out := &cri.Mount{ContainerPath: m.MountPath, Readonly: m.ReadOnly || volumes.ReadOnly(volume), Propagation: propagation(m.MountPropagation)}
	if !filepath.IsAbs(out.ContainerPath) {
		out.ContainerPath = "/" + out.ContainerPath
	}
	if volume.Image != nil {
		ref, err := w.deps.Images.EnsureImage(ctx, pod, volume.Image.Reference, volume.Image.PullPolicy)
		if err != nil {
			return nil, fmt.Errorf("image of volume %q: %w", volume.Name, err)
		}
		out.Image, out.ImageSubPath, out.Readonly = &cri.ImageSpec{Image: ref, UserSpecifiedImage: volume.Image.Reference}, sub, true
		return out, nil
	}
	if m.ReadOnly && m.RecursiveReadOnly != nil && *m.RecursiveReadOnly != corev1.RecursiveReadOnlyDisabled {
		out.RecursiveReadOnly = true
	}
	if out.HostPath = w.deps.Volumes.Path(pod.UID, volume); out.HostPath == "" {
		// The runtime would take its own directory for it.
		return nil, fmt.Errorf("volume %q of container %q has no path on the node: it is not set up, or its kind cannot be mounted", m.Name, c.Name)
	}
	if sub != "" {
		path, err := w.deps.Volumes.SubPath(pod, volume, c.Name, index, sub)
		if err != nil {
			return nil, fmt.Errorf("failed to prepare subPath for volumeMount %q of container %q: %w", m.Name, c.Name, err)
		}
		out.HostPath = path
	}
	return out, nil
}

func propagation(mode *corev1.MountPropagationMode) cri.MountPropagation {
	if mode == nil {
		return cri.MountPropagation_PROPAGATION_PRIVATE
	}
	switch *mode {
	case corev1.MountPropagationHostToContainer:
		return cri.MountPropagation_PROPAGATION_HOST_TO_CONTAINER
	case corev1.MountPropagationBidirectional:
		return cri.MountPropagation_PROPAGATION_BIDIRECTIONAL
	}
	return cri.MountPropagation_PROPAGATION_PRIVATE
}

// messageFile makes an empty file that one instance of a container can leave its
// last words in.
func (w *Worker) messageFile(pod *corev1.Pod, c *corev1.Container) (string, error) {
	dir := filepath.Join(w.deps.Volumes.PodDir(pod.UID), "containers", c.Name)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", fmt.Errorf("create directory of termination messages: %w", err)
	}
	file, err := os.CreateTemp(dir, "")
	if err != nil {
		return "", fmt.Errorf("create termination message: %w", err)
	}
	defer file.Close()
	// The container's user is not known here; no other container sees the file.
	if err := file.Chmod(0o666); err != nil {
		return "", fmt.Errorf("create termination message: %w", err)
	}
	return file.Name(), nil
}

// devices are the volumes that a container gets as block devices.
func (w *Worker) devices(pod *corev1.Pod, c *corev1.Container) ([]*cri.Device, error) {
	var out []*cri.Device
	for _, d := range c.VolumeDevices {
		path, err := w.deps.Volumes.Device(pod, d.Name)
		if err != nil {
			return nil, err
		}
		out = append(out, &cri.Device{ContainerPath: d.DevicePath, HostPath: path, Permissions: "mrw"})
	}
	return out, nil
}
