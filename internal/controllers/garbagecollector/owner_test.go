package garbagecollector

import (
	"log/slog"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata/fake"

	"github.com/sinawi/sinawi/internal/controllers/served"
)

// TestAbsentOwnerIsAskedForOnce has many dependents of one owner that is gone.
func TestAbsentOwnerIsAskedForOnce(t *testing.T) {
	kind := schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "ReplicaSet"}
	known := runtime.NewScheme()
	if err := metav1.AddMetaToScheme(known); err != nil {
		t.Fatal(err)
	}
	client := fake.NewSimpleMetadataClient(known, &metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "ReplicaSet"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "new"},
	})
	c := New(nil, client, slog.New(slog.DiscardHandler), Options{})
	c.kinds = served.Kinds{ByKind: map[schema.GroupVersionKind]served.Kind{
		kind: {Resource: kind.GroupVersion().WithResource("replicasets"), Kind: kind, Namespaced: true},
	}}
	for _, step := range []struct {
		what, name string
		uid        types.UID
		want       presence
		asked      int // so far
	}{
		{"one that was made anew", "web", "old", absent, 1},
		{"the same again", "web", "old", absent, 1},
		{"one that was never there", "other", "x", absent, 2},
		{"the same again", "other", "x", absent, 2},
		{"one that is there", "web", "new", present, 3},
		{"which may go", "web", "new", present, 4},
	} {
		ref := metav1.OwnerReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: step.name, UID: step.uid}
		got, err := c.owner(t.Context(), ref, "default")
		if err != nil || got != step.want || len(client.Actions()) != step.asked {
			t.Errorf("%s: %v, %v, asked %d times, want %v, %d times", step.what, got, err, len(client.Actions()), step.want, step.asked)
		}
	}
}
