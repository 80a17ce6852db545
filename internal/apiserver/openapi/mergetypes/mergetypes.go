// Package mergetypes packs the schemas by which applied fields are merged
// (which lists are sets, which are maps and by what keys) into bytes that are
// quick to read and small in memory: every string is kept once.
//
// The layout is a table of strings followed by the types, all numbers as
// unsigned varints, strings as places in the table:
//
//	count (length bytes)*      the strings
//	count (name atom)*         the types
//	count (group version kind name)*
//
// See encode.go for atoms. Bytes are made and read by the same build, so the
// layout carries no version.
package mergetypes

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	smd "sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// Types are schemas, and which of them each kind has.
type Types struct {
	Schema *smd.Schema
	Kinds  map[schema.GroupVersionKind]string // name of the type
}

// Converter returns a converter that reads packed when it is first used, and
// guesses the schemas of kinds that packed does not know.
func Converter(packed func() (Types, error)) managedfields.TypeConverter {
	return &converter{read: packed, guess: managedfields.NewDeducedTypeConverter()}
}

type converter struct {
	read  func() (Types, error)
	guess managedfields.TypeConverter
}

// ObjectToTyped gives obj the schema of its kind.
func (c *converter) ObjectToTyped(obj runtime.Object, opts ...typed.ValidationOptions) (*typed.TypedValue, error) {
	types, err := c.read()
	if err != nil {
		return nil, err
	}
	name, ok := types.Kinds[obj.GetObjectKind().GroupVersionKind()]
	if !ok {
		return c.guess.ObjectToTyped(obj, opts...)
	}
	parser := typed.ParseableType{Schema: types.Schema, TypeRef: smd.TypeRef{NamedType: &name}}
	if u, ok := obj.(*unstructured.Unstructured); ok {
		return parser.FromUnstructured(u.UnstructuredContent(), opts...)
	}
	if slices.Contains(opts, typed.AllowDuplicates) {
		// All that an object of Go types can break of its schema is to say a thing
		// twice. Where that is allowed the walk through the whole object is saved.
		return unchecked(parser, obj)
	}
	return parser.FromStructured(obj, opts...)
}

func unchecked(parser typed.ParseableType, obj runtime.Object) (*typed.TypedValue, error) {
	v, err := value.NewValueReflect(obj)
	if err != nil {
		return nil, fmt.Errorf("read %T by its fields: %w", obj, err)
	}
	return typed.AsTypedUnvalidated(v, parser.Schema, parser.TypeRef), nil
}

// TypedToObject takes the schema away again.
func (c *converter) TypedToObject(value *typed.TypedValue) (runtime.Object, error) {
	content, ok := value.AsValue().Unstructured().(map[string]any)
	if !ok {
		return nil, fmt.Errorf("merged fields are no object: %T", value.AsValue().Unstructured())
	}
	return &unstructured.Unstructured{Object: content}, nil
}
