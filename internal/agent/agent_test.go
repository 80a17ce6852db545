package agent_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestPodBecomesReadyAndGoes(t *testing.T) {
	r := newRig(t)
	r.run("web", corev1.PodSpec{Containers: []corev1.Container{shell("web", "sleep 1000")}})
	pod := r.until("web", "is ready", isReady)
	if pod.Status.Phase != corev1.PodRunning || pod.Status.PodIP == "" || pod.Status.HostIP != "127.0.0.1" || pod.Status.StartTime == nil {
		t.Errorf("status is %+v", pod.Status)
	}
	for _, reason := range []string{"Pulled", "Created", "Started"} {
		r.untilEvent(pod.UID, reason)
	}
	r.delete("web")
}

func TestCrashLoop(t *testing.T) {
	r := newRig(t)
	r.run("crash", corev1.PodSpec{Containers: []corev1.Container{shell("main", "echo last words > /dev/termination-log; exit 3")}})
	pod := r.until("crash", "backs off", func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses
		return len(s) == 1 && s[0].State.Waiting != nil && s[0].State.Waiting.Reason == "CrashLoopBackOff"
	})
	s := pod.Status.ContainerStatuses[0]
	last := s.LastTerminationState.Terminated
	if s.RestartCount != 1 || last == nil || last.ExitCode != 3 || last.Reason != "Error" || last.Message != "last words\n" {
		t.Errorf("container is %s", describe(pod))
	}
	if pod.Status.Phase != corev1.PodRunning {
		t.Errorf("phase is %s, want Running", pod.Status.Phase)
	}
	r.untilEvent(pod.UID, "BackOff")
	r.delete("crash")
}

func TestJobPodSucceedsAndFails(t *testing.T) {
	r := newRig(t)
	r.run("good", corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{shell("main", "exit 0")}})
	r.run("bad", corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{shell("main", "exit 4")}})
	r.until("good", "succeeded", inPhase(corev1.PodSucceeded))
	pod := r.until("bad", "failed", inPhase(corev1.PodFailed))
	if end := pod.Status.ContainerStatuses[0].State.Terminated; end == nil || end.ExitCode != 4 {
		t.Errorf("container is %s", describe(pod))
	}
	r.delete("good")
	r.delete("bad")
}

func TestInitContainersAndSidecar(t *testing.T) {
	r := newRig(t)
	always := corev1.ContainerRestartPolicyAlways
	data := []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
	first := shell("first", "echo one > /data/order")
	side := shell("side", "echo side >> /data/order; trap 'echo side-end >> /data/order; exit 0' TERM; touch /tmp/up; while true; do sleep 0.1; done")
	side.RestartPolicy = &always
	side.StartupProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"cat", "/tmp/up"}}}, PeriodSeconds: 1, FailureThreshold: 30}
	second := shell("second", "echo two >> /data/order")
	main := shell("main", "[ \"$(cat /data/order | tr '\\n' ' ')\" = 'one side two ' ]")
	for _, c := range []*corev1.Container{&first, &side, &second, &main} {
		c.VolumeMounts = data
	}
	r.run("order", corev1.PodSpec{
		RestartPolicy:  corev1.RestartPolicyNever,
		InitContainers: []corev1.Container{first, side, second},
		Containers:     []corev1.Container{main},
		Volumes:        []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}},
	})
	pod := r.until("order", "has ended", func(p *corev1.Pod) bool {
		return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	})
	if pod.Status.Phase != corev1.PodSucceeded {
		t.Errorf("containers did not run in order: %s", describe(pod))
	}
	if end := pod.Status.InitContainerStatuses[1].State.Terminated; end == nil || end.ExitCode != 0 {
		t.Errorf("sidecar was not ended: %s", describe(pod))
	}
	r.delete("order")
}

func TestLivenessRestartsAndReadinessFollows(t *testing.T) {
	r := newRig(t)
	main := shell("main", "touch /tmp/alive /tmp/ready; sleep 1; rm /tmp/alive; exec sleep 1000")
	main.LivenessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"cat", "/tmp/alive"}}}, PeriodSeconds: 1, FailureThreshold: 1}
	main.ReadinessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"cat", "/tmp/ready"}}}, PeriodSeconds: 1}
	pod := r.run("alive", corev1.PodSpec{Containers: []corev1.Container{main}})
	r.until("alive", "is ready", isReady)
	r.until("alive", "is restarted", func(p *corev1.Pod) bool {
		s := p.Status.ContainerStatuses
		return len(s) == 1 && s[0].RestartCount >= 1
	})
	if message := r.untilEvent(pod.UID, "Killing"); message != "Container main failed liveness probe, will be restarted" {
		t.Errorf("event says %q", message)
	}
	r.untilEvent(pod.UID, "Unhealthy")
	r.delete("alive")
}

func TestGracefulTermination(t *testing.T) {
	r := newRig(t)
	dir := t.TempDir()
	grace := int64(20)
	main := shell("main", "trap 'echo term >> /out/order; exit 0' TERM; touch /out/up; while true; do sleep 0.1; done")
	main.VolumeMounts = []corev1.VolumeMount{{Name: "out", MountPath: "/out"}}
	main.Lifecycle = &corev1.Lifecycle{
		PostStart: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"sh", "-c", "echo post-start >> /out/order"}}},
		PreStop:   &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"sh", "-c", "echo pre-stop >> /out/order"}}},
	}
	r.run("soft", corev1.PodSpec{
		Containers: []corev1.Container{main}, TerminationGracePeriodSeconds: &grace,
		Volumes: []corev1.Volume{{Name: "out", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: dir}}}},
	})
	await(t, "the container is up", func() (bool, string) {
		_, err := os.Stat(filepath.Join(dir, "up"))
		return err == nil, ""
	})
	r.until("soft", "is ready", isReady)
	r.delete("soft")
	order, err := os.ReadFile(filepath.Join(dir, "order"))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(order); got != "post-start\npre-stop\nterm\n" {
		t.Errorf("hooks and signal came as %q", got)
	}
}

