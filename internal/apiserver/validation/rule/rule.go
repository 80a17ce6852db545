// Package rule holds the rules on whole objects and their parts that the
// validators of several API groups share: metadata, selectors, amounts,
// immutable fields. Each takes a value and its path and returns what is wrong in
// the words that Kubernetes uses; the rules on single values, and the list that
// collects errors where there are many, are package check's. None keeps state.
package rule

import (
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
)

// Namespaced checks the metadata of a new namespaced object.
func Namespaced(meta *metav1.ObjectMeta, name apivalidation.ValidateNameFunc) field.ErrorList {
	return check.ObjectMeta(meta, true, name)
}

// Cluster checks the metadata of a new cluster-scoped object.
func Cluster(meta *metav1.ObjectMeta, name apivalidation.ValidateNameFunc) field.ErrorList {
	return check.ObjectMeta(meta, false, name)
}

// MetaUpdate checks that metadata changes only where it may.
func MetaUpdate(meta, old *metav1.ObjectMeta) field.ErrorList {
	return check.ObjectMetaUpdate(meta, old)
}

// Subdomain is the rule for most names.
func Subdomain(name string, prefix bool) []string {
	return apivalidation.NameIsDNSSubdomain(name, prefix)
}

// NonNegative refuses numbers below zero.
func NonNegative[T ~int | ~int32 | ~int64](v T, path *field.Path) field.ErrorList {
	return apivalidation.ValidateNonnegativeField(int64(v), path)
}

// OptionalNonNegative is NonNegative for a field that may be absent.
func OptionalNonNegative[T ~int | ~int32 | ~int64](v *T, path *field.Path) field.ErrorList {
	if v == nil {
		return nil
	}
	return NonNegative(*v, path)
}

// Immutable refuses any change of a field.
func Immutable(v, old any, path *field.Path) field.ErrorList {
	return apivalidation.ValidateImmutableField(v, old, path)
}

// All collects what the single rules found.
func All(lists ...field.ErrorList) field.ErrorList {
	return slices.Concat(lists...)
}

// Invalid turns messages about one value into errors.
func Invalid(path *field.Path, v any, messages []string) field.ErrorList {
	var errs field.ErrorList
	for _, m := range messages {
		errs = append(errs, field.Invalid(path, v, m))
	}
	return errs
}

// Selector checks a label selector.
func Selector(s *metav1.LabelSelector, path *field.Path) field.ErrorList {
	return metav1validation.ValidateLabelSelector(s, metav1validation.LabelSelectorValidationOptions{}, path)
}

// RequiredSelector checks the selector of a workload: it must be there and
// select something; kind is the workload's name for the message.
func RequiredSelector(s *metav1.LabelSelector, kind string, path *field.Path) field.ErrorList {
	if s == nil {
		return field.ErrorList{field.Required(path, "")}
	}
	errs := Selector(s, path)
	if len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
		errs = append(errs, field.Invalid(path, s, "empty selector is invalid for "+kind))
	}
	return errs
}

// SelectsTemplate checks that a workload's selector matches the pods that it makes.
func SelectsTemplate(s *metav1.LabelSelector, template *corev1.PodTemplateSpec, path *field.Path) field.ErrorList {
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil || selector.Empty() || selector.Matches(labels.Set(template.Labels)) {
		return nil
	}
	return field.ErrorList{field.Invalid(path.Child("metadata", "labels"), template.Labels, "`selector` does not match template `labels`")}
}

// IntOrPercent takes a number from zero up, or a percentage.
func IntOrPercent(v intstr.IntOrString, path *field.Path) field.ErrorList {
	switch v.Type {
	case intstr.String:
		return Invalid(path, v, validation.IsValidPercent(v.StrVal))
	case intstr.Int:
		return NonNegative(v.IntValue(), path)
	}
	return field.ErrorList{field.Invalid(path, v, "must be an integer or percentage (e.g '5%%')")}
}

// AtMostAll refuses percentages above 100.
func AtMostAll(v intstr.IntOrString, path *field.Path) field.ErrorList {
	if n, ok := percent(v); ok && n > 100 {
		return field.ErrorList{field.Invalid(path, v, "must not be greater than 100%")}
	}
	return nil
}

// Amount is the number in v, whether it counts or is a percentage.
func Amount(v intstr.IntOrString) int {
	if n, ok := percent(v); ok {
		return n
	}
	return v.IntValue()
}

func percent(v intstr.IntOrString) (int, bool) {
	if v.Type != intstr.String || len(validation.IsValidPercent(v.StrVal)) != 0 {
		return 0, false
	}
	n, err := strconv.Atoi(strings.TrimSuffix(v.StrVal, "%"))
	return n, err == nil
}

// NotDecremented refuses a counter that goes down or away.
func NotDecremented(v, old *int32, path *field.Path) field.ErrorList {
	if old == nil || (v != nil && *v >= *old) {
		return nil
	}
	var now int32
	if v != nil {
		now = *v
	}
	return field.ErrorList{field.Invalid(path, now, "cannot be decremented")}
}

// NotAbove refuses v above limit; what names the limit in the message.
func NotAbove(v, limit int32, what string, path *field.Path) field.ErrorList {
	if v <= limit {
		return nil
	}
	return field.ErrorList{field.Invalid(path, v, "cannot be greater than "+what)}
}
