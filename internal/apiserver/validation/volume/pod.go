package volume

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
)

// Pod says in what a list of volumes stands.
type Pod struct {
	Name string // of the pod; empty in a template, whose pods have other names
	Real bool   // a pod rather than a template
	// NonLocalTokens tolerates token paths that leave the volume.
	NonLocalTokens bool
}

// Volumes checks the volumes of a pod or template and returns those that are
// valid, by name, for mounts to be checked against.
func Volumes(volumes []corev1.Volume, p Pod, path *field.Path) (map[string]corev1.VolumeSource, field.ErrorList) {
	var l check.List
	created := sets.New[string]() // claims that ephemeral volumes bring along
	for i := range volumes {
		if p.Name != "" && volumes[i].Ephemeral != nil {
			created.Insert(p.Name + "-" + volumes[i].Name)
		}
	}
	valid := make(map[string]corev1.VolumeSource, len(volumes))
	for i := range volumes {
		v, at := &volumes[i], path.Index(i)
		var one check.List
		podSources(&one, v, p, at)
		if v.Name == "" {
			one.Required(at.Child("name"), "")
		} else {
			one.Label(at.Child("name"), v.Name)
		}
		if _, taken := valid[v.Name]; taken {
			one.Duplicate(at.Child("name"), v.Name)
		}
		if len(one.Errors) == 0 {
			valid[v.Name] = v.VolumeSource
		}
		l.Add(one.Errors...)
		if c := v.PersistentVolumeClaim; c != nil && created.Has(c.ClaimName) {
			l.Invalid(at.Child("persistentVolumeClaim", "claimName"), c.ClaimName, "must not reference a PVC that gets created for an ephemeral volume")
		}
	}
	return valid, l.Errors
}

// podSources checks that the volume has one source and that it is sound. The
// order is that in which upstream looks.
func podSources(l *check.List, v *corev1.Volume, p Pod, path *field.Path) {
	at := path.Child
	one := choice{List: l, path: path}
	one.of("emptyDir", v.EmptyDir != nil, func(l *check.List) {
		if limit := v.EmptyDir.SizeLimit; limit != nil && limit.Sign() < 0 {
			l.Forbidden(at("emptyDir", "sizeLimit"), "SizeLimit field must be a valid resource quantity")
		}
	})
	one.of("hostPath", v.HostPath != nil, func(l *check.List) { hostPath(l, v.HostPath, at("hostPath")) })
	one.of("gitRepo", v.GitRepo != nil, func(l *check.List) {
		needed(l, at("gitRepo"), "repository", v.GitRepo.Repository)
		l.DescendingPath(at("gitRepo", "directory"), v.GitRepo.Directory)
	})
	one.of("gcePersistentDisk", v.GCEPersistentDisk != nil, func(l *check.List) {
		cloudDisk(l, at("persistentDisk"), "pdName", v.GCEPersistentDisk.PDName, v.GCEPersistentDisk.Partition)
	})
	one.of("awsElasticBlockStore", v.AWSElasticBlockStore != nil, func(l *check.List) {
		cloudDisk(l, at("awsElasticBlockStore"), "volumeID", v.AWSElasticBlockStore.VolumeID, v.AWSElasticBlockStore.Partition)
	})
	one.of("secret", v.Secret != nil, func(l *check.List) {
		needed(l, at("secret"), "secretName", v.Secret.SecretName)
		files(l, v.Secret.DefaultMode, v.Secret.DefaultUser, v.Secret.Items, at("secret"))
	})
	one.of("nfs", v.NFS != nil, func(l *check.List) { nfs(l, v.NFS, at("nfs")) })
	one.of("iscsi", v.ISCSI != nil, func(l *check.List) { iscsi(l, v.ISCSI, path.Child("iscsi")) })
	mountedSources(&one, v, path)
	diskSources(&one, v, path)
	laterSources(&one, v, p, path)
	one.made()
	// Looked at even where the volume counts as another.
	if s := v.ISCSI; s != nil && s.InitiatorName != nil && len(v.Name+":"+s.TargetPortal) > 64 {
		l.Invalid(at("name"), v.Name, iscsiTooLong)
	}
}

// files checks files that are written from the keys of an object.
func files(l *check.List, mode *int32, user *int64, items []corev1.KeyToPath, path *field.Path) {
	l.Mode(path.Child("defaultMode"), mode)
	owner(l, user, path.Child("defaultUser"))
	keysToPaths(l, items, path.Child("items"))
}

