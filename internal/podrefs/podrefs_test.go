package podrefs

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestVisitor(t *testing.T) {
	secretEnv := corev1.EnvVar{ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "s-env"}}}}
	mapEnv := corev1.EnvVar{ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: "m-env"}}}}
	plain := corev1.EnvVar{Name: "A", Value: "b"}
	field := corev1.EnvVar{ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}}
	from := []corev1.EnvFromSource{
		{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "s-from"}}},
		{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "m-from"}}},
	}
	local := func(name string) *corev1.LocalObjectReference { return &corev1.LocalObjectReference{Name: name} }
	volume := func(source corev1.VolumeSource) corev1.PodSpec {
		return corev1.PodSpec{Volumes: []corev1.Volume{{Name: "v", VolumeSource: source}}}
	}
	for _, test := range []struct {
		name                 string
		spec                 corev1.PodSpec
		secrets, maps, needs []string // needs: secrets and maps of the containers
	}{
		{name: "nothing", spec: corev1.PodSpec{Containers: []corev1.Container{{Env: []corev1.EnvVar{plain, field}}}}},
		{name: "pull secret", spec: corev1.PodSpec{ImagePullSecrets: []corev1.LocalObjectReference{{Name: "pull"}, {}}},
			secrets: []string{"pull"}, needs: []string{"pull"}},
		{name: "init container", spec: corev1.PodSpec{InitContainers: []corev1.Container{{Env: []corev1.EnvVar{secretEnv, mapEnv}}}},
			secrets: []string{"s-env"}, maps: []string{"m-env"}, needs: []string{"s-env", "m-env"}},
		{name: "container", spec: corev1.PodSpec{Containers: []corev1.Container{{EnvFrom: from}}},
			secrets: []string{"s-from"}, maps: []string{"m-from"}, needs: []string{"s-from", "m-from"}},
		{name: "ephemeral container", spec: corev1.PodSpec{EphemeralContainers: []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Env: []corev1.EnvVar{secretEnv}, EnvFrom: from}}}},
			secrets: []string{"s-from", "s-env"}, maps: []string{"m-from"}, needs: []string{"s-from", "m-from", "s-env"}},
		{name: "secret volume", spec: volume(corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "s"}}), secrets: []string{"s"}},
		{name: "config map volume", spec: volume(corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: *local("m")}}), maps: []string{"m"}},
		{name: "projected volume", spec: volume(corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
			{Secret: &corev1.SecretProjection{LocalObjectReference: *local("s")}},
			{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: *local("m")}},
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{}},
		}}}), secrets: []string{"s"}, maps: []string{"m"}},
		{name: "driver's volume", spec: volume(corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{NodePublishSecretRef: local("s")}}), secrets: []string{"s"}},
		{name: "driver's volume without secret", spec: volume(corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{}})},
		{name: "in-tree volume", spec: volume(corev1.VolumeSource{ISCSI: &corev1.ISCSIVolumeSource{SecretRef: local("s")}}), secrets: []string{"s"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			pod := &corev1.Pod{Spec: test.spec}
			var secrets, maps, needs []string
			Visitor{
				Secret:    func(name string) { secrets = append(secrets, name) },
				ConfigMap: func(name string) { maps = append(maps, name) },
			}.Pod(pod)
			need := func(name string) { needs = append(needs, name) }
			Visitor{Secret: need, ConfigMap: need}.Containers(pod)
			if !slices.Equal(secrets, test.secrets) || !slices.Equal(maps, test.maps) || !slices.Equal(needs, test.needs) {
				t.Errorf("secrets %q, maps %q, containers' %q; want %q, %q, %q", secrets, maps, needs, test.secrets, test.maps, test.needs)
			}
		})
	}
}
