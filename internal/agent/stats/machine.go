package stats

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// tick is the unit of processor times in /proc/stat.
const tick = 10 * time.Millisecond

// cpuSample is how long all processors have worked since the machine started.
type cpuSample struct {
	at   time.Time
	busy time.Duration
}

// parseStat reads /proc/stat: processor time in use, and when the machine started.
func parseStat(text string) (busy time.Duration, boot time.Time, err error) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		switch fields[0] {
		case "cpu":
			// user nice system idle iowait irq softirq steal; guests count as user.
			for i, field := range fields[1:min(len(fields), 9)] {
				ticks, err := strconv.ParseInt(field, 10, 64)
				if err != nil {
					return 0, boot, fmt.Errorf("processor time %q: %w", field, err)
				}
				if i != 3 && i != 4 {
					busy += time.Duration(ticks) * tick
				}
			}
		case "btime":
			if len(fields) > 1 {
				seconds, err := strconv.ParseInt(fields[1], 10, 64)
				if err != nil {
					return 0, boot, fmt.Errorf("boot time %q: %w", fields[1], err)
				}
				boot = time.Unix(seconds, 0)
			}
		}
	}
	return busy, boot, nil
}

// parseMeminfo reads /proc/meminfo in bytes.
func parseMeminfo(text string) map[string]uint64 {
	values := map[string]uint64{}
	for line := range strings.Lines(text) {
		name, rest, ok := strings.Cut(line, ":")
		fields := strings.Fields(rest)
		if !ok || len(fields) == 0 {
			continue
		}
		value, err := strconv.ParseUint(fields[0], 10, 64)
		if err != nil {
			continue
		}
		if len(fields) > 1 && fields[1] == "kB" {
			value <<= 10
		}
		values[name] = value
	}
	return values
}

// nodeMemory puts memory in the kubelet's words: what cannot be given up at
// once is the working set.
func nodeMemory(info map[string]uint64, now metav1.Time) *statsapi.MemoryStats {
	usage := info["MemTotal"] - info["MemFree"]
	working := usage - min(usage, info["Inactive(file)"])
	available := info["MemTotal"] - working
	rss := info["AnonPages"]
	return &statsapi.MemoryStats{Time: now, UsageBytes: &usage, WorkingSetBytes: &working, AvailableBytes: &available, RSSBytes: &rss}
}

func nodeSwap(info map[string]uint64, now metav1.Time) *statsapi.SwapStats {
	free := info["SwapFree"]
	used := info["SwapTotal"] - free
	return &statsapi.SwapStats{Time: now, SwapAvailableBytes: &free, SwapUsageBytes: &used}
}

// parseNet reads /proc/net/dev.
func parseNet(text string) []statsapi.InterfaceStats {
	var all []statsapi.InterfaceStats
	for line := range strings.Lines(text) {
		name, rest, ok := strings.Cut(line, ":")
		fields := strings.Fields(rest)
		if name = strings.TrimSpace(name); !ok || name == "lo" || len(fields) < 16 {
			continue
		}
		number := func(i int) *uint64 {
			value, err := strconv.ParseUint(fields[i], 10, 64)
			if err != nil {
				return nil
			}
			return &value
		}
		all = append(all, statsapi.InterfaceStats{Name: name, RxBytes: number(0), RxErrors: number(2), TxBytes: number(8), TxErrors: number(10)})
	}
	return all
}

// defaultInterface is where /proc/net/route sends what has no route of its own.
func defaultInterface(text string) string {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) > 7 && fields[1] == "00000000" && fields[7] == "00000000" {
			return fields[0]
		}
	}
	return ""
}

func nodeNetwork(dev, route string, now metav1.Time) *statsapi.NetworkStats {
	network := &statsapi.NetworkStats{Time: now, Interfaces: parseNet(dev)}
	main := defaultInterface(route)
	for _, i := range network.Interfaces {
		if i.Name == main {
			network.InterfaceStats = i
		}
	}
	return network
}

// rlimit counts processes: /proc/loadavg ends with "... running/all last".
func rlimit(loadavg, pidMax string, now metav1.Time) *statsapi.RlimitStats {
	stats := &statsapi.RlimitStats{Time: now}
	if value, err := strconv.ParseInt(strings.TrimSpace(pidMax), 10, 64); err == nil {
		stats.MaxPID = &value
	}
	if fields := strings.Fields(loadavg); len(fields) > 3 {
		_, all, _ := strings.Cut(fields[3], "/")
		if value, err := strconv.ParseInt(all, 10, 64); err == nil {
			stats.NumOfRunningProcesses = &value
		}
	}
	return stats
}

// fileSystem is the size of the file system that holds dir.
func fileSystem(dir string, now metav1.Time) *statsapi.FsStats {
	var fs unix.Statfs_t
	if unix.Statfs(dir, &fs) != nil {
		return nil
	}
	size := uint64(fs.Bsize)
	capacity, available := fs.Blocks*size, fs.Bavail*size
	used := (fs.Blocks - fs.Bfree) * size
	inodes, free := fs.Files, fs.Ffree
	inodesUsed := inodes - free
	return &statsapi.FsStats{Time: now, CapacityBytes: &capacity, AvailableBytes: &available, UsedBytes: &used,
		Inodes: &inodes, InodesFree: &free, InodesUsed: &inodesUsed}
}

func read(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return "" // then the value is left out
	}
	return string(data)
}
