// Package pidfd waits for processes that may be children of this one or not, without
// a thread for each. It signals by descriptor, so never a process that has only got
// the same number.
package pidfd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Process is one process, of which it holds a descriptor.
type Process struct {
	PID   int
	file  *os.File
	child *os.Process // reaped when it has ended; nil if it is not our child
}

// Open opens a process that is no child of this one.
func Open(pid int) (*Process, error) {
	fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	return &Process{PID: pid, file: os.NewFile(uintptr(fd), "pidfd")}, nil
}

// Of opens a child that was just started. Wait reaps it.
func Of(child *os.Process) (*Process, error) {
	p, err := Open(child.Pid)
	if err != nil {
		return nil, err
	}
	p.child = child
	return p, nil
}

// Close gives the descriptor back. The process goes on.
func (p *Process) Close() { p.file.Close() }

// Wait returns nil when the process has ended, or the context's error. One caller at
// a time may wait.
func (p *Process) Wait(ctx context.Context) error {
	_ = p.file.SetReadDeadline(time.Time{})
	stop := context.AfterFunc(ctx, func() { _ = p.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	raw, err := p.file.SyscallConn()
	if err != nil {
		return fmt.Errorf("wait for process %d: %w", p.PID, err)
	}
	err = raw.Read(func(fd uintptr) bool { return ended(int(fd)) })
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("wait for process %d: %w", p.PID, err)
	}
	if p.child != nil {
		_, _ = p.child.Wait() // at once: it is dead
	}
	return nil
}

// Ended reports whether the process has ended.
func (p *Process) Ended() bool {
	raw, err := p.file.SyscallConn()
	if err != nil {
		return true
	}
	dead := false
	if err := raw.Control(func(fd uintptr) { dead = ended(int(fd)) }); err != nil {
		return true
	}
	return dead
}

func ended(fd int) bool {
	polled := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(polled, 0)
	return err == nil && n == 1
}

// Kill sends SIGKILL; a process that has ended is no error.
func (p *Process) Kill() error {
	raw, err := p.file.SyscallConn()
	if err != nil {
		return fmt.Errorf("kill process %d: %w", p.PID, err)
	}
	var killed error
	if err := raw.Control(func(fd uintptr) { killed = unix.PidfdSendSignal(int(fd), syscall.SIGKILL, nil, 0) }); err != nil {
		return fmt.Errorf("kill process %d: %w", p.PID, err)
	}
	if killed != nil && !errors.Is(killed, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", p.PID, killed)
	}
	return nil
}
