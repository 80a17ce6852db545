package check

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Wording that several validators share.
const (
	MustNotBeNegative = apivalidation.IsNegativeErrorMsg
	Immutable         = apivalidation.FieldImmutableErrorMsg
	MustBePositive    = "must be greater than zero"
)

// ObjectMeta checks metadata on creation.
func ObjectMeta(m *metav1.ObjectMeta, namespaced bool, name apivalidation.ValidateNameFunc) field.ErrorList {
	path := field.NewPath("metadata")
	l := List{Errors: apivalidation.ValidateObjectMeta(m, namespaced, name, path)}
	l.finalizers(m.Finalizers, path)
	return l.Errors
}

// ObjectMetaUpdate checks what of metadata may change.
func ObjectMetaUpdate(m, old *metav1.ObjectMeta) field.ErrorList {
	path := field.NewPath("metadata")
	l := List{Errors: apivalidation.ValidateObjectMetaUpdate(m, old, path)}
	l.finalizers(m.Finalizers, path)
	return l.Errors
}

// TemplateMeta checks the metadata of an embedded template, which may carry
// labels and annotations and nothing else.
func TemplateMeta(m *metav1.ObjectMeta, path *field.Path) field.ErrorList {
	l := List{Errors: apivalidation.ValidateAnnotations(m.Annotations, path.Child("annotations"))}
	l.Add(metavalidation.ValidateLabels(m.Labels, path.Child("labels"))...)
	l.Add(OnlyFields(*m, "cannot be set", path, "Annotations", "Labels")...)
	return l.Errors
}

func (l *List) finalizers(names []string, path *field.Path) {
	for i, name := range names {
		l.Finalizer(path.Child("finalizers").Index(i), name)
	}
}

// Finalizer refuses an unqualified name that is not one of the known ones.
func (l *List) Finalizer(path *field.Path, name string) {
	known := []string{string(corev1.FinalizerKubernetes), metav1.FinalizerOrphanDependents, metav1.FinalizerDeleteDependents}
	if !strings.Contains(name, "/") && !slices.Contains(known, name) {
		l.Invalid(path, name, "name is neither a standard finalizer name nor is it fully qualified")
	}
}

// Unchanged refuses a value that differs from the old one.
func Unchanged(value, old any, path *field.Path) field.ErrorList {
	return apivalidation.ValidateImmutableField(value, old, path)
}

// Labels checks keys and values of labels.
func Labels(labels map[string]string, path *field.Path) field.ErrorList {
	return metavalidation.ValidateLabels(labels, path)
}

// LabelName checks the key of a label.
func LabelName(name string, path *field.Path) field.ErrorList {
	return metavalidation.ValidateLabelName(name, path)
}

// Selector checks a label selector; invalidValues tolerates values that no
// label can have, which objects stored long ago may carry.
func Selector(s *metav1.LabelSelector, invalidValues bool, path *field.Path) field.ErrorList {
	return metavalidation.ValidateLabelSelector(s, metavalidation.LabelSelectorValidationOptions{AllowInvalidLabelValueInSelector: invalidValues}, path)
}
