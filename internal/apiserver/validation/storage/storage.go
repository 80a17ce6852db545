// Package storage decides whether objects of the group storage.k8s.io are
// valid, in the field paths and words that Kubernetes uses. Its functions are
// pure.
package storage

import (
	"fmt"
	"math"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
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
	maxMetadataSize  = 256 * 1024
	maxErrorMessage  = 1024
	maxConditions    = 16
)

// StorageClass checks a new class.
func StorageClass(c *storagev1.StorageClass) field.ErrorList {
	l := check.List{Errors: rule.Cluster(&c.ObjectMeta, rule.Subdomain)}
	driver(&l, c.Provisioner, field.NewPath("provisioner"))
	parameters(&l, c.Parameters, true, field.NewPath("parameters"))
	if p := c.ReclaimPolicy; p != nil && *p != "" {
		check.OneOf(&l, field.NewPath("reclaimPolicy"), *p, corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRetain)
	}
	if m := c.VolumeBindingMode; m == nil {
		l.Required(field.NewPath("volumeBindingMode"), "")
	} else {
		check.OneOf(&l, field.NewPath("volumeBindingMode"), *m, storagev1.VolumeBindingImmediate, storagev1.VolumeBindingWaitForFirstConsumer)
	}
	topologies := field.NewPath("allowedTopologies")
	l.Add(placement.TopologyTerms(c.AllowedTopologies, topologies)...)
	differing(&l, c.AllowedTopologies, topologies)
	return l.Errors
}

// driver checks who provides volumes, as a class names it.
func driver(l *check.List, name string, path *field.Path) {
	if name == "" {
		l.Required(path, "")
		return
	}
	lower := strings.ToLower(name)
	l.Messages(path, lower, validation.IsQualifiedName(lower))
}

// differing refuses terms that select the same places. A term that selects
// nothing repeats each of the places that upstream sets aside beforehand.
func differing(l *check.List, terms []corev1.TopologySelectorTerm, path *field.Path) {
	places := make([]map[string]sets.Set[string], len(terms), 2*len(terms))
	for i := range terms {
		place := map[string]sets.Set[string]{}
		for _, e := range terms[i].MatchLabelExpressions {
			place[e.Key] = sets.New(e.Values...)
		}
		for _, other := range places {
			if apiequality.Semantic.DeepEqual(place, other) {
				l.Duplicate(path.Index(i).Child("matchLabelExpressions"), "")
			}
		}
		places = append(places, place)
	}
}

