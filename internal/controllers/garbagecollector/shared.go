package garbagecollector

import (
	"context"
	"reflect"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
)

// Sharing is a cache that has the objects of some kinds anyway: following them
// costs no watch, and nothing is encoded for it.
type Sharing interface {
	// Shares says whether objects of the kind are at hand.
	Shares(kind schema.GroupVersionKind) bool
	GetInformerForKind(ctx context.Context, kind schema.GroupVersionKind, opts ...cache.InformerGetOption) (cache.Informer, error)
}

// follow observes the objects of a kind that the cache shares until ctx ends.
func (f *feed) follow(ctx context.Context) {
	var registration toolscache.ResourceEventHandlerRegistration
	informer, err := f.c.shared.GetInformerForKind(ctx, f.kind.Kind, cache.BlockUntilSynced(false))
	if err == nil {
		registration, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
			AddFunc:    func(obj any) { f.changed(nil, metadataOf(obj)) },
			UpdateFunc: func(old, obj any) { f.changed(metadataOf(old), metadataOf(obj)) },
			DeleteFunc: func(obj any) { f.changed(metadataOf(obj), nil) },
		})
	}
	if err != nil {
		f.c.log.Warn("cache does not share what it has", "kind", f.kind.Kind, "err", err)
		f.watch(ctx)
		return
	}
	defer func() {
		if err := informer.RemoveEventHandler(registration); err != nil {
			f.c.log.Warn("cache goes on telling", "kind", f.kind.Kind, "err", err)
		}
	}()
	select {
	case <-registration.HasSyncedChecker().Done():
		f.complete()
	case <-ctx.Done():
	}
	<-ctx.Done()
}

// changed observes one change; before is nil for a new object, after for one that
// is gone.
func (f *feed) changed(before, after *metav1.ObjectMeta) {
	defer f.notice()
	if before != nil && (after == nil || before.UID != after.UID) {
		f.remove(&metav1.PartialObjectMetadata{ObjectMeta: *before})
	}
	if after != nil && (before == nil || !alike(before, after)) {
		f.observe(&metav1.PartialObjectMetadata{ObjectMeta: *after})
	}
}

// alike says that two states of an object are one to the graph.
func alike(a, b *metav1.ObjectMeta) bool {
	return a.UID == b.UID && (a.DeletionTimestamp == nil) == (b.DeletionTimestamp == nil) &&
		slices.Equal(a.Finalizers, b.Finalizers) && reflect.DeepEqual(a.OwnerReferences, b.OwnerReferences)
}

// metadataOf is an object's metadata; nil for what has none.
func metadataOf(obj any) *metav1.ObjectMeta {
	accessor, ok := obj.(metav1.ObjectMetaAccessor)
	if !ok {
		return nil
	}
	meta, _ := accessor.GetObjectMeta().(*metav1.ObjectMeta)
	return meta
}
