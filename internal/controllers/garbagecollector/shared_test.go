package garbagecollector

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"

	"github.com/sinawi/sinawi/internal/controllers/served"
)

// What the cache shares comes into the graph as a watch would bring it.
func TestChanged(t *testing.T) {
	now := metav1.NewTime(time.Unix(1e9, 0))
	pod := func(uid types.UID, change func(*corev1.Pod)) *metav1.ObjectMeta {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Namespace: "ns", Name: "web", UID: uid, Labels: map[string]string{"a": "b"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web", UID: "owner"}},
		}}
		if change != nil {
			change(p)
		}
		return metadataOf(p)
	}
	for _, test := range []struct {
		name          string
		before, after *metav1.ObjectMeta
		gone          []types.UID
		known         []types.UID
		owners        int // of the last one known
	}{
		{"new", nil, pod("a", nil), nil, []types.UID{"a"}, 1},
		{"gone", pod("a", nil), nil, []types.UID{"a"}, nil, 0},
		{"replaced by one of its name", pod("a", nil), pod("b", nil), []types.UID{"a"}, []types.UID{"b"}, 1},
		{"let go by its owner", pod("a", nil), pod("a", func(p *corev1.Pod) { p.OwnerReferences = nil }), nil, []types.UID{"a"}, 0},
		{"changed elsewhere", pod("a", nil), pod("a", func(p *corev1.Pod) { p.Labels = nil }), nil, []types.UID{"a"}, 1},
		{"without metadata", nil, metadataOf("a string"), nil, nil, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			var gone []types.UID
			c := New(nil, nil, slog.New(slog.DiscardHandler), Options{Gone: func(_ schema.GroupVersionKind, meta *metav1.PartialObjectMetadata) { gone = append(gone, meta.UID) }})
			c.queue = workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[types.UID]())
			defer c.queue.ShutDown()
			f := &feed{c: c, kind: served.Kind{Kind: corev1.SchemeGroupVersion.WithKind("Pod")}, synced: make(chan struct{})}
			if test.before != nil {
				f.changed(nil, test.before)
			}
			if test.before != nil || test.after != nil {
				f.changed(test.before, test.after)
			}
			var known []types.UID
			owners := 0
			for uid, node := range c.graph.nodes {
				if !node.virtual {
					known, owners = append(known, uid), len(node.owners)
				}
			}
			if !slices.Equal(gone, test.gone) || !slices.Equal(known, test.known) || owners != test.owners {
				t.Errorf("gone %v, known %v with %d owners; want %v, %v, %d", gone, known, owners, test.gone, test.known, test.owners)
			}
		})
	}
	deleting := pod("a", func(p *corev1.Pod) { p.DeletionTimestamp = &now })
	finalized := pod("a", func(p *corev1.Pod) { p.Finalizers = []string{metav1.FinalizerDeleteDependents} })
	for i, other := range []*metav1.ObjectMeta{deleting, finalized, pod("b", nil), pod("a", func(p *corev1.Pod) { p.OwnerReferences[0].UID = "other" })} {
		t.Run(fmt.Sprint("not alike ", i), func(t *testing.T) {
			if alike(pod("a", nil), other) {
				t.Error("a change of weight is overlooked")
			}
		})
	}
}
