package node

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/sinawi/sinawi/internal/podrefs"
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

// podRefs returns what a pod gives its node access to. A mirror pod, which the
// node made itself, gives access to nothing.
func podRefs(pod *corev1.Pod) []object {
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return nil
	}
	r := &refs{namespace: pod.Namespace, seen: map[object]bool{}}
	r.add(serviceAccounts, pod.Spec.ServiceAccountName)
	podrefs.Visitor{
		Secret:    func(name string) { r.add(secrets, name) },
		ConfigMap: func(name string) { r.add(configMaps, name) },
	}.Pod(pod)
	for i := range pod.Spec.Volumes {
		switch v := &pod.Spec.Volumes[i]; {
		case v.PersistentVolumeClaim != nil:
			r.add(claims, v.PersistentVolumeClaim.ClaimName)
		case v.Ephemeral != nil:
			r.add(claims, pod.Name+"-"+v.Name)
		}
	}
	r.claims(pod)
	return r.list
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
