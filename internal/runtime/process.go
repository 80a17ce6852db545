package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sinawi/sinawi/internal/runtime/shim"
)

// endProcess ends a process: SIGTERM, and SIGKILL if that is not enough.
func endProcess(ctx context.Context, pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("end process %d: %w", pid, err)
	}
	defer unix.Close(fd)
	for _, signal := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		if err := unix.PidfdSendSignal(fd, signal, nil, 0); errors.Is(err, unix.ESRCH) {
			return nil
		} else if err != nil {
			return fmt.Errorf("end process %d: %w", pid, err)
		}
		gone, err := waitPidfd(ctx, fd, stopWait)
		if err != nil {
			return fmt.Errorf("end process %d: %w", pid, err)
		}
		if gone {
			return nil
		}
	}
	return fmt.Errorf("process %d is still alive %s after SIGKILL", pid, stopWait)
}

// waitPidfd waits until the process is dead, and reports whether it is.
func waitPidfd(ctx context.Context, fd int, wait time.Duration) (bool, error) {
	deadline := time.Now().Add(wait)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return false, ctx.Err()
		}
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(left.Milliseconds())+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return false, err
		}
		if n > 0 {
			return true, nil
		}
	}
}

// endShims ends the shims of this runtime: processes that run our shim from our
// helper directory. Their containers end with the cgroup.
func (c Config) endShims(ctx context.Context) error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || !c.isShim(pid) {
			continue
		}
		if err := endProcess(ctx, pid); err != nil {
			return err
		}
	}
	return nil
}

// isShim tells our shims by the address they were given to report to: the helper's
// file may have been removed and another instance may run an equal one.
func (c Config) isShim(pid int) bool {
	line, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	if err != nil {
		return false
	}
	args := strings.Split(string(line), "\x00")
	for i, arg := range args[:len(args)-1] {
		if arg == "-address" && args[i+1] == c.Socket {
			return filepath.Base(args[0]) == shim.Binary
		}
	}
	return false
}
