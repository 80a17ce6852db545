package volumes

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// RemoveAll unmounts everything below dir and deletes it. It deletes nothing for as
// long as something is mounted there. A directory that is not there is no error.
func RemoveAll(dir string) error {
	// Mounts are listed by their real paths.
	real, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := unmountUnder(real); err != nil {
		return err
	}
	return os.RemoveAll(real)
}

// unmountUnder unmounts everything below dir, deepest first, and answers nil
// only when nothing is mounted there any more: what follows deletes all that is
// left, which must not be the other end of a mount.
func unmountUnder(dir string) error {
	const attempts = 3
	for range attempts {
		points, err := mountsUnder(dir)
		if err != nil || len(points) == 0 {
			return err
		}
		for _, point := range slices.Backward(points) {
			err := unix.Unmount(point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
			if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
				return fmt.Errorf("unmount %s: %w", point, err)
			}
		}
	}
	points, err := mountsUnder(dir)
	if err != nil {
		return err
	}
	if len(points) > 0 {
		return fmt.Errorf("unmount %s: it is mounted again and again", points[0])
	}
	return nil
}

// mountsUnder lists the mount points below dir, each before those inside it.
func mountsUnder(dir string) ([]string, error) {
	mounts, err := mountinfo.GetMounts(func(m *mountinfo.Info) (skip, stop bool) {
		return !strings.HasPrefix(m.Mountpoint, dir+"/"), false
	})
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	points := make([]string, 0, len(mounts))
	for _, m := range mounts {
		points = append(points, m.Mountpoint)
	}
	slices.Sort(points)
	return points, nil
}
