package stats

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

func TestParseStat(t *testing.T) {
	busy, boot, err := parseStat("cpu  100 20 30 4000 500 6 7 8 90 10\ncpu0 1 1 1 1\nintr 5\nbtime 1700000000\n")
	if err != nil || busy != 1710*time.Millisecond || !boot.Equal(time.Unix(1700000000, 0)) {
		t.Errorf("got %v %v %v", busy, boot, err)
	}
	for _, text := range []string{"cpu x", "btime x"} {
		if _, _, err := parseStat(text); err == nil {
			t.Errorf("%q was read", text)
		}
	}
	if busy, _, err := parseStat(""); busy != 0 || err != nil {
		t.Errorf("nothing is %v %v", busy, err)
	}
}

func TestNodeMemory(t *testing.T) {
	info := parseMeminfo("MemTotal: 1000 kB\nMemFree: 300 kB\nInactive(file): 100 kB\nAnonPages: 50 kB\nSwapTotal: 10 kB\nSwapFree: 4 kB\nHugePages_Total: 3\nbroken\nx: y\n")
	got := nodeMemory(info, metav1.Time{})
	if *got.UsageBytes != 700<<10 || *got.WorkingSetBytes != 600<<10 || *got.AvailableBytes != 400<<10 || *got.RSSBytes != 50<<10 {
		t.Errorf("got %+v", got)
	}
	if swap := nodeSwap(info, metav1.Time{}); *swap.SwapUsageBytes != 6<<10 || *swap.SwapAvailableBytes != 4<<10 {
		t.Errorf("got %+v", swap)
	}
	if info["HugePages_Total"] != 3 {
		t.Errorf("got %v", info)
	}
	nodeMemory(parseMeminfo(""), metav1.Time{})
}

func TestNodeNetwork(t *testing.T) {
	dev := "Inter-|   Receive\n face |bytes packets\n    lo: 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n  eth0: 11 2 3 0 0 0 0 0 22 5 6 0 0 0 0 0\nveth1:1 0 0 0 0 0 0 0 2 0 0 0 0 0 0 0\n"
	route := "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\neth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
	got := nodeNetwork(dev, route, metav1.Time{})
	if len(got.Interfaces) != 2 || got.Name != "eth0" || *got.RxBytes != 11 || *got.RxErrors != 3 || *got.TxBytes != 22 || *got.TxErrors != 6 {
		t.Errorf("got %+v", got)
	}
	if got := nodeNetwork("", "", metav1.Time{}); got.Name != "" {
		t.Errorf("got %+v", got)
	}
}

func TestRlimit(t *testing.T) {
	got := rlimit("0.1 0.2 0.3 2/345 6789\n", "4194304\n", metav1.Time{})
	if *got.MaxPID != 4194304 || *got.NumOfRunningProcesses != 345 {
		t.Errorf("got %+v", got)
	}
	rlimit("", "", metav1.Time{})
}

func TestMeasure(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a"), bytes.Repeat([]byte("x"), 8192), 0o644); err != nil {
		t.Fatal(err)
	}
	alone := measure(t.Context(), dir)
	if err := os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "b")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/", filepath.Join(dir, "root")); err != nil {
		t.Fatal(err)
	}
	both := measure(t.Context(), dir)
	if alone.bytes < 8192 || alone.inodes != 2 || both.inodes != 3 || both.bytes > alone.bytes+4096 {
		t.Errorf("got %+v, then %+v", alone, both)
	}
	if none := measure(t.Context(), dir+"/none"); none.inodes != 0 {
		t.Errorf("got %+v", none)
	}
}

// pods is a runtime with one pod.
type pods struct {
	cri.RuntimeServiceClient
	cri.ImageServiceClient
}

func value64(v uint64) *cri.UInt64Value { return &cri.UInt64Value{Value: v} }

