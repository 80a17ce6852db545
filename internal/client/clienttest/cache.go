// Package clienttest has a cache that tests fill by hand, for components that read
// from one. It holds what was put, tells informers of changes in order, and never
// talks to an API server. Only tests import it.
package clienttest

import (
	"context"
	"reflect"
	"sync"
	"testing"

	toolscache "k8s.io/client-go/tools/cache"
	fakesource "k8s.io/client-go/tools/cache/testing"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Cache is a cache.Cache of which only the informers work.
type Cache struct {
	cache.Cache

	ctx context.Context

	mu    sync.Mutex // guards kinds
	kinds map[reflect.Type]*kind
}

type kind struct {
	source   *fakesource.FakeControllerSource
	informer toolscache.SharedIndexInformer
	start    sync.Once
}

// New returns an empty cache that lasts until the test ends.
func New(t testing.TB) *Cache {
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	return &Cache{ctx: ctx, kinds: map[reflect.Type]*kind{}}
}

func (c *Cache) kind(obj client.Object) *kind {
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.kinds[reflect.TypeOf(obj)]
	if k == nil {
		k = &kind{source: fakesource.NewFakeControllerSource()}
		k.informer = toolscache.NewSharedIndexInformer(k.source, obj, 0, toolscache.Indexers{toolscache.NamespaceIndex: toolscache.MetaNamespaceIndexFunc})
		c.kinds[reflect.TypeOf(obj)] = k
	}
	return k
}

// Put adds an object or replaces the one of its name.
func (c *Cache) Put(objects ...client.Object) {
	for _, obj := range objects {
		c.kind(obj).source.Modify(obj.DeepCopyObject())
	}
}

// Delete removes an object.
func (c *Cache) Delete(obj client.Object) {
	c.kind(obj).source.Delete(obj.DeepCopyObject())
}

// GetInformer implements cache.Cache.
func (c *Cache) GetInformer(_ context.Context, obj client.Object, _ ...cache.InformerGetOption) (cache.Informer, error) {
	k := c.kind(obj)
	k.start.Do(func() { go k.informer.Run(c.ctx.Done()) })
	return k.informer, nil
}
