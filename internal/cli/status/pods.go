package status

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// patience is how long a pod may take to become ready before it is called a
// problem, when nothing else tells that it is one.
const patience = time.Minute

// podProblem says what is wrong with a pod, if anything is.
func podProblem(pod *corev1.Pod, now time.Time) (Problem, bool) {
	key := pod.Namespace + "/" + pod.Name
	p := Problem{Object: "pod " + key, Next: fmt.Sprintf("sinawi kubectl describe pod -n %s %s", pod.Namespace, pod.Name)}
	if pod.Status.Phase == corev1.PodSucceeded || ready(pod) {
		return p, false
	}
	if pod.Status.Phase == corev1.PodFailed {
		p.What = "failed: " + firstOf(pod.Status.Reason, pod.Status.Message, endOfContainer(pod))
		return p, true
	}
	if pod.DeletionTimestamp != nil {
		// The timestamp lies at the end of the grace period.
		p.Since = now.Sub(pod.DeletionTimestamp.Time).Round(time.Second)
		p.What = "does not end although its grace period is over"
		return p, p.Since > patience
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			p.What, p.Since = "fits no node: "+c.Message, now.Sub(c.LastTransitionTime.Time).Round(time.Second)
			return p, true
		}
	}
	if what, logs := containerProblem(pod); what != "" {
		p.What = what
		if logs != "" {
			p.Next = fmt.Sprintf("sinawi kubectl logs -n %s %s -c %s --previous", pod.Namespace, pod.Name, logs)
		}
		return p, true
	}
	p.Since = now.Sub(pod.CreationTimestamp.Time).Round(time.Second)
	p.What = "is not ready"
	return p, p.Since > patience
}

// containerProblem looks for a container that waits for a reason that does not
// go away by itself. logs names a container whose last words may tell more.
func containerProblem(pod *corev1.Pod) (what, logs string) {
	for _, c := range append(append([]corev1.ContainerStatus{}, pod.Status.InitContainerStatuses...), pod.Status.ContainerStatuses...) {
		w := c.State.Waiting
		if w == nil {
			continue
		}
		switch w.Reason {
		case "", "ContainerCreating", "PodInitializing":
			continue
		case "CrashLoopBackOff":
			what = fmt.Sprintf("container %s keeps ending (%d restarts)", c.Name, c.RestartCount)
			if last := c.LastTerminationState.Terminated; last != nil {
				what += fmt.Sprintf(", the last time with exit code %d (%s)", last.ExitCode, last.Reason)
			}
			return what, c.Name
		}
		return fmt.Sprintf("container %s: %s: %s", c.Name, w.Reason, w.Message), ""
	}
	return "", ""
}

func endOfContainer(pod *corev1.Pod) string {
	for _, c := range pod.Status.ContainerStatuses {
		if t := c.State.Terminated; t != nil && t.ExitCode != 0 {
			return fmt.Sprintf("container %s ended with exit code %d (%s)", c.Name, t.ExitCode, t.Reason)
		}
	}
	return "no reason given"
}

func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}
