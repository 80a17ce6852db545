package storage

import (
	"context"
	"time"

	"go.etcd.io/etcd/client/v3/kubernetes"
	"k8s.io/apiserver/pkg/endpoints/request"
)

// timed tells each request how long it waited for the store, as upstream's
// client does.
type timed struct{ store kubernetes.Interface }

func waited(ctx context.Context, since time.Time) {
	request.TrackStorageLatency(ctx, time.Since(since))
}

// Get implements kubernetes.Interface.
func (t timed) Get(ctx context.Context, key string, opts kubernetes.GetOptions) (kubernetes.GetResponse, error) {
	defer waited(ctx, time.Now())
	return t.store.Get(ctx, key, opts)
}

// List implements kubernetes.Interface.
func (t timed) List(ctx context.Context, prefix string, opts kubernetes.ListOptions) (kubernetes.ListResponse, error) {
	defer waited(ctx, time.Now())
	return t.store.List(ctx, prefix, opts)
}

// Count implements kubernetes.Interface.
func (t timed) Count(ctx context.Context, prefix string, opts kubernetes.CountOptions) (int64, error) {
	defer waited(ctx, time.Now())
	return t.store.Count(ctx, prefix, opts)
}

// OptimisticPut implements kubernetes.Interface.
func (t timed) OptimisticPut(ctx context.Context, key string, value []byte, expectedRevision int64, opts kubernetes.PutOptions) (kubernetes.PutResponse, error) {
	defer waited(ctx, time.Now())
	return t.store.OptimisticPut(ctx, key, value, expectedRevision, opts)
}

// OptimisticDelete implements kubernetes.Interface.
func (t timed) OptimisticDelete(ctx context.Context, key string, expectedRevision int64, opts kubernetes.DeleteOptions) (kubernetes.DeleteResponse, error) {
	defer waited(ctx, time.Now())
	return t.store.OptimisticDelete(ctx, key, expectedRevision, opts)
}
