package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// absent stands for what one answer does not have.
const absent = "<absent>"

// difference is one place in which two answers differ.
type difference struct {
	Path      string `json:"path"`
	Reference string `json:"reference"`
	Checked   string `json:"checked"`
}

// compare returns in what the checked answer differs from the reference's.
func compare(reference, checked answer) (found []difference) {
	if reference.code != checked.code {
		found = append(found, difference{"code", fmt.Sprint(reference.code), fmt.Sprint(checked.code)})
	}
	for _, w := range reference.warnings {
		if !slices.Contains(checked.warnings, w) {
			found = append(found, difference{"warning", w, absent})
		}
	}
	for _, w := range checked.warnings {
		if !slices.Contains(reference.warnings, w) {
			found = append(found, difference{"warning", absent, w})
		}
	}
	if reference.ok() != checked.ok() {
		return append(found, difference{"answer", outcome(reference), outcome(checked)})
	}
	return append(found, differ("", normal(reference.body), normal(checked.body))...)
}

// outcome is what an answer says, where the other one says something else altogether.
func outcome(a answer) string {
	if a.ok() {
		return "accepted"
	}
	return shown(normal(a.body))
}

func shown(value any) string {
	if text, ok := value.(string); ok {
		return text
	}
	data, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(data)
}

func differ(path string, a, b any) []difference {
	switch a := a.(type) {
	case object:
		if b, ok := b.(object); ok {
			return differObjects(path, a, b)
		}
	case []any:
		if b, ok := b.([]any); ok {
			if strings.HasSuffix(path, ".causes") {
				return differSets(path, a, b)
			}
			return differLists(path, a, b)
		}
	}
	if reflect.DeepEqual(a, b) {
		return nil
	}
	return []difference{{path, shown(a), shown(b)}}
}

func differObjects(path string, a, b object) (found []difference) {
	names := slices.Sorted(maps.Keys(a))
	for name := range maps.Keys(b) {
		if _, ok := a[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		mine, has := a[name]
		theirs, had := b[name]
		switch at := path + "." + name; {
		case !has:
			found = append(found, difference{at, absent, shown(theirs)})
		case !had:
			found = append(found, difference{at, shown(mine), absent})
		default:
			found = append(found, differ(at, mine, theirs)...)
		}
	}
	return found
}

func differLists(path string, a, b []any) (found []difference) {
	if len(a) != len(b) {
		found = append(found, difference{path + " (length)", fmt.Sprint(len(a)), fmt.Sprint(len(b))})
	}
	for i := range min(len(a), len(b)) {
		found = append(found, differ(path+"[]", a[i], b[i])...)
	}
	return found
}

// differSets compares lists without order: which items one has alone.
func differSets(path string, a, b []any) (found []difference) {
	without := func(list, other []any) (alone []string) {
		for _, item := range list {
			if !slices.ContainsFunc(other, func(o any) bool { return sameCause(item, o) }) {
				alone = append(alone, shown(item))
			}
		}
		return alone
	}
	for _, item := range without(a, b) {
		found = append(found, difference{path, item, absent})
	}
	for _, item := range without(b, a) {
		found = append(found, difference{path, absent, item})
	}
	return found
}

// sameCause tells whether two causes say the same. What one of them shows as an object
// the other may show as a part of it.
func sameCause(a, b any) bool {
	x, isObject := a.(object)
	y, isToo := b.(object)
	if !isObject || !isToo || x["field"] != y["field"] || x["reason"] != y["reason"] {
		return reflect.DeepEqual(a, b)
	}
	one, _ := x["message"].(string)
	other, _ := y["message"].(string)
	for range 2 {
		if kind, rest, found := strings.Cut(one, ": "+printedObject); found && strings.HasPrefix(other, kind+": ") && strings.HasSuffix(other, rest) {
			return true
		}
		one, other = other, one
	}
	return one == other
}

// finding is a difference and the first request that showed it.
type finding struct {
	Resource  string `json:"resource"`
	Operation string `json:"operation"`
	difference
	Times   int    `json:"times"`
	Request string `json:"request"`
	Body    object `json:"body"`
}

// report collects findings, each once: those that differ in numbers and quoted words
// alone are one.
type report struct {
	found map[string]*finding
	order []*finding
	sent  int
}

// What may differ between requests that show the same difference.
var (
	number = regexp.MustCompile(`\d+`)
	quoted = regexp.MustCompile(`"[^"]*"`)
)

func newReport() *report { return &report{found: map[string]*finding{}} }

func (r *report) add(k kind, operation, request string, body object, differences []difference) {
	r.sent++
	shape := func(s string) string { return number.ReplaceAllString(quoted.ReplaceAllString(s, `""`), "0") }
	for _, d := range differences {
		// A cause is quoted all over: its words are what tells it from others.
		key := strings.Join([]string{k.resource, operation, d.Path, shape(strings.ReplaceAll(d.Reference, `\"`, "'")), shape(d.Checked)}, "\n")
		if strings.HasSuffix(d.Path, ".causes") {
			key = strings.Join([]string{k.resource, operation, number.ReplaceAllString(d.Reference+d.Checked, "0")}, "\n")
		}
		f := r.found[key]
		if f == nil {
			f = &finding{Resource: k.resource, Operation: operation, difference: d, Request: request, Body: body}
			r.found[key] = f
			r.order = append(r.order, f)
		}
		f.Times++
	}
}
