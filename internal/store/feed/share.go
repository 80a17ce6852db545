package feed

import (
	"bytes"
	"reflect"

	"k8s.io/apimachinery/pkg/runtime"
)

// share lets obj, which nobody has seen yet, use the memory of like wherever both
// have the same value: strings, slices, maps and what pointers point to. States of
// one object differ in little, and so do the pods of one template, but each is
// decoded into memory of its own; the watch cache keeps many of them.
func share(obj, like runtime.Object) {
	to, from := reflect.ValueOf(obj), reflect.ValueOf(like)
	if to.Kind() != reflect.Pointer || to.Type() != from.Type() || to.IsNil() || from.IsNil() || obj == like {
		return
	}
	shareValue(to.Elem(), from.Elem())
}

// shareValue makes to share what it can with from, of the same type, and says
// whether they are equal; what is equal is shared as a whole.
func shareValue(to, from reflect.Value) bool {
	equal := false
	switch to.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map, reflect.Interface:
		if to.IsNil() || from.IsNil() {
			return to.IsNil() == from.IsNil()
		}
		equal = shareBehind(to, from)
	case reflect.Struct:
		return shareStruct(to, from)
	case reflect.String:
		equal = to.String() == from.String()
	default:
		return to.Equal(from) // nothing lies behind it
	}
	if equal {
		to.Set(from)
	}
	return equal
}

// shareBehind shares what two values refer to, neither of them nil.
func shareBehind(to, from reflect.Value) bool {
	switch to.Kind() {
	case reflect.Pointer:
		return to.Pointer() == from.Pointer() || shareValue(to.Elem(), from.Elem())
	case reflect.Slice:
		return shareSlice(to, from)
	}
	if tree, ok := to.Interface().(map[string]any); ok {
		return shareTree(tree, from.Interface())
	}
	return reflect.DeepEqual(to.Interface(), from.Interface())
}

// shareStruct shares field by field. A struct with fields that reflection may not
// set, as times and quantities are, is shared as a whole or not at all.
func shareStruct(to, from reflect.Value) bool {
	equal := true
	for i := range to.NumField() {
		field := to.Field(i)
		if !field.CanSet() {
			if equal = reflect.DeepEqual(to.Interface(), from.Interface()); equal {
				to.Set(from)
			}
			return equal
		}
		equal = shareValue(field, from.Field(i)) && equal
	}
	return equal
}

// shareSlice shares the elements that are equal to the one at their place.
func shareSlice(to, from reflect.Value) bool {
	if to.Type().Elem().Kind() == reflect.Uint8 {
		return bytes.Equal(to.Bytes(), from.Bytes())
	}
	equal := to.Len() == from.Len()
	for i := range min(to.Len(), from.Len()) {
		equal = shareValue(to.Index(i), from.Index(i)) && equal
	}
	return equal
}

// shareTree shares what is equal below a custom resource's fields.
func shareTree(to map[string]any, from any) bool {
	other, ok := from.(map[string]any)
	equal := ok && len(to) == len(other)
	for k, v := range to {
		like, ok := other[k]
		if tree, isTree := v.(map[string]any); isTree {
			ok = ok && shareTree(tree, like)
		} else {
			ok = ok && reflect.DeepEqual(v, like)
		}
		if ok {
			to[k] = like
		}
		equal = equal && ok
	}
	return equal
}
