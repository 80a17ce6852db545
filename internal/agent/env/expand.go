package env

import (
	"fmt"
	"strings"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Lookup answers a variable's value, if there is one of that name.
type Lookup func(name string) (string, bool)

// Expand replaces $(NAME) in each word by the variable's value. What names no
// variable stays as it is, and $$(NAME) is $(NAME), not expanded.
func Expand(words []string, vars []*cri.KeyValue) []string {
	if words == nil {
		return nil
	}
	known := lookup(vars)
	expanded := make([]string, len(words))
	for i, word := range words {
		expanded[i] = expand(word, known)
	}
	return expanded
}

// ExpandStrict is Expand of one word in which every name must be a variable.
func ExpandStrict(word string, vars []*cri.KeyValue) (string, error) {
	known := lookup(vars)
	var missing error
	expanded := expand(word, func(name string) (string, bool) {
		value, ok := known(name)
		if !ok && missing == nil {
			missing = fmt.Errorf("missing value for %q", name)
		}
		return value, ok
	})
	return expanded, missing
}

func lookup(vars []*cri.KeyValue) Lookup {
	values := make(map[string]string, len(vars))
	for _, v := range vars {
		values[v.Key] = string(v.Value)
	}
	return func(name string) (string, bool) {
		value, ok := values[name]
		return value, ok
	}
}

func expand(word string, known Lookup) string {
	var out strings.Builder
	for {
		before, rest, found := strings.Cut(word, "$")
		out.WriteString(before)
		if !found {
			return out.String()
		}
		switch {
		case strings.HasPrefix(rest, "$"):
			out.WriteByte('$')
			word = rest[1:]
		case strings.HasPrefix(rest, "("):
			name, after, closed := strings.Cut(rest[1:], ")")
			if !closed {
				// An open reference is text; what follows may hold others.
				out.WriteString("$(")
				word = rest[1:]
				continue
			}
			value, ok := known(name)
			if !ok {
				value = "$(" + name + ")"
			}
			out.WriteString(value)
			word = after
		default:
			out.WriteByte('$')
			word = rest
		}
	}
}
