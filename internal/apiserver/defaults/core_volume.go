package defaults

import (
	corev1 "k8s.io/api/core/v1"
)

func volume(v *corev1.Volume) {
	if v.VolumeSource == (corev1.VolumeSource{}) {
		v.EmptyDir = &corev1.EmptyDirVolumeSource{}
	}
	if s := v.Image; s != nil {
		orElse(&s.PullPolicy, pullPolicy(s.Reference))
	}
	if s := v.HostPath; s != nil {
		orNew(&s.Type, corev1.HostPathUnset)
	}
	if s := v.Secret; s != nil {
		orNew(&s.DefaultMode, corev1.SecretVolumeSourceDefaultMode)
	}
	if s := v.ConfigMap; s != nil {
		orNew(&s.DefaultMode, corev1.ConfigMapVolumeSourceDefaultMode)
	}
	if s := v.DownwardAPI; s != nil {
		orNew(&s.DefaultMode, corev1.DownwardAPIVolumeSourceDefaultMode)
		downwardItems(s.Items)
	}
	if s := v.Projected; s != nil {
		projected(s)
	}
	if s := v.Ephemeral; s != nil && s.VolumeClaimTemplate != nil {
		PersistentVolumeClaimSpec(&s.VolumeClaimTemplate.Spec)
	}
	if s := v.ISCSI; s != nil {
		orElse(&s.ISCSIInterface, "default")
	}
	if s := v.RBD; s != nil {
		rbd(&s.RBDPool, &s.RadosUser, &s.Keyring)
	}
	if s := v.ScaleIO; s != nil {
		orElse(&s.StorageMode, "ThinProvisioned")
		orElse(&s.FSType, "xfs")
	}
	azureDisk(v.AzureDisk)
}

func projected(s *corev1.ProjectedVolumeSource) {
	orNew(&s.DefaultMode, corev1.ProjectedVolumeSourceDefaultMode)
	for i := range s.Sources {
		if d := s.Sources[i].DownwardAPI; d != nil {
			downwardItems(d.Items)
		}
		if t := s.Sources[i].ServiceAccountToken; t != nil {
			orNew(&t.ExpirationSeconds, 60*60)
		}
	}
}

func downwardItems(items []corev1.DownwardAPIVolumeFile) {
	for i := range items {
		if ref := items[i].FieldRef; ref != nil {
			orElse(&ref.APIVersion, "v1")
		}
	}
}

func rbd(pool, user, keyring *string) {
	orElse(pool, "rbd")
	orElse(user, "admin")
	orElse(keyring, "/etc/ceph/keyring")
}

func azureDisk(s *corev1.AzureDiskVolumeSource) {
	if s == nil {
		return
	}
	orNew(&s.CachingMode, corev1.AzureDataDiskCachingReadWrite)
	orNew(&s.Kind, corev1.AzureSharedBlobDisk)
	orNew(&s.FSType, "ext4")
	orNew(&s.ReadOnly, false)
}

func persistentVolume(v *corev1.PersistentVolume) {
	orElse(&v.Status.Phase, corev1.VolumePending)
	PersistentVolumeSpec(&v.Spec)
	orElse(&v.Spec.PersistentVolumeReclaimPolicy, corev1.PersistentVolumeReclaimRetain)
	orNew(&v.Spec.VolumeMode, corev1.PersistentVolumeFilesystem)
}

// PersistentVolumeSpec applies the defaults that a volume's source carries
// wherever it stands: in a volume or inline in a volume attachment.
func PersistentVolumeSpec(spec *corev1.PersistentVolumeSpec) {
	Resources(spec.Capacity)
	if s := spec.HostPath; s != nil {
		orNew(&s.Type, corev1.HostPathUnset)
	}
	if s := spec.ISCSI; s != nil {
		orElse(&s.ISCSIInterface, "default")
	}
	if s := spec.RBD; s != nil {
		rbd(&s.RBDPool, &s.RadosUser, &s.Keyring)
	}
	if s := spec.ScaleIO; s != nil {
		orElse(&s.StorageMode, "ThinProvisioned")
		orElse(&s.FSType, "xfs")
	}
	azureDisk(spec.AzureDisk)
}

// PersistentVolumeClaim applies the defaults of a claim; StatefulSets hold
// claims as templates.
func PersistentVolumeClaim(c *corev1.PersistentVolumeClaim) {
	orElse(&c.Status.Phase, corev1.ClaimPending)
	PersistentVolumeClaimSpec(&c.Spec)
	Resources(c.Status.Capacity, c.Status.AllocatedResources)
}

// PersistentVolumeClaimSpec applies the defaults of a claim's spec.
func PersistentVolumeClaimSpec(spec *corev1.PersistentVolumeClaimSpec) {
	orNew(&spec.VolumeMode, corev1.PersistentVolumeFilesystem)
	Resources(spec.Resources.Limits, spec.Resources.Requests)
}
