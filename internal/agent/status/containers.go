package status

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sinawi/sinawi/internal/agent/observed"
	"github.com/sinawi/sinawi/internal/agent/plan"
)

// Reasons of states that the runtime gives no reason for.
const (
	reasonCreating  = "ContainerCreating"
	reasonInit      = "PodInitializing"
	reasonUnknown   = "ContainerStatusUnknown"
	messageUnknown  = "The container could not be located when the pod was terminated"
	reasonCompleted = "Completed"
	reasonError     = "Error"
	exitLost        = 137
)

// list returns the statuses of one list of the pod's containers, in its order.
func (in Input) list(containers []corev1.Container, before []corev1.ContainerStatus, kind plan.Kind) []corev1.ContainerStatus {
	if len(containers) == 0 {
		return nil
	}
	out := make([]corev1.ContainerStatus, 0, len(containers))
	for i := range containers {
		c := &containers[i]
		old := find(before, c.Name)
		out = append(out, in.container(c, old, kind))
	}
	return out
}

func find(list []corev1.ContainerStatus, name string) *corev1.ContainerStatus {
	if i := slices.IndexFunc(list, func(s corev1.ContainerStatus) bool { return s.Name == name }); i >= 0 {
		return &list[i]
	}
	return nil
}

func (in Input) container(c *corev1.Container, old *corev1.ContainerStatus, kind plan.Kind) corev1.ContainerStatus {
	out := corev1.ContainerStatus{Name: c.Name, Image: c.Image, VolumeMounts: mounts(c)}
	if len(c.Resources.Requests) > 0 {
		out.AllocatedResources = c.Resources.Requests.DeepCopy()
	}
	latest, previous := in.instances(c.Name)
	switch {
	case latest == nil:
		in.absent(&out, old, kind)
	default:
		out.RestartCount = int32(latest.RestartCount)
		out.ImageID, out.ContainerID = latest.ImageID, in.RuntimeName+"://"+latest.ID
		if latest.Image != "" && !strings.HasPrefix(latest.Image, "sha256:") {
			out.Image = latest.Image
		}
		out.State = in.state(latest, kind)
		if previous != nil {
			out.LastTerminationState = in.state(previous, kind)
		} else if old != nil && old.RestartCount == out.RestartCount && old.LastTerminationState.Terminated != nil {
			out.LastTerminationState = old.LastTerminationState
		}
	}
	in.waiting(&out, c, latest)
	in.health(&out, old, latest, kind, plan.Sidecar(c))
	return out
}

// instances returns the newest instance of a container and the one before it.
func (in Input) instances(name string) (latest, previous *observed.Container) {
	for i := range in.State.Containers {
		c := &in.State.Containers[i]
		if c.Name != name {
			continue
		}
		if latest == nil {
			latest = c
			continue
		}
		return latest, c
	}
	return latest, nil
}

func (in Input) state(c *observed.Container, kind plan.Kind) corev1.ContainerState {
	switch c.State {
	case observed.Running:
		return corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: moment(c.Started)}}
	case observed.Exited:
		reason := c.Reason
		if reason == "" {
			if reason = reasonCompleted; c.ExitCode != 0 {
				reason = reasonError
			}
		}
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			ExitCode: c.ExitCode, Reason: reason, Message: c.Message,
			StartedAt: moment(c.Started), FinishedAt: moment(c.Finished), ContainerID: in.RuntimeName + "://" + c.ID,
		}}
	case observed.Created:
		return in.notYet(kind)
	}
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		ExitCode: exitLost, Reason: reasonUnknown, Message: messageUnknown, ContainerID: in.RuntimeName + "://" + c.ID,
	}}
}

func (in Input) notYet(kind plan.Kind) corev1.ContainerState {
	reason := reasonCreating
	if kind != plan.Ephemeral && !in.initialized() && len(in.Pod.Spec.InitContainers) > 0 {
		reason = reasonInit
	}
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}}
}

