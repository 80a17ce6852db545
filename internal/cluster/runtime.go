package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/sinawi/sinawi/internal/instance"
	"github.com/sinawi/sinawi/internal/process"
	"github.com/sinawi/sinawi/internal/runtime"
)

// The container runtime is a process of its own that outlives this one: a
// server that starts again finds it and its containers as they were.

const (
	runtimeStartTimeout = time.Minute
	runtimeRestartPause = time.Second
	runtimeStopTimeout  = 5 * time.Second
	// A runtime that holds the lock but does not answer for that long is stuck.
	runtimeAdoptTimeout = 20 * time.Second
	runtimeLook         = 20 * time.Millisecond
	// How often to try when another runtime comes in between.
	runtimeRounds = 3
)

// runtimeProcess starts the runtime and keeps it running.
type runtimeProcess struct {
	dir     instance.Dir
	program string
	current process.Process
}

func newRuntimeProcess(dir instance.Dir) (*runtimeProcess, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the program's own file: %w", err)
	}
	return &runtimeProcess{dir: dir, program: program}, nil
}

// ensure returns when a runtime answers: the one that is there, or a new one. One
// that was started by a server that has ended since is there before it is
// remembered, and holds the lock before it answers.
func (r *runtimeProcess) ensure(ctx context.Context) error {
	for round := 1; ; round++ {
		found, err := r.holder()
		switch {
		case err == nil && r.adopt(ctx, found):
			return nil
		case err == nil:
			if err := r.stopStuck(ctx, found); err != nil {
				return err
			}
		case !errors.Is(err, process.ErrNotRunning):
			return err
		}
		err = r.startNew(ctx)
		if err == nil || ctx.Err() != nil || round == runtimeRounds {
			return err
		}
		if _, none := r.holder(); none != nil {
			return err // it was not another that was in its way
		}
	}
}

// stopStuck ends a runtime that does not answer, if it still is the one.
func (r *runtimeProcess) stopStuck(ctx context.Context, p process.Process) error {
	if now, err := r.holder(); err != nil || now != p {
		return nil
	}
	return p.Stop(ctx, runtimeStopTimeout)
}

// holder is the process that works on the runtime's data.
func (r *runtimeProcess) holder() (process.Process, error) {
	pid, err := RuntimeConfig(r.dir).Running()
	if err != nil {
		return process.Process{}, err
	}
	if pid == 0 {
		return process.Process{}, process.ErrNotRunning
	}
	return process.Of(pid)
}

// adopt waits until a runtime that is there answers and reports whether it does.
func (r *runtimeProcess) adopt(ctx context.Context, p process.Process) bool {
	ctx, cancel := context.WithTimeout(ctx, runtimeAdoptTimeout)
	defer cancel()
	for !answers(r.dir.RuntimeSocket()) {
		if !p.Alive() || sleep(ctx, runtimeLook) != nil {
			return false
		}
	}
	r.current = p
	return process.Remember(r.dir.RuntimeProcess(), p) == nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func answers(socket string) bool {
	conn, err := net.DialTimeout("unix", socket, time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

func (r *runtimeProcess) startNew(ctx context.Context) error {
	ready, child, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make a pipe: %w", err)
	}
	defer ready.Close()
	before := process.LogSize(r.dir.RuntimeLog())
	p, _, err := process.Start(r.dir.RuntimeLog(), []*os.File{child}, r.program, "runtime", "--ready-fd=3", "--data-dir="+string(r.dir))
	child.Close()
	if err != nil {
		return err
	}
	if err := ready.SetReadDeadline(time.Now().Add(runtimeStartTimeout)); err != nil {
		return fmt.Errorf("wait for the container runtime: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = ready.SetReadDeadline(time.Now()) })
	defer stop()
	if _, err := bufio.NewReader(ready).ReadString('\n'); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("container runtime did not start; the end of %s:\n%s", r.dir.RuntimeLog(), logTail(r.dir.RuntimeLog(), before))
	}
	r.current = p
	return process.Remember(r.dir.RuntimeProcess(), p)
}

// run starts the runtime again whenever it ends. When ctx ends the runtime is
// left alone.
func (r *runtimeProcess) run(ctx context.Context) error {
	for {
		if err := r.current.Wait(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		slog.Warn("container runtime ended, starting it again", "pid", r.current.PID)
		for {
			err := r.ensure(ctx)
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return nil
			}
			slog.Error("container runtime not started, trying again", "err", err)
			if sleep(ctx, runtimeRestartPause) != nil {
				return nil
			}
		}
	}
}

// logTail returns the end of what was written to a log after from.
func logTail(file string, from int64) string {
	const most = 2000
	written := process.LogSince(file, from)
	return written[max(0, len(written)-most):]
}

// RuntimeConfig is how the runtime of an instance is set up.
func RuntimeConfig(dir instance.Dir) runtime.Config {
	return runtime.Config{
		Root:         dir.Runtime(),
		State:        filepath.Join(dir.Run(), "runtime"),
		Socket:       dir.RuntimeSocket(),
		CgroupParent: "/" + string(dir.Name()),
		CNIConfDir:   cniConfDir(dir),
	}
}

func cniConfDir(dir instance.Dir) string { return filepath.Join(dir.Run(), "cni") }
