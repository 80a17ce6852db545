package storage

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/randfill"
)

func reader() *envelopes {
	codecs := serializer.NewCodecFactory(scheme.Scheme)
	return &envelopes{Decoder: codecs.UniversalDeserializer(), scheme: scheme.Scheme}
}

func stored(t *testing.T, obj runtime.Object) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := protobuf.NewSerializer(scheme.Scheme, scheme.Scheme).Encode(obj, &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func of[T runtime.Object](kind schema.GroupVersionKind, obj T) T {
	obj.GetObjectKind().SetGroupVersionKind(kind)
	return obj
}

var (
	podKind   = corev1.SchemeGroupVersion.WithKind("Pod")
	eventKind = eventsv1.SchemeGroupVersion.WithKind("Event")
)

// same asks both decoders and compares all that they answer.
func same(t *testing.T, what string, e *envelopes, data []byte, defaults *schema.GroupVersionKind, into func() runtime.Object) {
	t.Helper()
	mine, theirs := into(), into()
	got, gotKind, err := e.Decode(bytes.Clone(data), defaults, mine)
	want, wantKind, wantErr := e.Decoder.Decode(bytes.Clone(data), defaults, theirs)
	if (err == nil) != (wantErr == nil) || err != nil && err.Error() != wantErr.Error() {
		t.Errorf("%s: error %v, upstream's decoder has %v", what, err, wantErr)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: (-upstream, +this)\n%s", what, diff)
	}
	if diff := cmp.Diff(wantKind, gotKind); diff != "" {
		t.Errorf("%s: kinds (-upstream, +this)\n%s", what, diff)
	}
	if (mine != nil && got == mine) != (theirs != nil && want == theirs) {
		t.Errorf("%s: what was given is what is answered: %t, of upstream's %t", what, got == mine, want == theirs)
	}
}

func TestEnvelopesAreReadAsUpstreamDoes(t *testing.T) {
	e := reader()
	pod := of(podKind, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p", Labels: map[string]string{"a": "b"}}, Spec: corev1.PodSpec{NodeName: "n"}})
	plain, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	nothing := func() runtime.Object { return nil }
	intos := map[string]func() runtime.Object{
		"nothing": nothing,
		"a pod": func() runtime.Object {
			return &corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodFailed}} // what was there is gone
		},
		"another kind":      func() runtime.Object { return &corev1.Node{} },
		"no kind":           func() runtime.Object { return &runtime.Unknown{} },
		"an unknown object": func() runtime.Object { return &foreign{} },
	}
	data := map[string][]byte{
		"a pod":           stored(t, pod),
		"an event":        stored(t, of(eventKind, &eventsv1.Event{ObjectMeta: metav1.ObjectMeta{Name: "e"}})),
		"an empty object": stored(t, of(podKind, &corev1.Pod{})),
		"no kind":         stored(t, &corev1.Pod{}),
		"a foreign kind":  stored(t, of(schema.GroupVersionKind{Group: "g", Version: "v", Kind: "K"}, &corev1.Pod{})),
		"JSON":            plain,
		"nothing":         nil,
		"a prefix":        []byte("k8s\x00"),
		"noise":           []byte("k8s\x00\xff\xff\xff"),
	}
	for name, into := range intos {
		for what, d := range data {
			same(t, what+" into "+name, e, d, nil, into)
			same(t, what+" as an event into "+name, e, d, &eventKind, into)
		}
	}
	whole := data["a pod"]
	for n := range whole {
		same(t, "a pod cut short", e, whole[:n], nil, nothing)
	}
}

// foreign is no kind of the scheme.
type foreign struct{ corev1.Pod }

func TestRandomObjectsAreReadAsUpstreamDoes(t *testing.T) {
	e, fill := reader(), randfill.NewWithSeed(1).NilChance(0.3).NumElements(0, 3).MaxDepth(12)
	for range 50 {
		pod := &corev1.Pod{}
		fill.Fill(pod)
		same(t, "a random pod", e, stored(t, of(podKind, pod)), nil, func() runtime.Object { return nil })
	}
}

// TestReadObjectsKeepNothingOfTheEnvelope: the bytes may be used again.
func TestReadObjectsKeepNothingOfTheEnvelope(t *testing.T) {
	fill := randfill.NewWithSeed(2).NilChance(0).NumElements(1, 2).MaxDepth(12)
	for _, obj := range []runtime.Object{of(podKind, &corev1.Pod{}), of(corev1.SchemeGroupVersion.WithKind("Secret"), &corev1.Secret{}),
		of(eventKind, &eventsv1.Event{})} {
		kind := obj.GetObjectKind().GroupVersionKind()
		fill.Fill(obj)
		data := stored(t, of(kind, obj))
		got, _, err := reader().Decode(data, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		before := got.DeepCopyObject()
		clear(data)
		if diff := cmp.Diff(before, got); diff != "" {
			t.Errorf("%s changed with the bytes that it was read from:\n%s", kind.Kind, diff)
		}
	}
}
