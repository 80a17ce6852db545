package volumes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// emptyDir makes an empty directory once. What the pod does to it later, its
// mode included, is left alone.
func (m *Manager) emptyDir(pod *corev1.Pod, volume *corev1.Volume) error {
	dir := m.volumeDir(pod.UID, volume)
	switch volume.EmptyDir.Medium {
	case corev1.StorageMediumDefault:
		return emptyDisk(dir, fsGroup(pod))
	case corev1.StorageMediumMemory:
		return memory(dir, tmpfs{mode: 0o777, group: fsGroup(pod), limit: m.memoryLimit(pod, volume.EmptyDir)})
	}
	return fmt.Errorf("medium %q of emptyDir is not supported on this node; leave it out or use Memory", volume.EmptyDir.Medium)
}

func emptyDisk(dir string, group *int64) error {
	if _, err := os.Lstat(dir); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// It appears with its mode and owner or not at all.
	temp := filepath.Join(filepath.Dir(dir), "..new_"+filepath.Base(dir))
	if err := os.RemoveAll(temp); err != nil {
		return err
	}
	if err := os.MkdirAll(temp, 0o755); err != nil {
		return err
	}
	mode := fs.FileMode(0o777)
	if group != nil {
		if err := os.Lchown(temp, -1, int(*group)); err != nil {
			return err
		}
		mode |= fs.ModeSetgid
	}
	if err := os.Chmod(temp, mode); err != nil {
		return err
	}
	return os.Rename(temp, dir)
}

// memoryLimit is the least of what the volume, the pod's limits and the node allow.
func (m *Manager) memoryLimit(pod *corev1.Pod, source *corev1.EmptyDirVolumeSource) int64 {
	var limit int64
	lower := func(bytes int64) {
		if bytes > 0 && (limit == 0 || bytes < limit) {
			limit = bytes
		}
	}
	if source.SizeLimit != nil {
		lower(source.SizeLimit.Value())
	}
	lower(podMemory(pod))
	allocatable := m.options.Allocatable()
	lower(allocatable.Memory().Value())
	return limit
}

// podMemory is what a pod's containers may use together; 0 is not limited.
func podMemory(pod *corev1.Pod) int64 {
	if pod.Spec.Resources != nil {
		if limit := pod.Spec.Resources.Limits.Memory().Value(); limit > 0 {
			return limit
		}
	}
	var sum int64
	for i := range pod.Spec.Containers {
		limit := pod.Spec.Containers[i].Resources.Limits.Memory().Value()
		if limit == 0 {
			return 0
		}
		sum += limit
	}
	return sum
}

// tmpfs describes a file system in memory.
type tmpfs struct {
	mode  uint32
	group *int64 // owns it when not nil, with setgid
	limit int64  // bytes; 0 is the kernel's default
	// noSwap keeps its content off the disk where the kernel can.
	noSwap bool
}

// memory mounts a tmpfs on dir unless one is there.
func memory(dir string, t tmpfs) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return fmt.Errorf("statfs %s: %w", dir, err)
	}
	if stat.Type == unix.TMPFS_MAGIC && mountPoint(dir) {
		return nil
	}
	data := ""
	if t.group != nil {
		t.mode |= unix.S_ISGID
		data = ",gid=" + strconv.FormatInt(*t.group, 10)
	}
	if t.limit > 0 {
		data += ",size=" + strconv.FormatInt(t.limit, 10)
	}
	data = "mode=" + strconv.FormatUint(uint64(t.mode), 8) + data
	const flags = unix.MS_NODEV | unix.MS_NOSUID
	err := unix.EINVAL
	if t.noSwap {
		err = errno(unix.Mount("tmpfs", dir, "tmpfs", flags, data+",noswap"))
	}
	if err == unix.EINVAL { // not asked for, or not known to the kernel
		err = errno(unix.Mount("tmpfs", dir, "tmpfs", flags, data))
	}
	if err != 0 {
		return fmt.Errorf("mount tmpfs on %s: %w", dir, err)
	}
	return nil
}

// errno is the error number of a system call, 0 for none.
func errno(err error) syscall.Errno {
	var number syscall.Errno
	errors.As(err, &number)
	return number
}

// mountPoint says whether dir is on another file system instance than its parent.
func mountPoint(dir string) bool {
	var self, parent unix.Stat_t
	if unix.Lstat(dir, &self) != nil || unix.Lstat(filepath.Dir(dir), &parent) != nil {
		return false
	}
	return self.Dev != parent.Dev
}
