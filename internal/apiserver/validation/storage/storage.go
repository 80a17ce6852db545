// Package storage decides whether objects of the group storage.k8s.io are
// valid, in the field paths and words that Kubernetes uses. Its functions are
// pure.
package storage

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
	"github.com/sinawi/sinawi/internal/apiserver/validation/placement"
	"github.com/sinawi/sinawi/internal/apiserver/validation/rule"
	"github.com/sinawi/sinawi/internal/apiserver/validation/volume"
)

// The bounds of what a class says to its driver.
const (
	maxParameters    = 512
	maxParameterSize = 256 * 1024
)

// StorageClass checks a new class.
func StorageClass(c *storagev1.StorageClass) field.ErrorList {
	l := check.List{Errors: rule.Cluster(&c.ObjectMeta, rule.Subdomain)}
	if c.Provisioner == "" {
		l.Required(field.NewPath("provisioner"), "")
	} else {
		l.QualifiedName(field.NewPath("provisioner"), c.Provisioner)
	}
	parameters(&l, c.Parameters, true, field.NewPath("parameters"))
	if p := c.ReclaimPolicy; p != nil && *p != "" {
		check.OneOf(&l, field.NewPath("reclaimPolicy"), *p, corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRetain)
	}
	if m := c.VolumeBindingMode; m == nil {
		l.Required(field.NewPath("volumeBindingMode"), "")
	} else {
		check.OneOf(&l, field.NewPath("volumeBindingMode"), *m, storagev1.VolumeBindingImmediate, storagev1.VolumeBindingWaitForFirstConsumer)
	}
	l.Add(placement.TopologyTerms(c.AllowedTopologies, field.NewPath("allowedTopologies"))...)
	return l.Errors
}

func parameters(l *check.List, p map[string]string, mayBeEmpty bool, path *field.Path) {
	if len(p) > maxParameters {
		l.Add(field.TooLong(path, "Provisioner Parameters exceeded max allowed", maxParameters))
		return
	}
	size := 0
	for key, value := range p {
		if key == "" {
			l.Invalid(path, key, "field can not be empty.")
		}
		size += len(key) + len(value)
	}
	if size > maxParameterSize {
		l.Add(field.TooLong(path, "", maxParameterSize))
	}
	if !mayBeEmpty && len(p) == 0 {
		l.Required(path, "must contain at least one key/value pair")
	}
}

// StorageClassUpdate checks a changed class: what volumes were made by stays.
func StorageClassUpdate(c, old *storagev1.StorageClass) field.ErrorList {
	l := check.List{Errors: rule.MetaUpdate(&c.ObjectMeta, &old.ObjectMeta)}
	if !apiequality.Semantic.DeepEqual(c.Parameters, old.Parameters) {
		l.Forbidden(field.NewPath("parameters"), "updates to parameters are forbidden.")
	}
	if c.Provisioner != old.Provisioner {
		l.Forbidden(field.NewPath("provisioner"), "updates to provisioner are forbidden.")
	}
	if !apiequality.Semantic.DeepEqual(c.ReclaimPolicy, old.ReclaimPolicy) {
		l.Forbidden(field.NewPath("reclaimPolicy"), "updates to reclaimPolicy are forbidden.")
	}
	l.Add(rule.Immutable(c.VolumeBindingMode, old.VolumeBindingMode, field.NewPath("volumeBindingMode"))...)
	return l.Errors
}

// VolumeAttributesClass checks a new class of attributes.
func VolumeAttributesClass(c *storagev1.VolumeAttributesClass) field.ErrorList {
	l := check.List{Errors: rule.Cluster(&c.ObjectMeta, rule.Subdomain)}
	if c.DriverName == "" {
		l.Required(field.NewPath("driverName"), "")
	} else {
		l.Add(volume.CSIDriverName(c.DriverName, field.NewPath("driverName"))...)
	}
	parameters(&l, c.Parameters, false, field.NewPath("parameters"))
	return l.Errors
}