func (pods) ListPodSandboxStats(context.Context, *cri.ListPodSandboxStatsRequest, ...grpc.CallOption) (*cri.ListPodSandboxStatsResponse, error) {
	return &cri.ListPodSandboxStatsResponse{Stats: []*cri.PodSandboxStats{{
		Attributes: &cri.PodSandboxAttributes{Id: "box", Metadata: &cri.PodSandboxMetadata{Name: "web", Namespace: "shop", Uid: "u1"}},
		Linux: &cri.LinuxPodSandboxStats{
			Cpu:     &cri.CpuUsage{Timestamp: 5e9, UsageCoreNanoSeconds: value64(3e9)},
			Memory:  &cri.MemoryUsage{Timestamp: 5e9, WorkingSetBytes: value64(2000)},
			Network: &cri.NetworkUsage{Timestamp: 5e9, DefaultInterface: &cri.NetworkInterfaceUsage{Name: "eth0", RxBytes: value64(1), TxBytes: value64(2)}},
			Containers: []*cri.ContainerStats{{
				Attributes:    &cri.ContainerAttributes{Id: "c1", Labels: map[string]string{"io.kubernetes.container.name": "app"}},
				Cpu:           &cri.CpuUsage{Timestamp: 5e9, UsageCoreNanoSeconds: value64(15e8)},
				Memory:        &cri.MemoryUsage{Timestamp: 5e9, WorkingSetBytes: value64(1000), RssBytes: value64(500)},
				WritableLayer: &cri.FilesystemUsage{UsedBytes: value64(77), InodesUsed: value64(7)},
			}},
		},
	}, {}}}, nil
}

func (pods) ListContainers(context.Context, *cri.ListContainersRequest, ...grpc.CallOption) (*cri.ListContainersResponse, error) {
	return &cri.ListContainersResponse{Containers: []*cri.Container{{Id: "c1", CreatedAt: 4e9, Image: &cri.ImageSpec{UserSpecifiedImage: "app:1"}}}}, nil
}

func (pods) ImageFsInfo(context.Context, *cri.ImageFsInfoRequest, ...grpc.CallOption) (*cri.ImageFsInfoResponse, error) {
	return &cri.ImageFsInfoResponse{ImageFilesystems: []*cri.FilesystemUsage{{FsId: &cri.FilesystemIdentifier{Mountpoint: "/"}, UsedBytes: value64(9), InodesUsed: value64(1)}}}, nil
}

