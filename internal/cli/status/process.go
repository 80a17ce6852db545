package status

import (
	"bufio"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/sinawi/sinawi/internal/process"
)

// Process looks for the process that file remembers.
func Process(name, file string) Part {
	found, err := process.Find(file)
	if err != nil {
		return Part{Name: name}
	}
	return Part{Name: name, Running: true, PID: found.PID, Memory: memory(found.PID)}
}

// memory is the process's proportional set size in bytes: what it takes of the
// machine, with shared pages counted by their share. 0 means unknown.
func memory(pid int) int64 {
	file, err := os.Open(filepath.Join("/proc", strconv.Itoa(pid), "smaps_rollup"))
	if err != nil {
		return 0
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		value, ok := strings.CutPrefix(lines.Text(), "Pss:")
		if !ok {
			continue
		}
		kilobytes, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(value, "kB")), 10, 64)
		if err != nil {
			return 0
		}
		return kilobytes << 10
	}
	return 0
}
