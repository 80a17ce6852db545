package volume

import (
	"fmt"
	"path"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
	"github.com/sinawi/sinawi/internal/apiserver/validation/placement"
)

// Persistent checks a new persistent volume.
func Persistent(v *corev1.PersistentVolume) field.ErrorList {
	l := check.List{Errors: check.ObjectMeta(&v.ObjectMeta, false, apivalidation.NameIsDNSSubdomain)}
	l.Add(PersistentSpec(&v.Spec, v.Name, false, field.NewPath("spec"))...)
	return l.Errors
}

// PersistentSpec checks the spec of a persistent volume, or of one that
// stands inline in an attachment.
func PersistentSpec(s *corev1.PersistentVolumeSpec, name string, inline bool, at *field.Path) field.ErrorList {
	var l check.List
	if inline {
		inlineSpec(&l, s, at)
	} else {
		boundSpec(&l, s, at)
	}
	if s.NodeAffinity != nil && !inline {
		nodes(&l, s.NodeAffinity, at.Child("nodeAffinity"))
	}
	persistentSources(&l, s, name, at)
	if h := s.HostPath; h != nil && path.Clean(h.Path) == "/" && s.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle {
		l.Forbidden(at.Child("persistentVolumeReclaimPolicy"), "may not be 'recycle' for a hostPath mount of '/'")
	}
	if class := s.VolumeAttributesClassName; class != nil {
		if *class == "" {
			l.Required(at.Child("volumeAttributesClassName"), "an empty string is disallowed")
		} else {
			l.Subdomain(at.Child("volumeAttributesClassName"), *class)
		}
		if s.CSI == nil {
			l.Required(at.Child("csi"), "has to be specified when using volumeAttributesClassName")
		}
	}
	return l.Errors
}

// boundSpec checks what claims are matched against.
func boundSpec(l *check.List, s *corev1.PersistentVolumeSpec, at *field.Path) {
	if len(s.AccessModes) == 0 {
		l.Required(at.Child("accessModes"), "")
	}
	accessModes(l, s.AccessModes, at.Child("accessModes"))
	if len(s.Capacity) == 0 {
		l.Required(at.Child("capacity"), "")
	}
	if _, ok := s.Capacity[corev1.ResourceStorage]; !ok || len(s.Capacity) > 1 {
		l.Add(field.NotSupported(at.Child("capacity"), s.Capacity, []corev1.ResourceName{corev1.ResourceStorage}))
	}
	for _, name := range check.Keys(s.Capacity) {
		l.PositiveQuantity(at.Child("capacity").Key(string(name)), s.Capacity[name])
	}
	if s.PersistentVolumeReclaimPolicy != "" {
		check.OneOf(l, at.Child("persistentVolumeReclaimPolicy"), s.PersistentVolumeReclaimPolicy,
			corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRecycle, corev1.PersistentVolumeReclaimRetain)
	}
	if s.StorageClassName != "" {
		l.Subdomain(at.Child("storageClassName"), s.StorageClassName)
	}
	volumeMode(l, s.VolumeMode, at.Child("volumeMode"))
}

func inlineSpec(l *check.List, s *corev1.PersistentVolumeSpec, at *field.Path) {
	const refused = "may not be specified in the context of inline volumes"
	if s.PersistentVolumeReclaimPolicy != "" && s.PersistentVolumeReclaimPolicy != corev1.PersistentVolumeReclaimRetain {
		l.Forbidden(at.Child("persistentVolumeReclaimPolicy"), "may only be "+string(corev1.PersistentVolumeReclaimRetain)+" in the context of inline volumes")
	}
	if s.NodeAffinity != nil {
		l.Forbidden(at.Child("nodeAffinity"), refused)
	}
	if s.CSI == nil {
		l.Required(at.Child("csi"), "has to be specified in the context of inline volumes")
	}
	if s.ClaimRef != nil {
		l.Forbidden(at.Child("claimRef"), refused)
	}
	if len(s.Capacity) != 0 {
		l.Forbidden(at.Child("capacity"), refused)
	}
	if s.StorageClassName != "" {
		l.Forbidden(at.Child("storageClassName"), refused)
	}
	if m := s.VolumeMode; m != nil && *m != corev1.PersistentVolumeFilesystem {
		l.Forbidden(at.Child("volumeMode"), "may not specify volumeMode other than "+string(corev1.PersistentVolumeFilesystem)+" in the context of inline volumes")
	}
}

