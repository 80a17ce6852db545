package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zapTo returns a zap logger that writes etcd's warnings and errors to logger.
// etcd's information lines describe its own start in detail that operators of
// Sinawi do not need.
func zapTo(logger *slog.Logger, broken *breakdown) *zap.Logger {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return zap.New(slogCore{logger: logger.With("component", "etcd")}, zap.WithFatalHook(broken))
}

// breakdown is what etcd cannot go on after: a full or broken disk. etcd would
// end the process on the spot; instead the goroutine ends, nothing is
// acknowledged any more, and whoever owns the process is told and stops in
// order.
type breakdown struct {
	once sync.Once
	done chan struct{} // closed when err is set
	err  error
}

func newBreakdown() *breakdown { return &breakdown{done: make(chan struct{})} }

// OnWrite is called after the message was logged, and must not return.
func (b *breakdown) OnWrite(e *zapcore.CheckedEntry, fields []zapcore.Field) {
	b.once.Do(func() {
		b.err = fmt.Errorf("the store cannot go on: %s", e.Message)
		for _, f := range fields {
			if cause, ok := f.Interface.(error); ok {
				b.err = fmt.Errorf("the store cannot go on: %s: %w", e.Message, cause)
			}
		}
		if errors.Is(b.err, syscall.ENOSPC) {
			b.err = fmt.Errorf("%w; make room on the disk and start again", b.err)
		}
		close(b.done)
	})
	runtime.Goexit()
}

type slogCore struct{ logger *slog.Logger }

func (c slogCore) Enabled(l zapcore.Level) bool { return l >= zapcore.WarnLevel }

func (c slogCore) With(fields []zapcore.Field) zapcore.Core {
	return slogCore{logger: c.logger.With(attrs(fields)...)}
}

// harmless says whether a line is one that every start of a member such as
// ours gives and that asks for nothing to be done.
func harmless(message string, fields []zapcore.Field) bool {
	switch message {
	case "Running http and grpc server on single port. This is not recommended for production.": // nothing listens
		return true
	case "simple token is not cryptographically signed": // etcd's own users are not used
		return true
	case "Failed to detect schema version", "failed to update storage version":
		// A new database has no term before its first snapshot. With any other
		// cause the line is worth reading.
		return slices.ContainsFunc(fields, func(f zapcore.Field) bool {
			err, ok := f.Interface.(error)
			return ok && strings.HasSuffix(err.Error(), "missing term information")
		})
	}
	return false
}

func (c slogCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

func (c slogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	if harmless(e.Message, fields) {
		return nil
	}
	level := slog.LevelWarn
	if e.Level >= zapcore.ErrorLevel {
		level = slog.LevelError
	}
	c.logger.Log(context.Background(), level, e.Message, attrs(fields)...)
	return nil
}

func (c slogCore) Sync() error { return nil }

func attrs(fields []zapcore.Field) []any {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(enc)
	}
	out := make([]any, 0, 2*len(enc.Fields))
	for k, v := range enc.Fields {
		out = append(out, k, v)
	}
	return out
}
