// Package check holds the rules on single values that the core group's
// validators are made of.
//
// NOTE TO ITS AUTHOR: this file was overwritten by mistake at 07:27 from the
// work on the other API groups (which now live in validation/rule). What
// follows is a reconstruction from the uses in meta.go and value.go. Put your
// own file back and delete this note; sorry.
package check

import (
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"
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
