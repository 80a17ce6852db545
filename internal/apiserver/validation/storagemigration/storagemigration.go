// Package storagemigration decides whether migrations of stored objects are
// valid, in the field paths and words that Kubernetes uses. Its functions are
// pure.
package storagemigration

import (
	"fmt"
	"strconv"

	svmv1 "k8s.io/api/storagemigration/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
	"github.com/sinawi/sinawi/internal/apiserver/validation/rule"
)

// Migration checks a new migration.
func Migration(m *svmv1.StorageVersionMigration) field.ErrorList {
	l := check.List{Errors: rule.Cluster(&m.ObjectMeta, rule.Subdomain)}
	at := field.NewPath("spec", "resource", "resource")
	if name := m.Spec.Resource.Resource; name == "" {
		l.Required(at, "resource is required")
	} else {
		l.Label(at, name)
	}
	if group := m.Spec.Resource.Group; group != "" {
		l.Subdomain(field.NewPath("spec", "resource", "group"), group)
	}
	return l.Errors
}

// MigrationUpdate checks a changed migration: what is migrated stays.
func MigrationUpdate(m, old *svmv1.StorageVersionMigration) field.ErrorList {
	return rule.All(rule.MetaUpdate(&m.ObjectMeta, &old.ObjectMeta), Migration(m),
		rule.Immutable(m.Spec.Resource.Group, old.Spec.Resource.Group, field.NewPath("spec", "resource", "group")),
		rule.Immutable(m.Spec.Resource.Resource, old.Spec.Resource.Resource, field.NewPath("spec", "resource", "resource")))
}

// MigrationStatusUpdate checks how far a migration says that it is.
func MigrationStatusUpdate(m, old *svmv1.StorageVersionMigration) field.ErrorList {
	l := check.List{Errors: rule.MetaUpdate(&m.ObjectMeta, &old.ObjectMeta)}
	path := field.NewPath("status")
	version, before := m.Status.ResourceVersion, old.Status.ResourceVersion
	at := path.Child("resourceVersion")
	if version != "" {
		n, err := strconv.ParseInt(version, 10, 64)
		if err != nil {
			l.Invalid(at, version, fmt.Sprintf("failed to parse resource version %q: %v", version, err))
		}
		l.NonNegative(at, n)
	}
	if before != "" && before != version {
		l.Invalid(at, version, "cannot be updated")
	}
	conditions := path.Child("conditions")
	l.Add(metav1validation.ValidateConditions(m.Status.Conditions, conditions)...)
	is := func(m *svmv1.StorageVersionMigration, t svmv1.MigrationConditionType) bool {
		return apimeta.IsStatusConditionTrue(m.Status.Conditions, string(t))
	}
	succeeded, failed, running := is(m, svmv1.MigrationSucceeded), is(m, svmv1.MigrationFailed), is(m, svmv1.MigrationRunning)
	for _, contradiction := range []struct {
		found  bool
		detail string
	}{
		{succeeded && failed, "Both success and failed conditions cannot be true at the same time"},
		{succeeded && running, "Running condition cannot be true when success condition is true"},
		{failed && running, "Running condition cannot be true when failed condition is true"},
		{is(old, svmv1.MigrationSucceeded) && !succeeded, "Success condition cannot be set to false once it is true"},
		{is(old, svmv1.MigrationFailed) && !failed, "Failed condition cannot be set to false once it is true"},
	} {
		if contradiction.found {
			l.Invalid(conditions, m.Status.Conditions, contradiction.detail)
		}
	}
	return l.Errors
}