func parameters(l *check.List, p map[string]string, mayBeEmpty bool, path *field.Path) {
	if len(p) > maxParameters {
		l.Add(field.TooLong(path, "", maxParameters))
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
	l.Add(StorageClass(c)...)
	l.Add(rule.Immutable(c.Parameters, old.Parameters, field.NewPath("parameters"))...)
	l.Add(rule.Immutable(c.Provisioner, old.Provisioner, field.NewPath("provisioner"))...)
	l.Add(rule.Immutable(c.ReclaimPolicy, old.ReclaimPolicy, field.NewPath("reclaimPolicy"))...)
	l.Add(rule.Immutable(c.VolumeBindingMode, old.VolumeBindingMode, field.NewPath("volumeBindingMode"))...)
	return l.Errors
}

// VolumeAttributesClass checks a new class of attributes.
func VolumeAttributesClass(c *storagev1.VolumeAttributesClass) field.ErrorList {
	l := check.List{Errors: rule.Cluster(&c.ObjectMeta, rule.Subdomain)}
	driver(&l, c.DriverName, field.NewPath("driverName"))
	parameters(&l, c.Parameters, false, field.NewPath("parameters"))
	return l.Errors
}

// VolumeAttributesClassUpdate checks a changed class of attributes.
func VolumeAttributesClassUpdate(c, old *storagev1.VolumeAttributesClass) field.ErrorList {
	l := check.List{Errors: rule.MetaUpdate(&c.ObjectMeta, &old.ObjectMeta)}
	if c.DriverName != old.DriverName {
		l.Forbidden(field.NewPath("driverName"), "updates to driverName are forbidden.")
	}
	if !apiequality.Semantic.DeepEqual(c.Parameters, old.Parameters) {
		l.Forbidden(field.NewPath("parameters"), "updates to parameters are forbidden.")
	}
	l.Add(VolumeAttributesClass(c)...)
	return l.Errors
}

// VolumeAttachment checks a new attachment.
func VolumeAttachment(a *storagev1.VolumeAttachment) field.ErrorList {
	return attachment(a, newAttacher)
}

func attachment(a *storagev1.VolumeAttachment, driver func(string, *field.Path) field.ErrorList) field.ErrorList {
	l := check.List{Errors: rule.Cluster(&a.ObjectMeta, rule.Subdomain)}
	path, s := field.NewPath("spec"), &a.Spec
	l.Add(driver(s.Attacher, path.Child("attacher"))...)
	source := path.Child("source")
	switch inline, name := s.Source.InlineVolumeSpec, s.Source.PersistentVolumeName; {
	case inline == nil && name == nil:
		l.Required(source, "must specify exactly one of inlineVolumeSpec and persistentVolumeName")
	case inline != nil && name != nil:
		l.Forbidden(source, "must specify exactly one of inlineVolumeSpec and persistentVolumeName")
	case name != nil && *name == "":
		l.Required(source.Child("persistentVolumeName"), "must specify non empty persistentVolumeName")
	case inline != nil:
		l.Add(volume.PersistentSpec(inline, "", true, source.Child("inlineVolumeSpec"))...)
	}
	l.Subdomain(path.Child("nodeName"), s.NodeName)
	if name := s.Source.PersistentVolumeName; name != nil {
		l.Subdomain(field.NewPath("spec.source.persistentVolumeName"), *name)
	}
	volumeError(&l, a.Status.AttachError, field.NewPath("status", "attachError"))
	volumeError(&l, a.Status.DetachError, field.NewPath("status", "detachError"))
	size := 0
	for key, value := range a.Status.AttachmentMetadata {
		size += len(key) + len(value)
	}
	if size > maxMetadataSize {
		l.Add(field.TooLong(field.NewPath("status", "attachmentMetadata"), "", maxMetadataSize))
	}
	return l.Errors
}

// newAttacher checks the driver of a new attachment, whose name may be in
// capitals.
func newAttacher(name string, path *field.Path) field.ErrorList {
	if name == "" {
		return volume.CSIDriverName(name, path)
	}
	var l check.List
	if len(name) > 63 {
		l.Add(field.TooLongCharacters(path, "", 63))
	}
	l.Messages(path, name, content.IsDNS1123SubdomainCaseless(name))
	return l.Errors
}

func volumeError(l *check.List, e *storagev1.VolumeError, path *field.Path) {
	if e == nil {
		return
	}
	if len(e.Message) > maxErrorMessage {
		l.Add(field.TooLong(path.Child("message"), "", maxErrorMessage))
	}
	if e.ErrorCode != nil {
		l.InRange(path.Child("errorCode"), int64(*e.ErrorCode), 0, math.MaxInt32)
	}
}

// VolumeAttachmentUpdate checks a changed attachment.
func VolumeAttachmentUpdate(a, old *storagev1.VolumeAttachment) field.ErrorList {
	return append(attachment(a, volume.CSIDriverName), rule.Immutable(a.Spec, old.Spec, field.NewPath("spec"))...)
}

// CSIDriver checks a new driver.
func CSIDriver(d *storagev1.CSIDriver) field.ErrorList {
	l := check.List{Errors: rule.Cluster(&d.ObjectMeta, rule.Subdomain)}
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
	tokenRequests(l, s, path)
	for _, m := range s.VolumeLifecycleModes {
		if m != storagev1.VolumeLifecyclePersistent && m != storagev1.VolumeLifecycleEphemeral {
			// The list is not in the order of the alphabet.
			modes := []string{string(storagev1.VolumeLifecyclePersistent), string(storagev1.VolumeLifecycleEphemeral)}
			l.Add(field.NotSupported(path.Child("volumeLifecycleModes"), m, modes))
		}
	}
	if s.SELinuxMount == nil {
		l.Required(path.Child("seLinuxMount"), "")
	}
	if p := s.NodeAllocatableUpdatePeriodSeconds; p != nil && *p < 10 {
		l.Invalid(path.Child("nodeAllocatableUpdatePeriodSeconds"), *p, "must be greater than or equal to 10 seconds")
	}
	if s.PreventPodSchedulingIfMissing == nil {
		l.Required(path.Child("preventPodSchedulingIfMissing"), "")
	}
}

func tokenRequests(l *check.List, s *storagev1.CSIDriverSpec, path *field.Path) {
	if inSecrets := s.ServiceAccountTokenInSecrets; inSecrets != nil && len(s.TokenRequests) == 0 {
		l.Invalid(path.Child("serviceAccountTokenInSecrets"), *inSecrets, "serviceAccountTokenInSecrets is set but no tokenRequests are specified")
	}
	seen := sets.New[string]()
	for i, t := range s.TokenRequests {
		at := path.Child("tokenRequests").Index(i)
		if seen.Has(t.Audience) {
			l.Duplicate(at.Child("audience"), t.Audience)
			continue
		}
		seen.Insert(t.Audience)
		if e := t.ExpirationSeconds; e != nil && *e < 600 {
			l.Invalid(at.Child("expirationSeconds"), *e, "may not specify a duration less than 10 minutes")
		}
		if e := t.ExpirationSeconds; e != nil && *e > 1<<32 {
			l.Invalid(at.Child("expirationSeconds"), *e, "may not specify a duration larger than 2^32 seconds")
		}
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
			if key == "" {
				l.Required(at, "")
			}
			if keys.Has(key) {
				l.Duplicate(at, key)
			}
			keys.Insert(key)
			l.QualifiedName(at, key)
		}
	}
	return l.Errors
}

