package agent_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestContentFromTheAPIIsReadOnly has root try to write into a ConfigMap that is
// mounted without a word about writing.
func TestContentFromTheAPIIsReadOnly(t *testing.T) {
	r := newRig(t)
	config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "settings"}, Data: map[string]string{"a": "one"}}
	if _, err := r.admin.CoreV1().ConfigMaps(namespace).Create(r.context(), config, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	main := shell("main", "exec sleep 1000")
	main.VolumeMounts = []corev1.VolumeMount{{Name: "config", MountPath: "/config"}, {Name: "config", MountPath: "/one", SubPath: "a"}}
	r.run("writer", corev1.PodSpec{Containers: []corev1.Container{main}, Volumes: []corev1.Volume{
		{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}}},
	}})
	pod := r.until("writer", "is ready", isReady)
	got := r.exec(pod, "main", "id -u; for f in /config/new /config/a /one; do (echo x > $f) 2>/dev/null && echo wrote $f; done; cat /config/a /one")
	if want := "0\noneone"; strings.TrimSpace(got) != want {
		t.Errorf("got %q, want %q", got, want)
	}
	r.delete("writer")
}

// TestAPodOverItsDiskLimitIsEvicted fills a volume beyond its size beside a pod
// that stays within.
func TestAPodOverItsDiskLimitIsEvicted(t *testing.T) {
	r := newRig(t)
	spec := func(blocks string) corev1.PodSpec {
		size := resource.MustParse("1Mi")
		main := shell("main", "dd if=/dev/zero of=/scratch/file bs=4096 count="+blocks+" && exec sleep 1000")
		main.VolumeMounts = []corev1.VolumeMount{{Name: "scratch", MountPath: "/scratch"}}
		return corev1.PodSpec{Containers: []corev1.Container{main}, Volumes: []corev1.Volume{
			{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &size}}},
		}}
	}
	within := r.run("within", spec("10"))
	over := r.run("over", spec("1000"))
	const want = `Usage of EmptyDir volume "scratch" exceeds the limit "1Mi". `
	if message := r.untilEvent(over.UID, "Evicted"); message != want {
		t.Errorf("event says %q, want %q", message, want)
	}
	pod := r.until("over", "has failed", inPhase(corev1.PodFailed))
	if pod.Status.Reason != "Evicted" || pod.Status.Message != want {
		t.Errorf("got reason %q, message %q", pod.Status.Reason, pod.Status.Message)
	}
	if pod := r.until("within", "is ready", isReady); pod.Status.Phase != corev1.PodRunning {
		t.Errorf("the pod within its limit is %s", pod.Status.Phase)
	}
	if _, told := r.events(within.UID)["Evicted"]; told {
		t.Error("the pod within its limit was evicted")
	}
	r.delete("over")
	r.delete("within")
}
