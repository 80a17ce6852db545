package volume

import (
	"fmt"
	"path"
	"slices"

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
	if len(s.AccessModes) == 0 {
		l.Required(at.Child("accessModes"), "")
	}
	accessModes(&l, s.AccessModes, at.Child("accessModes"))
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
	if len(s.Capacity) == 0 {
		l.Required(at.Child("capacity"), "")
	}
	if _, ok := s.Capacity[corev1.ResourceStorage]; !ok || len(s.Capacity) > 1 {
		l.Add(field.NotSupported(at.Child("capacity"), s.Capacity, []corev1.ResourceName{corev1.ResourceStorage}))
	}
	for _, name := range check.Keys(s.Capacity) {
		q, key := s.Capacity[name], at.Child("capacity").Key(string(name))
		if q.Sign() < 0 {
			l.Invalid(key, q.Value(), "must be a valid resource quantity")
		}
		l.PositiveQuantity(key, q)
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
	sources := append(persistentDisks(s, name, path), persistentServices(s, path)...)
	// A flexible volume is looked at beside another source, and not refused.
	if f := s.FlexVolume; f != nil && setBefore(sources, "flexVolume") {
		flexOptions(l, f.Driver, f.Options, path.Child("flexVolume"))
		sources = slices.DeleteFunc(sources, func(s source) bool { return s.name == "flexVolume" })
	}
	exactlyOne(l, path, sources)
}

// setBefore tells whether a source is set that stands before the named.
func setBefore(sources []source, name string) bool {
	for _, s := range sources {
		if s.name == name {
			return false
		}
		if s.present {
			return true
		}
	}
	return false
}

// persistentDisks, and the services below, stand in the order in which
// upstream looks: the first that is set is the volume's source.
func persistentDisks(s *corev1.PersistentVolumeSpec, name string, path *field.Path) []source {
	at := path.Child
	return []source{
		{"hostPath", s.HostPath != nil, func(l *check.List) { hostPath(l, s.HostPath, at("hostPath")) }},
		{"gcePersistentDisk", s.GCEPersistentDisk != nil, func(l *check.List) {
			cloudDisk(l, at("persistentDisk"), "pdName", s.GCEPersistentDisk.PDName, s.GCEPersistentDisk.Partition)
		}},
		{"awsElasticBlockStore", s.AWSElasticBlockStore != nil, func(l *check.List) {
			cloudDisk(l, at("awsElasticBlockStore"), "volumeID", s.AWSElasticBlockStore.VolumeID, s.AWSElasticBlockStore.Partition)
		}},
		{"glusterfs", s.Glusterfs != nil, func(l *check.List) {
			needed(l, at("glusterfs"), "endpoints", s.Glusterfs.EndpointsName, "path", s.Glusterfs.Path)
			endpointsNamespace(l, s.Glusterfs.EndpointsNamespace, at("glusterfs", "endpointsNamespace"))
		}},
		{"flocker", s.Flocker != nil, func(l *check.List) { flocker(l, s.Flocker, at("flocker")) }},
		{"nfs", s.NFS != nil, func(l *check.List) { nfs(l, s.NFS, at("nfs")) }},
		{"rbd", s.RBD != nil, func(l *check.List) { ceph(l, s.RBD.CephMonitors, at("rbd"), "image", s.RBD.RBDImage) }},
		{"quobyte", s.Quobyte != nil, func(l *check.List) { quobyte(l, s.Quobyte, at("quobyte")) }},
		{"cephFS", s.CephFS != nil, func(l *check.List) { ceph(l, s.CephFS.Monitors, at("cephfs")) }},
		{"iscsi", s.ISCSI != nil, func(l *check.List) { iscsiPersistent(l, s.ISCSI, name, at("iscsi")) }},
		{"cinder", s.Cinder != nil, func(l *check.List) {
			needed(l, at("cinder"), "volumeID", s.Cinder.VolumeID)
			secretReference(l, s.Cinder.SecretRef, at("cinder", "secretRef"))
		}},
		{"fc", s.FC != nil, func(l *check.List) { fibreChannel(l, s.FC, at("fc")) }},
	}
}

func endpointsNamespace(l *check.List, namespace *string, path *field.Path) {
	switch {
	case namespace == nil:
	case *namespace == "":
		l.Invalid(path, "", "if the endpointnamespace is set, it must be a valid namespace name")
	default:
		l.Label(path, *namespace)
	}
}

func persistentServices(s *corev1.PersistentVolumeSpec, path *field.Path) []source {
	at := path.Child
	return []source{
		{"flexVolume", s.FlexVolume != nil, func(l *check.List) {
			flexOptions(l, s.FlexVolume.Driver, s.FlexVolume.Options, at("flexVolume"))
		}},
		{"azureFile", s.AzureFile != nil, func(l *check.List) {
			needed(l, at("azureFile"), "secretName", s.AzureFile.SecretName, "shareName", s.AzureFile.ShareName)
			if n := s.AzureFile.SecretNamespace; n != nil {
				needed(l, at("azureFile"), "secretNamespace", *n)
			}
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
		{"local", s.Local != nil, func(l *check.List) {
			needed(l, at("local"), "path", s.Local.Path)
			l.NoBacksteps(at("local", "path"), s.Local.Path)
			if s.NodeAffinity == nil {
				l.Required(at("nodeAffinity"), "Local volume requires node affinity")
			}
		}},
		{"storageos", s.StorageOS != nil, func(l *check.List) {
			storageOS(l, s.StorageOS.VolumeName, s.StorageOS.VolumeNamespace, at("storageos"))
			if ref := s.StorageOS.SecretRef; ref != nil {
				needed(l, at("storageos", "secretRef"), "name", ref.Name, "namespace", ref.Namespace)
			}
		}},
		{"csi", s.CSI != nil, func(l *check.List) { csiPersistent(l, s.CSI, at("csi")) }},
	}
}

func csiPersistent(l *check.List, s *corev1.CSIPersistentVolumeSource, path *field.Path) {
	l.Add(CSIDriverName(s.Driver, path.Child("driver"))...)
	needed(l, path, "volumeHandle", s.VolumeHandle)
	secretOf(l, s.ControllerPublishSecretRef, path.Child("controllerPublishSecretRef"))
	secretOf(l, s.ControllerExpandSecretRef, path.Child("controllerExpandSecretRef"))
	secretOf(l, s.NodePublishSecretRef, path.Child("nodePublishSecretRef"))
	secretOf(l, s.NodeExpandSecretRef, path.Child("nodeExpandSecretRef"))
}

// secretOf checks that a reference names a secret and its namespace as they may
// be named.
func secretOf(l *check.List, ref *corev1.SecretReference, path *field.Path) {
	if ref == nil {
		return
	}
	needed(l, path, "name", ref.Name, "namespace", ref.Namespace)
	if ref.Name != "" {
		l.Subdomain(path.Child("name"), ref.Name)
	}
	if ref.Namespace != "" {
		l.Label(path.Child("namespace"), ref.Namespace)
	}
}

// PersistentUpdate checks a changed volume: where its data lies stays.
func PersistentUpdate(v, old *corev1.PersistentVolume) field.ErrorList {
	l := check.List{Errors: Persistent(v)}
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
	if was := old.Spec.NodeAffinity; was != nil && !sameNodes(v.Spec.NodeAffinity, was) {
		l.Invalid(field.NewPath("nodeAffinity"), v.Spec.NodeAffinity, check.Immutable+", except for updating from beta label to GA")
	}
	if old.Spec.VolumeAttributesClassName != nil && v.Spec.VolumeAttributesClassName == nil {
		l.Forbidden(field.NewPath("spec", "volumeAttributesClassName"), "update from non-nil value to nil is forbidden")
	}
	return l.Errors
}

// sameNodes tells whether now selects the nodes that old does, where labels may
// have got the names that they have since they are settled.
func sameNodes(now, old *corev1.VolumeNodeAffinity) bool {
	settled := old.DeepCopy()
	if now == nil || settled.Required == nil || now.Required == nil || len(now.Required.NodeSelectorTerms) != len(settled.Required.NodeSelectorTerms) {
		return apiequality.Semantic.DeepEqual(now, old)
	}
	names := map[string]string{
		corev1.LabelFailureDomainBetaZone: corev1.LabelTopologyZone, corev1.LabelFailureDomainBetaRegion: corev1.LabelTopologyRegion,
		corev1.LabelInstanceType: corev1.LabelInstanceTypeStable, "beta.kubernetes.io/os": corev1.LabelOSStable, "beta.kubernetes.io/arch": corev1.LabelArchStable,
	}
	for i := range settled.Required.NodeSelectorTerms {
		was, is := settled.Required.NodeSelectorTerms[i].MatchExpressions, now.Required.NodeSelectorTerms[i].MatchExpressions
		for k := range was {
			if name := names[was[k].Key]; k < len(is) && name != "" && is[k].Key == name {
				was[k].Key = name
			}
		}
	}
	return apiequality.Semantic.DeepEqual(now, settled)
}

// PersistentStatusUpdate checks a changed status of a volume.
func PersistentStatusUpdate(v, old *corev1.PersistentVolume) field.ErrorList {
	l := check.List{Errors: check.ObjectMetaUpdate(&v.ObjectMeta, &old.ObjectMeta)}
	if v.ResourceVersion == "" {
		l.Required(field.NewPath("resourceVersion"), "")
	}
	return l.Errors
}
