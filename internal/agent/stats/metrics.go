package stats

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	kubelettypes "k8s.io/kubelet/pkg/types"
)

// family is one metric with its samples, in the Prometheus text format.
type family struct {
	name, kind, help string
	lines            []string
}

// labels are pairs of a name and a value.
type labels []string

func (f *family) add(l labels, value float64, when int64) {
	var line strings.Builder
	line.WriteString(f.name)
	for i := 0; i+1 < len(l); i += 2 {
		line.WriteByte("{,"[min(i, 1)])
		line.WriteString(l[i] + `="` + escape(l[i+1]) + `"`)
	}
	if len(l) > 0 {
		line.WriteByte('}')
	}
	line.WriteString(" " + strconv.FormatFloat(value, 'g', -1, 64))
	if when > 0 {
		line.WriteString(" " + strconv.FormatInt(when/int64(time.Millisecond), 10))
	}
	f.lines = append(f.lines, line.String())
}

func (f *family) addValue(l labels, value *cri.UInt64Value, unit float64, when int64) {
	if value != nil {
		f.add(l, float64(value.Value)*unit, when)
	}
}

func escape(s string) string {
	return strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s)
}

func write(w io.Writer, families ...*family) error {
	out := bufio.NewWriter(w)
	for _, f := range families {
		if len(f.lines) == 0 {
			continue
		}
		fmt.Fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", f.name, f.help, f.name, f.kind)
		for _, line := range f.lines {
			out.WriteString(line + "\n")
		}
	}
	return out.Flush()
}

const nano = 1e-9

// WriteResource writes what the resource metrics API is fed with.
func (r *Reader) WriteResource(ctx context.Context, w io.Writer) error {
	s, err := r.sample(ctx)
	if err != nil {
		return err
	}
	nodeCPU := &family{name: "node_cpu_usage_seconds_total", kind: "counter", help: "[STABLE] Cumulative cpu time consumed by the node in core-seconds"}
	nodeMem := &family{name: "node_memory_working_set_bytes", kind: "gauge", help: "[STABLE] Current working set of the node in bytes"}
	cpu := &family{name: "container_cpu_usage_seconds_total", kind: "counter", help: "[STABLE] Cumulative cpu time consumed by the container in core-seconds"}
	mem := &family{name: "container_memory_working_set_bytes", kind: "gauge", help: "[STABLE] Current working set of the container in bytes"}
	start := &family{name: "container_start_time_seconds", kind: "gauge", help: "[STABLE] Start time of the container since unix epoch in seconds"}
	podCPU := &family{name: "pod_cpu_usage_seconds_total", kind: "counter", help: "[STABLE] Cumulative cpu time consumed by the pod in core-seconds"}
	podMem := &family{name: "pod_memory_working_set_bytes", kind: "gauge", help: "[STABLE] Current working set of the pod in bytes"}
	failed := &family{name: "resource_scrape_error", kind: "gauge", help: "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise"}

	now := r.options.Now().UnixNano()
	if busy, _, err := parseStat(read("/proc/stat")); err == nil {
		nodeCPU.add(nil, busy.Seconds(), now)
	}
	info := parseMeminfo(read("/proc/meminfo"))
	used := info["MemTotal"] - info["MemFree"]
	nodeMem.add(nil, float64(used-min(used, info["Inactive(file)"])), now)
	for _, pod := range s.pods {
		meta, linux := pod.Attributes.GetMetadata(), pod.GetLinux()
		l := labels{"namespace", meta.GetNamespace(), "pod", meta.GetName()}
		podCPU.addValue(l, linux.GetCpu().GetUsageCoreNanoSeconds(), nano, linux.GetCpu().GetTimestamp())
		podMem.addValue(l, linux.GetMemory().GetWorkingSetBytes(), 1, linux.GetMemory().GetTimestamp())
		for _, c := range linux.GetContainers() {
			l := labels{"container", containerName(c), "namespace", meta.GetNamespace(), "pod", meta.GetName()}
			cpu.addValue(l, c.GetCpu().GetUsageCoreNanoSeconds(), nano, c.GetCpu().GetTimestamp())
			mem.addValue(l, c.GetMemory().GetWorkingSetBytes(), 1, c.GetMemory().GetTimestamp())
			if known, ok := s.containers[c.Attributes.GetId()]; ok {
				start.add(l, float64(known.CreatedAt)*nano, 0)
			}
		}
	}
	failed.add(nil, 0, 0)
	return write(w, cpu, mem, start, nodeCPU, nodeMem, podCPU, podMem, failed)
}

