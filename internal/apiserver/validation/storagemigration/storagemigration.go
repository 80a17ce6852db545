// Package storagemigration decides whether migrations of stored objects are
// valid, in the field paths and words that Kubernetes uses. Its functions are
// pure.
package storagemigration

import (
	"strings"

	svmv1 "k8s.io/api/storagemigration/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
	"github.com/sinawi/sinawi/internal/apiserver/validation/rule"
)

// Migration checks a new migration.
func Migration(m *svmv1.StorageVersionMigration) field.ErrorList {
	l := check.List{Errors: rule.Cluster(&m.ObjectMeta, rule.Subdomain)}
	at := field.NewPath("spec", "resource", "resource")
	if name := m.Spec.Resource.Resource; name == "" {
		l.Required(at, "resource is required to be set")
	} else if messages := validation.IsDNS1035Label(name); len(messages) > 0 {
		l.Invalid(at, name, strings.Join(messages, ","))
	}
	if group := m.Spec.Resource.Group; group != "" {
		if messages := validation.IsDNS1123Subdomain(group); len(messages) > 0 {
			l.Invalid(field.NewPath("spec", "resource", "group"), group, strings.Join(messages, ","))
		}
	}
	return l.Errors
}

// MigrationUpdate checks a changed migration: what is migrated stays.
func MigrationUpdate(m, old *svmv1.StorageVersionMigration) field.ErrorList {
	return rule.All(rule.MetaUpdate(&m.ObjectMeta, &old.ObjectMeta), Migration(m),
		rule.Immutable(m.Spec, old.Spec, field.NewPath("spec")))
}

// MigrationStatusUpdate checks how far a migration says that it is.
func MigrationStatusUpdate(m, old *svmv1.StorageVersionMigration) field.ErrorList {
	l := check.List{Errors: rule.MetaUpdate(&m.ObjectMeta, &old.ObjectMeta)}
	path := field.NewPath("status")
	version, before := m.Status.ResourceVersion, old.Status.ResourceVersion
	at := path.Child("resourceVersion")
	if version != "" {
		// Compared with itself, a version is only asked for its form.
		if _, err := resourceversion.CompareResourceVersion(version, version); err != nil {
			l.Invalid(at, version, err.Error())
		}
	}
	if before != "" && before != version {
		l.Invalid(at, version, check.Immutable)
	}
	conditions := path.Child("conditions")
	l.Add(metav1validation.ValidateConditions(m.Status.Conditions, conditions)...)
	is := func(m *svmv1.StorageVersionMigration, t svmv1.MigrationConditionType) bool {
		return apimeta.IsStatusConditionTrue(m.Status.Conditions, string(t))
	}
	succeeded, failed := is(m, svmv1.MigrationSucceeded), is(m, svmv1.MigrationFailed)
	for _, contradiction := range []struct {
		found  bool
		detail string
	}{
		{succeeded && failed, "Both success and failed conditions cannot be true at the same time"},
		{is(old, svmv1.MigrationSucceeded) && !succeeded, "Success condition cannot be set to false once it is true"},
		{is(old, svmv1.MigrationFailed) && !failed, "Failed condition cannot be set to false once it is true"},
	} {
		if contradiction.found {
			l.Invalid(conditions, m.Status.Conditions, contradiction.detail)
		}
	}
	return l.Errors
}
