package loop

import (
	"context"
	"sync"

	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// watches counts the handlers of a loop that are not registered yet. Registered one
// by one, a change of one kind can be lost on another: a pod is looked at while its
// node is still in the cache, and the node goes before its own handler is there.
type watches struct {
	mu   sync.Mutex
	left int           // guarded by mu
	all  chan struct{} // closed when none is left
}

func newWatches() *watches { return &watches{all: make(chan struct{})} }

// on returns c for the registration of one handler.
func (w *watches) on(c cache.Cache) cache.Cache {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.left++
	return watched{c, w}
}

func (w *watches) registered() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.left--; w.left == 0 {
		close(w.all)
	}
}

// await waits until all handlers are registered; false means that ctx ended before.
func (w *watches) await(ctx context.Context) bool {
	select {
	case <-w.all: // without asking ctx, which makes a channel for each change
		return true
	default:
	}
	select {
	case <-w.all:
		return true
	case <-ctx.Done():
		return false
	}
}

type watched struct {
	cache.Cache
	watches *watches
}

func (w watched) GetInformer(ctx context.Context, obj client.Object, opts ...cache.InformerGetOption) (cache.Informer, error) {
	informer, err := w.Cache.GetInformer(ctx, obj, opts...)
	if err != nil {
		return nil, err
	}
	return watchedInformer{informer, w.watches}, nil
}

type watchedInformer struct {
	cache.Informer
	watches *watches
}

func (i watchedInformer) AddEventHandlerWithOptions(h toolscache.ResourceEventHandler, opts toolscache.HandlerOptions) (toolscache.ResourceEventHandlerRegistration, error) {
	registration, err := i.Informer.AddEventHandlerWithOptions(h, opts)
	if err == nil {
		i.watches.registered()
	}
	return registration, err
}
