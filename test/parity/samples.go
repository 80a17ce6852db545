package main

import (
	"context"
	_ "embed"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/yaml"
)

//go:embed seeds.yaml
var seedsYAML string

// object is one as JSON has it.
type object = map[string]any

// readSeeds returns the objects to begin from by kind.
func readSeeds(text string) (map[string][]object, error) {
	seeds := map[string][]object{}
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096)
	for n := 1; ; n++ {
		seed := object{}
		if err := decoder.Decode(&seed); err != nil {
			if err.Error() == "EOF" {
				return seeds, nil
			}
			return nil, fmt.Errorf("seed %d: %w", n, err)
		}
		name, ok := seed["kind"].(string)
		if !ok {
			return nil, fmt.Errorf("seed %d has no kind", n)
		}
		delete(seed, "kind")
		seeds[name] = append(seeds[name], seed)
	}
}

// samples knows objects of a server's kinds in which all is set that can be, and the
// words that its documents name for a field.
type samples struct {
	schemas map[string]object
	words   map[string][]string // by the name of the field, in order
}

// readSamples reads the OpenAPI documents of the kinds.
func readSamples(ctx context.Context, s *server, of []kind) (*samples, error) {
	out := &samples{schemas: map[string]object{}, words: map[string][]string{}}
	read := map[string]bool{}
	for _, k := range of {
		path := "/openapi/v3/apis/" + k.GroupVersion().String()
		if k.Group == "" {
			path = "/openapi/v3/api/" + k.Version
		}
		if read[path] {
			continue
		}
		read[path] = true
		document, err := s.read(ctx, path)
		if err != nil {
			return nil, err
		}
		components, _ := document["components"].(object)
		schemas, _ := components["schemas"].(object)
		for name, schema := range schemas {
			if schema, ok := schema.(object); ok {
				out.schemas[name] = schema
			}
		}
	}
	out.harvest()
	return out, nil
}

// harvest collects the words of enums, and those that descriptions quote.
func (s *samples) harvest() {
	quoted := regexp.MustCompile("[\"'`]([A-Za-z][\\w./-]{1,40})[\"'`]")
	for _, schema := range s.schemas {
		properties, _ := schema["properties"].(object)
		for name, property := range properties {
			property, _ := property.(object)
			words, _ := property["enum"].([]any)
			for _, w := range words {
				s.words[name] = append(s.words[name], fmt.Sprint(w))
			}
			description, _ := property["description"].(string)
			for _, m := range quoted.FindAllStringSubmatch(description, -1) {
				s.words[name] = append(s.words[name], m[1])
			}
		}
	}
	for name, words := range s.words {
		slices.Sort(words)
		s.words[name] = slices.Compact(words)
	}
}

// full is an object of kind in which all is set; nil where no document has it.
func (s *samples) full(k kind) object {
	for _, schema := range s.schemas {
		kinds, _ := schema["x-kubernetes-group-version-kind"].([]any)
		for _, is := range kinds {
			is, _ := is.(object)
			if is["group"] == k.Group && is["version"] == k.Version && is["kind"] == k.Kind {
				full, _ := s.fill(schema, "", nil).(object)
				return full
			}
		}
	}
	return nil
}

// fill makes a value of the schema of the field name. Inside are the schemas that it is
// a part of: one that contains itself is left out there.
func (s *samples) fill(schema object, name string, inside []string) any {
	if all, ok := schema["allOf"].([]any); ok && len(all) > 0 {
		schema, _ = all[0].(object)
	}
	if ref, ok := schema["$ref"].(string); ok {
		if slices.Contains(inside, ref) {
			return nil
		}
		inside = append(slices.Clip(inside), ref)
		schema = s.schemas[ref[strings.LastIndex(ref, "/")+1:]]
	}
	switch schema["type"] {
	case "array":
		items, _ := schema["items"].(object)
		if item := s.fill(items, name, inside); item != nil {
			return []any{item}
		}
		return nil
	case "boolean":
		return true
	case "integer", "number":
		return 1.0
	case "string":
		return s.text(schema, name)
	}
	if _, union := schema["oneOf"]; union { // a quantity, or a number or its name
		return "1"
	}
	out := object{}
	properties, _ := schema["properties"].(object)
	for property, schema := range properties {
		schema, _ := schema.(object)
		if value := s.fill(schema, property, inside); value != nil {
			out[property] = value
		}
	}
	if values, ok := schema["additionalProperties"].(object); ok {
		if value := s.fill(values, name, inside); value != nil {
			out["a"] = value
		}
	}
	return out
}

func (s *samples) text(schema object, name string) string {
	switch schema["format"] {
	case "date-time":
		return "2020-01-01T00:00:00Z"
	case "byte":
		return "eA=="
	case "int-or-string":
		return "1"
	}
	if words := s.words[name]; len(words) > 0 {
		return words[0]
	}
	return "a"
}
