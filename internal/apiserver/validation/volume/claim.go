package volume

import (
	"fmt"
	"reflect"
	"slices"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
)

// Claim checks a new claim.
func Claim(c *corev1.PersistentVolumeClaim) field.ErrorList {
	l := check.List{Errors: check.ObjectMeta(&c.ObjectMeta, true, apivalidation.NameIsDNSSubdomain)}
	l.Add(ClaimSpec(&c.Spec, nil, field.NewPath("spec"))...)
	return l.Errors
}

// ClaimSpec checks the spec of a claim; old is the stored one of an update.
func ClaimSpec(spec, old *corev1.PersistentVolumeClaimSpec, path *field.Path) field.ErrorList {
	var l check.List
	modes := path.Child("accessModes")
	if len(spec.AccessModes) == 0 {
		l.Required(modes, "at least 1 access mode is required")
	}
	if spec.Selector != nil {
		tolerant := old != nil && len(check.Selector(old.Selector, false, nil)) > 0
		l.Add(check.Selector(spec.Selector, tolerant, path.Child("selector"))...)
	}
	accessModes(&l, spec.AccessModes, modes)

	storage := path.Child("resources").Key(string(corev1.ResourceStorage))
	if size, ok := spec.Resources.Requests[corev1.ResourceStorage]; !ok {
		l.Required(storage, "")
	} else if size.Sign() <= 0 {
		l.PositiveQuantity(storage, size)
	} else {
		l.Quantity(storage, corev1.ResourceStorage, size)
	}
	if class := check.Deref(spec.StorageClassName, ""); class != "" {
		l.Subdomain(path.Child("storageClassName"), class)
	}
	volumeMode(&l, spec.VolumeMode, path.Child("volumeMode"))
	dataSources(&l, spec, old, path)
	if class := check.Deref(spec.VolumeAttributesClassName, ""); class != "" {
		l.Subdomain(path.Child("volumeAttributesClassName"), class)
	}
	return l.Errors
}

// accessModes checks each mode, and that the strictest one stands alone.
func accessModes(l *check.List, modes []corev1.PersistentVolumeAccessMode, path *field.Path) {
	single, shared := false, false
	for _, mode := range modes {
		var one check.List
		check.OneOf(&one, path, mode, corev1.ReadOnlyMany, corev1.ReadWriteMany, corev1.ReadWriteOnce, corev1.ReadWriteOncePod)
		l.Add(one.Errors...)
		switch {
		case mode == corev1.ReadWriteOncePod:
			single = true
		case len(one.Errors) == 0:
			shared = true
		}
	}
	if single && shared {
		l.Forbidden(path, "may not use ReadWriteOncePod with other access modes")
	}
}

func volumeMode(l *check.List, mode *corev1.PersistentVolumeMode, path *field.Path) {
	if mode != nil {
		check.OneOf(l, path, *mode, corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem)
	}
}

// dataSources checks what a volume is to be filled from.
func dataSources(l *check.List, spec, old *corev1.PersistentVolumeClaimSpec, path *field.Path) {
	tolerant := old != nil && (old.DataSource != nil && old.DataSource.APIGroup != nil || old.DataSourceRef != nil && old.DataSourceRef.APIGroup != nil)
	if s := spec.DataSource; s != nil {
		dataSource(l, s.APIGroup, s.Kind, s.Name, tolerant, path.Child("dataSource"))
	}
	ref := spec.DataSourceRef
	if ref == nil {
		return
	}
	at := path.Child("dataSourceRef")
	dataSource(l, ref.APIGroup, ref.Kind, ref.Name, tolerant, at)
	namespace := check.Deref(ref.Namespace, "")
	if namespace != "" {
		l.Messages(at.Child("namespace"), namespace, apivalidation.ValidateNamespaceName(namespace, false))
	}
	switch s := spec.DataSource; {
	case s == nil:
	case namespace != "":
		l.Invalid(path, path.Child("dataSource"), "may not be specified when dataSourceRef.namespace is specified")
	case !reflect.DeepEqual(s.APIGroup, ref.APIGroup) || s.Kind != ref.Kind || s.Name != ref.Name:
		l.Invalid(path, path.Child("dataSource"), "must match dataSourceRef")
	}
}

func dataSource(l *check.List, group *string, kind, name string, tolerant bool, path *field.Path) {
	needed(l, path, "name", name, "kind", kind)
	g := check.Deref(group, "")
	if g == "" && kind != "PersistentVolumeClaim" {
		l.Invalid(path, kind, "must be 'PersistentVolumeClaim' when referencing the default apiGroup")
	}
	if g != "" && !tolerant {
		l.Subdomain(path.Child("apiGroup"), g)
	}
}

