// Package podrefs knows which secrets and config maps a pod refers to: whoever
// grants, keeps or removes them must find the same. It is pure.
package podrefs

import corev1 "k8s.io/api/core/v1"

// Visitor is told the names, each as often as the pod names it. All lie in the
// pod's namespace. What the pod marks as optional is told too.
type Visitor struct{ Secret, ConfigMap func(name string) }

// Pod tells all that a pod refers to.
func (v Visitor) Pod(pod *corev1.Pod) {
	v.Containers(pod)
	for i := range pod.Spec.Volumes {
		v.volume(&pod.Spec.Volumes[i])
	}
}

// Containers tells what a pod's containers need to be made: the secrets that
// their images are pulled with, and their environment.
func (v Visitor) Containers(pod *corev1.Pod) {
	for i := range pod.Spec.ImagePullSecrets {
		v.secret(&pod.Spec.ImagePullSecrets[i])
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			v.environment(list[i].Env, list[i].EnvFrom)
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		c := &pod.Spec.EphemeralContainers[i]
		v.environment(c.Env, c.EnvFrom)
	}
}

func (v Visitor) secret(ref *corev1.LocalObjectReference) {
	if ref != nil {
		named(v.Secret, ref.Name)
	}
}

func named(tell func(string), name string) {
	if name != "" {
		tell(name)
	}
}

func (v Visitor) environment(vars []corev1.EnvVar, from []corev1.EnvFromSource) {
	for _, f := range from {
		if f.SecretRef != nil {
			named(v.Secret, f.SecretRef.Name)
		}
		if f.ConfigMapRef != nil {
			named(v.ConfigMap, f.ConfigMapRef.Name)
		}
	}
	for i := range vars {
		source := vars[i].ValueFrom
		if source == nil {
			continue
		}
		if source.SecretKeyRef != nil {
			named(v.Secret, source.SecretKeyRef.Name)
		}
		if source.ConfigMapKeyRef != nil {
			named(v.ConfigMap, source.ConfigMapKeyRef.Name)
		}
	}
}

func (v Visitor) volume(volume *corev1.Volume) {
	switch {
	case volume.Secret != nil:
		named(v.Secret, volume.Secret.SecretName)
	case volume.ConfigMap != nil:
		named(v.ConfigMap, volume.ConfigMap.Name)
	case volume.Projected != nil:
		for _, s := range volume.Projected.Sources {
			if s.Secret != nil {
				named(v.Secret, s.Secret.Name)
			}
			if s.ConfigMap != nil {
				named(v.ConfigMap, s.ConfigMap.Name)
			}
		}
	case volume.AzureFile != nil:
		named(v.Secret, volume.AzureFile.SecretName)
	case volume.CSI != nil:
		v.secret(volume.CSI.NodePublishSecretRef)
	case volume.CephFS != nil:
		v.secret(volume.CephFS.SecretRef)
	case volume.Cinder != nil:
		v.secret(volume.Cinder.SecretRef)
	case volume.FlexVolume != nil:
		v.secret(volume.FlexVolume.SecretRef)
	case volume.ISCSI != nil:
		v.secret(volume.ISCSI.SecretRef)
	case volume.RBD != nil:
		v.secret(volume.RBD.SecretRef)
	case volume.ScaleIO != nil:
		v.secret(volume.ScaleIO.SecretRef)
	case volume.StorageOS != nil:
		v.secret(volume.StorageOS.SecretRef)
	}
}
