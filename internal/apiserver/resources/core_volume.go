package resources

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sinawi/sinawi/internal/apiserver/validation/volume"
	"github.com/sinawi/sinawi/internal/apiserver/warnings"
)

func persistentVolumeStrategy() Strategy {
	s := warned(checked(plain(), volume.Persistent, volume.PersistentUpdate), warnings.PersistentVolume)
	s.PrepareForCreate = onCreate(func(v *corev1.PersistentVolume) {
		now := metav1.Now()
		v.Status = corev1.PersistentVolumeStatus{Phase: corev1.VolumePending, LastPhaseTransitionTime: &now}
	})
	s.PrepareForUpdate = onUpdate(func(v, old *corev1.PersistentVolume) { v.Status = old.Status })
	s.ResetFields = resetStatus()
	return s
}

func persistentVolumeStatusStrategy() *Strategy {
	s := checked(plain(), nil, volume.PersistentStatusUpdate)
	s.PrepareForUpdate = onUpdate(func(v, old *corev1.PersistentVolume) {
		v.Spec = old.Spec
		switch t := v.Status.LastPhaseTransitionTime; {
		case old.Status.Phase != v.Status.Phase && (t == nil || t.Equal(old.Status.LastPhaseTransitionTime)):
			now := metav1.Now()
			v.Status.LastPhaseTransitionTime = &now
		case t == nil:
			v.Status.LastPhaseTransitionTime = old.Status.LastPhaseTransitionTime
		}
	})
	s.ResetFields = resetSpec()
	return &s
}

func persistentVolumeClaimStrategy() Strategy {
	s := warned(checked(plain(), volume.Claim, volume.ClaimUpdate), warnings.PersistentVolumeClaim)
	s.PrepareForCreate = onCreate(func(c *corev1.PersistentVolumeClaim) {
		c.Status = corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimPending}
		dropDataSource(&c.Spec, nil)
		normalizeDataSource(&c.Spec)
	})
	s.PrepareForUpdate = onUpdate(func(c, old *corev1.PersistentVolumeClaim) {
		c.Status = old.Status
		dropDataSource(&c.Spec, &old.Spec)
		normalizeDataSource(&c.Spec)
		// Claims bound before modes had a default are read as they were.
		if old.Spec.VolumeMode == nil {
			c.Spec.VolumeMode = nil
		}
	})
	s.ResetFields = resetStatus()
	return s
}

// dropDataSource forgets sources that were never served: those in another
// namespace, and in the older field all but claims and snapshots. The newer
// field takes any kind; what a claim already has stays.
func dropDataSource(spec, old *corev1.PersistentVolumeClaimSpec) {
	if ref := spec.DataSourceRef; ref != nil && deref(ref.Namespace, "") != "" && (old == nil || old.DataSourceRef == nil) {
		spec.DataSourceRef = nil
	}
	if spec.DataSource == nil || spec.DataSourceRef != nil || old != nil && (old.DataSource != nil || old.DataSourceRef != nil) {
		return
	}
	switch s := spec.DataSource; deref(s.APIGroup, "") + "/" + s.Kind {
	case "/PersistentVolumeClaim", "snapshot.storage.k8s.io/VolumeSnapshot":
	default:
		spec.DataSource = nil
	}
}

// normalizeDataSource keeps dataSource and dataSourceRef saying the same where
// only one was given and no other namespace is meant.
func normalizeDataSource(spec *corev1.PersistentVolumeClaimSpec) {
	switch {
	case spec.DataSource != nil && spec.DataSourceRef == nil:
		spec.DataSourceRef = &corev1.TypedObjectReference{
			APIGroup: spec.DataSource.APIGroup, Kind: spec.DataSource.Kind, Name: spec.DataSource.Name,
		}
	case spec.DataSource == nil && spec.DataSourceRef != nil && deref(spec.DataSourceRef.Namespace, "") == "":
		spec.DataSource = &corev1.TypedLocalObjectReference{
			APIGroup: spec.DataSourceRef.APIGroup, Kind: spec.DataSourceRef.Kind, Name: spec.DataSourceRef.Name,
		}
	}
}

func persistentVolumeClaimStatusStrategy() *Strategy {
	s := checked(plain(), nil, volume.ClaimStatusUpdate)
	s.PrepareForUpdate = onUpdate(func(c, old *corev1.PersistentVolumeClaim) {
		c.Spec = old.Spec
		// Reports on the health of volumes are not switched on.
		if old.Status.HealthStatus == nil {
			c.Status.HealthStatus = nil
		}
	})
	s.ResetFields = resetSpec()
	return &s
}
