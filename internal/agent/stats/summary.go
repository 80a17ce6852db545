package stats

import (
	"cmp"
	"context"
	"path/filepath"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
	kubelettypes "k8s.io/kubelet/pkg/types"

	"github.com/sinawi/sinawi/internal/agent/logs"
)

// Summary measures the node and its pods.
func (r *Reader) Summary(ctx context.Context) (*statsapi.Summary, error) {
	now := metav1.NewTime(r.options.Now())
	s, err := r.sample(ctx)
	if err != nil {
		return nil, err
	}
	summary := &statsapi.Summary{Node: r.node(ctx, now), Pods: []statsapi.PodStats{}}
	for _, pod := range s.pods {
		if pod.Attributes.GetMetadata() == nil {
			continue
		}
		summary.Pods = append(summary.Pods, r.pod(ctx, &s, pod, summary.Node.Fs, now))
	}
	slices.SortFunc(summary.Pods, func(a, b statsapi.PodStats) int {
		return cmp.Or(cmp.Compare(a.PodRef.Namespace, b.PodRef.Namespace), cmp.Compare(a.PodRef.Name, b.PodRef.Name))
	})
	return summary, nil
}

func (r *Reader) node(ctx context.Context, now metav1.Time) statsapi.NodeStats {
	node := statsapi.NodeStats{NodeName: r.options.NodeName}
	busy, boot, err := parseStat(read("/proc/stat"))
	if err != nil {
		r.options.Log.Warn("read processor times", "error", err)
	}
	node.StartTime = metav1.NewTime(boot)
	total := uint64(busy)
	node.CPU = &statsapi.CPUStats{Time: now, UsageCoreNanoSeconds: &total, UsageNanoCores: r.rate(busy, now.Time)}
	memory := parseMeminfo(read("/proc/meminfo"))
	node.Memory, node.Swap = nodeMemory(memory, now), nodeSwap(memory, now)
	node.Network = nodeNetwork(read("/proc/net/dev"), read("/proc/net/route"), now)
	node.Rlimit = rlimit(read("/proc/loadavg"), read("/proc/sys/kernel/pid_max"), now)
	node.Fs = fileSystem(r.options.Dir, now)
	node.Runtime = r.imageFs(ctx, now)
	return node
}

// rate is how much of the processors was used since the last time, nil at first.
func (r *Reader) rate(busy time.Duration, now time.Time) *uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	last := r.cpu
	elapsed := now.Sub(last.at)
	if last.at.IsZero() || elapsed > 10*time.Second {
		r.cpu = cpuSample{at: now, busy: busy}
	}
	if last.at.IsZero() || elapsed <= 0 || busy < last.busy {
		return nil
	}
	rate := uint64(float64(busy-last.busy) / elapsed.Seconds())
	return &rate
}

func (r *Reader) imageFs(ctx context.Context, now metav1.Time) *statsapi.RuntimeStats {
	answer, err := r.images.ImageFsInfo(ctx, &cri.ImageFsInfoRequest{})
	if err != nil || len(answer.ImageFilesystems) == 0 {
		return nil
	}
	fs := answer.ImageFilesystems[0]
	stats := fileSystem(fs.FsId.GetMountpoint(), now)
	if stats == nil {
		return nil
	}
	stats.UsedBytes, stats.InodesUsed = value(fs.UsedBytes), value(fs.InodesUsed)
	return &statsapi.RuntimeStats{ImageFs: stats, ContainerFs: stats}
}

func value(v *cri.UInt64Value) *uint64 {
	if v == nil {
		return nil
	}
	return &v.Value
}

func (r *Reader) pod(ctx context.Context, s *sample, stats *cri.PodSandboxStats, disk *statsapi.FsStats, now metav1.Time) statsapi.PodStats {
	meta := stats.Attributes.Metadata
	pod := statsapi.PodStats{
		PodRef:     statsapi.PodReference{Name: meta.Name, Namespace: meta.Namespace, UID: meta.Uid},
		Containers: []statsapi.ContainerStats{},
	}
	linux := stats.GetLinux()
	pod.CPU, pod.Memory = cpu(linux.GetCpu()), memory(linux.GetMemory())
	pod.Network = network(linux.GetNetwork())
	if count := linux.GetProcess().GetProcessCount(); count != nil {
		pod.ProcessStats = &statsapi.ProcessStats{ProcessCount: value(count)}
	}
	var used uint64
	for _, c := range linux.GetContainers() {
		container := container(s, c, disk)
		if logs := r.logs(ctx, meta, container.Name, disk); logs != nil {
			container.Logs = logs
			used += *logs.UsedBytes
		}
		if pod.StartTime.IsZero() || container.StartTime.Before(&pod.StartTime) {
			pod.StartTime = container.StartTime
		}
		if container.Rootfs != nil && container.Rootfs.UsedBytes != nil {
			used += *container.Rootfs.UsedBytes
		}
		pod.Containers = append(pod.Containers, container)
	}
	slices.SortFunc(pod.Containers, func(a, b statsapi.ContainerStats) int { return cmp.Compare(a.Name, b.Name) })
	volumes, onDisk := r.volumes(ctx, meta.Uid, now)
	pod.VolumeStats = volumes
	used += onDisk
	pod.EphemeralStorage = share(disk, &used, nil)
	return pod
}

