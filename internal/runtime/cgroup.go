package runtime

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const cgroupRoot = "/sys/fs/cgroup"

// killCgroup kills every process below a cgroup and removes it, on whichever
// hierarchies it exists (one with cgroup v2, one per controller with v1).
func killCgroup(ctx context.Context, name string) error {
	if name == "" || filepath.Clean("/"+name) == "/" {
		return nil
	}
	dirs, err := cgroupDirs(name)
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if err := killBelow(ctx, dir); err != nil {
			return fmt.Errorf("remove cgroup %s: %w", dir, err)
		}
	}
	return nil
}

func cgroupDirs(name string) ([]string, error) {
	var fsinfo unix.Statfs_t
	if err := unix.Statfs(cgroupRoot, &fsinfo); err != nil {
		return nil, fmt.Errorf("find cgroups: %w", err)
	}
	roots := []string{cgroupRoot}
	if fsinfo.Type != unix.CGROUP2_SUPER_MAGIC {
		entries, err := os.ReadDir(cgroupRoot)
		if err != nil {
			return nil, fmt.Errorf("find cgroups: %w", err)
		}
		roots = nil
		for _, e := range entries {
			if e.Type()&fs.ModeSymlink == 0 { // cpu,cpuacct has links by each name
				roots = append(roots, filepath.Join(cgroupRoot, e.Name()))
			}
		}
	}
	var dirs []string
	for _, root := range roots {
		dir := filepath.Join(root, name)
		if _, err := os.Stat(dir); err == nil {
			dirs = append(dirs, dir)
		}
	}
	return dirs, nil
}

// hasHugetlb reports whether huge pages can be limited here.
func hasHugetlb() bool {
	if _, err := os.Stat(filepath.Join(cgroupRoot, "hugetlb")); err == nil {
		return true
	}
	controllers, err := os.ReadFile(filepath.Join(cgroupRoot, "cgroup.controllers"))
	return err == nil && slices.Contains(strings.Fields(string(controllers)), "hugetlb")
}

// killBelow kills what runs in dir and below and removes the directories, leaves
// first. A process can fork while it is being killed, so it goes round until none
// is left.
func killBelow(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, stopWait)
	defer cancel()
	for {
		var dirs []string
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil // gone meanwhile
		})
		if err != nil {
			return err
		}
		alive := 0
		for _, d := range dirs {
			alive += killMembers(ctx, d)
		}
		var busy error
		for _, d := range slices.Backward(dirs) {
			if err := unix.Rmdir(d); err != nil && !errors.Is(err, unix.ENOENT) {
				busy = err
			}
		}
		if busy == nil {
			return nil
		}
		// A killed process leaves its cgroup a moment after it is dead; the kernel
		// offers no event for that on cgroup v1.
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (%d processes)", busy, alive)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// killMembers kills the processes of one cgroup, waits until they are dead and
// returns how many there were.
func killMembers(ctx context.Context, dir string) int {
	f, err := os.Open(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return 0
	}
	defer f.Close()
	var fds []int
	for lines := bufio.NewScanner(f); lines.Scan(); {
		pid, err := strconv.Atoi(lines.Text())
		if err != nil || pid <= 0 || pid == os.Getpid() {
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue
		}
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		fds = append(fds, fd)
	}
	for _, fd := range fds {
		_, _ = waitPidfd(ctx, fd, time.Second)
		unix.Close(fd)
	}
	return len(fds)
}
