package volumes

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// SubPath returns a path on the host that shows the part sub of a volume to a
// container: a bind mount of its own, made from a descriptor that was opened
// beneath the volume, so that no link inside the volume can lead out of it, now
// or later. A missing part is made as a directory.
func (m *Manager) SubPath(pod *corev1.Pod, volume *corev1.Volume, container string, index int, sub string) (string, error) {
	if filepath.IsAbs(sub) || strings.Contains("/"+filepath.ToSlash(sub)+"/", "/../") {
		return "", fmt.Errorf("subPath %q must be relative and must not contain '..'", sub)
	}
	path := m.Path(pod.UID, volume)
	if path == "" {
		return "", fmt.Errorf("volume %s is not set up", volume.Name)
	}
	part, err := beneath(path, sub)
	if err != nil {
		return "", fmt.Errorf("subPath %q of volume %s: %w", sub, volume.Name, err)
	}
	defer part.Close()
	info, err := part.Stat()
	if err != nil {
		return "", err
	}
	target := filepath.Join(m.PodDir(pod.UID), "volume-subpaths", volume.Name, container, strconv.Itoa(index))
	if err := bind(part, info.IsDir(), target); err != nil {
		return "", fmt.Errorf("subPath %q of volume %s: %w", sub, volume.Name, err)
	}
	return target, nil
}

// beneath opens sub inside dir, making directories that are missing.
func beneath(dir, sub string) (*os.File, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	part, err := open(root, sub)
	if !errors.Is(err, os.ErrNotExist) {
		return part, err
	}
	// As the directory that they are made in, for who may write there.
	top, err := root.Stat(".")
	if err != nil {
		return nil, err
	}
	made := ""
	for _, name := range strings.Split(filepath.ToSlash(filepath.Clean(sub)), "/") {
		made = filepath.Join(made, name)
		err := root.Mkdir(made, 0o750)
		if errors.Is(err, os.ErrExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := root.Chmod(made, top.Mode()&(os.ModePerm|os.ModeSetgid)); err != nil {
			return nil, err
		}
	}
	return open(root, sub)
}

// open opens whatever sub is without reading it, and without leaving root.
func open(root *os.Root, sub string) (*os.File, error) {
	dir, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS}
	const attempts = 10
	for range attempts {
		fd, err := unix.Openat2(int(dir.Fd()), sub, &how)
		switch {
		case err == nil:
			return os.NewFile(uintptr(fd), sub), nil
		case errors.Is(err, unix.EXDEV):
			return nil, errors.New("it leads out of the volume")
		case !errors.Is(err, unix.EAGAIN): // a name changed meanwhile
			return nil, err
		}
	}
	return nil, errors.New("its names change all the time")
}

// bind mounts what part has open on target, replacing what was there.
func bind(part *os.File, isDir bool, target string) error {
	if err := unix.Unmount(target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount %s: %w", target, err)
	}
	// What stood there may have been of the other kind; it is empty by now.
	if err := os.Remove(target); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	if isDir {
		if err := os.Mkdir(target, 0o755); err != nil {
			return err
		}
	} else if err := os.WriteFile(target, nil, 0o640); err != nil {
		return err
	}
	source := "/proc/self/fd/" + strconv.Itoa(int(part.Fd()))
	if err := unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind on %s: %w", target, err)
	}
	return nil
}
