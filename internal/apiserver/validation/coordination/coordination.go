// Package coordination decides whether leases are valid, in the field paths and
// words that Kubernetes uses. Its functions are pure.
package coordination

import (
	coordinationv1 "k8s.io/api/coordination/v1"
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
		l.QualifiedName(path.Child("strategy"), string(*s.Strategy))
	}
	if s.PreferredHolder != nil && *s.PreferredHolder != "" && s.Strategy == nil {
		l.Invalid(path.Child("preferredHolder"), *s.PreferredHolder, "may only be specified when `strategy` is set")
	}
}
