package scheme

import (
	"bytes"
	"encoding/binary"
	"math/rand"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	runtimeserializer "k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"sigs.k8s.io/randfill"

	"github.com/sinawi/sinawi/internal/apiserver/defaults"
	"github.com/sinawi/sinawi/internal/apiserver/resources"
)

// languages are what clients may write objects in.
func languages(s *runtime.Scheme) map[string]runtime.Serializer {
	return map[string]runtime.Serializer{
		"json":     json.NewSerializerWithOptions(json.DefaultMetaFactory, s, s, json.SerializerOptions{Strict: true}),
		"yaml":     json.NewSerializerWithOptions(json.DefaultMetaFactory, s, s, json.SerializerOptions{Yaml: true, Strict: true}),
		"protobuf": protobuf.NewSerializer(s, s),
		"cbor":     cbor.NewSerializer(s, s, cbor.Strict(true)),
	}
}

func defaulted(t testing.TB) (*runtime.Scheme, []resources.Resource) {
	t.Helper()
	s, rows := allVersions(t)
	if err := defaults.Register(s); err != nil {
		t.Fatal(err)
	}
	return s, rows
}

func filler(s *runtime.Scheme, seed int64) *randfill.Filler {
	f := fuzzer.FuzzerFor(fuzzer.MergeFuzzerFuncs(metafuzzer.Funcs, func(runtimeserializer.CodecFactory) []any {
		return []any{
			func(q *resource.Quantity, c randfill.Continue) {
				*q = *resource.NewQuantity(c.Int63n(1000), resource.DecimalSI)
			},
			func(r *runtime.RawExtension, _ randfill.Continue) {
				*r = runtime.RawExtension{Raw: []byte(`{"a":"b"}`)}
			},
			func(f *metav1.FieldsV1, _ randfill.Continue) { *f = metav1.FieldsV1{Raw: []byte(`{"f:a":{}}`)} },
		}
	}), rand.NewSource(seed), runtimeserializer.NewCodecFactory(s))
	return f.MaxDepth(12)
}

// served are all versions of all rows.
func served(rows []resources.Resource) []schema.GroupVersionKind {
	var kinds []schema.GroupVersionKind
	for _, r := range rows {
		for _, gv := range append([]schema.GroupVersion{r.GroupVersion}, r.ServedAs...) {
			kinds = append(kinds, gv.WithKind(r.Kind))
		}
	}
	return kinds
}

// written is obj as it can be written: no language tells an empty list from
// none.
func written(t *testing.T, s *runtime.Scheme, kind schema.GroupVersionKind, obj runtime.Object) runtime.Object {
	t.Helper()
	obj.GetObjectKind().SetGroupVersionKind(kind)
	var text bytes.Buffer
	language := languages(s)["json"]
	if err := language.Encode(obj, &text); err != nil {
		t.Fatal(err)
	}
	read, _, err := language.Decode(text.Bytes(), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return read
}

func tryKind(t *testing.T, s *runtime.Scheme, kind schema.GroupVersionKind, seed int64) {
	obj, err := s.New(kind)
	if err != nil {
		t.Fatal(err)
	}
	filler(s, seed).Fill(obj)
	obj = written(t, s, kind, obj)
	s.Default(obj)
	again := obj.DeepCopyObject()
	s.Default(again)
	if !apiequality.Semantic.DeepEqual(obj, again) {
		t.Fatalf("%s, seed %d: defaults change what they made: %s", kind, seed, cmp.Diff(obj, again))
	}
	obj.GetObjectKind().SetGroupVersionKind(kind)
	for name, language := range languages(s) {
		var text bytes.Buffer
		if err := language.Encode(obj, &text); err != nil {
			t.Fatalf("%s, seed %d: write %s: %v", kind, seed, name, err)
		}
		read, _, err := language.Decode(text.Bytes(), nil, nil)
		if err != nil {
			t.Fatalf("%s, seed %d: read %s: %v", kind, seed, name, err)
		}
		// As the server reads it; protobuf has the kind outside.
		s.Default(read)
		read.GetObjectKind().SetGroupVersionKind(kind)
		if !apiequality.Semantic.DeepEqual(obj, read) {
			t.Fatalf("%s, seed %d: %s loses: %s", kind, seed, name, cmp.Diff(obj, read))
		}
	}
}

// Every served version of every kind survives every language, and defaults
// applied twice are defaults applied once.
func TestRoundTrip(t *testing.T) {
	s, rows := defaulted(t)
	for _, kind := range served(rows) {
		t.Run(kind.GroupVersion().String()+"/"+kind.Kind, func(t *testing.T) {
			for seed := range int64(6) {
				tryKind(t, s, kind, seed)
			}
		})
	}
}

func FuzzRoundTrip(f *testing.F) {
	s, rows := defaulted(f)
	kinds := served(rows)
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 1, 7})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) >= 9 {
			tryKind(t, s, kinds[int(data[8])%len(kinds)], int64(binary.BigEndian.Uint64(data)))
		}
	})
}

// Whatever bytes a client sends in whatever language, reading them ends with an
// object or an error.
func FuzzRead(f *testing.F) {
	s, _ := defaulted(f)
	for _, text := range []string{
		`{"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"name":"a","image":"i"}]}}`,
		"apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: Pod}]\n",
		"k8s\x00\n\x09\n\x02v1\x12\x03Pod\x12\x00\x1a\x00\"\x00",
		"\xd9\xd9\xf7\xa2DkindCPodJapiVersionBv1",
	} {
		f.Add([]byte(text))
	}
	all := languages(s)
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, language := range all {
			obj, _, err := language.Decode(data, nil, nil)
			if err == nil && obj != nil {
				s.Default(obj)
			}
		}
	})
}