func TestSummary(t *testing.T) {
	dir := t.TempDir()
	work := filepath.Join(dir, "pods", "u1", "volumes", "kubernetes.io~empty-dir", "work")
	if err := os.MkdirAll(work, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(work, "file"), bytes.Repeat([]byte("x"), 100_000), 0o644); err != nil {
		t.Fatal(err)
	}
	now := time.Unix(100, 0)
	r := New(pods{}, pods{}, Options{NodeName: "n1", Dir: dir, Now: func() time.Time { return now }})
	summary, err := r.Summary(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if summary.Node.CPU.UsageNanoCores != nil {
		t.Error("a rate of one sample")
	}
	if len(summary.Pods) != 1 {
		t.Fatalf("pods: %+v", summary.Pods)
	}
	pod := summary.Pods[0]
	if len(pod.VolumeStats) != 1 || pod.VolumeStats[0].Name != "work" || *pod.VolumeStats[0].UsedBytes < 100_000 || *pod.EphemeralStorage.UsedBytes != *pod.VolumeStats[0].UsedBytes+77 {
		t.Errorf("volumes: %+v, together %v", pod.VolumeStats, *pod.EphemeralStorage.UsedBytes)
	}
	c := pod.Containers[0]
	if c.Name != "app" || *c.CPU.UsageCoreNanoSeconds != 15e8 || *c.Memory.RSSBytes != 500 || *c.Rootfs.UsedBytes != 77 || c.StartTime.Unix() != 4 || pod.StartTime.Unix() != 4 {
		t.Errorf("container: %+v", c)
	}
	if pod.Network.Name != "eth0" || *pod.Network.TxBytes != 2 || *summary.Node.Runtime.ImageFs.UsedBytes != 9 {
		t.Errorf("network %+v, images %+v", pod.Network, summary.Node.Runtime)
	}
	now = now.Add(time.Second)
	if summary, err = r.Summary(t.Context()); err != nil || summary.Node.CPU.UsageNanoCores == nil {
		t.Errorf("no rate of two samples: %v", err)
	}
}

func TestMetrics(t *testing.T) {
	r := New(pods{}, pods{}, Options{NodeName: "n1", Dir: t.TempDir(), Now: func() time.Time { return time.Unix(100, 0) }})
	var resource, cadvisor bytes.Buffer
	if err := r.WriteResource(t.Context(), &resource); err != nil {
		t.Fatal(err)
	}
	if err := r.WriteCadvisor(t.Context(), &cadvisor); err != nil {
		t.Fatal(err)
	}
	const labels = `{container="app",id="c1",image="app:1",name="c1",namespace="shop",pod="web"`
	wants := map[*bytes.Buffer][]string{
		&resource: {
			"# TYPE container_cpu_usage_seconds_total counter\n" + `container_cpu_usage_seconds_total{container="app",namespace="shop",pod="web"} 1.5 5000` + "\n",
			`container_memory_working_set_bytes{container="app",namespace="shop",pod="web"} 1000 5000` + "\n",
			`container_start_time_seconds{container="app",namespace="shop",pod="web"} 4` + "\n",
			`pod_cpu_usage_seconds_total{namespace="shop",pod="web"} 3 5000` + "\n",
			"resource_scrape_error 0\n",
		},
		&cadvisor: {
			"container_cpu_usage_seconds_total" + labels + `,cpu="total"} 1.5 5000` + "\n",
			"container_memory_rss" + labels + "} 500 5000\n",
			"container_fs_usage_bytes" + labels + "} 77\n",
			`container_network_transmit_bytes_total{container="",id="box",image="",name="box",namespace="shop",pod="web",interface="eth0"} 2 5000` + "\n",
		},
	}
	for buffer, lines := range wants {
		for _, line := range lines {
			if !strings.Contains(buffer.String(), line) {
				t.Errorf("no %q in\n%s", line, buffer)
			}
		}
	}
	f := &family{name: "m", kind: "gauge", help: "h"}
	f.add(labelsOf("a", "x\"y\\z\n"), 1e21, 0)
	var out bytes.Buffer
	if err := write(&out, f, &family{name: "empty"}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff("# HELP m h\n# TYPE m gauge\nm{a=\"x\\\"y\\\\z\\n\"} 1e+21\n", out.String()); diff != "" {
		t.Error(diff)
	}
}

func labelsOf(pairs ...string) labels { return pairs }

func TestOveruse(t *testing.T) {
	limits := func(amount string) corev1.ResourceRequirements {
		return corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse(amount)}}
	}
	used := func(bytes uint64) *statsapi.FsStats { return &statsapi.FsStats{UsedBytes: &bytes} }
	stats := &statsapi.PodStats{
		VolumeStats:      []statsapi.VolumeStats{{Name: "work", FsStats: *used(1000)}},
		EphemeralStorage: used(2000),
		Containers:       []statsapi.ContainerStats{{Name: "a", Rootfs: used(300), Logs: used(200)}, {Name: "b", Rootfs: used(500)}},
	}
	volume := func(limit string) []corev1.Volume {
		q := resource.MustParse(limit)
		return []corev1.Volume{{Name: "work", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &q}}}}
	}
	tests := map[string]struct {
		spec corev1.PodSpec
		want string
	}{
		"no limits":             {},
		"volume within":         {spec: corev1.PodSpec{Volumes: volume("1000")}},
		"volume over":           {spec: corev1.PodSpec{Volumes: volume("999")}, want: `Usage of EmptyDir volume "work" exceeds the limit "999". `},
		"pod over":              {spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Resources: limits("900")}, {Name: "b", Resources: limits("900")}}}, want: `Pod ephemeral local storage usage exceeds the total limit of containers 1800. `},
		"container over":        {spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Resources: limits("499")}, {Name: "b"}}}, want: `Container a exceeded its local ephemeral storage limit "499". `},
		"container with no end": {spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Resources: limits("500")}, {Name: "b"}}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := Overuse(&corev1.Pod{Spec: test.spec}, stats); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	r := New(pods{}, pods{}, Options{Dir: t.TempDir()})
	over, err := r.Overused(t.Context(), []*corev1.Pod{
		{ObjectMeta: metav1.ObjectMeta{UID: "u1"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Resources: limits("76")}, {Name: "other"}}}},
		{ObjectMeta: metav1.ObjectMeta{UID: "u2"}},
	})
	if diff := cmp.Diff(map[types.UID]string{"u1": `Container app exceeded its local ephemeral storage limit "76". `}, over); diff != "" || err != nil {
		t.Error(diff, err)
	}
}