// VolumeAttributesClassUpdate checks a changed class of attributes.
func VolumeAttributesClassUpdate(c, old *storagev1.VolumeAttributesClass) field.ErrorList {
	l := check.List{Errors: rule.MetaUpdate(&c.ObjectMeta, &old.ObjectMeta)}
	l.Add(rule.Immutable(c.DriverName, old.DriverName, field.NewPath("driverName"))...)
	l.Add(rule.Immutable(c.Parameters, old.Parameters, field.NewPath("parameters"))...)
	return l.Errors
}

// VolumeAttachment checks a new attachment.
func VolumeAttachment(a *storagev1.VolumeAttachment) field.ErrorList {
	l := check.List{Errors: rule.Cluster(&a.ObjectMeta, rule.Subdomain)}
	path, s := field.NewPath("spec"), &a.Spec
	l.Add(volume.CSIDriverName(s.Attacher, path.Child("attacher"))...)
	source := path.Child("source")
	switch inline, name := s.Source.InlineVolumeSpec, s.Source.PersistentVolumeName; {
	case inline == nil && name == nil:
		l.Required(source, "must specify exactly one of inlineVolumeSpec and persistentVolumeName")
	case inline != nil && name != nil:
		l.Forbidden(source, "must specify exactly one of inlineVolumeSpec and persistentVolumeName")
	case name != nil && *name == "":
		l.Required(source.Child("persistentVolumeName"), "must specify non empty persistentVolumeName")
	case name != nil:
		l.Subdomain(source.Child("persistentVolumeName"), *name)
	default:
		l.Add(volume.PersistentSpec(inline, "", true, source.Child("inlineVolumeSpec"))...)
	}
	l.Subdomain(path.Child("nodeName"), s.NodeName)
	return l.Errors
}

// VolumeAttachmentUpdate checks a changed attachment.
func VolumeAttachmentUpdate(a, old *storagev1.VolumeAttachment) field.ErrorList {
	l := check.List{Errors: rule.MetaUpdate(&a.ObjectMeta, &old.ObjectMeta)}
	if !apiequality.Semantic.DeepEqual(a.Spec, old.Spec) {
		l.Invalid(field.NewPath("spec"), a.Spec, "field is immutable")
	}
	return l.Errors
}

// CSIDriver checks a new driver.
func CSIDriver(d *storagev1.CSIDriver) field.ErrorList {
	l := check.List{Errors: rule.Cluster(&d.ObjectMeta, rule.Subdomain)}
	l.Add(volume.CSIDriverName(d.Name, field.NewPath("name"))...)
	driverSpec(&l, &d.Spec, field.NewPath("spec"))
	return l.Errors
}

func driverSpec(l *check.List, s *storagev1.CSIDriverSpec, path *field.Path) {
	for _, f := range []struct {
		name string
		set  bool
	}{{"attachedRequired", s.AttachRequired != nil}, {"podInfoOnMount", s.PodInfoOnMount != nil}, {"storageCapacity", s.StorageCapacity != nil}} {
		if !f.set {
			l.Required(path.Child(f.name), "")
		}
	}
	if p := s.FSGroupPolicy; p != nil {
		check.OneOf(l, path.Child("fsGroupPolicy"), *p, storagev1.FileFSGroupPolicy, storagev1.NoneFSGroupPolicy, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy)
	}
	seen := sets.New[string]()
	for i, t := range s.TokenRequests {
		at := path.Child("tokenRequests").Index(i)
		if seen.Has(t.Audience) {
			l.Duplicate(at.Child("audience"), t.Audience)
		}
		seen.Insert(t.Audience)
		if e := t.ExpirationSeconds; e != nil && *e < 600 {
			l.Invalid(at.Child("expirationSeconds"), *e, "may not specify a duration less than 10 minutes")
		}
		if e := t.ExpirationSeconds; e != nil && *e > 1<<32 {
			l.Invalid(at.Child("expirationSeconds"), *e, "may not specify a duration larger than 2^32 seconds")
		}
	}
	for _, m := range s.VolumeLifecycleModes {
		check.OneOf(l, path.Child("volumeLifecycleModes"), m, storagev1.VolumeLifecycleEphemeral, storagev1.VolumeLifecyclePersistent)
	}
}

