package volumes

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// hostPath checks or makes what the volume's type asks for.
func hostPath(source *corev1.HostPathVolumeSource) error {
	kind := corev1.HostPathUnset
	if source.Type != nil {
		kind = *source.Type
	}
	info, err := os.Stat(source.Path)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return err
	}
	switch kind {
	case corev1.HostPathUnset:
		return nil
	case corev1.HostPathDirectoryOrCreate:
		if missing {
			return os.MkdirAll(source.Path, 0o755)
		}
		return expect(info.IsDir(), kind, source.Path, "a directory")
	case corev1.HostPathFileOrCreate:
		if missing {
			file, err := os.OpenFile(source.Path, os.O_CREATE|os.O_EXCL, 0o644)
			if err != nil {
				return err
			}
			return file.Close()
		}
		return expect(info.Mode().IsRegular(), kind, source.Path, "a file")
	}
	if missing {
		return fmt.Errorf("hostPath type check failed: %s is not %s", source.Path, describe(kind))
	}
	m := info.Mode()
	switch kind {
	case corev1.HostPathDirectory:
		return expect(m.IsDir(), kind, source.Path, describe(kind))
	case corev1.HostPathFile:
		return expect(m.IsRegular(), kind, source.Path, describe(kind))
	case corev1.HostPathSocket:
		return expect(m&fs.ModeSocket != 0, kind, source.Path, describe(kind))
	case corev1.HostPathCharDev:
		return expect(m&fs.ModeCharDevice != 0, kind, source.Path, describe(kind))
	case corev1.HostPathBlockDev:
		return expect(m&fs.ModeDevice != 0 && m&fs.ModeCharDevice == 0, kind, source.Path, describe(kind))
	}
	return fmt.Errorf("hostPath type %q is unknown", kind)
}

func describe(kind corev1.HostPathType) string {
	switch kind {
	case corev1.HostPathDirectory:
		return "a directory"
	case corev1.HostPathFile:
		return "a file"
	case corev1.HostPathSocket:
		return "a socket file"
	case corev1.HostPathCharDev:
		return "a character device"
	case corev1.HostPathBlockDev:
		return "a block device"
	}
	return string(kind)
}

func expect(ok bool, _ corev1.HostPathType, path, what string) error {
	if ok {
		return nil
	}
	return fmt.Errorf("hostPath type check failed: %s is not %s", path, what)
}

func (m *Manager) emptyDir(pod *corev1.Pod, volume *corev1.Volume) error {
	dir := m.volumeDir(pod.UID, volume)
	switch volume.EmptyDir.Medium {
	case corev1.StorageMediumDefault:
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	case corev1.StorageMediumMemory:
		var limit int64
		if volume.EmptyDir.SizeLimit != nil {
			limit = volume.EmptyDir.SizeLimit.Value()
		}
		if err := m.memory(dir, limit); err != nil {
			return err
		}
	default:
		return fmt.Errorf("medium %q of emptyDir is not supported on this node", volume.EmptyDir.Medium)
	}
	mode := fs.FileMode(0o777)
	if group := fsGroup(pod); group != nil {
		if err := os.Lchown(dir, -1, int(*group)); err != nil {
			return err
		}
		mode |= fs.ModeSetgid
	}
	return os.Chmod(dir, mode)
}

// memory mounts a tmpfs on dir unless one is there. limit 0 is the kernel's default.
func (m *Manager) memory(dir string, limit int64) error {
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
	data := "mode=0755"
	if limit > 0 {
		data += ",size=" + strconv.FormatInt(limit, 10)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NODEV|unix.MS_NOSUID, data); err != nil {
		return fmt.Errorf("mount tmpfs on %s: %w", dir, err)
	}
	return nil
}

// mountPoint says whether dir is on another file system instance than its parent.
func mountPoint(dir string) bool {
	var self, parent unix.Stat_t
	if unix.Lstat(dir, &self) != nil || unix.Lstat(filepath.Dir(dir), &parent) != nil {
		return false
	}
	return self.Dev != parent.Dev
}

// unmountUnder unmounts everything mounted below dir, deepest first.
func unmountUnder(dir string) error {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	defer file.Close()
	var points []string
	scanner := bufio.NewScanner(file)
	for scanner.Scan() {
		fields := strings.Fields(scanner.Text())
		if len(fields) < 5 {
			continue
		}
		if point := unescape(fields[4]); strings.HasPrefix(point, dir+"/") {
			points = append(points, point)
		}
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("read mounts: %w", err)
	}
	slices.Sort(points)
	for _, point := range slices.Backward(points) {
		if err := unix.Unmount(point, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s: %w", point, err)
		}
	}
	return nil
}

// unescape undoes the kernel's octal escapes of space, tab, newline and backslash.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}
