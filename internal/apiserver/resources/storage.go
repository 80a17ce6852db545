package resources

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Storage returns the rows of the group storage.k8s.io.
func Storage() []Resource {
	return []Resource{storageClasses(), volumeAttachments(), csiNodes(), csiDrivers(), csiStorageCapacities(), volumeAttributesClasses()}
}

// defaultMark is what follows the name of the class that is used when none is asked for.
func defaultMark(annotations map[string]string, keys ...string) string {
	for _, k := range keys {
		if annotations[k] == "true" {
			return " (default)"
		}
	}
	return ""
}

func storageClasses() Resource {
	r := row[storagev1.StorageClass, storagev1.StorageClassList](storagev1.SchemeGroupVersion, "StorageClass", "storageclasses", "sc")
	r.ClusterScoped = true
	r.Columns = []metav1.TableColumnDefinition{
		nameColumn(),
		docColumn("Provisioner", "string", storagev1.StorageClass{}, "provisioner"),
		docColumn("ReclaimPolicy", "string", storagev1.StorageClass{}, "reclaimPolicy"),
		docColumn("VolumeBindingMode", "string", storagev1.StorageClass{}, "volumeBindingMode"),
		docColumn("AllowVolumeExpansion", "string", storagev1.StorageClass{}, "allowVolumeExpansion"),
		ageColumn(),
	}
	r.Cells = cells(func(c *storagev1.StorageClass) []any {
		mark := defaultMark(c.Annotations, "storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class")
		return []any{
			c.Name + mark, c.Provisioner,
			string(deref(c.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete)),
			string(deref(c.VolumeBindingMode, storagev1.VolumeBindingImmediate)),
			deref(c.AllowVolumeExpansion, false), since(c.CreationTimestamp),
		}
	})
	r.ReturnsDeleted = true
	r.Strategy = storageClassStrategy()
	return r
}

func volumeAttachments() Resource {
	r := row[storagev1.VolumeAttachment, storagev1.VolumeAttachmentList](storagev1.SchemeGroupVersion, "VolumeAttachment", "volumeattachments")
	r.ClusterScoped = true
	attacher := docColumn("Attacher", "string", storagev1.VolumeAttachmentSpec{}, "attacher")
	attacher.Format = "name"
	r.Columns = []metav1.TableColumnDefinition{
		nameColumn(),
		attacher,
		docColumn("PV", "string", storagev1.VolumeAttachmentSource{}, "persistentVolumeName"),
		docColumn("Node", "string", storagev1.VolumeAttachmentSpec{}, "nodeName"),
		docColumn("Attached", "boolean", storagev1.VolumeAttachmentStatus{}, "attached"),
		ageColumn(),
	}
	r.Cells = cells(func(a *storagev1.VolumeAttachment) []any {
		return []any{
			a.Name, a.Spec.Attacher, deref(a.Spec.Source.PersistentVolumeName, ""), a.Spec.NodeName,
			a.Status.Attached, since(a.CreationTimestamp),
		}
	})
	r.ReturnsDeleted = true
	r.Strategy = volumeAttachmentStrategy()
	r.Status = volumeAttachmentStatusStrategy()
	return r
}

func csiNodes() Resource {
	r := row[storagev1.CSINode, storagev1.CSINodeList](storagev1.SchemeGroupVersion, "CSINode", "csinodes")
	r.ClusterScoped = true
	r.Columns = []metav1.TableColumnDefinition{
		nameColumn(),
		column("Drivers", "integer", "Drivers indicates the number of CSI drivers registered on the node"),
		ageColumn(),
	}
	r.Cells = cells(func(n *storagev1.CSINode) []any {
		return []any{n.Name, int64(len(n.Spec.Drivers)), since(n.CreationTimestamp)}
	})
	r.ReturnsDeleted = true
	r.Strategy = csiNodeStrategy()
	r.Status = csiNodeStatusStrategy()
	return r
}

func csiDrivers() Resource {
	r := row[storagev1.CSIDriver, storagev1.CSIDriverList](storagev1.SchemeGroupVersion, "CSIDriver", "csidrivers")
	r.ClusterScoped = true
	r.Columns = []metav1.TableColumnDefinition{
		nameColumn(),
		docColumn("AttachRequired", "boolean", storagev1.CSIDriverSpec{}, "attachRequired"),
		docColumn("PodInfoOnMount", "boolean", storagev1.CSIDriverSpec{}, "podInfoOnMount"),
		docColumn("StorageCapacity", "boolean", storagev1.CSIDriverSpec{}, "storageCapacity"),
		docColumn("TokenRequests", "string", storagev1.CSIDriverSpec{}, "tokenRequests"),
		docColumn("RequiresRepublish", "boolean", storagev1.CSIDriverSpec{}, "requiresRepublish"),
		docColumn("Modes", "string", storagev1.CSIDriverSpec{}, "volumeLifecycleModes"),
		ageColumn(),
	}
	r.Cells = cells(func(d *storagev1.CSIDriver) []any {
		var modes, audiences []string
		for _, m := range d.Spec.VolumeLifecycleModes {
			modes = append(modes, string(m))
		}
		for _, t := range d.Spec.TokenRequests {
			audiences = append(audiences, t.Audience)
		}
		tokens, lifecycle := "<unset>", "<none>"
		if d.Spec.TokenRequests != nil {
			tokens = strings.Join(audiences, ",")
		}
		if len(modes) > 0 {
			lifecycle = strings.Join(modes, ",")
		}
		return []any{
			d.Name, deref(d.Spec.AttachRequired, true), deref(d.Spec.PodInfoOnMount, false),
			deref(d.Spec.StorageCapacity, false), tokens, deref(d.Spec.RequiresRepublish, false),
			lifecycle, since(d.CreationTimestamp),
		}
	})
	r.ReturnsDeleted = true
	r.Strategy = csiDriverStrategy()
	return r
}

func csiStorageCapacities() Resource {
	r := row[storagev1.CSIStorageCapacity, storagev1.CSIStorageCapacityList](storagev1.SchemeGroupVersion, "CSIStorageCapacity", "csistoragecapacities")
	r.Strategy = csiStorageCapacityStrategy()
	return r
}

func volumeAttributesClasses() Resource {
	r := row[storagev1.VolumeAttributesClass, storagev1.VolumeAttributesClassList](storagev1.SchemeGroupVersion, "VolumeAttributesClass", "volumeattributesclasses", "vac")
	r.ClusterScoped = true
	r.Columns = []metav1.TableColumnDefinition{
		nameColumn(),
		docColumn("DriverName", "string", storagev1.VolumeAttributesClass{}, "driverName"),
		ageColumn(),
	}
	r.Cells = cells(func(c *storagev1.VolumeAttributesClass) []any {
		mark := defaultMark(c.Annotations, "storage.alpha.kubernetes.io/is-default-vac")
		return []any{c.Name + mark, c.DriverName, since(c.CreationTimestamp)}
	})
	r.ReturnsDeleted = true
	r.Strategy = volumeAttributesClassStrategy()
	return r
}
