package columns

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// PersistentVolume columns.
func PersistentVolume() []metav1.TableColumnDefinition {
	spec, status := corev1.PersistentVolumeSpec{}.SwaggerDoc(), corev1.PersistentVolumeStatus{}.SwaggerDoc()
	return []metav1.TableColumnDefinition{
		Name(),
		Text("Capacity", spec["capacity"]),
		Text("Access Modes", spec["accessModes"]),
		Text("Reclaim Policy", spec["persistentVolumeReclaimPolicy"]),
		Text("Status", status["phase"]),
		Text("Claim", spec["claimRef"]),
		Text("StorageClass", "StorageClass of the pv"),
		Text("VolumeAttributesClass", "VolumeAttributesClass of the pv"),
		Text("Reason", status["reason"]),
		Age(),
		Wide(Text("VolumeMode", spec["volumeMode"])),
	}
}

// PersistentVolumeCells fills the columns of PersistentVolume.
func PersistentVolumeCells(obj runtime.Object) []any {
	v := obj.(*corev1.PersistentVolume)
	claim := ""
	if ref := v.Spec.ClaimRef; ref != nil {
		claim = ref.Namespace + "/" + ref.Name
	}
	phase := string(v.Status.Phase)
	if v.DeletionTimestamp != nil {
		phase = "Terminating"
	}
	class := v.Annotations[corev1.BetaStorageClassAnnotation]
	if class == "" {
		class = v.Spec.StorageClassName
	}
	size := v.Spec.Capacity[corev1.ResourceStorage]
	return []any{
		v.Name, size.String(), accessModes(v.Spec.AccessModes), string(v.Spec.PersistentVolumeReclaimPolicy),
		phase, claim, class, deref(v.Spec.VolumeAttributesClassName, "<unset>"), v.Status.Reason,
		Since(v.CreationTimestamp), string(deref(v.Spec.VolumeMode, "<unset>")),
	}
}

// PersistentVolumeClaim columns.
func PersistentVolumeClaim() []metav1.TableColumnDefinition {
	spec, status := corev1.PersistentVolumeClaimSpec{}.SwaggerDoc(), corev1.PersistentVolumeClaimStatus{}.SwaggerDoc()
	return []metav1.TableColumnDefinition{
		Name(),
		Text("Status", status["phase"]),
		Text("Volume", spec["volumeName"]),
		Text("Capacity", status["capacity"]),
		Text("Access Modes", status["accessModes"]),
		Text("StorageClass", "StorageClass of the pvc"),
		Text("VolumeAttributesClass", "VolumeAttributesClass of the pvc"),
		Age(),
		Wide(Text("VolumeMode", spec["volumeMode"])),
	}
}

// PersistentVolumeClaimCells fills the columns of PersistentVolumeClaim.
func PersistentVolumeClaimCells(obj runtime.Object) []any {
	c := obj.(*corev1.PersistentVolumeClaim)
	phase := string(c.Status.Phase)
	if c.DeletionTimestamp != nil {
		phase = "Terminating"
	}
	capacity, modes := "", ""
	if c.Spec.VolumeName != "" {
		modes = accessModes(c.Status.AccessModes)
		size := c.Status.Capacity[corev1.ResourceStorage]
		capacity = size.String()
	}
	class, ok := c.Annotations[corev1.BetaStorageClassAnnotation]
	if !ok {
		class = deref(c.Spec.StorageClassName, "")
	}
	return []any{
		c.Name, phase, c.Spec.VolumeName, capacity, modes, class,
		deref(c.Spec.VolumeAttributesClassName, "<unset>"), Since(c.CreationTimestamp),
		string(deref(c.Spec.VolumeMode, "<unset>")),
	}
}

// accessModes abbreviates modes in a fixed order: RWO,ROX,RWX,RWOP.
func accessModes(modes []corev1.PersistentVolumeAccessMode) string {
	var out []string
	for _, m := range []struct {
		mode  corev1.PersistentVolumeAccessMode
		short string
	}{
		{corev1.ReadWriteOnce, "RWO"}, {corev1.ReadOnlyMany, "ROX"},
		{corev1.ReadWriteMany, "RWX"}, {corev1.ReadWriteOncePod, "RWOP"},
	} {
		for _, have := range modes {
			if have == m.mode {
				out = append(out, m.short)
				break
			}
		}
	}
	return strings.Join(out, ",")
}

func deref[T any](p *T, absent T) T {
	if p == nil {
		return absent
	}
	return *p
}
