package status

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sinawi/sinawi/internal/agent/plan"
)

// conditions sets the conditions that are the node's to set.
func (in Input) conditions(out *corev1.PodStatus) {
	box := in.State.Sandbox()
	network := corev1.PodCondition{Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionFalse}
	if box != nil && box.Ready && (in.Pod.Spec.HostNetwork || len(box.IPs) > 0) {
		network.Status = corev1.ConditionTrue
	}
	containers := in.containersReady(out)
	in.set(out, network)
	in.set(out, in.initializedCondition(out))
	in.set(out, in.ready(containers, out))
	in.set(out, containers)
	in.set(out, corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue})
	in.resizing(out)
}

// resizing says whether the pod waits for other resources, or is getting them.
func (in Input) resizing(out *corev1.PodStatus) {
	if p := in.ResizePending; p != nil {
		in.set(out, corev1.PodCondition{Type: corev1.PodResizePending, Status: corev1.ConditionTrue, Reason: p.Reason, Message: p.Message})
	} else {
		unset(out, corev1.PodResizePending)
	}
	if len(in.Changing) > 0 {
		in.set(out, corev1.PodCondition{Type: corev1.PodResizeInProgress, Status: corev1.ConditionTrue})
	} else {
		unset(out, corev1.PodResizeInProgress)
	}
}

func unset(out *corev1.PodStatus, kind corev1.PodConditionType) {
	out.Conditions = slices.DeleteFunc(out.Conditions, func(c corev1.PodCondition) bool { return c.Type == kind })
}

// set replaces a condition and keeps its time while its status stays.
func (in Input) set(out *corev1.PodStatus, condition corev1.PodCondition) {
	condition.ObservedGeneration = in.Pod.Generation
	condition.LastTransitionTime = metav1.NewTime(in.Now).Rfc3339Copy()
	for i := range out.Conditions {
		have := &out.Conditions[i]
		if have.Type != condition.Type {
			continue
		}
		if have.Status == condition.Status {
			condition.LastTransitionTime = have.LastTransitionTime
			condition.LastProbeTime = have.LastProbeTime
		}
		*have = condition
		return
	}
	out.Conditions = append(out.Conditions, condition)
}

func (in Input) initializedCondition(out *corev1.PodStatus) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.PodInitialized, Status: corev1.ConditionTrue}
	if out.Phase == corev1.PodSucceeded {
		c.Reason = "PodCompleted"
		return c
	}
	if anyStarted(out.ContainerStatuses) {
		return c
	}
	var unknown, incomplete []string
	for i := range in.Pod.Spec.InitContainers {
		spec := &in.Pod.Spec.InitContainers[i]
		s := find(out.InitContainerStatuses, spec.Name)
		switch {
		case s == nil:
			unknown = append(unknown, spec.Name)
		case plan.Sidecar(spec) && (s.Started == nil || !*s.Started), !plan.Sidecar(spec) && !s.Ready:
			incomplete = append(incomplete, spec.Name)
		}
	}
	if c.Message = words(unknown, "unknown", incomplete, "incomplete"); c.Message != "" {
		c.Status, c.Reason = corev1.ConditionFalse, "ContainersNotInitialized"
	}
	return c
}

func (in Input) containersReady(out *corev1.PodStatus) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.ContainersReady, Status: corev1.ConditionFalse}
	switch {
	case out.Phase == corev1.PodFailed:
		c.Reason = "PodFailed"
		return c
	case out.Phase == corev1.PodSucceeded:
		c.Reason = "PodCompleted"
		return c
	}
	var unready []string
	for i := range in.Pod.Spec.InitContainers {
		if spec := &in.Pod.Spec.InitContainers[i]; plan.Sidecar(spec) && !ready(out.InitContainerStatuses, spec.Name) {
			unready = append(unready, spec.Name)
		}
	}
	for i := range in.Pod.Spec.Containers {
		if name := in.Pod.Spec.Containers[i].Name; !ready(out.ContainerStatuses, name) {
			unready = append(unready, name)
		}
	}
	if c.Message = words(nil, "", unready, "unready"); c.Message != "" {
		c.Reason = "ContainersNotReady"
		return c
	}
	c.Status = corev1.ConditionTrue
	return c
}

func ready(list []corev1.ContainerStatus, name string) bool {
	s := find(list, name)
	return s != nil && s.Ready
}

func (in Input) ready(containers corev1.PodCondition, out *corev1.PodStatus) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.PodReady, Status: containers.Status, Reason: containers.Reason, Message: containers.Message}
	if c.Status != corev1.ConditionTrue {
		return c
	}
	var missing []string
	for _, gate := range in.Pod.Spec.ReadinessGates {
		status := corev1.ConditionStatus("")
		for _, have := range out.Conditions {
			if have.Type == gate.ConditionType {
				status = have.Status
			}
		}
		switch status {
		case corev1.ConditionTrue:
		case "":
			missing = append(missing, fmt.Sprintf("corresponding condition of pod readiness gate %q does not exist.", gate.ConditionType))
		default:
			missing = append(missing, fmt.Sprintf("the status of pod readiness gate %q is not \"True\", but %v", gate.ConditionType, status))
		}
	}
	if len(missing) > 0 {
		c.Status, c.Reason, c.Message = corev1.ConditionFalse, "ReadinessGatesNotReady", strings.Join(missing, ", ")
	}
	return c
}

// words lists containers as kubelet does.
func words(a []string, aWord string, b []string, bWord string) string {
	var parts []string
	if len(a) > 0 {
		parts = append(parts, fmt.Sprintf("containers with %s status: %s", aWord, a))
	}
	if len(b) > 0 {
		parts = append(parts, fmt.Sprintf("containers with %s status: %s", bWord, b))
	}
	return strings.Join(parts, ", ")
}