// ClaimUpdate checks a changed claim: it is bound once, and grows.
func ClaimUpdate(c, old *corev1.PersistentVolumeClaim) field.ErrorList {
	l := check.List{Errors: check.ObjectMetaUpdate(&c.ObjectMeta, &old.ObjectMeta)}
	l.Add(ClaimSpec(&c.Spec, &old.Spec, field.NewPath("spec"))...)
	classAnnotation := old.Annotations[corev1.BetaStorageClassAnnotation]
	if c.Annotations[corev1.BetaStorageClassAnnotation] != classAnnotation && !classMoved(c, old) {
		l.Invalid(field.NewPath("metadata", "annotations", corev1.BetaStorageClassAnnotation), c.Annotations[corev1.BetaStorageClassAnnotation], check.Immutable)
	}
	if now := mutedClaim(c, old); !apiequality.Semantic.DeepEqual(now, old.Spec) {
		l.Forbidden(field.NewPath("spec"), fmt.Sprintf(
			"spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n%v", cmp.Diff(old.Spec, now)))
	}
	size, before, has := c.Spec.Resources.Requests[corev1.ResourceStorage], old.Spec.Resources.Requests[corev1.ResourceStorage], old.Status.Capacity[corev1.ResourceStorage]
	if size.Cmp(before) < 0 && size.Cmp(has) <= 0 {
		l.Forbidden(field.NewPath("spec", "resources", "requests", "storage"), "field can not be less than status.capacity")
	}
	l.Add(check.Unchanged(c.Spec.VolumeMode, old.Spec.VolumeMode, field.NewPath("volumeMode"))...)
	const inUse = "is forbidden when status.currentVolumeAttributesClassName is not nil"
	class, at := c.Spec.VolumeAttributesClassName, field.NewPath("spec", "volumeAttributesClassName")
	if old.Status.CurrentVolumeAttributesClassName != nil && !apiequality.Semantic.DeepEqual(class, old.Spec.VolumeAttributesClassName) {
		switch {
		case class == nil:
			l.Forbidden(at, "update to nil "+inUse)
		case *class == "":
			l.Forbidden(at, "update to empty string "+inUse)
		}
	}
	return l.Errors
}

// classMoved tells whether an update only moves the class from the old
// annotation to the field.
func classMoved(c, old *corev1.PersistentVolumeClaim) bool {
	before, had := old.Annotations[corev1.BetaStorageClassAnnotation]
	now, has := c.Annotations[corev1.BetaStorageClassAnnotation]
	return had && old.Spec.StorageClassName == nil && c.Spec.StorageClassName != nil && *c.Spec.StorageClassName == before && (!has || now == before)
}

// mutedClaim is the spec of c with all that may change set back to old's.
func mutedClaim(c, old *corev1.PersistentVolumeClaim) corev1.PersistentVolumeClaimSpec {
	s := c.DeepCopy().Spec
	if old.Spec.VolumeName == "" {
		s.VolumeName = ""
	}
	annotation, annotated := old.Annotations[corev1.BetaStorageClassAnnotation]
	if old.Spec.StorageClassName == nil && s.StorageClassName != nil && (!annotated || *s.StorageClassName == annotation) {
		s.StorageClassName = nil
	}
	if c.Status.Phase == corev1.ClaimBound {
		if s.Resources.Requests != nil {
			s.Resources.Requests[corev1.ResourceStorage] = old.Spec.Resources.Requests[corev1.ResourceStorage]
		}
		s.VolumeAttributesClassName = old.Spec.VolumeAttributesClassName
	}
	return s
}

func resizeStates() []corev1.ClaimResourceStatus {
	return []corev1.ClaimResourceStatus{
		corev1.PersistentVolumeClaimControllerResizeInProgress, corev1.PersistentVolumeClaimControllerResizeInfeasible,
		corev1.PersistentVolumeClaimNodeResizeInProgress, corev1.PersistentVolumeClaimNodeResizeInfeasible, corev1.PersistentVolumeClaimNodeResizePending,
	}
}

// ClaimStatusUpdate checks a changed status of a claim.
func ClaimStatusUpdate(c, old *corev1.PersistentVolumeClaim) field.ErrorList {
	l := check.List{Errors: check.ObjectMetaUpdate(&c.ObjectMeta, &old.ObjectMeta)}
	if c.ResourceVersion == "" {
		l.Required(field.NewPath("resourceVersion"), "")
	}
	if len(c.Spec.AccessModes) == 0 {
		l.Required(field.NewPath("Spec", "accessModes"), "")
	}
	status := field.NewPath("status")
	capacity(&l, c.Status.Capacity, status.Child("capacity"))
	statuses := status.Child("allocatedResourceStatuses")
	for _, name := range check.Keys(c.Status.AllocatedResourceStatuses) {
		claimResource(&l, name, statuses)
		// The message shows the resource in place of the state that is wrong.
		if valid := resizeStates(); !slices.Contains(valid, c.Status.AllocatedResourceStatuses[name]) {
			l.Add(field.NotSupported(statuses, corev1.ClaimResourceStatus(name), valid))
		}
	}
	allocated := status.Child("allocatedResources")
	for _, name := range check.Keys(c.Status.AllocatedResources) {
		claimResource(&l, name, allocated)
	}
	capacity(&l, c.Status.AllocatedResources, allocated)
	return l.Errors
}

func capacity(l *check.List, list corev1.ResourceList, path *field.Path) {
	for _, name := range check.Keys(list) {
		if q := list[name]; q.Value() < 0 {
			l.Invalid(path.Key(string(name)), q.Value(), "must be a valid resource quantity")
		}
	}
}

// claimResource checks the name of a resource of a claim: storage is the only
// one that Kubernetes knows.
func claimResource(l *check.List, name corev1.ResourceName, path *field.Path) {
	var one check.List
	one.QualifiedName(path, string(name))
	if len(one.Errors) == 0 && check.IsNative(name) && name != corev1.ResourceStorage {
		one.Add(field.NotSupported(path, string(name), []corev1.ResourceName{corev1.ResourceStorage}))
	}
	l.Add(one.Errors...)
}
