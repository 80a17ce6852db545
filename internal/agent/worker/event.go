package worker

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"

	"github.com/sinawi/sinawi/internal/agent/plan"
)

// event tells the pod's owner what happened, to one container if it is named.
func (w *Worker) event(container, kind, reason, message string) {
	w.mu.Lock()
	pod := w.pod
	w.mu.Unlock()
	ref := &corev1.ObjectReference{
		Kind: "Pod", APIVersion: "v1", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID,
		ResourceVersion: pod.ResourceVersion, FieldPath: fieldPath(pod, container),
	}
	w.deps.Recorder.Event(ref, kind, reason, message)
}

func fieldPath(pod *corev1.Pod, container string) string {
	if container == "" {
		return ""
	}
	for i := range pod.Spec.InitContainers {
		if pod.Spec.InitContainers[i].Name == container {
			return fmt.Sprintf("spec.initContainers{%s}", container)
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if pod.Spec.EphemeralContainers[i].Name == container {
			return fmt.Sprintf("spec.ephemeralContainers{%s}", container)
		}
	}
	return fmt.Sprintf("spec.containers{%s}", container)
}

func (w *Worker) unhealthy(c *corev1.Container, message string) {
	w.event(c.Name, corev1.EventTypeWarning, "Unhealthy", message)
}

// tellWaits reports each wait for a restart once.
func (w *Worker) tellWaits(waits map[string]plan.Wait) {
	for name, wait := range waits {
		if w.backoffs[name].Equal(wait.Until) {
			continue
		}
		w.backoffs[name] = wait.Until
		w.mu.Lock()
		pod := w.pod
		w.mu.Unlock()
		w.event(name, corev1.EventTypeWarning, "BackOff", fmt.Sprintf("Back-off restarting failed container %s in pod %s_%s(%s)", name, pod.Name, pod.Namespace, pod.UID))
		w.log.Debug("container waits for its restart", "container", name, "until", wait.Until.Format(time.RFC3339))
	}
}

// plain is a runtime's error without the wire's words around it.
func plain(err error) error {
	if s, ok := status.FromError(err); ok {
		return errors.New(s.Message())
	}
	return err
}
