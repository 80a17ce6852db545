// Package pauseinit is the helper's part in starting a sandbox whose process its
// containers can see: it takes the host's file systems out of that process's sight.
package pauseinit

import (
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// Name is the name by which the helper is called to become a pod's first process.
const Name = "sinawi-pause"

// Nobody is the user and group that pause processes run as.
const Nobody = 65535

// Main leaves the host's mounts for the directory that holds the pause program, gives
// up all rights and becomes that program. args are the name, the directory, the pod.
func Main(args []string) error {
	if len(args) != 3 {
		return errors.New("start the sandbox's process: wrong arguments")
	}
	root, id := args[1], args[2]
	for _, step := range []func() error{
		func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, "") },
		func() error { return unix.Mount(root, root, "", unix.MS_BIND, "") },
		func() error { return unix.Chdir(root) },
		func() error { return unix.PivotRoot(".", ".") },
		func() error { return unix.Unmount(".", unix.MNT_DETACH) },
		func() error { return unix.Chdir("/") },
		func() error { return syscall.Setgroups([]int{}) },
		func() error { return syscall.Setgid(Nobody) },
		func() error { return syscall.Setuid(Nobody) },
	} {
		if err := step(); err != nil {
			return fmt.Errorf("start the sandbox's process: %w", err)
		}
	}
	return syscall.Exec("/pause", []string{"/pause", id}, nil)
}
