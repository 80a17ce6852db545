package attachdetach

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// patience is how long a node that does not answer keeps its volumes; upstream's figure.
const patience = 6 * time.Minute

// use is one pod's use of one volume that has to be attached.
type use struct {
	pod    *corev1.Pod
	volume *corev1.PersistentVolume
}

// snapshot is all that a decision about one node is made of.
type snapshot struct {
	name string
	node *corev1.Node // nil: gone
	uses []use
	// attachments are those of the node; others returns the nodes that a volume is
	// attached to besides.
	attachments []*storagev1.VolumeAttachment
	others      func(volume string) []string
}

// plan is what to write.
type plan struct {
	attach   []*storagev1.VolumeAttachment
	detach   []*storagev1.VolumeAttachment
	refused  []use // attached elsewhere, exclusively
	attached []corev1.AttachedVolume
	again    time.Duration // look again after; 0: when something changes
}

func decide(s snapshot, now time.Time) plan {
	var p plan
	wanted := map[string]bool{}
	have := map[string]bool{}
	for _, a := range s.attachments {
		have[a.Name] = true
	}
	for _, u := range s.uses {
		a := attachment(u.volume, s.name)
		if wanted[a.Name] {
			continue
		}
		wanted[a.Name] = true
		switch {
		case have[a.Name] || s.node == nil:
		case exclusive(u.volume) && len(s.others(u.volume.Name)) > 0:
			p.refused = append(p.refused, u)
		default:
			p.attach = append(p.attach, a)
		}
	}
	for _, a := range s.attachments {
		if a.DeletionTimestamp != nil {
			continue
		}
		if wanted[a.Name] {
			if a.Status.Attached {
				p.attached = append(p.attached, corev1.AttachedVolume{Name: inUse(s.uses, a)})
			}
			continue
		}
		wait := mustWait(s, a, now)
		if wait == 0 {
			p.detach = append(p.detach, a)
		} else if p.again == 0 || wait < p.again {
			p.again = wait
		}
	}
	slices.SortFunc(p.attached, func(a, b corev1.AttachedVolume) int { return strings.Compare(string(a.Name), string(b.Name)) })
	return p
}

// attachment is what asks a driver to attach a volume. Its name is upstream's, which
// attachers know.
func attachment(v *corev1.PersistentVolume, node string) *storagev1.VolumeAttachment {
	sum := sha256.Sum256([]byte(v.Spec.CSI.VolumeHandle + v.Spec.CSI.Driver + node))
	return &storagev1.VolumeAttachment{
		ObjectMeta: metav1.ObjectMeta{Name: "csi-" + hex.EncodeToString(sum[:])},
		Spec: storagev1.VolumeAttachmentSpec{
			Attacher: v.Spec.CSI.Driver, NodeName: node,
			Source: storagev1.VolumeAttachmentSource{PersistentVolumeName: &v.Name},
		},
	}
}

// exclusive says that only one node may use the volume at a time.
func exclusive(v *corev1.PersistentVolume) bool {
	return !slices.ContainsFunc(v.Spec.AccessModes, func(m corev1.PersistentVolumeAccessMode) bool {
		return m == corev1.ReadWriteMany || m == corev1.ReadOnlyMany
	})
}

// unique is how a node names a volume in its status.
func unique(v *corev1.PersistentVolume) corev1.UniqueVolumeName {
	return corev1.UniqueVolumeName("kubernetes.io/csi/" + v.Spec.CSI.Driver + "^" + v.Spec.CSI.VolumeHandle)
}

func inUse(uses []use, a *storagev1.VolumeAttachment) corev1.UniqueVolumeName {
	for _, u := range uses {
		if a.Spec.Source.PersistentVolumeName != nil && *a.Spec.Source.PersistentVolumeName == u.volume.Name {
			return unique(u.volume)
		}
	}
	return ""
}

// mustWait is how long a volume that no pod wants has to stay attached; 0: no longer.
func mustWait(s snapshot, a *storagev1.VolumeAttachment, now time.Time) time.Duration {
	if s.node == nil || outOfService(s.node) || !mounted(s.node, a) {
		return 0
	}
	for _, c := range s.node.Status.Conditions {
		if c.Type == corev1.NodeReady && c.Status != corev1.ConditionTrue {
			return max(0, patience-now.Sub(c.LastTransitionTime.Time))
		}
	}
	return patience // the node says when it has unmounted it
}

func outOfService(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeOutOfService })
}

// mounted says whether the node uses a volume. It names volumes by driver and handle,
// an attachment by its PersistentVolume: the hash in its name tells them apart.
func mounted(node *corev1.Node, a *storagev1.VolumeAttachment) bool {
	return slices.ContainsFunc(node.Status.VolumesInUse, func(name corev1.UniqueVolumeName) bool {
		driver, handle, ok := strings.Cut(strings.TrimPrefix(string(name), "kubernetes.io/csi/"), "^")
		if !ok {
			return false
		}
		sum := sha256.Sum256([]byte(handle + driver + a.Spec.NodeName))
		return a.Name == "csi-"+hex.EncodeToString(sum[:])
	})
}
