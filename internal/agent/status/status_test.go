package status

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sinawi/sinawi/internal/agent/observed"
	"github.com/sinawi/sinawi/internal/agent/plan"
)

var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func pod(policy corev1.RestartPolicy, inits ...string) *corev1.Pod {
	p := &corev1.Pod{Spec: corev1.PodSpec{RestartPolicy: policy, Containers: []corev1.Container{{Name: "a", Image: "i"}}}}
	p.Generation = 3
	for _, name := range inits {
		p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{Name: name, Image: "i"})
	}
	return p
}

func with(containers ...observed.Container) *observed.Pod {
	return &observed.Pod{Sandboxes: []observed.Sandbox{{ID: "box", Ready: true, IPs: []string{"10.42.0.9"}}}, Containers: containers}
}

func running(name string) observed.Container {
	return observed.Container{ID: name, Name: name, State: observed.Running, Started: now}
}

func exited(name string, code int32) observed.Container {
	return observed.Container{ID: name + "-dead", Name: name, State: observed.Exited, ExitCode: code, Finished: now}
}

// line sums a status up.
func line(s corev1.PodStatus) string {
	text := string(s.Phase)
	if s.Reason != "" {
		text += "/" + s.Reason
	}
	for _, c := range s.Conditions {
		sign := "-"
		if c.Status == corev1.ConditionTrue {
			sign = "+"
		}
		if c.Type != corev1.PodScheduled {
			text += " " + sign + strings.TrimPrefix(string(c.Type), "Pod")
		}
	}
	for _, list := range [][]corev1.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses} {
		for _, c := range list {
			text += " " + c.Name + "=" + state(c.State)
			if last := state(c.LastTerminationState); last != "" {
				text += "(" + last + ")"
			}
			if c.Ready {
				text += "+"
			}
		}
	}
	return text
}

func state(s corev1.ContainerState) string {
	switch {
	case s.Waiting != nil:
		return s.Waiting.Reason
	case s.Running != nil:
		return "running"
	case s.Terminated != nil:
		return fmt.Sprintf("%s:%d", s.Terminated.Reason, s.Terminated.ExitCode)
	}
	return ""
}

func TestOf(t *testing.T) {
	up := map[string]plan.Health{"a": {Started: true, Ready: true}}
	tests := []struct {
		name string
		in   Input
		want string
	}{
		{"nothing yet", Input{Pod: pod("Always"), State: &observed.Pod{}},
			"Pending -ReadyToStartContainers +Initialized -Ready -ContainersReady a=ContainerCreating"},
		{"a sandbox", Input{Pod: pod("Always"), State: with()},
			"Pending +ReadyToStartContainers +Initialized -Ready -ContainersReady a=ContainerCreating"},
		{"running, not asked yet", Input{Pod: pod("Always"), State: with(running("a"))},
			"Running +ReadyToStartContainers +Initialized -Ready -ContainersReady a=running"},
		{"ready", Input{Pod: pod("Always"), State: with(running("a")), Health: up},
			"Running +ReadyToStartContainers +Initialized +Ready +ContainersReady a=running+"},
		{"initialising", Input{Pod: pod("Always", "init"), State: with(running("init"))},
			"Pending +ReadyToStartContainers -Initialized -Ready -ContainersReady init=running a=PodInitializing"},
		{"initialised", Input{Pod: pod("Always", "init"), State: with(exited("init", 0))},
			"Pending +ReadyToStartContainers +Initialized -Ready -ContainersReady init=Completed:0+ a=ContainerCreating"},
		{"failed to initialise", Input{Pod: pod("Never", "init"), State: with(exited("init", 1)), Stopped: true},
			"Failed +ReadyToStartContainers -Initialized -Ready -ContainersReady init=Error:1 a=PodInitializing"},
		{"crash loop", Input{Pod: pod("Always"), State: with(exited("a", 1)), Waits: map[string]plan.Wait{"a": {Reason: "CrashLoopBackOff"}}},
			"Running +ReadyToStartContainers +Initialized -Ready -ContainersReady a=CrashLoopBackOff(Error:1)"},
		{"no image", Input{Pod: pod("Always"), State: with(), Problems: map[string]Problem{"a": {Reason: "ErrImagePull"}}},
			"Pending +ReadyToStartContainers +Initialized -Ready -ContainersReady a=ErrImagePull"},
		{"restarted", Input{Pod: pod("Always"), State: with(running("a"), exited("a", 2)), Health: up},
			"Running +ReadyToStartContainers +Initialized +Ready +ContainersReady a=running(Error:2)+"},
		{"done", Input{Pod: pod("Never"), State: with(exited("a", 0)), Stopped: true},
			"Succeeded +ReadyToStartContainers +Initialized -Ready -ContainersReady a=Completed:0"},
		{"done but not stopped", Input{Pod: pod("Never"), State: with(exited("a", 0))},
			"Pending +ReadyToStartContainers +Initialized -Ready -ContainersReady a=Completed:0"},
		{"failed", Input{Pod: pod("Never"), State: with(exited("a", 9)), Stopped: true},
			"Failed +ReadyToStartContainers +Initialized -Ready -ContainersReady a=Error:9"},
		{"over its deadline", Input{Pod: pod("Always"), State: with(exited("a", 143)), Stopped: true, Fate: &Problem{Reason: "DeadlineExceeded"}},
			"Failed/DeadlineExceeded +ReadyToStartContainers +Initialized -Ready -ContainersReady a=Error:143"},
		{"refused", Input{Pod: pod("Always"), State: &observed.Pod{}, Stopped: true, Fate: &Problem{Reason: "OutOfcpu"}},
			"Failed/OutOfcpu -ReadyToStartContainers +Initialized -Ready -ContainersReady"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.in.Now = now
			out := Of(test.in)
			if got := line(out); got != test.want {
				t.Errorf("status is\n%s, want\n%s", got, test.want)
			}
			if out.ObservedGeneration != 3 || out.StartTime == nil {
				t.Errorf("generation %d, start %v", out.ObservedGeneration, out.StartTime)
			}
		})
	}
}

