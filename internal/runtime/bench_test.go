package runtime_test

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sinawi/sinawi/internal/runtime/runtimetest"
)

// BenchmarkPodStart measures from RunPodSandbox to a started container on the pod
// network, one pod after another, and what the node then costs at rest.
func BenchmarkPodStart(b *testing.B) {
	for name, handler := range map[string]string{"shared shims": "sinawi", "shim per pod": "runc"} {
		b.Run(name, func(b *testing.B) { benchmarkPodStart(b, handler) })
	}
}

func benchmarkPodStart(b *testing.B, handler string) {
	c := runtimetest.Config(b)
	network(b, c)
	r := runtimetest.StartWith(b, c)
	start := func(i int) time.Duration {
		began := time.Now()
		p := runPodBy(b, r, handler, fmt.Sprint("pod", i), onPodNetwork)
		p.run("c", "exec sleep 100000", nil)
		return time.Since(began)
	}
	start(-1) // what is done only once is not what is measured
	idle := pss(b, r.PID)
	var took []time.Duration
	busy := cpu(b, r)
	for b.Loop() {
		took = append(took, start(len(took)))
	}
	busy = cpu(b, r) - busy
	slices.Sort(took)
	pods := float64(len(took))
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms/p50")
	b.ReportMetric(float64(took[len(took)*9/10].Microseconds())/1000, "ms/p90")
	b.ReportMetric(float64(busy.Microseconds())/1000/pods, "CPU-ms/pod")
	b.ReportMetric(float64(idle)/1e6, "MB-runtime")
	b.ReportMetric(float64(shimsPSS(b, r))/1e6, "MB-shims")
	b.ReportMetric(idleCPU(b, r.PID)*100, "%CPU-idle")
}

// BenchmarkPodBurst measures how many pods per second start when many are asked for
// at once.
func BenchmarkPodBurst(b *testing.B) {
	const burst = 20
	c := runtimetest.Config(b)
	network(b, c)
	r := runtimetest.StartWith(b, c)
	var began time.Time
	var spent time.Duration
	round := 0
	for b.Loop() {
		began = time.Now()
		var all sync.WaitGroup
		for i := range burst {
			all.Go(func() {
				p := runPod(b, r, fmt.Sprintf("r%d-%d", round, i), onPodNetwork)
				p.run("c", "exec sleep 100000", nil)
			})
		}
		all.Wait()
		spent += time.Since(began)
		round++
		removeAll(b, r)
	}
	b.ReportMetric(float64(burst*round)/spent.Seconds(), "pods/s")
}

// pss is the memory of a process, shared pages divided among those that share them.
func pss(b *testing.B, pid int) int64 {
	b.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var kb int64
		if _, err := fmt.Sscanf(lines.Text(), "Pss: %d kB", &kb); err == nil {
			return kb << 10
		}
	}
	return 0
}

// shimsPSS is the memory of what stays beside the containers.
func shimsPSS(b *testing.B, r *runtimetest.Runtime) int64 {
	b.Helper()
	var sum int64
	for _, p := range processesOf(b, r) {
		var pid int
		if _, err := fmt.Sscan(p, &pid); err == nil && strings.Contains(p, "sinawi-shim") {
			sum += pss(b, pid)
		}
	}
	return sum
}

// cpu is the time that the runtime, its shims and all that they ran have worked so far.
func cpu(b *testing.B, r *runtimetest.Runtime) time.Duration {
	b.Helper()
	sum := processCPU(b, r.PID, true)
	for _, p := range processesOf(b, r) {
		var pid int
		if _, err := fmt.Sscan(p, &pid); err == nil && strings.Contains(p, "sinawi-shim") {
			sum += processCPU(b, pid, true)
		}
	}
	return sum
}

// idleCPU is the part of one processor that a process uses while nobody asks it.
func idleCPU(b *testing.B, pid int) float64 {
	b.Helper()
	const wait = 15 * time.Second
	before := processCPU(b, pid, false)
	time.Sleep(wait)
	return float64(processCPU(b, pid, false)-before) / float64(wait)
}

// processCPU is the time a process has worked, and its ended children if asked.
func processCPU(b *testing.B, pid int, children bool) time.Duration {
	b.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest)[11:] // utime, stime, and both of ended children
	if !children {
		fields = fields[:2]
	}
	var ticks int64
	for _, field := range fields[:min(4, len(fields))] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