// initialized says whether every init container has done its part.
func (in Input) initialized() bool {
	for i := range in.Pod.Spec.InitContainers {
		c := &in.Pod.Spec.InitContainers[i]
		last := in.State.Latest(c.Name)
		switch {
		case last == nil:
			return false
		case plan.Sidecar(c):
			if last.State == observed.Running && !in.Health[last.ID].Started {
				return false
			}
		case last.State != observed.Exited || last.ExitCode != 0:
			return false
		}
	}
	return true
}

// absent is a container that the runtime knows nothing of.
func (in Input) absent(out, old *corev1.ContainerStatus, kind plan.Kind) {
	out.State = in.notYet(kind)
	if old == nil {
		return
	}
	out.RestartCount, out.LastTerminationState = old.RestartCount, old.LastTerminationState
	switch {
	case old.State.Terminated != nil:
		out.State, out.ContainerID, out.ImageID = old.State, old.ContainerID, old.ImageID
	case old.State.Running != nil:
		// It ran and is lost: nobody knows how it ended.
		lost := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			ExitCode: exitLost, Reason: reasonUnknown, Message: messageUnknown, ContainerID: old.ContainerID,
		}}
		if in.Stopped {
			out.State = lost
			return
		}
		out.LastTerminationState = lost
		out.RestartCount++
	}
}

// waiting says why a container that shall run does not.
func (in Input) waiting(out *corev1.ContainerStatus, c *corev1.Container, latest *observed.Container) {
	if out.State.Running != nil || in.Stopped {
		return
	}
	reason := ""
	message := ""
	if wait, ok := in.Waits[c.Name]; ok {
		reason, message = wait.Reason, wait.Message
	} else if problem, ok := in.Problems[c.Name]; ok && (latest == nil || latest.State != observed.Exited || plan.Restarts(in.Pod, c, latest)) {
		reason, message = problem.Reason, problem.Message
	}
	if reason == "" {
		return
	}
	if out.State.Terminated != nil {
		out.LastTerminationState = out.State
	}
	out.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}}
}

func (in Input) health(out, old *corev1.ContainerStatus, latest *observed.Container, kind plan.Kind, sidecar bool) {
	started := false
	if out.State.Running != nil && latest != nil {
		health := in.Health[latest.ID]
		started = health.Started
		out.Ready = health.Started && health.Ready && (kind == plan.Main || sidecar)
		if latest.User != nil {
			out.User = &corev1.ContainerUser{Linux: &corev1.LinuxContainerUser{
				UID: latest.User.Uid, GID: latest.User.Gid, SupplementalGroups: latest.User.SupplementalGroups,
			}}
		}
		out.Resources = in.resourcesOf(out.Name, old)
	}
	if kind == plan.Init && !sidecar && out.State.Terminated != nil {
		out.Ready = out.State.Terminated.ExitCode == 0
	}
	out.Started = &started
	if kind == plan.Ephemeral {
		out.Ready, out.Started = false, nil
	}
}

// resourcesOf is what a running container has.
func (in Input) resourcesOf(name string, old *corev1.ContainerStatus) *corev1.ResourceRequirements {
	if in.Changing[name] && old != nil && old.Resources != nil {
		return old.Resources
	}
	for _, list := range [][]corev1.Container{in.Pod.Spec.Containers, in.Pod.Spec.InitContainers} {
		for i := range list {
			r := &list[i].Resources
			if list[i].Name == name && len(r.Limits)+len(r.Requests) > 0 {
				return &corev1.ResourceRequirements{Limits: r.Limits.DeepCopy(), Requests: r.Requests.DeepCopy()}
			}
		}
	}
	return nil
}

func mounts(c *corev1.Container) []corev1.VolumeMountStatus {
	var out []corev1.VolumeMountStatus
	for _, m := range c.VolumeMounts {
		s := corev1.VolumeMountStatus{Name: m.Name, MountPath: m.MountPath, ReadOnly: m.ReadOnly}
		if m.ReadOnly {
			mode := corev1.RecursiveReadOnlyDisabled
			s.RecursiveReadOnly = &mode
		}
		out = append(out, s)
	}
	return out
}

func moment(t time.Time) metav1.Time {
	if t.IsZero() {
		return metav1.Time{}
	}
	return metav1.NewTime(t.Truncate(time.Second))
}