func TestConditionsKeepTheirTimeAndOthersWords(t *testing.T) {
	p := pod("Always")
	p.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "example.com/gate"}}
	in := Input{Pod: p, State: with(running("a")), Health: map[string]plan.Health{"a": {Started: true, Ready: true}}, Now: now}
	p.Status = Of(in)
	if c := condition(p.Status, corev1.PodReady); c.Status != corev1.ConditionFalse || c.Reason != "ReadinessGatesNotReady" {
		t.Errorf("without its gate the pod is %+v", c)
	}
	p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{Type: "example.com/gate", Status: corev1.ConditionTrue})
	in.Now = now.Add(time.Hour)
	out := Of(in)
	if c := condition(out, corev1.PodReady); c.Status != corev1.ConditionTrue || !c.LastTransitionTime.Time.Equal(in.Now) {
		t.Errorf("with its gate the pod is %+v", c)
	}
	if c := condition(out, corev1.ContainersReady); !c.LastTransitionTime.Time.Equal(now) {
		t.Errorf("an unchanged condition has a new time: %+v", c)
	}
	if c := condition(out, "example.com/gate"); c.Status != corev1.ConditionTrue {
		t.Errorf("another's condition became %+v", c)
	}
}

func condition(s corev1.PodStatus, kind corev1.PodConditionType) corev1.PodCondition {
	for _, c := range s.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return corev1.PodCondition{}
}

func TestLostContainersAreNotForgotten(t *testing.T) {
	p := pod("Always")
	p.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "a", RestartCount: 4, ContainerID: "containerd://x",
		State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(now)}},
	}}
	s := Of(Input{Pod: p, State: &observed.Pod{}, Now: now}).ContainerStatuses[0]
	if s.RestartCount != 5 || s.LastTerminationState.Terminated == nil || s.LastTerminationState.Terminated.Reason != "ContainerStatusUnknown" {
		t.Errorf("status is %+v", s)
	}
}

func TestAnEndIsFinal(t *testing.T) {
	p := pod("Never")
	p.Status = Of(Input{Pod: p, State: with(exited("a", 1)), Stopped: true, Now: now})
	if out := Of(Input{Pod: p, State: &observed.Pod{}, Stopped: true, Now: now}); out.Phase != corev1.PodFailed || out.ContainerStatuses[0].State.Terminated.ExitCode != 1 {
		t.Errorf("after its containers were removed the pod is %s", line(out))
	}
}
