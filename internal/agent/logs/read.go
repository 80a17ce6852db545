package logs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// ReadOptions say which lines of a log to write and how.
type ReadOptions struct {
	// Tail is how many lines at the end to begin with; nil is all.
	Tail *int64
	// LimitBytes ends the reading; nil is no limit.
	LimitBytes *int64
	// Since skips what was written before it.
	Since time.Time
	// Timestamps puts its time before each line.
	Timestamps bool
	// Follow goes on until the container has ended.
	Follow bool
	// Running says whether the container may still write. Only asked to follow.
	Running func(ctx context.Context) (bool, error)
	// Idle, when not nil, is called to follow, when all that there is has been
	// written.
	Idle func() error
}

// lastWords is how long after a container's end its last lines are waited for,
// should its log never be closed.
const lastWords = 2 * time.Second

// errEnough ends a reading whose limit is reached.
var errEnough = errors.New("limit reached")

// Read writes the lines of the log at path. A nil writer drops its stream.
func Read(ctx context.Context, path string, options ReadOptions, stdout, stderr io.Writer) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	r := &reading{path: path, file: file, options: options, fresh: true,
		out: &output{stdout: stdout, stderr: stderr, options: options, remain: -1}}
	defer func() { r.file.Close() }()
	if options.LimitBytes != nil {
		r.out.remain = *options.LimitBytes
		if r.out.remain == 0 {
			return nil
		}
	}
	if options.Tail != nil {
		start, err := tailStart(file, *options.Tail)
		if err != nil {
			return fmt.Errorf("find the last %d lines of the log: %w", *options.Tail, err)
		}
		if _, err := file.Seek(start, io.SeekStart); err != nil {
			return fmt.Errorf("seek in log: %w", err)
		}
	}
	r.lines = bufio.NewReaderSize(file, 32<<10)
	if options.Follow {
		err = r.follow(ctx)
	} else {
		err = r.once(ctx)
	}
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// reading is one Read under way.
type reading struct {
	path    string
	file    *os.File
	lines   *bufio.Reader
	options ReadOptions
	out     *output
	// rest is the beginning of a line whose end is not written yet.
	rest []byte
	// fresh: the next text begins a line of the container's.
	fresh bool
}

// drain writes all complete lines up to the end of the file.
func (r *reading) drain(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		part, err := r.lines.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			r.rest = append(r.rest, part...)
			continue
		}
		if err != nil {
			r.rest = append(r.rest, part...)
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("read log: %w", err)
		}
		if len(r.rest) > 0 {
			r.rest = append(r.rest, part...)
			part = r.rest
		}
		if err := r.write(part); err != nil {
			return err
		}
		r.rest = r.rest[:0]
	}
}

// write writes one line of the file. A line that is damaged is skipped: the
// disk may have been full when it was written.
func (r *reading) write(raw []byte) error {
	line, err := ParseLine(raw)
	if err != nil {
		return nil
	}
	err = r.out.write(line, r.fresh)
	r.fresh = !line.Partial
	return err
}

func (r *reading) once(ctx context.Context) error {
	if err := r.drain(ctx); err != nil {
		return err
	}
	if len(r.rest) > 0 {
		return r.write(r.rest)
	}
	return nil
}

// follow drains the file whenever it changes, steps over to the file that
// rotation puts in its place, and ends when the container no longer runs.
func (r *reading) follow(ctx context.Context) error {
	watch, err := watchDir(filepath.Dir(r.path))
	if err != nil {
		return fmt.Errorf("watch log: %w", err)
	}
	defer watch.Close()
	var ended time.Time
	for {
		if err := r.drain(ctx); err != nil {
			return err
		}
		switched, err := r.rotated(ctx)
		if err != nil {
			return err
		}
		if switched {
			continue
		}
		running, err := r.options.Running(ctx)
		if err != nil {
			return err
		}
		if !running {
			if ended.IsZero() {
				ended = time.Now()
			}
			if time.Since(ended) < lastWords && beingWritten(r.file) {
				if err := watch.Wait(ctx); err != nil {
					return err
				}
				continue
			}
			// What was written between the drain and the end.
			if err := r.drain(ctx); err != nil {
				return err
			}
			if switched, err := r.rotated(ctx); err != nil || !switched {
				return err
			}
			continue
		}
		if r.options.Idle != nil {
			if err := r.options.Idle(); err != nil {
				return fmt.Errorf("write log: %w", err)
			}
		}
		if err := watch.Wait(ctx); err != nil {
			return err
		}
	}
}

