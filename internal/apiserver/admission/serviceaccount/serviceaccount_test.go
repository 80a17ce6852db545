package serviceaccount

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestMountToken(t *testing.T) {
	own := corev1.VolumeMount{Name: "mine", MountPath: mountPath}
	for name, c := range map[string]struct {
		pod             corev1.PodSpec
		volumes, mounts int
	}{
		"every container": {corev1.PodSpec{InitContainers: make([]corev1.Container, 1), Containers: make([]corev1.Container, 2)}, 1, 3},
		"one has its own": {corev1.PodSpec{Containers: []corev1.Container{{VolumeMounts: []corev1.VolumeMount{own}}, {}}}, 1, 1},
		"all have":        {corev1.PodSpec{Containers: []corev1.Container{{VolumeMounts: []corev1.VolumeMount{own}}}}, 0, 0},
		"it was brought":  {corev1.PodSpec{Containers: make([]corev1.Container, 1), Volumes: []corev1.Volume{{Name: volumePrefix + "old"}}}, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{Spec: c.pod}
			mountToken(pod, volumePrefix+"new")
			mounts := 0
			for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
				for i := range list {
					for _, m := range list[i].VolumeMounts {
						if m.Name == "mine" {
							continue
						}
						mounts++
						if m.Name != pod.Spec.Volumes[0].Name || !m.ReadOnly {
							t.Errorf("mount %+v of volume %s", m, pod.Spec.Volumes[0].Name)
						}
					}
				}
			}
			if len(pod.Spec.Volumes) != c.volumes || mounts != c.mounts {
				t.Errorf("%d volumes, %d mounts; want %d, %d", len(pod.Spec.Volumes), mounts, c.volumes, c.mounts)
			}
		})
	}
}

func TestMirrorPodsReachNothing(t *testing.T) {
	env := func(s *corev1.SecretKeySelector) corev1.PodSpec {
		return corev1.PodSpec{Containers: []corev1.Container{{Env: []corev1.EnvVar{{ValueFrom: &corev1.EnvVarSource{SecretKeyRef: s}}}}}}
	}
	volume := func(p corev1.VolumeProjection) corev1.PodSpec {
		return corev1.PodSpec{Volumes: []corev1.Volume{{VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{p}}}}}}
	}
	for want, spec := range map[string]corev1.PodSpec{
		"":                              {Containers: make([]corev1.Container, 1)},
		"may not reference service acc": {ServiceAccountName: "a"},
		"may not reference secrets":     env(&corev1.SecretKeySelector{}),
		"ServiceAccountToken volume":    volume(corev1.VolumeProjection{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{}}),
		"ClusterTrustBundle volume":     volume(corev1.VolumeProjection{ClusterTrustBundle: &corev1.ClusterTrustBundleProjection{}}),
	} {
		got := mirrorRefers(&corev1.Pod{Spec: spec})
		if want == "" && got != "" || want != "" && !strings.Contains(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
