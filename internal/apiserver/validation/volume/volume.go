// Package volume validates storage in the core group: the sources of volumes
// in pods, persistent volumes and the claims on them. It takes defaulted
// objects and returns field errors; whether a class, a secret or a driver
// exists is not its question.
package volume

import (
	"net"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
)

const moreThanOne = "may not specify more than 1 volume type"

// source is one of the ways to fill a volume: present says whether it is set.
// Only the first that is set is looked into.
type source struct {
	name    string // in the error for a second source
	present bool
	check   func(l *check.List)
}

// exactlyOne checks the first source that is set and refuses further ones.
func exactlyOne(l *check.List, path *field.Path, sources []source) {
	one := choice{List: l, path: path}
	for _, s := range sources {
		one.of(s.name, s.present, s.check)
	}
	one.made()
}

// choice is exactlyOne without a list of all sources, which every new pod would
// need for each of its volumes.
type choice struct {
	*check.List
	path *field.Path
	seen bool
}

// of looks at the next source.
func (c *choice) of(name string, present bool, look func(l *check.List)) {
	switch {
	case !present:
	case c.seen:
		c.Forbidden(c.path.Child(name), moreThanOne)
	default:
		c.seen = true
		if look != nil {
			look(c.List)
		}
	}
}

// made refuses a volume without any source.
func (c *choice) made() {
	if !c.seen {
		c.Required(c.path, "must specify a volume type")
	}
}

// needed says that each of the named values has to be there: name, value, ...
func needed(l *check.List, path *field.Path, pairs ...string) {
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			l.Required(path.Child(pairs[i]), "")
		}
	}
}

func hostPath(l *check.List, s *corev1.HostPathVolumeSource, path *field.Path) {
	if s.Path == "" {
		l.Required(path.Child("path"), "")
		return
	}
	l.NoBacksteps(path.Child("path"), s.Path)
	if s.Type != nil {
		check.OneOf(l, path.Child("type"), *s.Type, corev1.HostPathUnset, corev1.HostPathBlockDev, corev1.HostPathCharDev,
			corev1.HostPathDirectory, corev1.HostPathDirectoryOrCreate, corev1.HostPathFile, corev1.HostPathFileOrCreate, corev1.HostPathSocket)
	}
}

func nfs(l *check.List, s *corev1.NFSVolumeSource, path *field.Path) {
	needed(l, path, "server", s.Server, "path", s.Path)
	if !strings.HasPrefix(s.Path, "/") {
		l.Invalid(path.Child("path"), s.Path, "must be an absolute path")
	}
}

// cloudDisk checks a disk by name with an optional partition.
func cloudDisk(l *check.List, path *field.Path, idName, id string, partition int32) {
	needed(l, path, idName, id)
	if partition < 0 || partition > 255 {
		l.Invalid(path.Child("partition"), partition, validation.InclusiveRangeError(1, 255))
	}
}

func fibreChannel(l *check.List, s *corev1.FCVolumeSource, path *field.Path) {
	targets := path.Child("targetWWNs")
	if len(s.TargetWWNs) == 0 && len(s.WWIDs) == 0 {
		l.Required(targets, "must specify either targetWWNs or wwids, but not both")
	}
	if len(s.TargetWWNs) == 0 {
		return
	}
	if len(s.WWIDs) != 0 {
		l.Invalid(targets, s.TargetWWNs, "targetWWNs and wwids can not be specified simultaneously")
	}
	if s.Lun == nil {
		l.Required(path.Child("lun"), "lun is required if targetWWNs is specified")
	} else {
		l.InRange(path.Child("lun"), int64(*s.Lun), 0, 255)
	}
}

func quobyte(l *check.List, s *corev1.QuobyteVolumeSource, path *field.Path) {
	const pairs = "must be a host:port pair or multiple pairs separated by commas"
	switch {
	case s.Registry == "":
		l.Required(path.Child("registry"), pairs)
	case len(s.Tenant) >= 65:
		l.Required(path.Child("tenant"), "must be a UUID and may not exceed a length of 64 characters")
	default:
		for _, pair := range strings.Split(s.Registry, ",") {
			if _, _, err := net.SplitHostPort(pair); err != nil {
				l.Invalid(path.Child("registry"), s.Registry, pairs)
			}
		}
	}
	needed(l, path, "volume", s.Volume)
}

