package mergetypes_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/apimachinery/pkg/runtime/schema"
	smd "sigs.k8s.io/structured-merge-diff/v6/schema"

	"github.com/sinawi/sinawi/internal/apiserver/openapi/mergetypes"
)

func ptr[T any](v T) *T { return &v }

func sample() mergetypes.Types {
	text := smd.TypeRef{Inlined: smd.Atom{Scalar: ptr(smd.String)}}
	return mergetypes.Types{
		Schema: &smd.Schema{Types: []smd.TypeDef{
			{Name: "port", Atom: smd.Atom{Map: &smd.Map{Fields: []smd.StructField{
				{Name: "port", Type: smd.TypeRef{Inlined: smd.Atom{Scalar: ptr(smd.Numeric)}}, Default: float64(80)},
				{Name: "protocol", Type: text, Default: "TCP"},
			}, ElementType: smd.TypeRef{NamedType: ptr("any")}, ElementRelationship: smd.Atomic}}},
			{Name: "spec", Atom: smd.Atom{Map: &smd.Map{
				Fields: []smd.StructField{{Name: "ports", Type: smd.TypeRef{
					Nullable: true, ElementRelationship: ptr(smd.Associative),
					Inlined: smd.Atom{List: &smd.List{
						ElementType: smd.TypeRef{NamedType: ptr("port")}, ElementRelationship: smd.Associative, Keys: []string{"port", "protocol"},
					}},
				}}},
				Unions: []smd.Union{{Discriminator: ptr("type"), DeduceInvalidDiscriminator: true, Fields: []smd.UnionField{{FieldName: "a", DiscriminatorValue: "A"}}}},
			}}},
			{Name: "any", Atom: smd.Atom{Scalar: ptr(smd.Untyped), List: &smd.List{ElementType: text}, Map: &smd.Map{ElementType: text}}},
		}},
		Kinds: map[schema.GroupVersionKind]string{{Group: "g", Version: "v1", Kind: "K"}: "spec"},
	}
}

func TestUnpacksWhatWasPacked(t *testing.T) {
	want := sample()
	packed, err := mergetypes.Encode(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := mergetypes.Decode(packed)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(smd.Schema{}, smd.Map{})); diff != "" {
		t.Errorf("unpacked differs (-packed +unpacked):\n%s", diff)
	}
}

func FuzzDecode(f *testing.F) {
	packed, err := mergetypes.Encode(sample())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(packed)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		types, err := mergetypes.Decode(data)
		if err != nil {
			return
		}
		if _, err := mergetypes.Encode(types); err != nil {
			t.Errorf("what was decoded cannot be encoded: %v", err)
		}
	})
}