func nodes(l *check.List, a *corev1.VolumeNodeAffinity, at *field.Path) {
	if a.Required == nil {
		l.Required(at.Child("required"), "must specify required node constraints")
		return
	}
	l.Add(placement.NodeSelector(a.Required, false, at.Child("required"))...)
}

// persistentSources checks that the volume has one source and that it is sound.
func persistentSources(l *check.List, s *corev1.PersistentVolumeSpec, name string, path *field.Path) {
	at := path.Child
	sources := []source{
		{"hostPath", s.HostPath != nil, func(l *check.List) { hostPath(l, s.HostPath, at("hostPath")) }},
		{"local", s.Local != nil, func(l *check.List) {
			needed(l, at("local"), "path", s.Local.Path)
			l.NoBacksteps(at("local", "path"), s.Local.Path)
			if s.NodeAffinity == nil {
				l.Required(at("nodeAffinity"), "Local volume requires node affinity")
			}
		}},
		{"nfs", s.NFS != nil, func(l *check.List) { nfs(l, s.NFS, at("nfs")) }},
		{"iscsi", s.ISCSI != nil, func(l *check.List) { iscsiPersistent(l, s.ISCSI, name, at("iscsi")) }},
		{"fc", s.FC != nil, func(l *check.List) { fibreChannel(l, s.FC, at("fc")) }},
		{"csi", s.CSI != nil, func(l *check.List) { csiPersistent(l, s.CSI, at("csi")) }},
	}
	exactlyOne(l, path, append(sources, persistentNetworkSources(s, at)...))
}

// persistentNetworkSources are those that drivers serve since.
func persistentNetworkSources(s *corev1.PersistentVolumeSpec, at func(string, ...string) *field.Path) []source {
	return []source{
		{"gcePersistentDisk", s.GCEPersistentDisk != nil, func(l *check.List) {
			cloudDisk(l, at("persistentDisk"), "pdName", s.GCEPersistentDisk.PDName, s.GCEPersistentDisk.Partition)
		}},
		{"awsElasticBlockStore", s.AWSElasticBlockStore != nil, func(l *check.List) {
			cloudDisk(l, at("awsElasticBlockStore"), "volumeID", s.AWSElasticBlockStore.VolumeID, s.AWSElasticBlockStore.Partition)
		}},
		{"glusterfs", s.Glusterfs != nil, func(l *check.List) {
			needed(l, at("glusterfs"), "endpoints", s.Glusterfs.EndpointsName, "path", s.Glusterfs.Path)
		}},
		{"flocker", s.Flocker != nil, func(l *check.List) { flocker(l, s.Flocker, at("flocker")) }},
		{"rbd", s.RBD != nil, func(l *check.List) { ceph(l, s.RBD.CephMonitors, at("rbd"), "image", s.RBD.RBDImage) }},
		{"cephFS", s.CephFS != nil, func(l *check.List) { ceph(l, s.CephFS.Monitors, at("cephfs")) }},
		{"cinder", s.Cinder != nil, func(l *check.List) {
			needed(l, at("cinder"), "volumeID", s.Cinder.VolumeID)
			secretReference(l, s.Cinder.SecretRef, at("cinder", "secretRef"))
		}},
		{"quobyte", s.Quobyte != nil, func(l *check.List) { quobyte(l, s.Quobyte, at("quobyte")) }},
		{"flexVolume", s.FlexVolume != nil, func(l *check.List) {
			flexOptions(l, s.FlexVolume.Driver, s.FlexVolume.Options, at("flexVolume"))
		}},
		{"azureFile", s.AzureFile != nil, func(l *check.List) {
			needed(l, at("azureFile"), "secretName", s.AzureFile.SecretName, "shareName", s.AzureFile.ShareName)
		}},
		{"vsphereVolume", s.VsphereVolume != nil, func(l *check.List) {
			needed(l, at("vsphereVolume"), "volumePath", s.VsphereVolume.VolumePath)
		}},
		{"photonPersistentDisk", s.PhotonPersistentDisk != nil, func(l *check.List) {
			needed(l, at("photonPersistentDisk"), "pdID", s.PhotonPersistentDisk.PdID)
		}},
		{"portworxVolume", s.PortworxVolume != nil, func(l *check.List) {
			needed(l, at("portworxVolume"), "volumeID", s.PortworxVolume.VolumeID)
		}},
		{"azureDisk", s.AzureDisk != nil, func(l *check.List) { azureDisk(l, s.AzureDisk, at("azureDisk")) }},
		{"scaleIO", s.ScaleIO != nil, func(l *check.List) {
			needed(l, at("scaleIO"), "gateway", s.ScaleIO.Gateway, "system", s.ScaleIO.System, "volumeName", s.ScaleIO.VolumeName)
		}},
		{"storageos", s.StorageOS != nil, func(l *check.List) {
			storageOS(l, s.StorageOS.VolumeName, s.StorageOS.VolumeNamespace, at("storageos"))
		}},
	}
}

