package hollow

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"
)

// follow tells see of all objects of a resource until ctx ends; kind is one of them.
func (f *Fleet) follow(ctx context.Context, resource string, kind runtime.Object, see sink) error {
	lw := cache.NewListWatchFromClient(f.client.CoreV1().RESTClient(), resource, metav1.NamespaceAll, fields.Everything())
	cache.NewReflectorWithOptions(lw, kind, see, cache.ReflectorOptions{Name: "hollow " + resource}).RunWithContext(ctx)
	return nil
}

// sink is told of what a reflector sees. It keeps nothing.
type sink func(obj any, deleted bool)

func (s sink) Add(obj any) error    { s(obj, false); return nil }
func (s sink) Update(obj any) error { s(obj, false); return nil }
func (s sink) Delete(obj any) error { s(obj, true); return nil }
func (s sink) Resync() error        { return nil }

// Replace comes after a list, at first and when a watch broke.
func (s sink) Replace(list []any, _ string) error {
	for _, obj := range list {
		s(obj, false)
	}
	return nil
}
