package logs

import (
	"bytes"
	"errors"
	"fmt"
	"time"
)

// Stream is where a container wrote a line.
type Stream string

// The streams of a container.
const (
	Stdout Stream = "stdout"
	Stderr Stream = "stderr"
)

// stampFormat has a fixed width, so that lines of a log align and sort.
const stampFormat = "2006-01-02T15:04:05.000000000Z07:00"

// Line is one line of a log file. Text ends with a newline unless the
// container's own line goes on in the next one; it shares memory with the
// bytes that were parsed.
type Line struct {
	Time    time.Time
	Stream  Stream
	Partial bool
	Text    []byte
}

// ParseLine parses a line in the runtime's format:
//
//	2016-10-06T00:17:09.669794202Z stdout F content
func ParseLine(raw []byte) (Line, error) {
	stamp, rest, ok := bytes.Cut(raw, []byte{' '})
	if !ok {
		return Line{}, errors.New("the line has no timestamp")
	}
	when, err := time.Parse(time.RFC3339Nano, string(stamp))
	if err != nil {
		return Line{}, fmt.Errorf("timestamp: %w", err)
	}
	stream, rest, ok := bytes.Cut(rest, []byte{' '})
	if !ok {
		return Line{}, errors.New("the line names no stream")
	}
	line := Line{Time: when, Stream: Stream(stream)}
	if line.Stream != Stdout && line.Stream != Stderr {
		return Line{}, fmt.Errorf("stream %q is unknown", stream)
	}
	tags, text, ok := bytes.Cut(rest, []byte{' '})
	if !ok {
		return Line{}, errors.New("the line has no tag")
	}
	tag, _, _ := bytes.Cut(tags, []byte{':'})
	line.Partial = string(tag) == "P"
	if line.Partial {
		text = bytes.TrimSuffix(text, []byte{'\n'})
	}
	line.Text = text
	return line, nil
}