func TestContainersOutliveTheAgent(t *testing.T) {
	r := newRig(t)
	dir := t.TempDir()
	stays := shell("main", "exec sleep 1000")
	ends := shell("main", "while ! [ -e /out/go ]; do sleep 0.1; done; exit 7")
	ends.VolumeMounts = []corev1.VolumeMount{{Name: "out", MountPath: "/out"}}
	r.run("stays", corev1.PodSpec{Containers: []corev1.Container{stays}})
	r.run("ends", corev1.PodSpec{
		RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{ends},
		Volumes: []corev1.Volume{{Name: "out", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: dir}}}},
	})
	r.run("goes", corev1.PodSpec{Containers: []corev1.Container{stays}})
	before := r.until("stays", "is ready", isReady)
	r.until("ends", "is ready", isReady)
	r.until("goes", "is ready", isReady)
	r.stop()
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	now := int64(0)
	if err := r.admin.CoreV1().Pods(namespace).Delete(r.context(), "goes", metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		t.Fatal(err)
	}
	r.startAgent()
	pod := r.until("ends", "failed", inPhase(corev1.PodFailed))
	if end := pod.Status.ContainerStatuses[0].State.Terminated; end == nil || end.ExitCode != 7 {
		t.Errorf("a container that ended without an agent is %s", describe(pod))
	}
	after := r.until("stays", "is ready", isReady)
	if a, b := before.Status.ContainerStatuses[0], after.Status.ContainerStatuses[0]; a.ContainerID != b.ContainerID || b.RestartCount != 0 {
		t.Errorf("the running container was not adopted: was %s, is %s, %d restarts", a.ContainerID, b.ContainerID, b.RestartCount)
	}
	await(t, "the pod deleted meanwhile has left the node", func() (bool, string) {
		boxes, err := r.runtime.Runtime.ListPodSandbox(r.context(), &cri.ListPodSandboxRequest{})
		if err != nil {
			return false, err.Error()
		}
		for _, box := range boxes.Items {
			if box.Metadata.Name == "goes" {
				return false, box.State.String()
			}
		}
		return true, ""
	})
	r.delete("stays")
	r.delete("ends")
}

func TestWhatCannotStartSaysWhy(t *testing.T) {
	r := newRig(t)
	noImage := shell("main", "true")
	noImage.Image, noImage.ImagePullPolicy = "sinawi.local/nothing:1", corev1.PullNever
	noCommand := shell("main", "true")
	noCommand.Command = []string{"/bin/no-such-program"}
	noConfig := shell("main", "true")
	noConfig.EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "absent"}}}}
	root := shell("main", "true")
	nonRoot := true
	root.SecurityContext = &corev1.SecurityContext{RunAsNonRoot: &nonRoot}
	for name, want := range map[string]struct {
		container corev1.Container
		reasons   []string
	}{
		"no-image":   {noImage, []string{"ErrImageNeverPull"}},
		"no-command": {noCommand, []string{"RunContainerError", "CrashLoopBackOff"}},
		"no-config":  {noConfig, []string{"CreateContainerConfigError"}},
		"root":       {root, []string{"CreateContainerConfigError"}},
	} {
		r.run(name, corev1.PodSpec{Containers: []corev1.Container{want.container}})
		r.until(name, "waits", func(p *corev1.Pod) bool {
			s := p.Status.ContainerStatuses
			return len(s) == 1 && s[0].State.Waiting != nil && slices.Contains(want.reasons, s[0].State.Waiting.Reason)
		})
	}
	// What was missing comes: the pod goes on at once.
	absent := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "absent"}, Data: map[string]string{"A": "b"}}
	if _, err := r.admin.CoreV1().ConfigMaps(namespace).Create(r.context(), absent, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	r.until("no-config", "started", func(p *corev1.Pod) bool { return p.Status.ContainerStatuses[0].ContainerID != "" })
	for _, name := range []string{"no-image", "no-command", "no-config", "root"} {
		r.delete(name)
	}
}

func TestDeadlineAndRefusal(t *testing.T) {
	r := newRig(t)
	one := int64(1)
	r.run("late", corev1.PodSpec{ActiveDeadlineSeconds: &one, Containers: []corev1.Container{shell("main", "exec sleep 1000")}})
	pod := r.until("late", "failed", inPhase(corev1.PodFailed))
	if pod.Status.Reason != "DeadlineExceeded" {
		t.Errorf("reason is %q", pod.Status.Reason)
	}
	greedy := shell("main", "true")
	greedy.Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1000")}
	r.run("greedy", corev1.PodSpec{Containers: []corev1.Container{greedy}})
	pod = r.until("greedy", "failed", inPhase(corev1.PodFailed))
	if pod.Status.Reason != "OutOfcpu" {
		t.Errorf("reason is %q: %s", pod.Status.Reason, pod.Status.Message)
	}
	r.delete("late")
	r.delete("greedy")
}
