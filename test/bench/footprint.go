package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sinawi/sinawi/internal/process"
)

// settle is how long a node gets to come to rest after what was asked of it.
const settle = 5 * time.Second

// footprint measures the memory and the idle CPU time of all the node's own
// processes: server, runtime, shims, pause containers and what else is theirs.
func (b *bench) footprint(n int) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := sleep(ctx, settle); err != nil {
			return err
		}
		before := b.processes()
		began := time.Now()
		if err := sleep(ctx, b.idle); err != nil {
			return err
		}
		after, took := b.processes(), time.Since(began)
		var memory, cpu int64
		own := map[string]int64{}
		for pid, p := range after {
			memory += p.memory
			own[p.name] += p.memory
			cpu += p.ticks - before[pid].ticks
		}
		// USER_HZ is 100 on every architecture that Linux has today.
		share := float64(cpu) / 100 / took.Seconds() * 100
		aim := ""
		if n == 0 {
			aim = "≤ 250 MB"
		}
		b.table.Add(fmt.Sprintf("memory (PSS), %d pods", n), fmt.Sprintf("%.0f MB (%s)", float64(memory)/1e6, list(own)), aim)
		b.table.Add(fmt.Sprintf("idle CPU, %d pods", n), fmt.Sprintf("%.2f %% of a core", share), "")
		return nil
	}
}

func list(own map[string]int64) string {
	var parts []string
	for _, name := range []string{"server", "runtime", "shims", "pods"} {
		if own[name] > 0 {
			parts = append(parts, fmt.Sprintf("%s %.0f", name, float64(own[name])/1e6))
		}
	}
	return strings.Join(parts, ", ")
}

type sample struct {
	name   string
	memory int64 // bytes
	ticks  int64 // CPU time
}

// processes finds the node's processes by the program they run, their
// arguments, or the cgroup they are in.
func (b *bench) processes() map[int]sample {
	out := map[int]sample{}
	dir, instance := string(b.node.Dir), "/"+string(b.node.Dir.Name())+"/"
	entries, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		panic(err) // the pattern is wrong
	}
	for _, proc := range entries {
		pid, err := strconv.Atoi(filepath.Base(proc))
		if err != nil {
			continue
		}
		exe, err := os.Readlink(proc + "/exe")
		if err != nil { // a kernel thread, or gone
			continue
		}
		arguments := read(proc + "/cmdline")
		name := ""
		switch {
		case strings.Contains(arguments, dir) && strings.Contains(arguments, "\x00server\x00"):
			name = "server"
		case strings.Contains(arguments, dir) && strings.Contains(arguments, "\x00runtime\x00"):
			name = "runtime"
		case strings.HasPrefix(exe, dir):
			name = "shims"
		case strings.Contains(read(proc+"/cgroup"), instance):
			name = "pods"
		default:
			continue
		}
		out[pid] = sample{name: name, memory: process.Memory(pid), ticks: ticks(read(proc + "/stat"))}
	}
	return out
}

func read(file string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return "" // the process has ended
	}
	return string(data)
}

// ticks is the CPU time in /proc/PID/stat: fields 14 and 15 of proc(5).
func ticks(stat string) int64 {
	i := strings.LastIndex(stat, ")")
	fields := strings.Fields(stat[i+1:])
	if len(fields) < 13 {
		return 0
	}
	var sum int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0
		}
		sum += n
	}
	return sum
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
