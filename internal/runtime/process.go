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

	"github.com/sinawi/sinawi/internal/runtime/helperbin"
	"github.com/sinawi/sinawi/internal/runtime/image"
	"github.com/sinawi/sinawi/internal/runtime/nodeshim"
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

// endShims ends all shims of this runtime. Their containers end with the cgroup.
func (c Config) endShims(ctx context.Context) error {
	return c.eachShim(func(s shimProcess) error { return endProcess(ctx, s.pid) })
}

// endOrphans ends the shims that no pod knows: the runtime was killed after it had
// started them and before it had written that down. What such a shim may have begun
// to run is already undone by its bundle's removal.
func (c Config) endOrphans(ctx context.Context) error {
	return c.eachShim(func(s shimProcess) error {
		if strings.HasPrefix(s.id, nodeshim.Prefix) {
			return nil
		}
		if _, err := os.Stat(filepath.Join(c.bundles(), s.id)); !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return endProcess(ctx, s.pid)
	})
}

// bundles is where containerd keeps a directory for each container that runs.
func (c Config) bundles() string {
	return filepath.Join(c.State, "io.containerd.runtime.v2.task", image.Namespace)
}

type shimProcess struct {
	pid int
	id  string // of the container it was started for
}

// eachShim calls f with each of our shims and joins the errors.
func (c Config) eachShim(f func(shimProcess) error) error {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return fmt.Errorf("find shims: %w", err)
	}
	var errs []error
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil {
			continue // gone meanwhile
		}
		if id, ok := c.shimFor(strings.Split(string(line), "\x00")); ok {
			errs = append(errs, f(shimProcess{pid, id}))
		}
	}
	return errors.Join(errs...)
}

// shimFor tells our shims by the address they were given to report to: the helper's
// file may have been removed, and another instance may run an equal one.
func (c Config) shimFor(args []string) (id string, ok bool) {
	if filepath.Base(args[0]) != helperbin.Shim {
		return "", false
	}
	for i := 1; i+1 < len(args); i++ {
		switch args[i] {
		case "-id":
			id = args[i+1]
		case "-address":
			ok = args[i+1] == c.Socket
		case "start", "delete":
			return "", false // it ends by itself
		}
	}
	return id, ok
}
