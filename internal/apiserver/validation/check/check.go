// Package check holds the rules on single values that validators are made of,
// and the list that they collect errors in. It knows the wording that
// Kubernetes uses and no kind.
package check

import (
	"cmp"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/cel"
)

// List collects what is wrong.
type List struct{ Errors field.ErrorList }

// Add appends errors that another rule found.
func (l *List) Add(errs ...*field.Error) { l.Errors = append(l.Errors, errs...) }

// Invalid notes a value that is not acceptable.
func (l *List) Invalid(path *field.Path, value any, detail string) {
	l.Add(field.Invalid(path, value, detail))
}

// Required notes a value that is missing.
func (l *List) Required(path *field.Path, detail string) { l.Add(field.Required(path, detail)) }

// Forbidden notes a value that may not be there.
func (l *List) Forbidden(path *field.Path, detail string) { l.Add(field.Forbidden(path, detail)) }

// Duplicate notes a value that occurs before.
func (l *List) Duplicate(path *field.Path, value any) { l.Add(field.Duplicate(path, value)) }

// Messages notes one value as invalid once per message.
func (l *List) Messages(path *field.Path, value any, messages []string) {
	for _, m := range messages {
		l.Invalid(path, value, m)
	}
}

// Uncompilable notes what a compiler says of an expression.
func (l *List) Uncompilable(path *field.Path, text string, err *cel.Error) {
	switch err.Type {
	case cel.ErrorTypeRequired:
		l.Required(path, err.Detail)
	case cel.ErrorTypeInvalid:
		l.Invalid(path, text, err.Detail)
	default:
		l.Add(field.InternalError(path, err))
	}
}

// InRange refuses a number outside of the two bounds, which belong to the range.
func (l *List) InRange(path *field.Path, value, low, high int64) {
	if value < low || value > high {
		l.Invalid(path, value, validation.InclusiveRangeError(int(low), int(high)))
	}
}

// NonNegative refuses numbers below zero.
func (l *List) NonNegative(path *field.Path, value int64) {
	if value < 0 {
		l.Add(field.Invalid(path, value, MustNotBeNegative).WithOrigin("minimum"))
	}
}

// Label checks a name that has to be a DNS label.
func (l *List) Label(path *field.Path, value string) {
	l.Messages(path, value, validation.IsDNS1123Label(value))
}

// Subdomain checks a name that has to be a DNS subdomain.
func (l *List) Subdomain(path *field.Path, value string) {
	l.Messages(path, value, validation.IsDNS1123Subdomain(value))
}

// QualifiedName checks an optionally prefixed name.
func (l *List) QualifiedName(path *field.Path, value string) {
	l.Messages(path, value, validation.IsQualifiedName(value))
}

// Deref returns what p points at, or otherwise when it points nowhere.
func Deref[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}

// Keys returns the keys of m in order, so that errors come in the same order
// every time.
func Keys[K cmp.Ordered, V any](m map[K]V) []K {
	return slices.Sorted(maps.Keys(m))
}

// OneOf refuses a value that is not among valid.
func OneOf[T ~string](l *List, path *field.Path, value T, valid ...T) {
	if !slices.Contains(valid, value) {
		l.Add(field.NotSupported(path, value, valid))
	}
}

// RequiredOneOf is OneOf for a value that must be there.
func RequiredOneOf[T ~string](l *List, path *field.Path, value T, valid ...T) {
	if value == "" {
		l.Required(path, "")
		return
	}
	OneOf(l, path, value, valid...)
}