// CSIDriverUpdate checks a changed driver.
func CSIDriverUpdate(d, old *storagev1.CSIDriver) field.ErrorList {
	l := check.List{Errors: rule.MetaUpdate(&d.ObjectMeta, &old.ObjectMeta)}
	path := field.NewPath("spec")
	driverSpec(&l, &d.Spec, path)
	l.Add(rule.Immutable(d.Spec.AttachRequired, old.Spec.AttachRequired, path.Child("attachedRequired"))...)
	l.Add(rule.Immutable(d.Spec.VolumeLifecycleModes, old.Spec.VolumeLifecycleModes, path.Child("volumeLifecycleModes"))...)
	return l.Errors
}

// CSINode checks what drivers a node has.
func CSINode(n *storagev1.CSINode) field.ErrorList {
	l := check.List{Errors: rule.Cluster(&n.ObjectMeta, rule.Subdomain)}
	names := sets.New[string]()
	for i, d := range n.Spec.Drivers {
		at := field.NewPath("spec", "drivers").Index(i)
		l.Add(volume.CSIDriverName(d.Name, at.Child("name"))...)
		if d.NodeID == "" {
			l.Required(at.Child("nodeID"), "")
		}
		if len(d.NodeID) > 256 {
			l.Invalid(at.Child("nodeID"), d.NodeID, fmt.Sprintf("must be %d characters or less", 256))
		}
		if d.Allocatable != nil && d.Allocatable.Count != nil {
			l.NonNegative(at.Child("allocatable", "count"), int64(*d.Allocatable.Count))
		}
		if names.Has(d.Name) {
			l.Duplicate(at.Child("name"), d.Name)
		}
		names.Insert(d.Name)
		keys := sets.New[string]()
		for _, key := range d.TopologyKeys {
			if keys.Has(key) {
				l.Duplicate(at.Child("topologyKeys"), key)
			}
			keys.Insert(key)
			l.QualifiedName(at.Child("topologyKeys"), key)
		}
	}
	return l.Errors
}

// CSINodeUpdate checks a changed node.
func CSINodeUpdate(n, old *storagev1.CSINode) field.ErrorList {
	l := check.List{Errors: CSINode(n)}
	l.Add(rule.MetaUpdate(&n.ObjectMeta, &old.ObjectMeta)...)
	return l.Errors
}

// CSIStorageCapacity checks how much room there is somewhere.
func CSIStorageCapacity(c *storagev1.CSIStorageCapacity) field.ErrorList {
	l := check.List{Errors: rule.Namespaced(&c.ObjectMeta, rule.Subdomain)}
	l.Subdomain(field.NewPath("storageClassName"), c.StorageClassName)
	if q := c.Capacity; q != nil && q.Sign() < 0 {
		l.Invalid(field.NewPath("capacity"), q.String(), check.MustNotBeNegative)
	}
	if q := c.MaximumVolumeSize; q != nil && q.Sign() < 0 {
		l.Invalid(field.NewPath("maximumVolumeSize"), q.String(), check.MustNotBeNegative)
	}
	l.Add(rule.Selector(c.NodeTopology, field.NewPath("nodeTopology"))...)
	return l.Errors
}

// CSIStorageCapacityUpdate checks a changed capacity.
func CSIStorageCapacityUpdate(c, old *storagev1.CSIStorageCapacity) field.ErrorList {
	return rule.All(rule.MetaUpdate(&c.ObjectMeta, &old.ObjectMeta), CSIStorageCapacity(c),
		rule.Immutable(c.NodeTopology, old.NodeTopology, field.NewPath("nodeTopology")),
		rule.Immutable(c.StorageClassName, old.StorageClassName, field.NewPath("storageClassName")))
}
