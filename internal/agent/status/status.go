// Package status says how a pod is, in the API's words: a pure function of what
// the runtime holds of it, what its probes say, why its containers wait and what
// was said of it before. Phases, conditions and reasons are kubelet's.
//
// What others write into a pod's status (readiness gates, resource claims, the
// scheduler's words) is kept as it is.
package status

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sinawi/sinawi/internal/agent/observed"
	"github.com/sinawi/sinawi/internal/agent/plan"
	"github.com/sinawi/sinawi/internal/agent/spec"
)

// Problem is why a container could not be started.
type Problem struct {
	Reason, Message string
}

// Input is a moment of a pod.
type Input struct {
	// Pod is as the API has it, with the status that was last written.
	Pod    *corev1.Pod
	State  *observed.Pod
	Health map[string]plan.Health // by container ID
	// Waits and Problems are by container name; a wait wins.
	Waits    map[string]plan.Wait
	Problems map[string]Problem
	// Stopped: nothing of the pod runs, and nothing will again.
	Stopped bool
	// Fate is a verdict over the pod (deadline, eviction, refusal). It shows once
	// the pod has stopped.
	Fate *Problem
	// Pod's resources are those granted. ResizePending is why it has not been granted
	// what it asks for; Changing names containers that have not yet what they were granted.
	ResizePending *Problem
	Changing      map[string]bool
	// HostIPs are the node's; RuntimeName begins container IDs.
	HostIPs     []string
	RuntimeName string
	Now         time.Time
}

// Of returns the pod's status now.
func Of(in Input) corev1.PodStatus {
	out := *in.Pod.Status.DeepCopy()
	out.ObservedGeneration = in.Pod.Generation
	out.QOSClass = spec.QOS(in.Pod)
	if out.StartTime == nil {
		start := metav1.NewTime(in.Now).Rfc3339Copy()
		out.StartTime = &start
	}
	Addresses(in.Pod, in.State, in.HostIPs, &out)
	if refused(in) {
		// It never ran here: nothing is known of its containers.
		out.InitContainerStatuses, out.ContainerStatuses, out.EphemeralContainerStatuses = nil, nil, nil
	} else {
		out.InitContainerStatuses = in.list(in.Pod.Spec.InitContainers, in.Pod.Status.InitContainerStatuses, plan.Init)
		out.ContainerStatuses = in.list(in.Pod.Spec.Containers, in.Pod.Status.ContainerStatuses, plan.Main)
		out.EphemeralContainerStatuses = in.list(ephemeral(in.Pod), in.Pod.Status.EphemeralContainerStatuses, plan.Ephemeral)
	}
	phase := in.phase(&out)
	switch {
	case Ended(in.Pod.Status.Phase):
		phase = in.Pod.Status.Phase // an end is final
	case in.Stopped && in.Fate != nil:
		phase, out.Reason, out.Message = corev1.PodFailed, in.Fate.Reason, in.Fate.Message
	case Ended(phase) && !in.Stopped:
		// Said only when it has truly stopped; until then it was what it was.
		if phase = in.Pod.Status.Phase; phase == "" {
			phase = corev1.PodPending
		}
	}
	out.Phase = phase
	in.conditions(&out)
	return out
}

// refused says whether the pod was turned away before it ran.
func refused(in Input) bool {
	return in.Fate != nil && in.Stopped && len(in.State.Containers) == 0 && len(in.Pod.Status.ContainerStatuses) == 0
}

// Ended says whether a pod of this phase never runs again.
func Ended(phase corev1.PodPhase) bool {
	return phase == corev1.PodFailed || phase == corev1.PodSucceeded
}

func ephemeral(pod *corev1.Pod) []corev1.Container {
	var list []corev1.Container
	for i := range pod.Spec.EphemeralContainers {
		list = append(list, corev1.Container(pod.Spec.EphemeralContainers[i].EphemeralContainerCommon))
	}
	return list
}

// Addresses sets the pod's addresses and its node's. What is not known now stays
// as it was.
func Addresses(pod *corev1.Pod, state *observed.Pod, hostIPs []string, out *corev1.PodStatus) {
	if len(hostIPs) > 0 {
		out.HostIP, out.HostIPs = hostIPs[0], nil
		for _, ip := range hostIPs {
			out.HostIPs = append(out.HostIPs, corev1.HostIP{IP: ip})
		}
	}
	var ips []string
	if box := state.Sandbox(); box != nil && box.Ready {
		if ips = box.IPs; pod.Spec.HostNetwork {
			ips = hostIPs
		}
	}
	if len(ips) == 0 {
		return
	}
	out.PodIP, out.PodIPs = ips[0], nil
	for _, ip := range ips {
		out.PodIPs = append(out.PodIPs, corev1.PodIP{IP: ip})
	}
}

// phase sums the containers up.
func (in Input) phase(out *corev1.PodStatus) corev1.PodPhase {
	initFailed, initPending := in.initState(out)
	if initFailed {
		return corev1.PodFailed
	}
	var running, stopped, succeeded, waiting int
	for i := range out.ContainerStatuses {
		switch s := &out.ContainerStatuses[i]; {
		case s.State.Running != nil:
			running++
		case s.State.Terminated != nil:
			stopped++
			if s.State.Terminated.ExitCode == 0 {
				succeeded++
			}
		case s.LastTerminationState.Terminated != nil:
			stopped++
		default:
			waiting++
		}
	}
	switch {
	case in.Stopped && running == 0 && len(out.ContainerStatuses) > 0:
		if stopped == succeeded && waiting == 0 && !initPending {
			return corev1.PodSucceeded
		}
		return corev1.PodFailed
	case initPending, waiting > 0, len(out.ContainerStatuses) == 0:
		return corev1.PodPending
	case running > 0:
		return corev1.PodRunning
	case !plan.Terminal(in.Pod, in.State):
		return corev1.PodRunning
	case stopped == succeeded:
		return corev1.PodSucceeded
	}
	return corev1.PodFailed
}

// initState says whether the pod failed while initialising, and whether it has
// yet to initialise.
func (in Input) initState(out *corev1.PodStatus) (failed, pending bool) {
	started := anyStarted(out.ContainerStatuses)
	for i := range in.Pod.Spec.InitContainers {
		c, s := &in.Pod.Spec.InitContainers[i], &out.InitContainerStatuses[i]
		if plan.Sidecar(c) {
			if !started && (s.Started == nil || !*s.Started) && s.State.Terminated == nil {
				pending = true
			}
			continue
		}
		switch end := s.State.Terminated; {
		case end != nil && end.ExitCode == 0:
		case end != nil && in.Pod.Spec.RestartPolicy == corev1.RestartPolicyNever:
			failed = true
		case !started:
			pending = true
		}
	}
	return failed, pending
}

func anyStarted(list []corev1.ContainerStatus) bool {
	return slices.ContainsFunc(list, func(s corev1.ContainerStatus) bool {
		return s.State.Running != nil || s.State.Terminated != nil || s.LastTerminationState.Terminated != nil || s.RestartCount > 0
	})
}
