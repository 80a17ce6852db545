package simnode

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// killed is the exit code of a container that was stopped.
const killed = 137

// status is what a node reports of a running or ended pod.
func (c *container) status(pod *corev1.Pod) corev1.PodStatus {
	ready := corev1.ConditionFalse
	if c.state == running && c.ready {
		ready = corev1.ConditionTrue
	}
	s := corev1.PodStatus{
		Phase:     c.phase(),
		StartTime: &metav1.Time{Time: c.began},
		HostIP:    "192.0.2.10",
		PodIP:     address(pod.UID),
	}
	s.PodIPs = []corev1.PodIP{{IP: s.PodIP}}
	s.HostIPs = []corev1.HostIP{{IP: s.HostIP}}
	for _, kind := range []corev1.PodConditionType{corev1.PodReady, corev1.ContainersReady} {
		s.Conditions = append(s.Conditions, corev1.PodCondition{
			Type: kind, Status: ready, LastTransitionTime: metav1.NewTime(c.turned), ObservedGeneration: pod.Generation,
		})
	}
	s.Conditions = append(s.Conditions, corev1.PodCondition{
		Type: corev1.PodInitialized, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(c.began),
	})
	for i := range pod.Spec.Containers {
		one := &pod.Spec.Containers[i]
		cs := corev1.ContainerStatus{
			Name: one.Name, Image: one.Image, ImageID: "simulated", RestartCount: c.starts - 1,
			ContainerID: fmt.Sprintf("simnode://%s/%d", pod.UID, c.starts), Ready: ready == corev1.ConditionTrue,
		}
		if c.state == running {
			cs.State.Running = &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(c.started)}
		} else {
			cs.State.Terminated = &corev1.ContainerStateTerminated{
				ExitCode: c.code, Reason: reason(c.code), StartedAt: metav1.NewTime(c.started), FinishedAt: metav1.NewTime(c.ended),
			}
		}
		s.ContainerStatuses = append(s.ContainerStatuses, cs)
	}
	return s
}

func reason(code int32) string {
	if code == 0 {
		return "Completed"
	}
	return "Error"
}

func (c *container) phase() corev1.PodPhase {
	switch {
	case c.state == running:
		return corev1.PodRunning
	case c.code == 0:
		return corev1.PodSucceeded
	default:
		return corev1.PodFailed
	}
}

// patch is the status as a patch of this very pod and no later one of its name.
func patch(pod *corev1.Pod, s corev1.PodStatus) ([]byte, error) {
	return json.Marshal(map[string]any{"metadata": map[string]any{"uid": pod.UID}, "status": s})
}

// address is drawn by the pod's uid, so that two pods hardly ever share one.
func address(uid types.UID) string {
	var sum uint32 = 2166136261
	for i := range len(uid) {
		sum = (sum ^ uint32(uid[i])) * 16777619
	}
	return netip.AddrFrom4([4]byte{10, byte(sum >> 16), byte(sum >> 8), byte(sum)}).String()
}

// nodeStatus is that of a node in good health.
func nodeStatus(now time.Time, capacity corev1.ResourceList) corev1.NodeStatus {
	at := metav1.NewTime(now)
	s := corev1.NodeStatus{
		Capacity: capacity, Allocatable: capacity,
		Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.10"}},
	}
	for kind, value := range map[corev1.NodeConditionType]corev1.ConditionStatus{
		corev1.NodeReady: corev1.ConditionTrue, corev1.NodeMemoryPressure: corev1.ConditionFalse,
		corev1.NodeDiskPressure: corev1.ConditionFalse, corev1.NodePIDPressure: corev1.ConditionFalse,
	} {
		s.Conditions = append(s.Conditions, corev1.NodeCondition{
			Type: kind, Status: value, LastHeartbeatTime: at, LastTransitionTime: at, Reason: "Simulated",
		})
	}
	return s
}
