// Package coordination decides whether leases and those who would hold them
// are valid, in the field paths and words that Kubernetes uses. Its functions are pure.
package coordination

import (
	"strings"

	"github.com/blang/semver/v4"
	coordinationv1 "k8s.io/api/coordination/v1"
	coordinationv1beta1 "k8s.io/api/coordination/v1beta1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
	"github.com/sinawi/sinawi/internal/apiserver/validation/rule"
)

// Lease checks a new lease.
func Lease(o *coordinationv1.Lease) field.ErrorList {
	l := check.List{Errors: rule.Namespaced(&o.ObjectMeta, rule.Subdomain)}
	spec(&l, &o.Spec, field.NewPath("spec"))
	return l.Errors
}

// LeaseUpdate checks a changed lease.
func LeaseUpdate(o, old *coordinationv1.Lease) field.ErrorList {
	l := check.List{Errors: rule.MetaUpdate(&o.ObjectMeta, &old.ObjectMeta)}
	spec(&l, &o.Spec, field.NewPath("spec"))
	return l.Errors
}

func spec(l *check.List, s *coordinationv1.LeaseSpec, path *field.Path) {
	if d := s.LeaseDurationSeconds; d != nil && *d <= 0 {
		l.Invalid(path.Child("leaseDurationSeconds"), *d, "must be greater than 0")
	}
	if n := s.LeaseTransitions; n != nil && *n < 0 {
		l.Invalid(path.Child("leaseTransitions"), *n, "must be greater than or equal to 0")
	}
	if s.Strategy != nil {
		strategy(l, *s.Strategy, path.Child("strategy"))
	}
	if check.Deref(s.PreferredHolder, "") != "" && check.Deref(s.Strategy, "") == "" {
		l.Forbidden(path.Child("preferredHolder"), "may only be specified if `strategy` is defined")
	}
}

// strategy checks how a leader is chosen; the path is upstream's.
func strategy(l *check.List, s coordinationv1.CoordinatedLeaseStrategy, path *field.Path) {
	at := path.Child("strategy")
	if strings.Contains(string(s), "/") {
		l.QualifiedName(at, string(s))
		return
	}
	check.OneOf(l, at, s, coordinationv1.OldestEmulationVersion)
}

// LeaseCandidate checks one who would hold a lease.
func LeaseCandidate(c *coordinationv1beta1.LeaseCandidate) field.ErrorList {
	l := check.List{Errors: rule.Namespaced(&c.ObjectMeta, func(name string, _ bool) []string { return validation.IsConfigMapKey(name) })}
	candidate(&l, &c.Spec, field.NewPath("spec"))
	return l.Errors
}

// LeaseCandidateUpdate checks a changed candidate: it stays with its lease.
func LeaseCandidateUpdate(c, old *coordinationv1beta1.LeaseCandidate) field.ErrorList {
	l := check.List{Errors: rule.MetaUpdate(&c.ObjectMeta, &old.ObjectMeta)}
	candidate(&l, &c.Spec, field.NewPath("spec"))
	l.Add(rule.Immutable(c.Spec.LeaseName, old.Spec.LeaseName, field.NewPath("spec", "leaseName"))...)
	return l.Errors
}

func candidate(l *check.List, s *coordinationv1beta1.LeaseCandidateSpec, path *field.Path) {
	if s.LeaseName == "" {
		l.Required(path.Child("leaseName"), "")
	}
	version := func(name, text string) semver.Version {
		v, err := semver.Parse(text)
		if err != nil && text != "" {
			l.Invalid(path.Child(name), text, "must be a valid semantic version")
		}
		return v
	}
	emulated, binary := version("emulationVersion", s.EmulationVersion), version("binaryVersion", s.BinaryVersion)
	if s.BinaryVersion == "" {
		l.Required(path.Child("binaryVersion"), "")
	} else if s.EmulationVersion != "" && binary.LT(emulated) {
		l.Invalid(path.Child("binaryVersion"), s.BinaryVersion, "must be greater than or equal to `emulationVersion`")
	}
	if s.Strategy == "" {
		l.Required(path.Child("strategy"), "")
		return
	}
	if s.Strategy == coordinationv1.OldestEmulationVersion && emulated.EQ(semver.Version{}) {
		l.Required(path.Child("emulationVersion"), "must be specified when `strategy` is 'OldestEmulationVersion'")
	}
	strategy(l, s.Strategy, path.Child("strategy"))
}
