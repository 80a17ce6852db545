package agent_test

import (
	"fmt"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestDeletionBreaksOffAStart deletes pods that are on their way: with a hook that
// never ends, a volume that never comes, an init container that never ends.
func TestDeletionBreaksOffAStart(t *testing.T) {
	r := newRig(t)
	hooked := shell("main", "exec sleep 1000")
	hooked.Lifecycle = &corev1.Lifecycle{PostStart: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"sleep", "2000"}}}}
	r.run("hooked", corev1.PodSpec{Containers: []corev1.Container{hooked}})
	waiting := shell("main", "true")
	waiting.VolumeMounts = []corev1.VolumeMount{{Name: "v", MountPath: "/v"}}
	pod := r.run("waiting", corev1.PodSpec{Containers: []corev1.Container{waiting}, Volumes: []corev1.Volume{
		{Name: "v", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "absent"}}},
	}})
	r.run("beginning", corev1.PodSpec{
		InitContainers: []corev1.Container{shell("init", "exec sleep 1000")}, Containers: []corev1.Container{shell("main", "true")},
	})
	r.untilEvent(pod.UID, "FailedMount")
	r.until("beginning", "initialises", func(p *corev1.Pod) bool {
		s := p.Status.InitContainerStatuses
		return len(s) == 1 && s[0].State.Running != nil
	})
	await(t, "the hook runs", func() (bool, string) {
		state, _ := r.agent.Pod(namespace, "hooked")
		observed, ok := r.agent.State(state.UID)
		return ok && len(observed.Sandboxes) == 1, fmt.Sprint(observed)
	})
	for _, name := range []string{"hooked", "waiting", "beginning"} {
		r.delete(name)
	}
	if left, _ := filepath.Glob(filepath.Join(r.dir, "pods", "*")); len(left) > 0 {
		t.Errorf("left of the pods: %v", left)
	}
}

// TestManyAtOnce starts and ends more pods than there are processors.
func TestManyAtOnce(t *testing.T) {
	r := newRig(t)
	const count = 12
	for i := range count {
		r.run(fmt.Sprint("many", i), corev1.PodSpec{Containers: []corev1.Container{shell("main", "exec sleep 1000")}})
	}
	addresses := map[string]string{}
	for i := range count {
		pod := r.until(fmt.Sprint("many", i), "is ready", isReady)
		if other, taken := addresses[pod.Status.PodIP]; taken {
			t.Errorf("%s and %s both have %s", pod.Name, other, pod.Status.PodIP)
		}
		addresses[pod.Status.PodIP] = pod.Name
	}
	for i := range count {
		r.delete(fmt.Sprint("many", i))
	}
}

// TestProbesOverTheNetwork asks a web server in a pod, which goes away and comes back.
func TestProbesOverTheNetwork(t *testing.T) {
	r := newRig(t)
	web := shell("web", "mkdir /www && echo fine > /www/health && exec httpd -f -p 8080 -h /www")
	web.Ports = []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}
	web.ReadinessProbe = &corev1.Probe{ProbeHandler: httpGet("/health"), PeriodSeconds: 1, FailureThreshold: 1}
	web.LivenessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: httpGet("/").HTTPGet.Port}}, PeriodSeconds: 1, FailureThreshold: 3}
	pod := r.run("web", corev1.PodSpec{Containers: []corev1.Container{web}})
	ready := r.until("web", "is ready", isReady)
	r.exec(ready, "web", "mv /www/health /www/gone")
	r.until("web", "is not ready", func(p *corev1.Pod) bool { return !isReady(p) })
	if message := r.untilEvent(pod.UID, "Unhealthy"); message != "Readiness probe failed: HTTP probe failed with statuscode: 404" {
		// The server may not have listened yet when it was first asked.
		t.Logf("event says %q", message)
	}
	r.exec(ready, "web", "mv /www/gone /www/health")
	again := r.until("web", "is ready again", isReady)
	if n := again.Status.ContainerStatuses[0].RestartCount; n != 0 {
		t.Errorf("restarted %d times", n)
	}
	r.delete("web")
}

// TestHooksThatWait ends a pod whose hook only waits, and one whose hook fails.
func TestHooksThatWait(t *testing.T) {
	r := newRig(t)
	grace := int64(30)
	ends := "trap 'exit 0' TERM; while true; do sleep 0.1; done"
	slow, broken := shell("main", ends), shell("main", ends)
	slow.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 1}}}
	broken.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"false"}}}}
	one := r.run("slow", corev1.PodSpec{TerminationGracePeriodSeconds: &grace, Containers: []corev1.Container{slow}})
	other := r.run("broken", corev1.PodSpec{TerminationGracePeriodSeconds: &grace, Containers: []corev1.Container{broken}})
	r.until("slow", "is ready", isReady)
	r.until("broken", "is ready", isReady)
	r.delete("slow")
	r.delete("broken")
	r.untilEvent(other.UID, "FailedPreStopHook")
	if message, failed := r.events(one.UID)["FailedPreStopHook"]; failed {
		t.Errorf("a hook that waits failed: %s", message)
	}
}
