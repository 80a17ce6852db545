package status

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var noon = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

func pod(change func(*corev1.Pod)) corev1.Pod {
	p := corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", CreationTimestamp: metav1.NewTime(noon.Add(-10 * time.Second))},
		Spec: corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m")}}}}},
	}
	change(&p)
	return p
}

func TestPodProblem(t *testing.T) {
	waiting := func(reason, message string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{
				Name: "c", RestartCount: 4,
				State:                corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}},
				LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 3, Reason: "Error"}},
			}}
		}
	}
	const describe, logs = "sinawi kubectl describe pod -n default web", "sinawi kubectl logs -n default web -c c --previous"
	for name, tt := range map[string]struct {
		change     func(*corev1.Pod)
		what, next string
	}{
		"new":      {func(*corev1.Pod) {}, "", ""},
		"creating": {waiting("ContainerCreating", ""), "", ""},
		"slow": {func(p *corev1.Pod) { p.CreationTimestamp = metav1.NewTime(noon.Add(-time.Hour)) },
			"is not ready", describe},
		"crashing": {waiting("CrashLoopBackOff", "back-off"),
			"container c keeps ending (4 restarts), the last time with exit code 3 (Error)", logs},
		"no image": {waiting("ImagePullBackOff", "not found"), "container c: ImagePullBackOff: not found", describe},
		"does not fit": {func(p *corev1.Pod) {
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Message: "0/1 nodes"}}
		}, "fits no node: 0/1 nodes", describe},
		"failed": {func(p *corev1.Pod) { p.Status.Phase, p.Status.Reason = corev1.PodFailed, "Evicted" }, "failed: Evicted", describe},
		"failed by exit code": {func(p *corev1.Pod) {
			p.Status.Phase = corev1.PodFailed
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", State: corev1.ContainerState{
				Terminated: &corev1.ContainerStateTerminated{ExitCode: 1, Reason: "Error"}}}}
		}, "failed: container c ended with exit code 1 (Error)", describe},
		"ending":       {func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: noon.Add(20 * time.Second)} }, "", ""},
		"does not end": {func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: noon.Add(-time.Hour)} }, "does not end although its grace period is over", describe},
	} {
		t.Run(name, func(t *testing.T) {
			p := pod(tt.change)
			got, wrong := podProblem(&p, noon)
			if wrong != (tt.what != "") {
				t.Fatalf("problem: got %t (%s)", wrong, got.What)
			}
			if wrong && (got.What != tt.what || got.Next != tt.next) {
				t.Errorf("got  %s; %s\nwant %s; %s", got.What, got.Next, tt.what, tt.next)
			}
		})
	}
}

func TestSum(t *testing.T) {
	node := corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "n1", CreationTimestamp: metav1.NewTime(noon.Add(-time.Minute))},
		Status: corev1.NodeStatus{
			Allocatable: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2"), corev1.ResourcePods: resource.MustParse("110")},
			Addresses:   []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.0.2.7"}},
			Conditions: []corev1.NodeCondition{
				{Type: corev1.NodeReady, Status: corev1.ConditionTrue},
				{Type: corev1.NodeDiskPressure, Status: corev1.ConditionTrue, Message: "disk is full", LastTransitionTime: metav1.NewTime(noon.Add(-time.Second))},
			},
		},
	}
	running := func(p *corev1.Pod) {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	}
	over := func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }
	got := Sum([]corev1.Node{node}, []corev1.Pod{pod(running), pod(running), pod(over)}, noon)
	want := Report{
		Nodes: []Node{{
			Name: "n1", Ready: true, Address: "192.0.2.7", Pods: 2, MaxPods: 110, Age: time.Minute,
			CPU:    Share{Requested: "1", Allocatable: "2", Ratio: 0.5},
			Memory: Share{Requested: "0", Allocatable: "0"},
		}},
		Pods:     Pods{Total: 3, Ready: 2, Succeeded: 1},
		Problems: []Problem{{Object: "node n1", What: "DiskPressure is True: disk is full", Since: time.Second, Next: "sinawi kubectl describe node n1"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
