package volume_test

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sinawi/sinawi/internal/apiserver/validation/volume"
)

// TestAttributesOfAClaim: a class of attributes may be changed, and taken back until
// the volume has them.
func TestAttributesOfAClaim(t *testing.T) {
	fast, none := "fast", ""
	for _, tt := range []struct {
		name    string
		current *string
		now     *string
		want    []string
	}{
		{"taken back", nil, nil, nil},
		{"emptied before the volume has it", nil, &none, nil},
		{"taken from the volume", &fast, nil, []string{"spec.volumeAttributesClassName: Forbidden: update to nil is forbidden when status.currentVolumeAttributesClassName is not nil"}},
		{"emptied", &fast, &none, []string{"spec.volumeAttributesClassName: Forbidden: update to empty string is forbidden when status.currentVolumeAttributesClassName is not nil"}},
		{"left", &fast, &fast, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			class := "a"
			old := &corev1.PersistentVolumeClaim{
				ObjectMeta: metav1.ObjectMeta{Name: "c", Namespace: "n", ResourceVersion: "1"},
				Spec: corev1.PersistentVolumeClaimSpec{
					AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, StorageClassName: &class, VolumeName: "v",
					Resources:                 corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
					VolumeAttributesClassName: &fast,
				},
				Status: corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound, CurrentVolumeAttributesClassName: tt.current},
			}
			changed := old.DeepCopy()
			changed.Spec.VolumeAttributesClassName = tt.now
			var got []string
			for _, err := range volume.ClaimUpdate(changed, old) {
				got = append(got, err.Error())
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("refused with %q, want %q", got, tt.want)
			}
		})
	}
}
