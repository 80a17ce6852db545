package warnings

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// gone is a kind of volume that Kubernetes no longer serves itself.
type gone struct {
	name    string
	set     bool
	message string
}

func (l *list) gone(kinds []gone, at *field.Path) {
	for _, g := range kinds {
		if g.set {
			l.add(at.Child(g.name), "%s", g.message)
		}
	}
}

const (
	until16 = "deprecated in v1.11, non-functional in v1.16+"
	until22 = "deprecated in v1.16, non-functional in v1.22+"
	until25 = "deprecated in v1.22, non-functional in v1.25+"
	until26 = "deprecated in v1.25, non-functional in v1.26+"
	until31 = "deprecated in v1.28, non-functional in v1.31+"
)

func (l *list) volumes(volumes []corev1.Volume, path *field.Path) {
	for i := range volumes {
		v, at := &volumes[i], path.Index(i)
		l.gone([]gone{
			{"photonPersistentDisk", v.PhotonPersistentDisk != nil, until16}, {"gitRepo", v.GitRepo != nil, "deprecated in v1.11"},
			{"scaleIO", v.ScaleIO != nil, until22}, {"flocker", v.Flocker != nil, until25}, {"storageOS", v.StorageOS != nil, until25},
			{"quobyte", v.Quobyte != nil, until25}, {"glusterfs", v.Glusterfs != nil, until26},
			{"cephfs", v.CephFS != nil, until31}, {"rbd", v.RBD != nil, until31},
		}, at)
		if e := v.Ephemeral; e != nil && e.VolumeClaimTemplate != nil {
			l.claim(&e.VolumeClaimTemplate.Spec, at.Child("ephemeral", "volumeClaimTemplate", "spec"))
		}
		l.files(v)
	}
}

// files warns of files of one volume that lie upon or below each other.
func (l *list) files(v *corev1.Volume) {
	var plain []string
	switch {
	case v.ConfigMap != nil:
		l.overlap(keyPaths(v.ConfigMap.Items), &plain, "volume %q (ConfigMap %q)", v.Name, v.ConfigMap.Name)
	case v.Secret != nil:
		l.overlap(keyPaths(v.Secret.Items), &plain, "volume %q (Secret %q)", v.Name, v.Secret.SecretName)
	case v.DownwardAPI != nil:
		l.overlap(filePaths(v.DownwardAPI.Items), &plain, "volume %q (DownwardAPI)", v.Name)
	case v.Projected != nil:
		l.projected(v)
	}
}

func (l *list) projected(v *corev1.Volume) {
	var taken []string
	for _, s := range v.Projected.Sources {
		switch {
		case s == corev1.VolumeProjection{}:
			*l = append(*l, fmt.Sprintf("volume %q (Projected) has no sources provided", v.Name))
		case s.ConfigMap != nil:
			l.overlap(keyPaths(s.ConfigMap.Items), &taken, "volume %q (Projected ConfigMap %q)", v.Name, s.ConfigMap.Name)
		case s.Secret != nil:
			l.overlap(keyPaths(s.Secret.Items), &taken, "volume %q (Projected Secret %q)", v.Name, s.Secret.Name)
		case s.DownwardAPI != nil:
			l.overlap(filePaths(s.DownwardAPI.Items), &taken, "volume %q (Projected DownwardAPI)", v.Name)
		case s.ServiceAccountToken != nil:
			l.overlap([]string{s.ServiceAccountToken.Path}, &taken, "volume %q (Projected ServiceAccountToken)", v.Name)
		case s.ClusterTrustBundle != nil:
			name := ""
			if b := s.ClusterTrustBundle; b.Name != nil {
				name = *b.Name
			} else if b.SignerName != nil {
				name = *b.SignerName
			}
			l.overlap([]string{s.ClusterTrustBundle.Path}, &taken, "volume %q (Projected ClusterTrustBundle %q)", v.Name, name)
		}
	}
}

func keyPaths(items []corev1.KeyToPath) []string {
	var out []string
	for _, i := range items {
		out = append(out, i.Path)
	}
	return out
}

func filePaths(items []corev1.DownwardAPIVolumeFile) []string {
	var out []string
	for _, i := range items {
		out = append(out, i.Path)
	}
	return out
}

// overlap warns of paths that clash with one another or with taken, to which
// it adds them.
func (l *list) overlap(paths []string, taken *[]string, format string, args ...any) {
	for _, p := range paths {
		p = strings.TrimRight(p, "/")
		for _, other := range *taken {
			if p != "" && other != "" && (p == other || strings.HasPrefix(other, p+"/") || strings.HasPrefix(p, other+"/")) {
				*l = append(*l, fmt.Sprintf("%s: overlapping paths: %q with %q", fmt.Sprintf(format, args...), p, other))
				break
			}
		}
		*taken = append(*taken, p)
	}
}

const oldClass = `deprecated since v1.8; use "storageClassName" attribute instead`

func (l *list) annotation(annotations map[string]string, key, message string) {
	if _, ok := annotations[key]; ok {
		l.add(field.NewPath("metadata", "annotations").Key(key), "%s", message)
	}
}

func (l *list) claim(s *corev1.PersistentVolumeClaimSpec, at *field.Path) {
	for _, r := range []struct {
		name    string
		amounts corev1.ResourceList
	}{{"requests", s.Resources.Requests}, {"limits", s.Resources.Limits}} {
		l.fraction(corev1.ResourceList{corev1.ResourceStorage: r.amounts[corev1.ResourceStorage]}, at.Child("resources", r.name))
	}
}

// PersistentVolumeClaim warns of a claim.
func PersistentVolumeClaim(c *corev1.PersistentVolumeClaim) []string {
	var l list
	l.annotation(c.Annotations, corev1.BetaStorageClassAnnotation, oldClass)
	l.claim(&c.Spec, field.NewPath("spec"))
	return l
}

// PersistentVolume warns of a volume.
func PersistentVolume(v *corev1.PersistentVolume) []string {
	var l list
	at, s := field.NewPath("spec"), &v.Spec
	l.annotation(v.Annotations, corev1.BetaStorageClassAnnotation, oldClass)
	l.annotation(v.Annotations, corev1.MountOptionAnnotation, `deprecated since v1.31; use "mountOptions" attribute instead`)
	if s.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle {
		l.add(at.Child("persistentVolumeReclaimPolicy"),
			"The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.")
	}
	if s.NodeAffinity != nil {
		l.nodes(s.NodeAffinity.Required, at.Child("nodeAffinity", "required"))
	}
	l.gone([]gone{
		{"cephfs", s.CephFS != nil, until31}, {"photonPersistentDisk", s.PhotonPersistentDisk != nil, until16},
		{"scaleIO", s.ScaleIO != nil, until22}, {"storageOS", s.StorageOS != nil, until25},
		{"glusterfs", s.Glusterfs != nil, until26}, {"rbd", s.RBD != nil, until31},
	}, at)
	return l
}