func flocker(l *check.List, s *corev1.FlockerVolumeSource, path *field.Path) {
	if s.DatasetName == "" && s.DatasetUUID == "" {
		l.Required(path, "one of datasetName and datasetUUID is required")
	}
	if s.DatasetName != "" && s.DatasetUUID != "" {
		l.Invalid(path, "resource", "datasetName and datasetUUID can not be specified simultaneously")
	}
	if strings.Contains(s.DatasetName, "/") {
		l.Invalid(path.Child("datasetName"), s.DatasetName, "must not contain '/'")
	}
}

// flexOptions refuses options in the namespaces that belong to the project.
func flexOptions(l *check.List, driver string, options map[string]string, path *field.Path) {
	needed(l, path, "driver", driver)
	for _, key := range check.Keys(options) {
		namespace, _, _ := strings.Cut(key, "/")
		namespace = "." + strings.ToLower(namespace)
		if strings.HasSuffix(namespace, ".kubernetes.io") || strings.HasSuffix(namespace, ".k8s.io") {
			l.Invalid(path.Child("options").Key(key), key, "kubernetes.io and k8s.io namespaces are reserved")
		}
	}
}

func azureDisk(l *check.List, s *corev1.AzureDiskVolumeSource, path *field.Path) {
	needed(l, path, "diskName", s.DiskName, "diskURI", s.DataDiskURI)
	if s.CachingMode != nil {
		check.OneOf(l, path.Child("cachingMode"), *s.CachingMode, corev1.AzureDataDiskCachingNone, corev1.AzureDataDiskCachingReadOnly, corev1.AzureDataDiskCachingReadWrite)
	}
	if s.Kind == nil {
		return
	}
	check.OneOf(l, path.Child("kind"), *s.Kind, corev1.AzureDedicatedBlobDisk, corev1.AzureManagedDisk, corev1.AzureSharedBlobDisk)
	prefix, form := "https://", "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"
	if *s.Kind == corev1.AzureManagedDisk {
		prefix, form = "/subscriptions/", "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"
	}
	if !strings.HasPrefix(s.DataDiskURI, prefix) {
		l.Add(field.NotSupported(path.Child("diskURI"), s.DataDiskURI, []string{form}))
	}
}

func storageOS(l *check.List, name, namespace string, path *field.Path) {
	if name == "" {
		l.Required(path.Child("volumeName"), "")
	} else {
		l.Label(path.Child("volumeName"), name)
	}
	if namespace != "" {
		l.Label(path.Child("volumeNamespace"), namespace)
	}
}

// secretName checks that a reference names a secret.
func secretName(l *check.List, ref *corev1.LocalObjectReference, path *field.Path) {
	if ref != nil && ref.Name == "" {
		l.Required(path.Child("name"), "")
	}
}

// secretReference checks that a reference says which secret in which namespace.
func secretReference(l *check.List, ref *corev1.SecretReference, path *field.Path) {
	if ref != nil {
		needed(l, path, "name", ref.Name, "namespace", ref.Namespace)
	}
}

// CSIDriverName checks the name of a storage driver.
func CSIDriverName(name string, path *field.Path) field.ErrorList {
	var l check.List
	if name == "" {
		l.Required(path, "")
		return l.Errors
	}
	if len(name) > 63 {
		l.Add(field.TooLong(path, "", 63))
	}
	l.Messages(path, name, validation.IsDNS1123Subdomain(strings.ToLower(name)))
	return l.Errors
}

func csi(l *check.List, s *corev1.CSIVolumeSource, path *field.Path) {
	l.Add(CSIDriverName(s.Driver, path.Child("driver"))...)
	if ref := s.NodePublishSecretRef; ref != nil {
		if ref.Name == "" {
			l.Required(path.Child("nodePublishSecretRef", "name"), "")
		} else {
			l.Subdomain(path.Child("name"), ref.Name)
		}
	}
}
