package node

import (
	corev1 "k8s.io/api/core/v1"
)

// refs collects objects of one namespace, each once.
type refs struct {
	namespace string
	seen      map[object]bool
	list      []object
}

func (r *refs) add(k kind, name string) { r.addIn(k, r.namespace, name) }

func (r *refs) addIn(k kind, namespace, name string) {
	o := named(k, namespace, name)
	if name == "" || r.seen[o] {
		return
	}
	r.seen[o] = true
	r.list = append(r.list, o)
}

func (r *refs) local(ref *corev1.LocalObjectReference) {
	if ref != nil {
		r.add(secrets, ref.Name)
	}
}

// podRefs returns what a pod gives its node access to. A mirror pod, which the
// node made itself, gives access to nothing.
func podRefs(pod *corev1.Pod) []object {
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return nil
	}
	r := &refs{namespace: pod.Namespace, seen: map[object]bool{}}
	r.add(serviceAccounts, pod.Spec.ServiceAccountName)
	for i := range pod.Spec.ImagePullSecrets {
		r.local(&pod.Spec.ImagePullSecrets[i])
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			r.env(list[i].Env, list[i].EnvFrom)
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		c := &pod.Spec.EphemeralContainers[i]
		r.env(c.Env, c.EnvFrom)
	}
	for i := range pod.Spec.Volumes {
		r.volume(pod, &pod.Spec.Volumes[i])
	}
	r.claims(pod)
	return r.list
}

func (r *refs) env(vars []corev1.EnvVar, from []corev1.EnvFromSource) {
	for _, f := range from {
		if f.SecretRef != nil {
			r.add(secrets, f.SecretRef.Name)
		}
		if f.ConfigMapRef != nil {
			r.add(configMaps, f.ConfigMapRef.Name)
		}
	}
	for _, v := range vars {
		if v.ValueFrom == nil {
			continue
		}
		if s := v.ValueFrom.SecretKeyRef; s != nil {
			r.add(secrets, s.Name)
		}
		if c := v.ValueFrom.ConfigMapKeyRef; c != nil {
			r.add(configMaps, c.Name)
		}
	}
}

func (r *refs) volume(pod *corev1.Pod, v *corev1.Volume) {
	switch {
	case v.Secret != nil:
		r.add(secrets, v.Secret.SecretName)
	case v.ConfigMap != nil:
		r.add(configMaps, v.ConfigMap.Name)
	case v.Projected != nil:
		for _, s := range v.Projected.Sources {
			if s.Secret != nil {
				r.add(secrets, s.Secret.Name)
			}
			if s.ConfigMap != nil {
				r.add(configMaps, s.ConfigMap.Name)
			}
		}
	case v.PersistentVolumeClaim != nil:
		r.add(claims, v.PersistentVolumeClaim.ClaimName)
	case v.Ephemeral != nil:
		r.add(claims, pod.Name+"-"+v.Name)
	case v.CSI != nil:
		r.local(v.CSI.NodePublishSecretRef)
	case v.AzureFile != nil:
		r.add(secrets, v.AzureFile.SecretName)
	case v.CephFS != nil:
		r.local(v.CephFS.SecretRef)
	case v.Cinder != nil:
		r.local(v.Cinder.SecretRef)
	case v.FlexVolume != nil:
		r.local(v.FlexVolume.SecretRef)
	case v.RBD != nil:
		r.local(v.RBD.SecretRef)
	case v.ScaleIO != nil:
		r.local(v.ScaleIO.SecretRef)
	case v.ISCSI != nil:
		r.local(v.ISCSI.SecretRef)
	case v.StorageOS != nil:
		r.local(v.StorageOS.SecretRef)
	}
}

// claims adds the resource claims that exist for the pod: named in the spec, or
// made from a template and recorded in the status.
func (r *refs) claims(pod *corev1.Pod) {
	for _, c := range pod.Spec.ResourceClaims {
		if c.ResourceClaimName != nil {
			r.add(resourceClaims, *c.ResourceClaimName)
		}
	}
	for _, s := range pod.Status.ResourceClaimStatuses {
		if s.ResourceClaimName != nil {
			r.add(resourceClaims, *s.ResourceClaimName)
		}
	}
	if s := pod.Status.ExtendedResourceClaimStatus; s != nil {
		r.add(resourceClaims, s.ResourceClaimName)
	}
}

// volumeSecrets returns the secrets that a node needs to mount a volume. Those
// that only a controller needs are not among them.
func volumeSecrets(pv *corev1.PersistentVolume) []object {
	r := &refs{namespace: pv.Spec.ClaimRef.Namespace, seen: map[object]bool{}}
	secret := func(ref *corev1.SecretReference) {
		if ref == nil {
			return
		}
		namespace := ref.Namespace
		if namespace == "" {
			namespace = r.namespace
		}
		r.addIn(secrets, namespace, ref.Name)
	}
	source := &pv.Spec.PersistentVolumeSource
	switch {
	case source.CSI != nil:
		secret(source.CSI.NodePublishSecretRef)
		secret(source.CSI.NodeStageSecretRef)
		secret(source.CSI.NodeExpandSecretRef)
	case source.AzureFile != nil:
		namespace := r.namespace
		if n := source.AzureFile.SecretNamespace; n != nil && *n != "" {
			namespace = *n
		}
		r.addIn(secrets, namespace, source.AzureFile.SecretName)
	case source.CephFS != nil:
		secret(source.CephFS.SecretRef)
	case source.Cinder != nil:
		secret(source.Cinder.SecretRef)
	case source.FlexVolume != nil:
		secret(source.FlexVolume.SecretRef)
	case source.RBD != nil:
		secret(source.RBD.SecretRef)
	case source.ScaleIO != nil:
		secret(source.ScaleIO.SecretRef)
	case source.ISCSI != nil:
		secret(source.ISCSI.SecretRef)
	case source.StorageOS != nil && source.StorageOS.SecretRef != nil:
		r.addIn(secrets, source.StorageOS.SecretRef.Namespace, source.StorageOS.SecretRef.Name)
	}
	return r.list
}
