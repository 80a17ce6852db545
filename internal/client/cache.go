package client

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// CacheOptions of a Cache; the zero value is for production.
type CacheOptions struct {
	// Guard keeps a copy of every object and panics when somebody changed one
	// that is shared. For tests.
	Guard bool
}

// Cache is a cache.Cache whose objects are those of the API server's watch
// caches. Make one with NewCache; it answers once Start runs.
type Cache struct {
	fallback  cache.Cache
	scheme    *runtime.Scheme
	endpoints *endpoints
	opts      CacheOptions

	mu      sync.Mutex                        // guards the fields below
	kinds   map[schema.GroupVersionKind]*kind // nil: the fallback's
	running context.Context                   // nil until Start
	work    sync.WaitGroup
}

// NewCache returns a cache over server; fallback takes what server has no feed
// for, and is started with it.
func NewCache(server Server, fallback cache.Cache, scheme *runtime.Scheme, opts CacheOptions) *Cache {
	return &Cache{
		fallback: fallback, scheme: scheme, endpoints: &endpoints{server: server}, opts: opts,
		kinds: map[schema.GroupVersionKind]*kind{},
	}
}

// Start follows all kinds that were asked for, and those that will be, until ctx
// ends and all handlers have returned.
func (c *Cache) Start(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.mu.Lock()
	if c.running != nil {
		c.mu.Unlock()
		return fmt.Errorf("start object cache: it was started before")
	}
	c.running = ctx
	for _, k := range c.kinds {
		if k != nil {
			c.work.Go(func() { k.run(ctx) })
		}
	}
	c.mu.Unlock()
	err := c.fallback.Start(ctx)
	<-ctx.Done()
	c.work.Wait()
	return err
}

// WaitForCacheSync waits until all that was asked for is there.
func (c *Cache) WaitForCacheSync(ctx context.Context) bool {
	c.mu.Lock()
	var all []*kind
	for _, k := range c.kinds {
		if k != nil {
			all = append(all, k)
		}
	}
	c.mu.Unlock()
	for _, k := range all {
		if k.wait(ctx) != nil {
			return false
		}
	}
	return c.fallback.WaitForCacheSync(ctx)
}

// kind returns the store of a kind, nil when the fallback has it. blocking waits
// until it is filled, if the cache runs.
func (c *Cache) kind(ctx context.Context, gvk schema.GroupVersionKind, blocking bool) (*kind, error) {
	c.mu.Lock()
	k, known := c.kinds[gvk]
	if !known {
		var err error
		if k, err = c.newKind(gvk); err != nil {
			c.mu.Unlock()
			return nil, err
		}
		c.kinds[gvk] = k
		if running := c.running; k != nil && running != nil && running.Err() == nil {
			c.work.Go(func() { k.run(running) })
		}
	}
	running := c.running
	c.mu.Unlock()
	if k == nil || !blocking || running == nil {
		return k, nil
	}
	return k, k.wait(ctx)
}

// newKind decides who answers for a kind: we do if the feed's objects are of the
// very type that readers ask for.
func (c *Cache) newKind(gvk schema.GroupVersionKind) (*kind, error) {
	e, err := c.endpoints.get(gvk, "")
	if err != nil || e == nil || e.Changes == nil {
		return nil, err
	}
	asked, err := c.scheme.New(gvk)
	if err != nil {
		return nil, err
	}
	if !sameType(asked, e.Storage.New()) {
		return nil, nil
	}
	return newKind(gvk, e.Resource.GroupResource(), e.Changes, c.opts.Guard), nil
}

// of returns the store that answers for obj, nil when the fallback does.
func (c *Cache) of(ctx context.Context, obj runtime.Object, blocking bool) (*kind, error) {
	if !typed(obj) {
		return nil, nil
	}
	gvk, err := apiutil.GVKForObject(obj, c.scheme)
	if err != nil {
		return nil, err
	}
	return c.kind(ctx, gvk, blocking)
}

// started says whether readers can be answered.
func (c *Cache) started() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.running != nil
}

// Get reads one object: a copy, unless the options ask for none.
func (c *Cache) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	if !c.started() {
		return &cache.ErrCacheNotStarted{}
	}
	k, err := c.of(ctx, obj, true)
	if err != nil {
		return err
	}
	if k == nil {
		return c.fallback.Get(ctx, key, obj, opts...)
	}
	options := (&client.GetOptions{}).ApplyOptions(opts)
	return k.get(key, obj, options.UnsafeDisableDeepCopy == nil || !*options.UnsafeDisableDeepCopy)
}

