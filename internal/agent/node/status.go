package node

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const runtimeTimeout = 5 * time.Second

// status is the node's status now.
func (n *Node) status(ctx context.Context) corev1.NodeStatus {
	var out corev1.NodeStatus
	if current := n.Current(); current != nil {
		out = *current.Status.DeepCopy()
	}
	out.Addresses = nil
	for _, ip := range n.options.IPs {
		out.Addresses = append(out.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip.String()})
	}
	out.Addresses = append(out.Addresses, corev1.NodeAddress{Type: corev1.NodeHostName, Address: n.options.Name})
	own, reserved := n.machine.capacity(n.options.MaxPods), n.Allocatable()
	out.Capacity, out.Allocatable = merge(out.Capacity, own), merge(out.Allocatable, reserved)
	out.DaemonEndpoints.KubeletEndpoint.Port = int32(n.options.Port)
	health := n.runtimeHealth(ctx)
	out.NodeInfo = n.machine.info(n.options.Version, health.version)
	out.RuntimeHandlers = health.handlers
	out.Features = health.features
	if n.deps.Images != nil {
		if images, err := n.deps.Images(ctx); err == nil {
			out.Images = images
		}
	}
	now := metav1.Now()
	for _, c := range n.conditions(health) {
		setCondition(&out, c, now)
	}
	return out
}

// merge keeps extended resources that others announced.
func merge(have, own corev1.ResourceList) corev1.ResourceList {
	out := own.DeepCopy()
	for name, quantity := range have {
		if _, ok := out[name]; !ok && strings.Contains(string(name), "/") {
			out[name] = quantity
		}
	}
	return out
}

type health struct {
	version  string
	problems []string
	handlers []corev1.NodeRuntimeHandler
	features *corev1.NodeFeatures
}

// runtimeHealth asks the runtime whether it and its network are ready.
func (n *Node) runtimeHealth(ctx context.Context) health {
	ctx, cancel := context.WithTimeout(ctx, runtimeTimeout)
	defer cancel()
	var h health
	version, err := n.deps.Runtime.Version(ctx, &cri.VersionRequest{})
	if err != nil {
		h.problems = append(h.problems, fmt.Sprintf("container runtime is down: %v", err))
		return h
	}
	h.version = version.RuntimeName + "://" + strings.TrimPrefix(version.RuntimeVersion, "v")
	answer, err := n.deps.Runtime.Status(ctx, &cri.StatusRequest{})
	if err != nil {
		h.problems = append(h.problems, fmt.Sprintf("container runtime status check failed: %v", err))
		return h
	}
	for _, c := range answer.Status.GetConditions() {
		if c.Status {
			continue
		}
		text := fmt.Sprintf("%s=false reason:%s message:%s", c.Type, c.Reason, c.Message)
		switch c.Type {
		case "NetworkReady":
			h.problems = append(h.problems, "container runtime network not ready: "+text)
		case "RuntimeReady":
			h.problems = append(h.problems, "container runtime not ready: "+text)
		}
	}
	for _, handler := range answer.RuntimeHandlers {
		f := corev1.NodeRuntimeHandlerFeatures{}
		if handler.Features != nil {
			f.RecursiveReadOnlyMounts = &handler.Features.RecursiveReadOnlyMounts
			f.UserNamespaces = &handler.Features.UserNamespaces
		}
		h.handlers = append(h.handlers, corev1.NodeRuntimeHandler{Name: handler.Name, Features: &f})
	}
	slices.SortFunc(h.handlers, func(a, b corev1.NodeRuntimeHandler) int { return strings.Compare(a.Name, b.Name) })
	if answer.Features != nil {
		h.features = &corev1.NodeFeatures{SupplementalGroupsPolicy: &answer.Features.SupplementalGroupsPolicy}
	}
	return h
}

func (n *Node) conditions(h health) []corev1.NodeCondition {
	ready := corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", Message: "kubelet is posting ready status"}
	if len(h.problems) > 0 {
		ready.Status, ready.Reason, ready.Message = corev1.ConditionFalse, "KubeletNotReady", strings.Join(h.problems, ", ")
	}
	p := readPressure(n.options.Dir)
	return []corev1.NodeCondition{
		pressure(corev1.NodeMemoryPressure, p.memory, "KubeletHasInsufficientMemory", "KubeletHasSufficientMemory", "memory available"),
		pressure(corev1.NodeDiskPressure, p.disk, "KubeletHasDiskPressure", "KubeletHasNoDiskPressure", "disk pressure"),
		pressure(corev1.NodePIDPressure, p.pids, "KubeletHasInsufficientPID", "KubeletHasSufficientPID", "PID available"),
		ready,
	}
}

func pressure(kind corev1.NodeConditionType, under bool, bad, good, what string) corev1.NodeCondition {
	c := corev1.NodeCondition{Type: kind, Status: corev1.ConditionFalse, Reason: good, Message: "kubelet has sufficient " + what}
	if kind == corev1.NodeDiskPressure {
		c.Message = "kubelet has no " + what
	}
	if !under {
		return c
	}
	c.Status, c.Reason, c.Message = corev1.ConditionTrue, bad, "kubelet has insufficient "+what
	if kind == corev1.NodeDiskPressure {
		c.Message = "kubelet has " + what
	}
	return c
}

func setCondition(status *corev1.NodeStatus, c corev1.NodeCondition, now metav1.Time) {
	c.LastHeartbeatTime, c.LastTransitionTime = now, now
	for i := range status.Conditions {
		have := &status.Conditions[i]
		if have.Type != c.Type {
			continue
		}
		if have.Status == c.Status {
			c.LastTransitionTime = have.LastTransitionTime
		}
		*have = c
		return
	}
	status.Conditions = append(status.Conditions, c)
}

func ready(status *corev1.NodeStatus) bool {
	for _, c := range status.Conditions {
		if c.Type == corev1.NodeReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
