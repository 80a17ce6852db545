package main

import (
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
)

// varier makes objects out of others, the same for the same randomness.
type varier struct {
	*rand.Rand
	words map[string][]string
}

// texts and numbers are what some rule of some field is about.
func texts() []string {
	return []string{
		"", "a", "abc", "A_b", "a.b", "a.b/c", "-a", strings.Repeat("x", 64), strings.Repeat("x", 254), "-1", "0", "10", "100%",
		"0%", "101%", "/abs", "/", "../x", "a/../b", "rel/path", "http", "tcp", "10.0.0.1", "fd00::1", "10.0.0.0/24", "1Gi", "100m",
		"1.5", "-1Gi", "http://x/y", "https://a.b/c", "*", "*.a.b", "example.com/x", "kubernetes.io/x", "2020-01-01T00:00:00Z",
		"a b", "é", "default", "kubernetes", "None", "$(X)", "x=y",
	}
}

func numbers() []float64 {
	return []float64{-5, -1, 0, 1, 2, 5, 7, 10, 80, 100, 101, 443, 10250, 32000, 65535, 65536, 1 << 31}
}

func pick[T any](v varier, of []T) T { return of[v.IntN(len(of))] }

func (v varier) chance(p float64) bool { return v.Float64() < p }

// vary makes an object out of a seed and a full sample of its kind.
func (v varier) vary(seed, full object) object {
	switch p := v.Float64(); {
	case p < 0.5:
		out := copied(seed)
		for range 1 + v.IntN(3) {
			v.graft(out, full)
		}
		if v.chance(1. / 3) {
			v.spoil(out)
		}
		return out
	case p < 0.75:
		out := copied(seed)
		for range 1 + v.IntN(3) {
			v.spoil(out)
		}
		return out
	}
	out, _ := v.thin(bare(full), pick(v, []float64{0.5, 0.8, 0.9, 0.95, 1})).(object)
	out, _ = v.scramble(out, "", pick(v, []float64{0, 0.5, 1})).(object)
	return out
}

func copied(o object) object { return runtime.DeepCopyJSON(o) }

// bare is an object without what every object has.
func bare(o object) object {
	out := copied(o)
	for _, name := range []string{"metadata", "status", "apiVersion", "kind"} {
		delete(out, name)
	}
	return out
}

// moment begins a text that is a time, which stays one.
var moment = regexp.MustCompile(`^\d{4}-\d\d-\d\dT`)

// value is another one for a field.
func (v varier) value(name string, now any) any {
	switch now := now.(type) {
	case bool:
		return v.chance(0.5)
	case float64, int64:
		return pick(v, numbers())
	case string:
		words := v.words[name]
		switch {
		case moment.MatchString(now):
			return now
		case slices.Contains([]string{"name", "key", "claimName", "serviceName", "secretName"}, name) && v.chance(0.6):
			return pick(v, []string{"a", "b", "abc", "a.b", "http"})
		case len(words) > 0 && v.chance(0.75):
			return pick(v, words)
		}
		return pick(v, texts())
	}
	return now
}

// keys in order, so that the same randomness meets the same fields.
func keys(o object) []string { return slices.Sorted(maps.Keys(o)) }

// scramble gives each scalar another value with probability p.
func (v varier) scramble(o any, name string, p float64) any {
	switch o := o.(type) {
	case object:
		out := object{}
		for _, k := range keys(o) {
			out[k] = v.scramble(o[k], k, p)
		}
		return out
	case []any:
		out := make([]any, 0, len(o))
		for _, item := range o {
			out = append(out, v.scramble(item, name, p))
		}
		return out
	}
	if v.chance(p) {
		return v.value(name, o)
	}
	return o
}

// thin keeps each part with probability p.
func (v varier) thin(o any, p float64) any {
	switch o := o.(type) {
	case object:
		out := object{}
		for _, k := range keys(o) {
			if v.chance(p) {
				out[k] = v.thin(o[k], p)
			}
		}
		return out
	case []any:
		out := []any{}
		for _, item := range o {
			if v.chance(p) {
				out = append(out, v.thin(item, p))
			}
		}
		return out
	}
	return o
}

// spot is a place in an object: a field, or an item of a list in it.
type spot struct {
	name  string // of the field
	value any
	set   func(any)
	drop  func()
}

// spots are the places in o, outer before inner.
func spots(o object) (found []spot) {
	for _, k := range keys(o) {
		found = append(found, spot{k, o[k], func(to any) { o[k] = to }, func() { delete(o, k) }})
		found = append(found, inside(k, o[k])...)
	}
	return found
}

func inside(name string, value any) (found []spot) {
	switch value := value.(type) {
	case object:
		return spots(value)
	case []any:
		for i, item := range value {
			// A list cannot be made shorter in its place: an item goes by being nothing.
			found = append(found, spot{name, item, func(to any) { value[i] = to }, func() { value[i] = nil }})
			found = append(found, inside(name, item)...)
		}
	}
	return found
}

// spoil changes o in one place: something goes, comes twice, is emptied or gets
// another value.
func (v varier) spoil(o object) {
	all := spots(o)
	if len(all) == 0 {
		return
	}
	at := pick(v, all)
	if v.chance(0.25) {
		at.drop()
		return
	}
	switch value := at.value.(type) {
	case []any:
		if len(value) > 0 && v.chance(0.5) {
			at.set(append(slices.Clone(value), runtime.DeepCopyJSONValue(value[0])))
		} else {
			at.set([]any{})
		}
	case object:
		at.set(object{})
	default:
		at.set(v.value(at.name, value))
	}
}

// graft puts a part of full, thinned and scrambled, where o has its parent.
func (v varier) graft(o, full object) {
	var all []spot
	meet(o, bare(full), &all)
	if len(all) == 0 {
		return
	}
	at := pick(v, all)
	at.set(v.scramble(v.thin(at.value, pick(v, []float64{0.3, 0.6, 1})), at.name, pick(v, []float64{0.5, 1})))
}

// meet collects the parts of full that could be put into o: their values, and how.
func meet(o, full object, all *[]spot) {
	for _, k := range keys(full) {
		*all = append(*all, spot{name: k, value: full[k], set: func(to any) { o[k] = to }})
		switch mine := o[k].(type) {
		case object:
			if theirs, ok := full[k].(object); ok {
				meet(mine, theirs, all)
			}
		case []any:
			theirs, _ := full[k].([]any)
			if len(theirs) == 0 {
				continue
			}
			*all = append(*all, spot{name: k, value: theirs[0], set: func(to any) { o[k] = append(slices.Clone(mine), to) }})
			for _, item := range mine {
				item, a := item.(object)
				theirs, b := theirs[0].(object)
				if a && b {
					meet(item, theirs, all)
				}
			}
		}
	}
}