// List reads the objects that the options select: copies, unless they ask for
// none.
func (c *Cache) List(ctx context.Context, list client.ObjectList, opts ...client.ListOption) error {
	if !c.started() {
		return &cache.ErrCacheNotStarted{}
	}
	k, err := c.listed(ctx, list)
	switch {
	case err != nil:
		return err
	case k == nil:
		return c.fallback.List(ctx, list, opts...)
	}
	return k.list(list, (&client.ListOptions{}).ApplyOptions(opts))
}

// Walk calls f with every object of the kind of list's items that the options select,
// without a copy: they are shared and read-only. The list stays empty, unless the
// kind is not at hand here.
func (c *Cache) Walk(ctx context.Context, list client.ObjectList, f func(client.Object), opts ...client.ListOption) error {
	if !c.started() {
		return &cache.ErrCacheNotStarted{}
	}
	k, err := c.listed(ctx, list)
	if err != nil {
		return err
	}
	if k == nil {
		if err := c.fallback.List(ctx, list, append(opts, client.UnsafeDisableDeepCopy)...); err != nil {
			return err
		}
		return meta.EachListItem(list, func(obj runtime.Object) error { f(obj.(client.Object)); return nil })
	}
	found, err := k.selected((&client.ListOptions{}).ApplyOptions(opts))
	if err != nil {
		return err
	}
	for _, obj := range found {
		f(obj)
	}
	return nil
}

// listed returns what holds the items of list; nil if that is only in the fallback.
func (c *Cache) listed(ctx context.Context, list client.ObjectList) (*kind, error) {
	if !typed(list) {
		return nil, nil
	}
	gvk, err := itemKind(list, c.scheme)
	if err != nil {
		return nil, err
	}
	return c.kind(ctx, gvk, true)
}

// itemKind is the kind of a list's items.
func itemKind(list client.ObjectList, scheme *runtime.Scheme) (schema.GroupVersionKind, error) {
	gvk, err := apiutil.GVKForObject(list, scheme)
	gvk.Kind = strings.TrimSuffix(gvk.Kind, "List")
	return gvk, err
}

// GetInformer returns what tells handlers of every change of obj's kind.
func (c *Cache) GetInformer(ctx context.Context, obj client.Object, opts ...cache.InformerGetOption) (cache.Informer, error) {
	k, err := c.of(ctx, obj, blocking(opts))
	if err != nil {
		return nil, err
	}
	if k == nil {
		return c.fallback.GetInformer(ctx, obj, opts...)
	}
	return k, nil
}

// GetInformerForKind is GetInformer for a kind by name.
func (c *Cache) GetInformerForKind(ctx context.Context, gvk schema.GroupVersionKind, opts ...cache.InformerGetOption) (cache.Informer, error) {
	k, err := c.kind(ctx, gvk, blocking(opts))
	if err != nil {
		return nil, err
	}
	if k == nil {
		return c.fallback.GetInformerForKind(ctx, gvk, opts...)
	}
	return k, nil
}

// Shares says whether the objects of a kind are those of the API server's watch
// cache, so that having them too costs nothing.
func (c *Cache) Shares(gvk schema.GroupVersionKind) bool {
	k, err := c.kind(context.Background(), gvk, false)
	return err == nil && k != nil
}

func blocking(opts []cache.InformerGetOption) bool {
	var o cache.InformerGetOptions
	for _, opt := range opts {
		opt(&o)
	}
	return o.BlockUntilSynced == nil || *o.BlockUntilSynced
}

// RemoveInformer does nothing for kinds that are shared: they cost little, and
// others may read them.
func (c *Cache) RemoveInformer(ctx context.Context, obj client.Object) error {
	k, err := c.of(ctx, obj, false)
	if err != nil || k != nil {
		return err
	}
	return c.fallback.RemoveInformer(ctx, obj)
}

// IndexField lets List select obj's kind by the values that extract returns.
func (c *Cache) IndexField(ctx context.Context, obj client.Object, field string, extract client.IndexerFunc) error {
	k, err := c.of(ctx, obj, false)
	if err != nil {
		return err
	}
	if k == nil {
		return c.fallback.IndexField(ctx, obj, field, extract)
	}
	return k.index(field, extract)
}

var _ cache.Cache = (*Cache)(nil)
