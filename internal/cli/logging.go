package cli

import (
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/sinawi/sinawi/internal/instance"
)

// setLogging sends what this process and the libraries in it log to w. Only
// the roles that run for long call it: commands print and log nothing.
func setLogging(w io.Writer) {
	handler := slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelInfo})
	slog.SetDefault(slog.New(handler))
	// Libraries tell much that is of interest to their own developers only.
	warnings := slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelWarn})
	klog.SetSlogLogger(slog.New(warnings))
	ctrllog.SetLogger(logr.FromSlogHandler(warnings))
}

// openServerLog opens the log of a server that shows its progress on a
// terminal.
func openServerLog(dir instance.Dir) (*os.File, error) {
	if err := os.MkdirAll(dir.Logs(), 0o755); err != nil {
		return nil, fmt.Errorf("create log directory: %w", err)
	}
	file, err := os.OpenFile(dir.ServerLog(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o640)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return file, nil
}