// rotated steps over to the new file once the runtime writes to that one and no
// longer to the old: containerd writes what it has read already to the old file
// while it begins the new.
func (r *reading) rotated(ctx context.Context) (bool, error) {
	now, err := os.Stat(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // between the renaming and the reopening
	}
	if err != nil {
		return false, fmt.Errorf("stat log: %w", err)
	}
	opened, err := r.file.Stat()
	if err != nil {
		return false, fmt.Errorf("stat log: %w", err)
	}
	if os.SameFile(now, opened) || now.Size() == 0 || beingWritten(r.file) {
		return false, nil
	}
	if err := r.drain(ctx); err != nil {
		return false, err
	}
	file, err := os.Open(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("open rotated log: %w", err)
	}
	r.file.Close()
	r.file, r.rest = file, r.rest[:0]
	r.lines.Reset(file)
	return true, nil
}

// beingWritten says whether anybody has the file open for writing: the kernel
// gives no read lease on it then. Where a file system has no leases, nobody is
// said to write.
func beingWritten(file *os.File) bool {
	_, err := unix.FcntlInt(file.Fd(), unix.F_SETLEASE, unix.F_RDLCK)
	if err == nil {
		_, err = unix.FcntlInt(file.Fd(), unix.F_SETLEASE, unix.F_UNLCK)
	}
	return errors.Is(err, unix.EAGAIN)
}

// output writes lines as the options ask.
type output struct {
	stdout, stderr io.Writer
	options        ReadOptions
	// remain is how many bytes may be written; negative is no limit.
	remain int64
	buffer []byte
}

func (o *output) write(line Line, fresh bool) error {
	if line.Time.Before(o.options.Since) {
		return nil
	}
	to := o.stdout
	if line.Stream == Stderr {
		to = o.stderr
	}
	if to == nil {
		return nil
	}
	text := line.Text
	if o.options.Timestamps && fresh {
		o.buffer = line.Time.AppendFormat(o.buffer[:0], stampFormat)
		o.buffer = append(append(o.buffer, ' '), text...)
		text = o.buffer
	}
	if o.remain >= 0 && int64(len(text)) > o.remain {
		text = text[:o.remain]
	}
	n, err := to.Write(text)
	if err != nil {
		return fmt.Errorf("write log: %w", err)
	}
	if o.remain >= 0 {
		if o.remain -= int64(n); o.remain == 0 {
			return errEnough
		}
	}
	return nil
}

// tailStart is where the last n lines of the file begin. A line at the end
// that has no newline yet counts as one.
func tailStart(file *os.File, n int64) (int64, error) {
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	end := info.Size()
	if n <= 0 {
		return end, nil
	}
	const block = 64 << 10
	buffer := make([]byte, min(block, end))
	var seen int64
	for at := end; at > 0; {
		size := min(block, at)
		at -= size
		chunk := buffer[:size]
		if _, err := file.ReadAt(chunk, at); err != nil {
			return 0, err
		}
		for i := len(chunk); i > 0; {
			if i = bytes.LastIndexByte(chunk[:i], '\n'); i < 0 {
				break
			}
			// The newline at the very end closes the last line.
			if at+int64(i) == end-1 {
				continue
			}
			if seen++; seen == n {
				return at + int64(i) + 1, nil
			}
		}
	}
	return 0, nil
}