// CSINodeUpdate checks a changed node.
func CSINodeUpdate(n, old *storagev1.CSINode) field.ErrorList {
	l := check.List{Errors: CSINode(n)}
	for i := range old.Spec.Drivers {
		for j := range n.Spec.Drivers {
			was, now := old.Spec.Drivers[i], n.Spec.Drivers[j]
			if was.Name == now.Name {
				was.Allocatable, now.Allocatable = nil, nil
				l.Add(rule.Immutable(now, was, field.NewPath("spec", "drivers"))...)
			}
		}
	}
	return l.Errors
}

// CSINodeStatusUpdate checks what drivers report of a node's storage.
func CSINodeStatusUpdate(n, old *storagev1.CSINode) field.ErrorList {
	l := check.List{Errors: rule.MetaUpdate(&n.ObjectMeta, &old.ObjectMeta)}
	seen := sets.New[string]()
	for i := range n.Status.StorageHealth {
		h, at := &n.Status.StorageHealth[i], field.NewPath("status", "storageHealth").Index(i)
		if seen.Has(h.Name) {
			l.Duplicate(at, h.Name)
		}
		seen.Insert(h.Name)
		l.Add(volume.CSIDriverName(h.Name, at.Child("name"))...)
		conditions := at.Child("healthConditions")
		if len(h.HealthConditions) > maxConditions {
			l.Add(field.TooMany(conditions, len(h.HealthConditions), maxConditions))
			continue
		}
		for j := range h.HealthConditions {
			health(&l, &h.HealthConditions[j], conditions.Index(j))
		}
	}
	return l.Errors
}

func health(l *check.List, c *storagev1.StorageHealthCondition, path *field.Path) {
	check.OneOf(l, path.Child("status"), c.Status, storagev1.StorageDegraded, storagev1.StorageUnreachable)
	if reason := path.Child("reason"); c.Reason == "" {
		l.Required(reason, "")
	} else {
		l.Messages(reason, c.Reason, metav1validation.IsValidConditionReason(c.Reason))
		if len(c.Reason) > 256 {
			l.Add(field.TooLong(reason, c.Reason, 256))
		}
	}
	if len(c.Message) > maxErrorMessage {
		l.Add(field.TooLong(path.Child("message"), c.Message, maxErrorMessage))
	}
	if m := c.AccessMode; m != nil {
		check.OneOf(l, path.Child("accessMode"), *m, corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOnce, corev1.ReadWriteOncePod)
	}
	if m := c.VolumeMode; m != nil {
		check.OneOf(l, path.Child("volumeMode"), *m, corev1.PersistentVolumeFilesystem, corev1.PersistentVolumeBlock)
	}
}

// CSIStorageCapacity checks how much room there is somewhere.
func CSIStorageCapacity(c *storagev1.CSIStorageCapacity) field.ErrorList {
	return capacity(c, false)
}

func capacity(c *storagev1.CSIStorageCapacity, invalidValues bool) field.ErrorList {
	l := check.List{Errors: rule.Namespaced(&c.ObjectMeta, rule.Subdomain)}
	l.Subdomain(field.NewPath("storageClassName"), c.StorageClassName)
	if q := c.Capacity; q != nil && q.Sign() < 0 {
		l.Invalid(field.NewPath("capacity"), q.String(), check.MustNotBeNegative)
	}
	l.Add(check.Selector(c.NodeTopology, invalidValues, field.NewPath("nodeTopology"))...)
	return l.Errors
}

// CSIStorageCapacityUpdate checks a changed capacity.
func CSIStorageCapacityUpdate(c, old *storagev1.CSIStorageCapacity) field.ErrorList {
	tolerant := len(rule.Selector(old.NodeTopology, nil)) > 0
	return rule.All(rule.MetaUpdate(&c.ObjectMeta, &old.ObjectMeta), capacity(c, tolerant),
		rule.Immutable(c.NodeTopology, old.NodeTopology, field.NewPath("nodeTopology")),
		rule.Immutable(c.StorageClassName, old.StorageClassName, field.NewPath("storageClassName")))
}
