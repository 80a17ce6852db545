package logs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A container's end is seen by its log being closed; the runtime may say that
// the container runs for a moment longer, and it may have closed the log before
// we watched.
const (
	recheckFirst = 20 * time.Millisecond
	recheckLast  = time.Second
)

// dirWatch waits for changes of files in a directory. Without a file it only
// waits: the kernel has no more watches to give, and a log is read all the same.
type dirWatch struct {
	file    *os.File
	recheck time.Duration
}

func watchDir(dir string) (*dirWatch, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if errors.Is(err, unix.EMFILE) {
		return &dirWatch{recheck: recheckFirst}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("inotify: %w", err)
	}
	const events = unix.IN_MODIFY | unix.IN_CLOSE_WRITE | unix.IN_CREATE | unix.IN_MOVED_TO | unix.IN_MOVED_FROM
	if _, err := unix.InotifyAddWatch(fd, dir, events); err != nil {
		unix.Close(fd)
		if errors.Is(err, unix.ENOSPC) {
			return &dirWatch{recheck: recheckFirst}, nil
		}
		return nil, fmt.Errorf("inotify %s: %w", dir, err)
	}
	return &dirWatch{file: os.NewFile(uintptr(fd), "inotify"), recheck: recheckFirst}, nil
}

func (w *dirWatch) Close() error {
	if w.file == nil {
		return nil
	}
	return w.file.Close()
}

// Wait returns when something in the directory changed, or after a while
// without, which grows while nothing happens.
func (w *dirWatch) Wait(ctx context.Context) error {
	if w.file == nil {
		return w.rest(ctx)
	}
	stop := context.AfterFunc(ctx, func() { w.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := w.file.SetReadDeadline(time.Now().Add(w.recheck)); err != nil {
		return fmt.Errorf("wait for log: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	var events [4096]byte
	_, err := w.file.Read(events[:])
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, os.ErrDeadlineExceeded):
		w.recheck = min(2*w.recheck, recheckLast)
	case err != nil:
		return fmt.Errorf("wait for log: %w", err)
	default:
		w.recheck = recheckFirst
	}
	return nil
}

func (w *dirWatch) rest(ctx context.Context) error {
	timer := time.NewTimer(w.recheck)
	defer timer.Stop()
	w.recheck = min(2*w.recheck, recheckLast)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
