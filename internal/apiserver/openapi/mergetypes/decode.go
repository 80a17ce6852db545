package mergetypes

import (
	"encoding/binary"
	"encoding/json"
	"errors"

	"k8s.io/apimachinery/pkg/runtime/schema"
	smd "sigs.k8s.io/structured-merge-diff/v6/schema"
)

// Decode reads what Encode made.
func Decode(packed []byte) (Types, error) {
	r := &reader{rest: packed}
	r.table()
	types := Types{Schema: &smd.Schema{}}
	n := r.count()
	if r.err == nil {
		types.Schema.Types = make([]smd.TypeDef, n)
	}
	for i := range types.Schema.Types {
		types.Schema.Types[i] = smd.TypeDef{Name: *r.string(), Atom: r.atom(0)}
	}
	n = r.count()
	types.Kinds = make(map[schema.GroupVersionKind]string, n)
	for range n {
		gvk := schema.GroupVersionKind{Group: *r.string(), Version: *r.string(), Kind: *r.string()}
		types.Kinds[gvk] = *r.string()
	}
	if r.err == nil && len(r.rest) != 0 {
		r.fail()
	}
	if r.err != nil {
		return Types{}, r.err
	}
	return types, nil
}

// maxDepth bounds types inside types; real ones are a few deep.
const maxDepth = 32

// reader reads on after an error as if all were empty, and keeps the error.
type reader struct {
	rest    []byte
	strings []string
	empty   string
	err     error
}

func (r *reader) fail() {
	if r.err == nil {
		r.err = errors.New("packed merge types are damaged")
	}
	r.rest = nil
}

func (r *reader) number() uint64 {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 {
		r.fail()
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

// count is a number of things that take a byte each at least.
func (r *reader) count() int {
	n := r.number()
	if n > uint64(len(r.rest)) {
		r.fail()
		return 0
	}
	return int(n)
}

// table reads the strings as parts of one.
func (r *reader) table() {
	n := r.count()
	lengths := make([]int, 0, n)
	var all []byte
	for range n {
		size := r.count()
		lengths = append(lengths, size)
		all = append(all, r.rest[:size]...)
		r.rest = r.rest[size:]
	}
	joined := string(all)
	r.strings = make([]string, len(lengths))
	for i, size := range lengths {
		r.strings[i], joined = joined[:size], joined[size:]
	}
}

// string points into the table, so that types share it.
func (r *reader) string() *string {
	n := r.number()
	if n >= uint64(len(r.strings)) {
		r.fail()
		return &r.empty
	}
	return &r.strings[n]
}

func (r *reader) atom(depth int) (a smd.Atom) {
	if depth > maxDepth {
		r.fail()
		return a
	}
	bits := r.number()
	if bits&hasScalar != 0 {
		scalar := smd.Scalar(*r.string())
		a.Scalar = &scalar
	}
	if bits&hasList != 0 {
		a.List = &smd.List{ElementType: r.ref(depth), ElementRelationship: smd.ElementRelationship(*r.string())}
		for range r.count() {
			a.List.Keys = append(a.List.Keys, *r.string())
		}
	}
	if bits&hasMap != 0 {
		a.Map = r.fields(depth)
	}
	return a
}

func (r *reader) fields(depth int) *smd.Map {
	m := &smd.Map{ElementType: r.ref(depth), ElementRelationship: smd.ElementRelationship(*r.string())}
	if n := r.count(); n != 0 {
		m.Fields = make([]smd.StructField, n)
	}
	for i := range m.Fields {
		f := &m.Fields[i]
		f.Name, f.Type = *r.string(), r.ref(depth)
		if def := *r.string(); def != "" {
			if err := json.Unmarshal([]byte(def), &f.Default); err != nil {
				r.fail()
			}
		}
	}
	for range r.count() {
		m.Unions = append(m.Unions, r.union())
	}
	return m
}

func (r *reader) union() (u smd.Union) {
	if discriminator := r.string(); *discriminator != "" {
		u.Discriminator = discriminator
	}
	u.DeduceInvalidDiscriminator = r.number() != 0
	for range r.count() {
		u.Fields = append(u.Fields, smd.UnionField{FieldName: *r.string(), DiscriminatorValue: *r.string()})
	}
	return u
}

func (r *reader) ref(depth int) (ref smd.TypeRef) {
	bits := r.number()
	if bits&hasName != 0 {
		ref.NamedType = r.string()
	}
	if bits&hasInline != 0 {
		ref.Inlined = r.atom(depth + 1)
	}
	if bits&hasRelationship != 0 {
		relationship := smd.ElementRelationship(*r.string())
		ref.ElementRelationship = &relationship
	}
	ref.Nullable = bits&isNullable != 0
	return ref
}
