package mergetypes

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"
	smd "sigs.k8s.io/structured-merge-diff/v6/schema"
)

// What an atom or a reference holds, as bits of its first number.
const (
	hasScalar = 1 << iota
	hasList
	hasMap
)

const (
	hasName = 1 << iota
	hasInline
	hasRelationship
	isNullable
)

// Encode packs types. The same types always give the same bytes.
func Encode(types Types) ([]byte, error) {
	w := &writer{places: map[string]uint64{}}
	w.number(len(types.Schema.Types))
	for _, t := range types.Schema.Types {
		w.string(t.Name)
		w.atom(t.Atom)
	}
	kinds := slices.SortedFunc(maps.Keys(types.Kinds), func(a, b schema.GroupVersionKind) int {
		return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Kind, b.Kind))
	})
	w.number(len(kinds))
	for _, gvk := range kinds {
		w.string(gvk.Group)
		w.string(gvk.Version)
		w.string(gvk.Kind)
		w.string(types.Kinds[gvk])
	}
	var out []byte
	out = binary.AppendUvarint(out, uint64(len(w.strings)))
	for _, s := range w.strings {
		out = binary.AppendUvarint(out, uint64(len(s)))
		out = append(out, s...)
	}
	return append(out, w.body...), errors.Join(w.errs...)
}

type writer struct {
	strings []string
	places  map[string]uint64
	body    []byte
	errs    []error
}

func (w *writer) number(n int) { w.body = binary.AppendUvarint(w.body, uint64(n)) }

func (w *writer) string(s string) {
	place, ok := w.places[s]
	if !ok {
		place = uint64(len(w.strings))
		w.strings = append(w.strings, s)
		w.places[s] = place
	}
	w.body = binary.AppendUvarint(w.body, place)
}

func (w *writer) atom(a smd.Atom) {
	bits := 0
	if a.Scalar != nil {
		bits |= hasScalar
	}
	if a.List != nil {
		bits |= hasList
	}
	if a.Map != nil {
		bits |= hasMap
	}
	w.number(bits)
	if a.Scalar != nil {
		w.string(string(*a.Scalar))
	}
	if l := a.List; l != nil {
		w.ref(l.ElementType)
		w.string(string(l.ElementRelationship))
		w.number(len(l.Keys))
		for _, k := range l.Keys {
			w.string(k)
		}
	}
	if a.Map != nil {
		w.fields(a.Map)
	}
}

func (w *writer) fields(m *smd.Map) {
	w.ref(m.ElementType)
	w.string(string(m.ElementRelationship))
	w.number(len(m.Fields))
	for _, f := range m.Fields {
		w.string(f.Name)
		w.ref(f.Type)
		def := ""
		if f.Default != nil {
			data, err := json.Marshal(f.Default)
			if err != nil {
				w.errs = append(w.errs, fmt.Errorf("default of field %s: %w", f.Name, err))
			}
			def = string(data)
		}
		w.string(def)
	}
	w.number(len(m.Unions))
	for _, u := range m.Unions {
		w.union(u)
	}
}

func (w *writer) union(u smd.Union) {
	discriminator := ""
	if u.Discriminator != nil {
		discriminator = *u.Discriminator
	}
	w.string(discriminator)
	deduce := 0
	if u.DeduceInvalidDiscriminator {
		deduce = 1
	}
	w.number(deduce)
	w.number(len(u.Fields))
	for _, f := range u.Fields {
		w.string(f.FieldName)
		w.string(f.DiscriminatorValue)
	}
}

func (w *writer) ref(r smd.TypeRef) {
	bits := 0
	if r.NamedType != nil {
		bits |= hasName
	}
	if r.Inlined != (smd.Atom{}) {
		bits |= hasInline
	}
	if r.ElementRelationship != nil {
		bits |= hasRelationship
	}
	if r.Nullable {
		bits |= isNullable
	}
	w.number(bits)
	if r.NamedType != nil {
		w.string(*r.NamedType)
	}
	if bits&hasInline != 0 {
		w.atom(r.Inlined)
	}
	if r.ElementRelationship != nil {
		w.string(string(*r.ElementRelationship))
	}
}
