package tokencleaner

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// references returns the secrets that pods name.
func references(pods []corev1.Pod) map[types.NamespacedName]bool {
	out := map[types.NamespacedName]bool{}
	for i := range pods {
		pod := &pods[i]
		add := func(name string) { out[types.NamespacedName{Namespace: pod.Namespace, Name: name}] = true }
		for _, ref := range pod.Spec.ImagePullSecrets {
			add(ref.Name)
		}
		for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
			for j := range list {
				environment(list[j].Env, list[j].EnvFrom, add)
			}
		}
		for j := range pod.Spec.EphemeralContainers {
			environment(pod.Spec.EphemeralContainers[j].Env, pod.Spec.EphemeralContainers[j].EnvFrom, add)
		}
		for j := range pod.Spec.Volumes {
			volume(&pod.Spec.Volumes[j], add)
		}
	}
	return out
}

func environment(vars []corev1.EnvVar, from []corev1.EnvFromSource, add func(string)) {
	for i := range from {
		if from[i].SecretRef != nil {
			add(from[i].SecretRef.Name)
		}
	}
	for i := range vars {
		if source := vars[i].ValueFrom; source != nil && source.SecretKeyRef != nil {
			add(source.SecretKeyRef.Name)
		}
	}
}

func volume(v *corev1.Volume, add func(string)) {
	var ref *corev1.LocalObjectReference
	switch {
	case v.Secret != nil:
		add(v.Secret.SecretName)
	case v.Projected != nil:
		for i := range v.Projected.Sources {
			if s := v.Projected.Sources[i].Secret; s != nil {
				add(s.Name)
			}
		}
	case v.AzureFile != nil:
		add(v.AzureFile.SecretName)
	case v.CSI != nil:
		ref = v.CSI.NodePublishSecretRef
	case v.CephFS != nil:
		ref = v.CephFS.SecretRef
	case v.Cinder != nil:
		ref = v.Cinder.SecretRef
	case v.FlexVolume != nil:
		ref = v.FlexVolume.SecretRef
	case v.ISCSI != nil:
		ref = v.ISCSI.SecretRef
	case v.RBD != nil:
		ref = v.RBD.SecretRef
	case v.ScaleIO != nil:
		ref = v.ScaleIO.SecretRef
	case v.StorageOS != nil:
		ref = v.StorageOS.SecretRef
	}
	if ref != nil {
		add(ref.Name)
	}
}