func csiPersistent(l *check.List, s *corev1.CSIPersistentVolumeSource, path *field.Path) {
	l.Add(CSIDriverName(s.Driver, path.Child("driver"))...)
	needed(l, path, "volumeHandle", s.VolumeHandle)
	secretReference(l, s.ControllerPublishSecretRef, path.Child("controllerPublishSecretRef"))
	secretReference(l, s.ControllerExpandSecretRef, path.Child("controllerExpandSecretRef"))
	secretReference(l, s.NodePublishSecretRef, path.Child("nodePublishSecretRef"))
	secretReference(l, s.NodeExpandSecretRef, path.Child("nodeExpandSecretRef"))
}

// PersistentUpdate checks a changed volume: where its data lies stays.
func PersistentUpdate(v, old *corev1.PersistentVolume) field.ErrorList {
	l := check.List{Errors: check.ObjectMetaUpdate(&v.ObjectMeta, &old.ObjectMeta)}
	l.Add(Persistent(v)...)
	now := v.Spec.PersistentVolumeSource
	if now.CSI != nil && old.Spec.CSI != nil && old.Spec.CSI.ControllerExpandSecretRef == nil {
		csi := *now.CSI // a secret for growing may be added later
		csi.ControllerExpandSecretRef = nil
		now.CSI = &csi
	}
	if !apiequality.Semantic.DeepEqual(now, old.Spec.PersistentVolumeSource) {
		l.Forbidden(field.NewPath("spec", "persistentvolumesource"), fmt.Sprintf(
			"spec.persistentvolumesource is immutable after creation\n%v", cmp.Diff(old.Spec.PersistentVolumeSource, now)))
	}
	l.Add(check.Unchanged(v.Spec.VolumeMode, old.Spec.VolumeMode, field.NewPath("volumeMode"))...)
	if old.Spec.NodeAffinity != nil {
		l.Add(check.Unchanged(v.Spec.NodeAffinity, old.Spec.NodeAffinity, field.NewPath("nodeAffinity"))...)
	}
	if old.Spec.VolumeAttributesClassName != nil && v.Spec.VolumeAttributesClassName == nil {
		l.Forbidden(field.NewPath("spec", "volumeAttributesClassName"), "update from non-nil value to nil is forbidden")
	}
	return l.Errors
}

// PersistentStatusUpdate checks a changed status of a volume.
func PersistentStatusUpdate(v, old *corev1.PersistentVolume) field.ErrorList {
	l := check.List{Errors: check.ObjectMetaUpdate(&v.ObjectMeta, &old.ObjectMeta)}
	if v.ResourceVersion == "" {
		l.Required(field.NewPath("resourceVersion"), "")
	}
	return l.Errors
}