func mountedSources(one *choice, v *corev1.Volume, path *field.Path) {
	at := path.Child
	one.of("glusterfs", v.Glusterfs != nil, func(l *check.List) {
		needed(l, at("glusterfs"), "endpoints", v.Glusterfs.EndpointsName, "path", v.Glusterfs.Path)
	})
	one.of("flocker", v.Flocker != nil, func(l *check.List) { flocker(l, v.Flocker, at("flocker")) })
	one.of("persistentVolumeClaim", v.PersistentVolumeClaim != nil, func(l *check.List) {
		needed(l, at("persistentVolumeClaim"), "claimName", v.PersistentVolumeClaim.ClaimName)
	})
	one.of("rbd", v.RBD != nil, func(l *check.List) { ceph(l, v.RBD.CephMonitors, at("rbd"), "image", v.RBD.RBDImage) })
	one.of("cinder", v.Cinder != nil, func(l *check.List) {
		needed(l, at("cinder"), "volumeID", v.Cinder.VolumeID)
		secretName(l, v.Cinder.SecretRef, at("cinder", "secretRef"))
	})
	one.of("cephFS", v.CephFS != nil, func(l *check.List) { ceph(l, v.CephFS.Monitors, at("cephfs")) })
	one.of("quobyte", v.Quobyte != nil, func(l *check.List) { quobyte(l, v.Quobyte, at("quobyte")) })
	one.of("downwarAPI", v.DownwardAPI != nil, func(l *check.List) {
		l.Mode(at("downwardAPI", "defaultMode"), v.DownwardAPI.DefaultMode)
		owner(l, v.DownwardAPI.DefaultUser, at("downwardAPI", "defaultUser"))
		for i := range v.DownwardAPI.Items {
			downwardFile(l, &v.DownwardAPI.Items[i], at("downwardAPI"))
		}
	})
	one.of("fc", v.FC != nil, func(l *check.List) { fibreChannel(l, v.FC, at("fc")) })
	one.of("flexVolume", v.FlexVolume != nil, func(l *check.List) {
		flexOptions(l, v.FlexVolume.Driver, v.FlexVolume.Options, at("flexVolume"))
	})
	one.of("configMap", v.ConfigMap != nil, func(l *check.List) {
		needed(l, at("configMap"), "name", v.ConfigMap.Name)
		files(l, v.ConfigMap.DefaultMode, v.ConfigMap.DefaultUser, v.ConfigMap.Items, at("configMap"))
	})
}

func diskSources(one *choice, v *corev1.Volume, path *field.Path) {
	at := path.Child
	one.of("azureFile", v.AzureFile != nil, func(l *check.List) {
		needed(l, at("azureFile"), "secretName", v.AzureFile.SecretName, "shareName", v.AzureFile.ShareName)
	})
	one.of("vsphereVolume", v.VsphereVolume != nil, func(l *check.List) {
		needed(l, at("vsphereVolume"), "volumePath", v.VsphereVolume.VolumePath)
	})
	one.of("photonPersistentDisk", v.PhotonPersistentDisk != nil, func(l *check.List) {
		needed(l, at("photonPersistentDisk"), "pdID", v.PhotonPersistentDisk.PdID)
	})
	one.of("portworxVolume", v.PortworxVolume != nil, func(l *check.List) {
		needed(l, at("portworxVolume"), "volumeID", v.PortworxVolume.VolumeID)
	})
	one.of("azureDisk", v.AzureDisk != nil, func(l *check.List) { azureDisk(l, v.AzureDisk, at("azureDisk")) })
	one.of("storageos", v.StorageOS != nil, func(l *check.List) {
		storageOS(l, v.StorageOS.VolumeName, v.StorageOS.VolumeNamespace, at("storageos"))
		secretName(l, v.StorageOS.SecretRef, at("storageos", "secretRef"))
	})
}

func laterSources(one *choice, v *corev1.Volume, p Pod, path *field.Path) {
	at := path.Child
	one.of("projected", v.Projected != nil, func(l *check.List) { projected(l, v.Projected, p, at("projected")) })
	one.of("scaleIO", v.ScaleIO != nil, func(l *check.List) {
		needed(l, at("scaleIO"), "gateway", v.ScaleIO.Gateway, "system", v.ScaleIO.System, "volumeName", v.ScaleIO.VolumeName)
	})
	one.of("csi", v.CSI != nil, func(l *check.List) { csi(l, v.CSI, at("csi")) })
	one.of("ephemeral", v.Ephemeral != nil, func(l *check.List) { ephemeral(l, v, p, path) })
	one.of("image", v.Image != nil, func(l *check.List) {
		needed(l, at("image"), "reference", v.Image.Reference)
		check.RequiredOneOf(l, at("image", "pullPolicy"), v.Image.PullPolicy, corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)
	})
}

func ephemeral(l *check.List, v *corev1.Volume, p Pod, path *field.Path) {
	template := v.Ephemeral.VolumeClaimTemplate
	at := path.Child("ephemeral", "volumeClaimTemplate")
	if template == nil {
		l.Required(at, "")
	} else {
		l.Add(check.TemplateMeta(&template.ObjectMeta, at.Child("metadata"))...)
		l.Add(ClaimSpec(&template.Spec, nil, at.Child("spec"))...)
	}
	if p.Name == "" || v.Name == "" {
		return
	}
	claim := p.Name + "-" + v.Name
	for _, message := range apivalidation.NameIsDNSSubdomain(claim, false) {
		l.Invalid(path.Child("name"), v.Name, fmt.Sprintf("PVC name %q: %v", claim, message))
	}
}

func ceph(l *check.List, monitors []string, path *field.Path, more ...string) {
	if len(monitors) == 0 {
		l.Required(path.Child("monitors"), "")
	}
	needed(l, path, more...)
}
