package spec

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/kubectl/pkg/util/qos"
)

// Units of the kernel's CPU controller.
const (
	minShares   = 2
	maxShares   = 262144
	sharesOne   = 1024 // of one CPU
	quotaPeriod = 100_000
	minQuota    = 1000
)

// Scores that make the kernel spare or take a process when memory is short.
const (
	oomGuaranteed = -997
	oomBestEffort = 1000
)

// priorityNodeCritical is the least priority of pods that a node cannot do without.
const priorityNodeCritical = 2_000_001_000

// QOS is the pod's class of service.
func QOS(pod *corev1.Pod) corev1.PodQOSClass {
	if pod.Status.QOSClass != "" {
		return pod.Status.QOSClass
	}
	return qos.GetPodQOS(pod)
}

// Shares translates a CPU request.
func Shares(milli int64) int64 {
	if milli == 0 {
		return minShares
	}
	return min(max(milli*sharesOne/1000, minShares), maxShares)
}

// Quota translates a CPU limit to microseconds per period; 0 is no limit.
func Quota(milli int64) (quota, period int64) {
	if milli == 0 {
		return 0, 0
	}
	return max(milli*quotaPeriod/1000, minQuota), quotaPeriod
}

// Resources translates a container's resources.
func Resources(pod *corev1.Pod, c *corev1.Container, node Node) *cri.LinuxContainerResources {
	return ContainerInput{Pod: pod, Container: c, Node: node}.resources()
}

func (in ContainerInput) resources() *cri.LinuxContainerResources {
	r := in.Container.Resources
	cpuRequest, cpuLimit := r.Requests.Cpu().MilliValue(), r.Limits.Cpu().MilliValue()
	if _, set := r.Requests[corev1.ResourceCPU]; !set && cpuLimit != 0 {
		cpuRequest = cpuLimit
	}
	out := &cri.LinuxContainerResources{
		CpuShares:          Shares(cpuRequest),
		MemoryLimitInBytes: r.Limits.Memory().Value(),
		OomScoreAdj:        oomScore(in.Pod, in.Container, in.Node.MemoryCapacity),
	}
	out.CpuQuota, out.CpuPeriod = Quota(cpuLimit)
	if in.Node.UnifiedCgroups {
		out.Unified = map[string]string{"memory.oom.group": "1"}
	}
	for name, quantity := range r.Limits {
		if size, ok := strings.CutPrefix(string(name), corev1.ResourceHugePagesPrefix); ok {
			out.HugepageLimits = append(out.HugepageLimits, &cri.HugepageLimit{PageSize: pageSize(size), Limit: uint64(quantity.Value())})
		}
	}
	return out
}

// pageSize turns Kubernetes' 2Mi into the kernel's 2MB.
func pageSize(size string) string {
	quantity, err := resource.ParseQuantity(size)
	if err != nil {
		return size
	}
	bytes := quantity.Value()
	for _, unit := range []string{"B", "KB", "MB"} {
		if bytes < 1024 {
			return resource.NewQuantity(bytes, resource.DecimalSI).String() + unit
		}
		bytes /= 1024
	}
	return resource.NewQuantity(bytes, resource.DecimalSI).String() + "GB"
}

func oomScore(pod *corev1.Pod, c *corev1.Container, capacity int64) int64 {
	if pod.Spec.Priority != nil && *pod.Spec.Priority >= priorityNodeCritical {
		return oomGuaranteed
	}
	switch QOS(pod) {
	case corev1.PodQOSGuaranteed:
		return oomGuaranteed
	case corev1.PodQOSBestEffort:
		return oomBestEffort
	}
	if capacity <= 0 {
		return oomBestEffort - 1
	}
	request := c.Resources.Requests.Memory().Value()
	score := 1000 - 1000*request/capacity
	// Above every guaranteed container, below every best-effort one.
	return min(max(score, 1000+oomGuaranteed), oomBestEffort-1)
}
