package resize

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func limits(cpu, memory string) corev1.ResourceRequirements {
	list := corev1.ResourceList{}
	if cpu != "" {
		list[corev1.ResourceCPU] = resource.MustParse(cpu)
	}
	if memory != "" {
		list[corev1.ResourceMemory] = resource.MustParse(memory)
	}
	return corev1.ResourceRequirements{Limits: list}
}

func TestWiderIsEnoughForBoth(t *testing.T) {
	tests := []struct{ a, b, want corev1.ResourceRequirements }{
		{limits("1", "1Gi"), limits("2", "512Mi"), limits("2", "1Gi")},
		{limits("1", ""), limits("", "1Gi"), limits("", "")},
		{limits("1", "1Gi"), limits("1", "1Gi"), limits("1", "1Gi")},
	}
	for _, test := range tests {
		got := Wider(Grant{"c": test.a}, Grant{"c": test.b})
		if !Equal(got, Grant{"c": test.want}) {
			t.Errorf("of %v and %v: %v, want %v", test.a.Limits, test.b.Limits, got["c"].Limits, test.want.Limits)
		}
	}
}

func TestKnownAndApply(t *testing.T) {
	had := limits("1", "1Gi")
	pod := &corev1.Pod{}
	pod.Spec.Containers = []corev1.Container{{Name: "a", Resources: limits("2", "1Gi")}, {Name: "b", Resources: limits("3", "")}}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{
		{Name: "a", Resources: &had, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}},
		{Name: "b", Resources: &had, State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{}}},
	}
	known := Known(pod)
	if want := (Grant{"a": had, "b": limits("3", "")}); !Equal(known, want) {
		t.Errorf("known is %v, want %v", known, want)
	}
	applied := known.Apply(pod)
	if got := applied.Spec.Containers[0].Resources.Limits.Cpu().String(); got != "1" {
		t.Errorf("applied limit is %s", got)
	}
	if got := pod.Spec.Containers[0].Resources.Limits.Cpu().String(); got != "2" {
		t.Errorf("the given pod was changed to %s", got)
	}
	if Asked(pod).Apply(pod) != pod {
		t.Error("a pod that has what it asks for was copied")
	}
}

func TestCompareAndRestarts(t *testing.T) {
	want := &cri.LinuxContainerResources{CpuShares: 512, CpuQuota: 50000, MemoryLimitInBytes: 1 << 20}
	tests := []struct {
		name string
		have *cri.LinuxContainerResources
		want Change
	}{
		{"nothing is known", nil, Change{}},
		{"the same", &cri.LinuxContainerResources{CpuShares: 512, CpuQuota: 50000, MemoryLimitInBytes: 1 << 20}, Change{}},
		{"other shares", &cri.LinuxContainerResources{CpuShares: 2, CpuQuota: 50000, MemoryLimitInBytes: 1 << 20}, Change{CPU: true}},
		{"no limits", &cri.LinuxContainerResources{CpuShares: 512, CpuQuota: -1}, Change{CPU: true, Memory: true}},
	}
	c := &corev1.Container{ResizePolicy: []corev1.ContainerResizePolicy{
		{ResourceName: corev1.ResourceCPU, RestartPolicy: corev1.NotRequired},
		{ResourceName: corev1.ResourceMemory, RestartPolicy: corev1.RestartContainer},
	}}
	for _, test := range tests {
		got := Compare(want, test.have)
		if got != test.want {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
		if Restarts(c, got) != got.Memory {
			t.Errorf("%s: restarts %t", test.name, Restarts(c, got))
		}
	}
}