// logs measures what a container has written to its log.
func (r *Reader) logs(ctx context.Context, pod *cri.PodSandboxMetadata, container string, disk *statsapi.FsStats) *statsapi.FsStats {
	if r.options.LogDir == "" {
		return nil
	}
	named := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: types.UID(pod.Uid)}}
	taken := r.directory(ctx, filepath.Join(logs.PodDir(r.options.LogDir, named), container))
	return share(disk, &taken.bytes, &taken.inodes)
}

func container(s *sample, stats *cri.ContainerStats, disk *statsapi.FsStats) statsapi.ContainerStats {
	container := statsapi.ContainerStats{
		Name: stats.Attributes.GetLabels()[kubelettypes.KubernetesContainerNameLabel],
		CPU:  cpu(stats.Cpu), Memory: memory(stats.Memory),
	}
	container.Name = cmp.Or(container.Name, stats.Attributes.GetMetadata().GetName())
	if c, ok := s.containers[stats.Attributes.GetId()]; ok {
		container.StartTime = metav1.NewTime(time.Unix(0, c.CreatedAt))
	}
	if layer := stats.WritableLayer; layer != nil {
		container.Rootfs = share(disk, value(layer.UsedBytes), value(layer.InodesUsed))
	}
	if swap := stats.Swap; swap != nil {
		container.Swap = &statsapi.SwapStats{Time: at(swap.Timestamp), SwapAvailableBytes: value(swap.SwapAvailableBytes), SwapUsageBytes: value(swap.SwapUsageBytes)}
	}
	return container
}

// share is what somebody uses of a file system that he shares.
func share(disk *statsapi.FsStats, used, inodes *uint64) *statsapi.FsStats {
	if disk == nil {
		return nil
	}
	own := *disk
	own.UsedBytes, own.InodesUsed = used, inodes
	return &own
}

func at(nanoseconds int64) metav1.Time { return metav1.NewTime(time.Unix(0, nanoseconds)) }

func cpu(u *cri.CpuUsage) *statsapi.CPUStats {
	if u == nil {
		return nil
	}
	return &statsapi.CPUStats{Time: at(u.Timestamp), UsageNanoCores: value(u.UsageNanoCores), UsageCoreNanoSeconds: value(u.UsageCoreNanoSeconds)}
}

func memory(u *cri.MemoryUsage) *statsapi.MemoryStats {
	if u == nil {
		return nil
	}
	return &statsapi.MemoryStats{
		Time: at(u.Timestamp), WorkingSetBytes: value(u.WorkingSetBytes), AvailableBytes: value(u.AvailableBytes),
		UsageBytes: value(u.UsageBytes), RSSBytes: value(u.RssBytes),
		PageFaults: value(u.PageFaults), MajorPageFaults: value(u.MajorPageFaults),
	}
}

func network(u *cri.NetworkUsage) *statsapi.NetworkStats {
	if u == nil {
		return nil
	}
	stats := &statsapi.NetworkStats{Time: at(u.Timestamp)}
	add := func(i *cri.NetworkInterfaceUsage) statsapi.InterfaceStats {
		one := statsapi.InterfaceStats{Name: i.Name, RxBytes: value(i.RxBytes), RxErrors: value(i.RxErrors), TxBytes: value(i.TxBytes), TxErrors: value(i.TxErrors)}
		stats.Interfaces = append(stats.Interfaces, one)
		return one
	}
	if u.DefaultInterface != nil {
		stats.InterfaceStats = add(u.DefaultInterface)
	}
	for _, i := range u.Interfaces {
		add(i)
	}
	return stats
}
