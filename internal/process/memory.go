package process

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Memory is a process's proportional set size in bytes: what it takes of the
// machine, with shared pages counted by their share. 0 means unknown.
func Memory(pid int) int64 {
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "smaps_rollup"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		value, ok := strings.CutPrefix(line, "Pss:")
		if !ok {
			continue
		}
		kilobytes, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
		if err != nil {
			return 0
		}
		return kilobytes << 10
	}
	return 0
}
