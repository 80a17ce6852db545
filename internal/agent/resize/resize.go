// Package resize decides how a running pod comes to other resources: what the node
// has granted to its containers, what they have, and which of them must be changed
// or restarted to get there. It is pure; the worker asks the node, changes control
// groups and tells the runtime.
package resize

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Grant is what the node has granted to a pod's containers, by name.
type Grant map[string]corev1.ResourceRequirements

// resizable are the resources that may change while a pod runs.
func resizable() []corev1.ResourceName {
	return []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory}
}

// Asked is what the pod's spec asks for.
func Asked(pod *corev1.Pod) Grant {
	g := Grant{}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			g[list[i].Name] = list[i].Resources
		}
	}
	return g
}

// Known is what a pod that is found running was granted before: what its status
// says its containers have, and what its spec asks for where it says nothing.
func Known(pod *corev1.Pod) Grant {
	g := Asked(pod)
	for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range list {
			asked, ok := g[list[i].Name]
			if had := list[i].Resources; ok && had != nil && list[i].State.Running != nil {
				g[list[i].Name] = with(asked, *had)
			}
		}
	}
	return g
}

// with returns asked with the resizable resources as had has them.
func with(asked, had corev1.ResourceRequirements) corev1.ResourceRequirements {
	out := *asked.DeepCopy()
	for _, name := range resizable() {
		out.Requests = set(out.Requests, had.Requests, name)
		out.Limits = set(out.Limits, had.Limits, name)
	}
	return out
}

func set(to, from corev1.ResourceList, name corev1.ResourceName) corev1.ResourceList {
	quantity, ok := from[name]
	if !ok {
		delete(to, name)
		return to
	}
	if to == nil {
		to = corev1.ResourceList{}
	}
	to[name] = quantity
	return to
}

// Equal says whether two grants are the same.
func Equal(a, b Grant) bool { return equality.Semantic.DeepEqual(a, b) }

// Apply returns the pod with its containers' resources as granted. Nothing of the
// given pod changes.
func (g Grant) Apply(pod *corev1.Pod) *corev1.Pod {
	if Equal(g, Asked(pod)) {
		return pod
	}
	out := *pod
	out.Spec.InitContainers = g.apply(pod.Spec.InitContainers)
	out.Spec.Containers = g.apply(pod.Spec.Containers)
	return &out
}

func (g Grant) apply(list []corev1.Container) []corev1.Container {
	out := append([]corev1.Container(nil), list...)
	for i := range out {
		if resources, ok := g[out[i].Name]; ok {
			out[i].Resources = resources
		}
	}
	return out
}

// Wider is enough for both grants: what a pod's group may use while its containers
// go from one to the other.
func Wider(a, b Grant) Grant {
	out := Grant{}
	for name, have := range a {
		want := b[name]
		wide := *have.DeepCopy()
		for _, resource := range resizable() {
			wide.Limits = wider(wide.Limits, want.Limits, resource)
			wide.Requests = wider(wide.Requests, want.Requests, resource)
		}
		out[name] = wide
	}
	return out
}

// wider takes the larger of two amounts; no limit is the largest.
func wider(to, other corev1.ResourceList, name corev1.ResourceName) corev1.ResourceList {
	a, okA := to[name]
	b, okB := other[name]
	switch {
	case !okA:
	case !okB:
		delete(to, name)
	default:
		if b.Cmp(a) > 0 {
			to[name] = b
		}
	}
	return to
}

// Change says in which resources a container does not have what was granted.
type Change struct{ CPU, Memory bool }

// Any says whether there is anything to change.
func (c Change) Any() bool { return c.CPU || c.Memory }

// Compare holds what a container shall have against what the runtime says it has.
// A runtime that says nothing is believed to have done as it was told.
func Compare(want, have *cri.LinuxContainerResources) Change {
	if have == nil {
		return Change{}
	}
	return Change{
		CPU:    want.CpuShares != have.CpuShares || quota(want) != quota(have),
		Memory: limit(want.MemoryLimitInBytes) != limit(have.MemoryLimitInBytes),
	}
}

// quota is the limit on processor time; 0 and -1 both mean none.
func quota(r *cri.LinuxContainerResources) int64 { return limit(r.CpuQuota) }

func limit(v int64) int64 { return max(v, 0) }

// Restarts says whether a container must be restarted for a change.
func Restarts(c *corev1.Container, change Change) bool {
	for _, policy := range c.ResizePolicy {
		if policy.RestartPolicy != corev1.RestartContainer {
			continue
		}
		if policy.ResourceName == corev1.ResourceCPU && change.CPU || policy.ResourceName == corev1.ResourceMemory && change.Memory {
			return true
		}
	}
	return false
}
