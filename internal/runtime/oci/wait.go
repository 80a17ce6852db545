package oci

import (
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/runc/libcontainer/system"
	"golang.org/x/sys/unix"
)

// waitGone waits until the process with this pid and start time is dead. It is not
// a child of ours, so it cannot be waited for; its pidfd becomes readable instead.
func waitGone(pid int, startTime uint64) error {
	if pid <= 0 {
		return nil
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("watch process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	stat, err := system.Stat(pid)
	if err != nil || stat.StartTime != startTime || stat.State == system.Zombie || stat.State == system.Dead {
		return nil
	}
	deadline := time.Now().Add(killWait)
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return fmt.Errorf("process %d is still alive %s after SIGKILL", pid, killWait)
		}
		n, err := unix.Poll(fds, int(left.Milliseconds())+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for process %d: %w", pid, err)
		}
		if n > 0 {
			return nil
		}
	}
}
