package node

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// What the node keeps for itself: pods that use more put it under pressure.
const (
	keepMemory = 100 << 20
	// keepDisk and keepPIDs are shares: one part in so many.
	keepDisk = 20
	keepPIDs = 20
)

// Machine is what a machine is and has, as far as it does not change.
type Machine struct {
	CPUs          int
	Memory, Disk  int64 // bytes
	HugePages     map[string]int64
	OS, Arch      string
	Kernel, Image string
	MachineID     string
	SystemUUID    string
	BootID        string
	Swap          int64
}

// ReadMachine reads this machine; dir is on the file system that pods write to.
func ReadMachine(dir string) (Machine, error) {
	m := Machine{CPUs: runtime.NumCPU(), OS: runtime.GOOS, Arch: runtime.GOARCH, HugePages: hugePages()}
	memory, err := meminfo()
	if err != nil {
		return m, err
	}
	m.Memory, m.Swap = memory["MemTotal"], memory["SwapTotal"]
	var disk unix.Statfs_t
	if err := unix.Statfs(dir, &disk); err != nil {
		return m, fmt.Errorf("read the size of the disk under %s: %w", dir, err)
	}
	m.Disk = int64(disk.Blocks) * disk.Bsize
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return m, fmt.Errorf("read the kernel's version: %w", err)
	}
	m.Kernel = unix.ByteSliceToString(name.Release[:])
	m.Image = osImage()
	// Absent in some containers and virtual machines; then they stay empty.
	m.MachineID = line("/etc/machine-id")
	m.SystemUUID = strings.ToLower(line("/sys/class/dmi/id/product_uuid"))
	if m.SystemUUID == "" {
		m.SystemUUID = m.MachineID
	}
	m.BootID = line("/proc/sys/kernel/random/boot_id")
	return m, nil
}

func line(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

func osImage() string {
	for text := range strings.Lines(line("/etc/os-release")) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(text), "PRETTY_NAME="); ok {
			return strings.Trim(name, `"`)
		}
	}
	return "Linux"
}

// meminfo reads /proc/meminfo, in bytes.
func meminfo() (map[string]int64, error) {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return nil, fmt.Errorf("read memory: %w", err)
	}
	out := map[string]int64{}
	for text := range strings.Lines(string(data)) {
		name, rest, ok := strings.Cut(text, ":")
		fields := strings.Fields(rest)
		if !ok || len(fields) == 0 {
			continue
		}
		if value, err := strconv.ParseInt(fields[0], 10, 64); err == nil {
			out[name] = value << 10
		}
	}
	return out, nil
}

// hugePages lists pre-allocated huge pages in bytes, by Kubernetes' size.
func hugePages() map[string]int64 {
	dirs, _ := filepath.Glob("/sys/kernel/mm/hugepages/hugepages-*kB")
	out := map[string]int64{}
	for _, dir := range dirs {
		size := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(dir), "hugepages-"), "kB")
		kib, err := strconv.ParseInt(size, 10, 64)
		if err != nil {
			continue
		}
		count, _ := strconv.ParseInt(line(filepath.Join(dir, "nr_hugepages")), 10, 64)
		out[resource.NewQuantity(kib<<10, resource.BinarySI).String()] = count * kib << 10
	}
	return out
}

func (m Machine) capacity(maxPods int) corev1.ResourceList {
	out := corev1.ResourceList{
		corev1.ResourceCPU:              *resource.NewQuantity(int64(m.CPUs), resource.DecimalSI),
		corev1.ResourceMemory:           *resource.NewQuantity(m.Memory, resource.BinarySI),
		corev1.ResourceEphemeralStorage: *resource.NewQuantity(m.Disk, resource.BinarySI),
		corev1.ResourcePods:             *resource.NewQuantity(int64(maxPods), resource.DecimalSI),
	}
	for size, bytes := range m.HugePages {
		out[corev1.ResourceName(corev1.ResourceHugePagesPrefix+size)] = *resource.NewQuantity(bytes, resource.BinarySI)
	}
	return out
}

func (m Machine) allocatable(maxPods int) corev1.ResourceList {
	out := m.capacity(maxPods)
	left := m.Memory - keepMemory
	for _, bytes := range m.HugePages {
		left -= bytes
	}
	out[corev1.ResourceMemory] = *resource.NewQuantity(max(left, 0), resource.BinarySI)
	out[corev1.ResourceEphemeralStorage] = *resource.NewQuantity(m.Disk-m.Disk/keepDisk, resource.BinarySI)
	return out
}

func (m Machine) info(version, runtimeVersion string) corev1.NodeSystemInfo {
	out := corev1.NodeSystemInfo{
		MachineID: m.MachineID, SystemUUID: m.SystemUUID, BootID: m.BootID,
		KernelVersion: m.Kernel, OSImage: m.Image, ContainerRuntimeVersion: runtimeVersion,
		KubeletVersion: version, OperatingSystem: m.OS, Architecture: m.Arch,
	}
	if m.Swap > 0 { // the API takes no capacity of nothing
		out.Swap = &corev1.NodeSwapStatus{Capacity: &m.Swap}
	}
	return out
}

type pressures struct{ memory, disk, pids bool }

// readPressure says of what little is left.
func readPressure(dir string) pressures {
	var p pressures
	if memory, err := meminfo(); err == nil {
		p.memory = memory["MemAvailable"] < keepMemory
	}
	var disk unix.Statfs_t
	if err := unix.Statfs(dir, &disk); err == nil {
		p.disk = disk.Bavail < disk.Blocks/keepDisk || disk.Files > 0 && disk.Ffree < disk.Files/keepDisk
	}
	most, err := strconv.ParseInt(line("/proc/sys/kernel/pid_max"), 10, 64)
	// "0.10 0.20 0.30 2/345 6789": the fourth field's second half counts tasks.
	if fields := strings.Fields(line("/proc/loadavg")); err == nil && len(fields) > 3 {
		_, all, _ := strings.Cut(fields[3], "/")
		if count, err := strconv.ParseInt(all, 10, 64); err == nil {
			p.pids = count > most-most/keepPIDs
		}
	}
	return p
}
