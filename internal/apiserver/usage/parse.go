package usage

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
)

// sample is what a node said at one moment.
type sample struct {
	at   time.Time // when it was read, by this machine's clock
	node counters
	pods map[podKey]map[string]counters // by container
}

type podKey struct{ namespace, name string }

// counters are those of a node or a container.
type counters struct {
	at      time.Time // of the processor time, by the node's clock
	cpu     float64   // seconds since the start
	memory  uint64    // working set
	started time.Time // zero for a node
	both    parts
}

// parts say what of counters was given.
type parts uint8

const (
	hasCPU parts = 1 << iota
	hasMemory
	hasAll = hasCPU | hasMemory
)

// maxLine bounds a line of a node's answer.
const maxLine = 64 << 10

// parse reads metrics in the Prometheus text format; of those it does not know
// it takes no notice.
func parse(in io.Reader, now time.Time) (sample, error) {
	s := sample{at: now, pods: map[podKey]map[string]counters{}}
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 0, 4096), maxLine)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		m, err := parseMetric(line)
		if err != nil {
			return sample{}, fmt.Errorf("metric %q: %w", line, err)
		}
		s.take(m, now)
	}
	if err := lines.Err(); err != nil {
		return sample{}, fmt.Errorf("read metrics: %w", err)
	}
	return s, nil
}

func (s *sample) take(m metric, now time.Time) {
	if m.at.IsZero() {
		m.at = now
	}
	switch m.name {
	case "node_cpu_usage_seconds_total", "node_memory_working_set_bytes":
		s.node.take(m)
	case "container_cpu_usage_seconds_total", "container_memory_working_set_bytes", "container_start_time_seconds":
		pod := podKey{m.labels["namespace"], m.labels["pod"]}
		if s.pods[pod] == nil {
			s.pods[pod] = map[string]counters{}
		}
		c := s.pods[pod][m.labels["container"]]
		c.take(m)
		s.pods[pod][m.labels["container"]] = c
	}
}

func (c *counters) take(m metric) {
	if math.IsNaN(m.value) || m.value < 0 || m.value > math.MaxInt64 {
		return
	}
	switch {
	case strings.HasSuffix(m.name, "cpu_usage_seconds_total"):
		c.cpu, c.at = m.value, m.at
		c.both |= hasCPU
	case strings.HasSuffix(m.name, "memory_working_set_bytes"):
		c.memory = uint64(m.value)
		c.both |= hasMemory
	default:
		c.started = time.UnixMilli(int64(m.value * 1000))
	}
}

// metric is one line.
type metric struct {
	name   string
	labels map[string]string
	value  float64
	at     time.Time // zero when the line does not say
}

func parseMetric(line string) (m metric, err error) {
	end := strings.IndexAny(line, "{ \t")
	if end <= 0 {
		return m, fmt.Errorf("has no value")
	}
	m.name = line[:end]
	rest := line[end:]
	if rest[0] == '{' {
		if m.labels, rest, err = parseLabels(rest[1:]); err != nil {
			return m, err
		}
	}
	fields := strings.Fields(rest)
	if len(fields) == 0 || len(fields) > 2 {
		return m, fmt.Errorf("%d values", len(fields))
	}
	if m.value, err = strconv.ParseFloat(fields[0], 64); err != nil {
		return m, err
	}
	if len(fields) == 2 {
		ms, err := strconv.ParseInt(fields[1], 10, 64)
		if err != nil {
			return m, err
		}
		m.at = time.UnixMilli(ms)
	}
	return m, nil
}

// parseLabels reads `name="value",…}` and returns what follows.
func parseLabels(text string) (map[string]string, string, error) {
	labels := map[string]string{}
	for {
		text = strings.TrimLeft(text, ", ")
		if strings.HasPrefix(text, "}") {
			return labels, text[1:], nil
		}
		name, rest, ok := strings.Cut(text, `="`)
		if !ok {
			return nil, "", fmt.Errorf("labels do not end")
		}
		value, rest, err := unquote(rest)
		if err != nil {
			return nil, "", err
		}
		labels[strings.TrimSpace(name)] = value
		text = rest
	}
}

// unquote reads up to the quote that ends the value.
func unquote(text string) (value, rest string, err error) {
	end := strings.IndexAny(text, `"\`)
	if end >= 0 && text[end] == '"' {
		return text[:end], text[end+1:], nil // as nearly all are
	}
	var out strings.Builder
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '"':
			return out.String(), text[i+1:], nil
		case text[i] == '\\' && i+1 < len(text):
			i++
			if text[i] == 'n' {
				out.WriteByte('\n')
			} else {
				out.WriteByte(text[i])
			}
		default:
			out.WriteByte(text[i])
		}
	}
	return "", "", fmt.Errorf("a label's value does not end")
}