func containerName(c *cri.ContainerStats) string {
	if name := c.Attributes.GetLabels()[kubelettypes.KubernetesContainerNameLabel]; name != "" {
		return name
	}
	return c.Attributes.GetMetadata().GetName()
}

// WriteCadvisor writes the metrics of containers that dashboards made for
// cAdvisor read most, under its names.
func (r *Reader) WriteCadvisor(ctx context.Context, w io.Writer) error {
	s, err := r.sample(ctx)
	if err != nil {
		return err
	}
	cpu := &family{name: "container_cpu_usage_seconds_total", kind: "counter", help: "Cumulative cpu time consumed in seconds."}
	working := &family{name: "container_memory_working_set_bytes", kind: "gauge", help: "Current working set in bytes."}
	rss := &family{name: "container_memory_rss", kind: "gauge", help: "Size of RSS in bytes."}
	usage := &family{name: "container_memory_usage_bytes", kind: "gauge", help: "Current memory usage in bytes, including all memory regardless of when it was accessed."}
	disk := &family{name: "container_fs_usage_bytes", kind: "gauge", help: "Number of bytes that are consumed by the container on this filesystem."}
	start := &family{name: "container_start_time_seconds", kind: "gauge", help: "Start time of the container since unix epoch in seconds."}
	received := &family{name: "container_network_receive_bytes_total", kind: "counter", help: "Cumulative count of bytes received."}
	sent := &family{name: "container_network_transmit_bytes_total", kind: "counter", help: "Cumulative count of bytes transmitted."}
	cores := &family{name: "machine_cpu_cores", kind: "gauge", help: "Number of logical CPU cores."}
	memory := &family{name: "machine_memory_bytes", kind: "gauge", help: "Amount of memory installed on the machine."}

	cores.add(nil, float64(runtime.NumCPU()), 0)
	memory.add(nil, float64(parseMeminfo(read("/proc/meminfo"))["MemTotal"]), 0)
	for _, pod := range s.pods {
		meta, linux := pod.Attributes.GetMetadata(), pod.GetLinux()
		of := func(container, id, image string) labels {
			return labels{"container", container, "id", id, "image", image, "name", id, "namespace", meta.GetNamespace(), "pod", meta.GetName()}
		}
		for _, c := range linux.GetContainers() {
			known := s.containers[c.Attributes.GetId()]
			l := of(containerName(c), c.Attributes.GetId(), known.GetImage().GetUserSpecifiedImage())
			cpu.addValue(append(l, "cpu", "total"), c.GetCpu().GetUsageCoreNanoSeconds(), nano, c.GetCpu().GetTimestamp())
			working.addValue(l, c.GetMemory().GetWorkingSetBytes(), 1, c.GetMemory().GetTimestamp())
			rss.addValue(l, c.GetMemory().GetRssBytes(), 1, c.GetMemory().GetTimestamp())
			usage.addValue(l, c.GetMemory().GetUsageBytes(), 1, c.GetMemory().GetTimestamp())
			disk.addValue(l, c.GetWritableLayer().GetUsedBytes(), 1, c.GetWritableLayer().GetTimestamp())
			if known != nil {
				start.add(l, float64(known.CreatedAt)*nano, 0)
			}
		}
		if i := linux.GetNetwork().GetDefaultInterface(); i != nil {
			l := append(of("", pod.Attributes.GetId(), ""), "interface", i.Name)
			received.addValue(l, i.RxBytes, 1, linux.Network.Timestamp)
			sent.addValue(l, i.TxBytes, 1, linux.Network.Timestamp)
		}
	}
	return write(w, cpu, working, rss, usage, disk, start, received, sent, cores, memory)
}
