package agent_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestPodBecomesReadyAndGoes(t *testing.T) {
	r := newRig(t)
	pod := r.run("web", corev1.PodSpec{Containers: []corev1.Container{shell("web", "sleep 1000")}})
	pod = r.until("web", "is ready", isReady)
	if pod.Status.Phase != corev1.PodRunning || pod.Status.PodIP == "" || pod.Status.HostIP != "127.0.0.1" || pod.Status.StartTime == nil {
		t.Errorf("status is %+v", pod.Status)
	}
	for _, reason := range []string{"Pulled", "Created", "Started"} {
		r.untilEvent(pod.UID, reason)
	}
	r.delete("web")
}
