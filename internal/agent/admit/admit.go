// Package admit decides whether a node takes a pod that was bound to it: the
// node's word against a scheduler that knew too little, or none at all. It is a
// pure function of the pod, the pods that the node has taken already and the node.
package admit

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// Refusal is why a pod may not run here, in kubelet's words.
type Refusal struct {
	Reason, Message string
}

// Check returns nil if node takes pod beside others.
func Check(pod *corev1.Pod, others []*corev1.Pod, node *corev1.Node) *Refusal {
	if os := pod.Spec.OS; os != nil && os.Name != corev1.Linux {
		return &Refusal{"PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS"}
	}
	if problem := forbiddenSysctl(pod); problem != "" {
		return &Refusal{"SysctlForbidden", "forbidden sysctl: " + problem}
	}
	if node == nil {
		return nil
	}
	if refusal := resources(pod, others, node); refusal != nil {
		return refusal
	}
	if match, err := nodeaffinity.GetRequiredNodeAffinity(pod).Match(node); err != nil || !match {
		return predicate("NodeAffinity", "node(s) didn't match Pod's node affinity/selector")
	}
	if taint := untolerated(pod, node); taint != nil {
		return predicate("TaintToleration", fmt.Sprintf("node(s) had untolerated taint {%s: %s}", taint.Key, taint.Value))
	}
	if portsTaken(pod, others) {
		return predicate("NodePorts", "node(s) didn't have free ports for the requested pod ports")
	}
	return nil
}

// Resize says why the node does not grant pod what it asks for now: never, or not
// beside others. nil is that it does.
func Resize(pod *corev1.Pod, others []*corev1.Pod, node *corev1.Node) *Refusal {
	if node == nil {
		return nil
	}
	if never := resources(pod, nil, node); never != nil {
		return &Refusal{corev1.PodReasonInfeasible, never.Message}
	}
	if now := resources(pod, others, node); now != nil {
		return &Refusal{corev1.PodReasonDeferred, now.Message}
	}
	return nil
}

func predicate(name, message string) *Refusal {
	return &Refusal{name, fmt.Sprintf("Predicate %s failed: %s", name, message)}
}

// resources finds the first resource of which too little is left.
func resources(pod *corev1.Pod, others []*corev1.Pod, node *corev1.Node) *Refusal {
	allocatable := node.Status.Allocatable
	if most := allocatable.Pods().Value(); most > 0 && int64(len(others)) >= most {
		return lacking(corev1.ResourcePods, 1, int64(len(others)), most)
	}
	used := map[corev1.ResourceName]int64{}
	for _, other := range others {
		for name, quantity := range resourcehelper.PodRequests(other, resourcehelper.PodResourcesOptions{}) {
			used[name] += amount(name, quantity.MilliValue(), quantity.Value())
		}
	}
	wanted := resourcehelper.PodRequests(own(pod, allocatable), resourcehelper.PodResourcesOptions{})
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		if refusal := enough(name, wanted, allocatable, used[name]); refusal != nil {
			return refusal
		}
	}
	for name := range wanted {
		if !strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) && !strings.Contains(string(name), "/") {
			continue
		}
		if refusal := enough(name, wanted, allocatable, used[name]); refusal != nil {
			return refusal
		}
	}
	return nil
}

func enough(name corev1.ResourceName, wanted, allocatable corev1.ResourceList, used int64) *Refusal {
	quantity := wanted[name]
	request := amount(name, quantity.MilliValue(), quantity.Value())
	have, known := allocatable[name]
	if request == 0 || !known && !strings.Contains(string(name), "/") {
		return nil
	}
	if capacity := amount(name, have.MilliValue(), have.Value()); request > capacity-used {
		return lacking(name, request, used, capacity)
	}
	return nil
}

func amount(name corev1.ResourceName, milli, value int64) int64 {
	if name == corev1.ResourceCPU {
		return milli
	}
	return value
}

func lacking(name corev1.ResourceName, requested, used, capacity int64) *Refusal {
	return &Refusal{
		Reason: "OutOf" + string(name),
		Message: fmt.Sprintf("Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d",
			name, requested, used, capacity),
	}
}

// untolerated returns a taint that drives the pod off the node.
func untolerated(pod *corev1.Pod, node *corev1.Node) *corev1.Taint {
	for i := range node.Spec.Taints {
		taint := &node.Spec.Taints[i]
		if taint.Effect != corev1.TaintEffectNoExecute {
			continue
		}
		tolerated := false
		for j := range pod.Spec.Tolerations {
			if tolerates(&pod.Spec.Tolerations[j], taint) {
				tolerated = true
			}
		}
		if !tolerated {
			return taint
		}
	}
	return nil
}

func tolerates(t *corev1.Toleration, taint *corev1.Taint) bool {
	if t.Effect != "" && t.Effect != taint.Effect || t.Key != "" && t.Key != taint.Key {
		return false
	}
	return t.Operator == corev1.TolerationOpExists || t.Value == taint.Value && t.Key != ""
}

type hostPort struct {
	ip, protocol string
	port         int32
}

func portsTaken(pod *corev1.Pod, others []*corev1.Pod) bool {
	wanted := hostPorts(pod)
	if len(wanted) == 0 {
		return false
	}
	for _, other := range others {
		for _, have := range hostPorts(other) {
			for _, want := range wanted {
				if have.port == want.port && have.protocol == want.protocol && (have.ip == want.ip || everywhere(have.ip) || everywhere(want.ip)) {
					return true
				}
			}
		}
	}
	return false
}

func everywhere(ip string) bool { return ip == "" || ip == "0.0.0.0" || ip == "::" }

func hostPorts(pod *corev1.Pod) []hostPort {
	var out []hostPort
	add := func(c *corev1.Container) {
		for _, p := range c.Ports {
			if p.HostPort != 0 {
				out = append(out, hostPort{p.HostIP, string(p.Protocol), p.HostPort})
			}
		}
	}
	for i := range pod.Spec.Containers {
		add(&pod.Spec.Containers[i])
	}
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; c.RestartPolicy != nil {
			add(c)
		}
	}
	return out
}
