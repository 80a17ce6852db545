package scheme

import (
	"fmt"
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sinawi/sinawi/internal/apiserver/resources"
)

// reshape changes the fields of an object that two versions spell differently.
type reshape func(object map[string]any)

// addPreviews converts between kinds and the earlier versions of them that are
// served. Those are spelled alike but for what older tells, so they go by the
// names of their fields; what an earlier version says is completed by the
// defaults of the settled one.
func addPreviews(s *runtime.Scheme, rows []resources.Resource) error {
	known := s.AllKnownTypes()
	for _, r := range rows {
		for _, gv := range r.ServedAs {
			if resources.Stability(gv) == "ga" {
				continue // these have conversions of their own
			}
			to, from := older(gv)
			for _, suffix := range []string{"", "List"} {
				preview, ok := known[gv.WithKind(r.Kind+suffix)]
				hub := known[r.GroupVersion.WithKind(r.Kind+suffix)]
				if !ok || hub == nil {
					return fmt.Errorf("%s: no type of kind %s", gv, r.Kind+suffix)
				}
				if err := addPair(s, preview, hub, to, from); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func addPair(s *runtime.Scheme, preview, hub reflect.Type, to, from reshape) error {
	a, b := reflect.New(preview).Interface(), reflect.New(hub).Interface()
	err := s.AddConversionFunc(a, b, func(in, out any, _ conversion.Scope) error {
		if err := byName(in, out, to); err != nil {
			return err
		}
		s.Default(out.(runtime.Object))
		return nil
	})
	if err != nil {
		return err
	}
	return s.AddConversionFunc(b, a, func(in, out any, _ conversion.Scope) error { return byName(in, out, from) })
}

// byName copies the fields of in to those of the same name of out.
func byName(in, out any, change reshape) error {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(in)
	if err != nil {
		return fmt.Errorf("convert %T: %w", in, err)
	}
	delete(content, "apiVersion")
	delete(content, "kind")
	if change != nil {
		if items, ok := content["items"].([]any); ok {
			for _, item := range items {
				if object, ok := item.(map[string]any); ok {
					change(object)
				}
			}
		} else {
			change(content)
		}
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content, out); err != nil {
		return fmt.Errorf("convert %T to %T: %w", in, out, err)
	}
	return nil
}

// older tells how objects of gv become objects of the settled version and
// back, where the names of fields alone do not.
func older(gv schema.GroupVersion) (to, from reshape) {
	if gv != (schema.GroupVersion{Group: "resource.k8s.io", Version: "v1beta1"}) {
		return nil, nil
	}
	return func(object map[string]any) {
			eachItem(object, "devices", lift("basic"))
			eachItem(object, "requests", nest)
		}, func(object map[string]any) {
			eachItem(object, "devices", sink("basic"))
			eachItem(object, "requests", lift("exactly"))
		}
}

// eachItem calls f for the elements of a slice's devices or of a claim's
// requests, wherever the kind has them.
func eachItem(object map[string]any, list string, f reshape) {
	paths := map[string][][]string{
		"devices":  {{"spec", "devices"}},
		"requests": {{"spec", "devices", "requests"}, {"spec", "spec", "devices", "requests"}},
	}
	for _, path := range paths[list] {
		var at any = object
		for _, name := range path {
			m, _ := at.(map[string]any)
			at = m[name]
		}
		items, _ := at.([]any)
		for _, item := range items {
			if m, ok := item.(map[string]any); ok {
				f(m)
			}
		}
	}
}

// lift moves the fields of a member one level up.
func lift(member string) reshape {
	return func(item map[string]any) {
		inner, ok := item[member].(map[string]any)
		if !ok {
			return
		}
		delete(item, member)
		for name, value := range inner {
			item[name] = value
		}
	}
}

// sink moves all fields but the name into a member.
func sink(member string) reshape {
	return func(item map[string]any) {
		inner := map[string]any{}
		for name, value := range item {
			if name != "name" {
				inner[name] = value
				delete(item, name)
			}
		}
		item[member] = inner
	}
}

// nest moves what a request asks for into its member for exactly that, unless
// it lists alternatives instead.
func nest(item map[string]any) {
	inner := map[string]any{}
	for name, value := range item {
		if !slices.Contains([]string{"name", "firstAvailable"}, name) {
			inner[name] = value
			delete(item, name)
		}
	}
	// A class that is not named is still written by its type.
	if class, _ := inner["deviceClassName"].(string); len(inner) > 1 || class != "" {
		item["exactly"] = inner
	}
}
