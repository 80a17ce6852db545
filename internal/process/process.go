// Package process starts, finds again and ends the processes of an instance
// that outlive the one that started them. A process is remembered in a file by
// its id and the moment it began, because ids are used again: a stale file
// never names a stranger.
package process

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Process is one that runs, or ran.
type Process struct {
	PID int `json:"pid"`
	// Began is the process's start in clock ticks since boot, from
	// /proc/PID/stat; with the boot's id it makes the pid unique.
	Began uint64 `json:"began"`
	Boot  string `json:"boot"`
}

// ErrNotRunning says that no process is remembered, or that it has ended.
var ErrNotRunning = errors.New("not running")

// Self is the calling process.
func Self() (Process, error) { return Of(os.Getpid()) }

// Of is the process that has the id now, or ErrNotRunning.
func Of(pid int) (Process, error) {
	began, err := began(pid)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return Process{}, ErrNotRunning
	}
	if err != nil {
		return Process{}, err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return Process{}, fmt.Errorf("read boot id: %w", err)
	}
	return Process{PID: pid, Began: began, Boot: strings.TrimSpace(string(boot))}, nil
}

func began(pid int) (uint64, error) {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, err
	}
	return parseStat(string(data))
}

// parseStat returns field 22 of /proc/PID/stat (proc(5)). Field 2, the
// command's name, may hold blanks and parentheses, so fields are counted from
// the last parenthesis.
func parseStat(stat string) (uint64, error) {
	_, rest, ok := cutLast(stat, ")")
	fields := strings.Fields(rest)
	const startTime = 22 - 3 // the field after the name is the third
	if !ok || len(fields) <= startTime {
		return 0, fmt.Errorf("parse process state: got %d fields", len(fields))
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return 0, fs.ErrNotExist
	}
	n, err := strconv.ParseUint(fields[startTime], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("parse start time: %w", err)
	}
	return n, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// Remember writes p to file, whole or not at all.
func Remember(file string, p Process) error {
	data, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("encode process: %w", err)
	}
	tmp := file + ".new"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return fmt.Errorf("remember process: %w", err)
	}
	if err := os.Rename(tmp, file); err != nil {
		return fmt.Errorf("remember process: %w", err)
	}
	return nil
}

// Find returns the process that file remembers, or ErrNotRunning.
func Find(file string) (Process, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return Process{}, ErrNotRunning
	}
	if err != nil {
		return Process{}, fmt.Errorf("find process: %w", err)
	}
	var p Process
	if err := json.Unmarshal(data, &p); err != nil {
		// Cut short by a crash: nothing is known of the process.
		return Process{}, ErrNotRunning
	}
	if !p.Alive() {
		return Process{}, ErrNotRunning
	}
	return p, nil
}

// Alive reports whether the very process still runs.
func (p Process) Alive() bool {
	now, err := Of(p.PID)
	return err == nil && now == p
}

// Start runs a command in a session of its own, so that it outlives its parent,
// with its output appended to logFile. extra files are its descriptors from 3.
// The returned channel is closed when the process has ended and was waited for.
func Start(logFile string, extra []*os.File, name string, args ...string) (Process, <-chan struct{}, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return Process{}, nil, fmt.Errorf("open log of %s: %w", filepath.Base(name), err)
	}
	defer log.Close()
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = extra
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return Process{}, nil, fmt.Errorf("start %s: %w", strings.Join(append([]string{name}, args...), " "), err)
	}
	p, err := Of(cmd.Process.Pid)
	done := make(chan struct{})
	go func() { // ends with the process; it reaps the child
		defer close(done)
		_ = cmd.Wait()
	}()
	if err != nil {
		return Process{}, nil, fmt.Errorf("%s ended at once; see %s", filepath.Base(name), logFile)
	}
	return p, done, nil
}

// Wait returns when the process has ended, also where it is no child of the
// caller, or with the context's error.
func (p Process) Wait(ctx context.Context) error {
	fd, err := unix.PidfdOpen(p.PID, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("watch process %d: %w", p.PID, err)
	}
	file := os.NewFile(uintptr(fd), "pidfd")
	defer file.Close()
	if !p.Alive() { // the id was used again between the file and here
		return nil
	}
	stop := context.AfterFunc(ctx, func() { _ = file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	raw, err := file.SyscallConn()
	if err != nil {
		return fmt.Errorf("watch process %d: %w", p.PID, err)
	}
	err = raw.Read(func(fd uintptr) bool {
		polled := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(polled, 0)
		return err == nil && n == 1
	})
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// Stop asks the process to end and waits; when grace is over it is killed.
func (p Process) Stop(ctx context.Context, grace time.Duration) error {
	if !p.Alive() {
		return nil
	}
	if err := unix.Kill(p.PID, unix.SIGTERM); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("stop process %d: %w", p.PID, err)
	}
	waitCtx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	err := p.Wait(waitCtx)
	if err == nil || ctx.Err() != nil {
		return err
	}
	if err := unix.Kill(p.PID, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", p.PID, err)
	}
	return p.Wait(ctx)
}
