package decisions

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"k8s.io/component-base/metrics"
)

// Options vary a log; the zero value has the defaults.
type Options struct {
	Files    int   // how many files are kept; 0 means 4
	FileSize int64 // in bytes, at which a new one is begun; 0 means 16 MB
	Pending  int   // decisions that wait to be written at most; 0 means 16384
	Register func(metrics.Registerable) error
}

// pause is how long decisions are gathered before they are written at once.
const pause = 100 * time.Millisecond

// Log writes decisions to the files of one directory.
type Log struct {
	dir     string
	opts    Options
	dropped *metrics.Counter
	ready   chan struct{}

	mu      sync.Mutex
	pending []Decision // guarded by mu

	// The writer alone uses what follows.
	file *os.File
	size int64
}

// Open returns a log in a directory, which it makes if need be. Nothing is
// written until it is run.
func Open(dir string, opts Options) (*Log, error) {
	if opts.Files <= 0 {
		opts.Files = 4
	}
	if opts.FileSize <= 0 {
		opts.FileSize = 16 << 20
	}
	if opts.Pending <= 0 {
		opts.Pending = 1 << 14
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the directory of the decision log: %w", err)
	}
	l := &Log{dir: dir, opts: opts, ready: make(chan struct{}, 1), dropped: metrics.NewCounter(&metrics.CounterOpts{
		Subsystem: "scheduler", Name: "decisions_dropped_total", StabilityLevel: metrics.ALPHA,
		Help: "Number of scheduling decisions that are not in the decision log because its writer was behind or could not write.",
	})}
	register := opts.Register
	if register == nil {
		register = metrics.NewKubeRegistry().Register
	}
	// A second log in the process is not counted.
	_ = register(l.dropped)
	return l, nil
}

// Put gives a decision to be written. It never waits.
func (l *Log) Put(d Decision) {
	l.mu.Lock()
	full := len(l.pending) >= l.opts.Pending
	if !full {
		l.pending = append(l.pending, d)
	}
	l.mu.Unlock()
	if full {
		l.dropped.Inc()
		return
	}
	select {
	case l.ready <- struct{}{}:
	default:
	}
}

// Run writes until ctx ends, and what is left then.
func (l *Log) Run(ctx context.Context) error {
	defer func() {
		_ = l.write() // there is nobody left to try again
		if l.file != nil {
			l.file.Close()
		}
	}()
	gather := time.NewTimer(0)
	defer gather.Stop()
	<-gather.C
	failing := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.ready:
		}
		gather.Reset(pause)
		select {
		case <-ctx.Done():
			return nil
		case <-gather.C:
		}
		err := l.write()
		if err != nil && !failing {
			slog.Warn("decisions are not written down until this is remedied", "err", err)
		}
		failing = err != nil
	}
}

// write appends what is pending.
func (l *Log) write() error {
	l.mu.Lock()
	all := l.pending
	l.pending = nil
	l.mu.Unlock()
	if len(all) == 0 {
		return nil
	}
	var lines bytes.Buffer
	enc := json.NewEncoder(&lines)
	enc.SetEscapeHTML(false)
	for i := range all {
		if err := enc.Encode(&all[i]); err != nil {
			panic(fmt.Sprintf("a decision is no JSON: %v", err)) // it is plain data
		}
	}
	err := l.append(lines.Bytes())
	if err != nil {
		l.dropped.Add(float64(len(all)))
	}
	return err
}

func (l *Log) append(lines []byte) error {
	if l.file != nil && l.size >= l.opts.FileSize {
		if err := l.rotate(); err != nil {
			return err
		}
	}
	if l.file == nil {
		if err := l.open(); err != nil {
			return err
		}
	}
	n, err := l.file.Write(lines)
	l.size += int64(n)
	if err != nil {
		l.close() // opened anew, it begins on a new line
		return fmt.Errorf("write the decision log: %w", err)
	}
	return nil
}

// open opens the file to append to. What is torn at its end gets a line of its own.
func (l *Log) open() error {
	file, err := os.OpenFile(l.path(0), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open the decision log: %w", err)
	}
	info, err := file.Stat()
	if err != nil {
		file.Close()
		return fmt.Errorf("open the decision log: %w", err)
	}
	l.file, l.size = file, info.Size()
	last := []byte{'\n'}
	if l.size > 0 {
		if _, err := file.ReadAt(last, l.size-1); err != nil {
			l.close()
			return fmt.Errorf("read the decision log: %w", err)
		}
	}
	if last[0] == '\n' {
		return nil
	}
	if _, err := file.Write([]byte{'\n'}); err != nil {
		l.close()
		return fmt.Errorf("write the decision log: %w", err)
	}
	return nil
}

func (l *Log) close() {
	l.file.Close()
	l.file = nil
}

// rotate makes every file one older, which overwrites the oldest.
func (l *Log) rotate() error {
	l.close()
	for i := l.opts.Files - 2; i >= 0; i-- {
		if err := os.Rename(l.path(i), l.path(i+1)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("rotate the decision log: %w", err)
		}
	}
	if l.opts.Files == 1 {
		return os.Remove(l.path(0))
	}
	return nil
}

// path is a file's name; 0 is the one that is written.
func (l *Log) path(age int) string { return path(l.dir, age) }

func path(dir string, age int) string {
	if age == 0 {
		return filepath.Join(dir, "decisions.log")
	}
	return filepath.Join(dir, fmt.Sprintf("decisions.%d.log", age))
}
