package volumes

import (
	"fmt"
	"os"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// BenchmarkServiceAccount makes the volume that every pod has, and looks at it once
// more.
func BenchmarkServiceAccount(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("mounts need root")
	}
	now := time.Now()
	api := &source{configMaps: map[string]*corev1.ConfigMap{"kube-root-ca.crt": configMap(map[string]string{"ca.crt": "certificate"})}, now: func() time.Time { return now }}
	m := New(api, Options{Dir: b.TempDir()})
	volume := corev1.Volume{Name: "kube-api-access", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
		{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}},
		{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"}, Items: []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}}}},
		{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{{Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.namespace"}}}}},
	}}}}
	for i := 0; b.Loop(); i++ {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default", UID: types.UID(fmt.Sprint("uid-", i))}, Spec: corev1.PodSpec{Volumes: []corev1.Volume{volume}}}
		if _, err := m.Setup(b.Context(), pod); err != nil {
			b.Fatal(err)
		}
		if _, err := m.Setup(b.Context(), pod); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := m.Remove(pod.UID); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
