package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// Limits of a termination message.
const (
	maxMessage      = 4096
	maxMessageLog   = 2048
	maxMessageLines = 80
)

// Message reads what a container left at its end: the end of its message file,
// or of its log when the file is empty, the container failed and the policy is
// FallbackToLogsOnError. file may be empty.
func Message(file, policy, log string, failed bool) string {
	if file != "" {
		data, err := end(file, maxMessage)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Sprintf("Error on reading termination log %s: %v", file, err)
		}
		if len(data) > 0 {
			return strings.ToValidUTF8(string(data), "\uFFFD")
		}
	}
	if policy != string(corev1.TerminationMessageFallbackToLogsOnError) || !failed || log == "" {
		return ""
	}
	lines := int64(maxMessageLines)
	var tail bytes.Buffer
	if err := Read(context.Background(), log, ReadOptions{Tail: &lines}, &tail, &tail); err != nil {
		return fmt.Sprintf("Error on reading termination message from logs: %v", err)
	}
	text := tail.Bytes()
	if len(text) > maxMessageLog {
		text = text[len(text)-maxMessageLog:]
	}
	return strings.ToValidUTF8(string(text), "\uFFFD")
}

// end reads at most the last n bytes of a file that a container could write to.
func end(path string, n int64) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	if info.Size() > n {
		if _, err := file.Seek(-n, io.SeekEnd); err != nil {
			return nil, err
		}
	}
	return io.ReadAll(io.LimitReader(file, n))
}
