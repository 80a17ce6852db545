package endpointslice

import (
	"context"
	"fmt"

	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/expect"
	"github.com/sinawi/sinawi/internal/controllers/loop"
)

// watchSlices reconciles the service of a slice that by manages, after pending
// has seen it.
func watchSlices(l *loop.Loop, pending *expect.Tracker, by string) {
	l.Watch(&discoveryv1.EndpointSlice{}, func(obj client.Object) []loop.Key {
		if obj.GetLabels()[discoveryv1.LabelManagedBy] != by {
			return nil
		}
		pending.Seen(obj)
		return []loop.Key{{Namespace: obj.GetNamespace(), Name: obj.GetLabels()[discoveryv1.LabelServiceName]}}
	})
}

// slicesOf returns the slices of a service that by manages. They are shared with
// the cache: read-only.
func slicesOf(ctx context.Context, r client.Reader, service loop.Key, by string) ([]*discoveryv1.EndpointSlice, error) {
	var list discoveryv1.EndpointSliceList
	err := r.List(ctx, &list, client.InNamespace(service.Namespace), client.UnsafeDisableDeepCopy,
		client.MatchingLabels{discoveryv1.LabelServiceName: service.Name, discoveryv1.LabelManagedBy: by})
	if err != nil {
		return nil, fmt.Errorf("list endpoint slices: %w", err)
	}
	slices := make([]*discoveryv1.EndpointSlice, len(list.Items))
	for i := range list.Items {
		slices[i] = &list.Items[i]
	}
	return slices, nil
}
