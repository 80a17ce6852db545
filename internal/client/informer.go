package client

import (
	"context"
	"errors"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/mailbox"
)

// delivery is one change on its way to a handler.
type delivery struct {
	old, obj client.Object // obj is nil for a deletion, old for an addition
	initial  bool
	complete bool // the initial list is complete
}

// registration is one handler with what it has not seen yet. A slow handler
// makes nobody else wait.
type registration struct {
	handler toolscache.ResourceEventHandler
	mail    *mailbox.Mailbox[delivery]
	synced  chan struct{}
	removed chan struct{}
}

func (r *registration) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.removed:
			return
		case <-r.mail.Ready():
		}
		for _, d := range r.mail.Take() {
			if ctx.Err() != nil {
				return
			}
			r.deliver(d)
		}
	}
}

func (r *registration) deliver(d delivery) {
	switch {
	case d.complete:
		close(r.synced)
	case d.obj == nil:
		r.handler.OnDelete(d.old)
	case d.old == nil:
		r.handler.OnAdd(d.obj, d.initial)
	default:
		r.handler.OnUpdate(d.old, d.obj)
	}
}

// HasSynced reports whether the handler has seen all that was there at first.
func (r *registration) HasSynced() bool {
	select {
	case <-r.synced:
		return true
	default:
		return false
	}
}

// HasSyncedChecker is HasSynced to wait for.
func (r *registration) HasSyncedChecker() toolscache.DoneChecker { return done{"handler", r.synced} }

// done tells when something is complete.
type done struct {
	name    string
	channel <-chan struct{}
}

func (d done) Name() string          { return d.name }
func (d done) Done() <-chan struct{} { return d.channel }

// AddEventHandler tells handler of all objects that are there and of every
// change from then on, in order, one at a time.
func (k *kind) AddEventHandler(handler toolscache.ResourceEventHandler) (toolscache.ResourceEventHandlerRegistration, error) {
	r := &registration{handler: handler, mail: mailbox.New[delivery](), synced: make(chan struct{}), removed: make(chan struct{})}
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, obj := range k.objects {
		r.mail.Put(delivery{obj: obj, initial: true})
	}
	if k.HasSynced() {
		r.mail.Put(delivery{complete: true})
	}
	k.handlers[r] = struct{}{}
	if ctx := k.running; ctx != nil && ctx.Err() == nil {
		k.work.Go(func() { r.run(ctx) })
	}
	return r, nil
}

// AddEventHandlerWithResyncPeriod is AddEventHandler: nothing is lost on the way
// in one process, so nothing is told twice.
func (k *kind) AddEventHandlerWithResyncPeriod(handler toolscache.ResourceEventHandler, _ time.Duration) (toolscache.ResourceEventHandlerRegistration, error) {
	return k.AddEventHandler(handler)
}

// AddEventHandlerWithOptions is AddEventHandler; no option says anything here.
func (k *kind) AddEventHandlerWithOptions(handler toolscache.ResourceEventHandler, _ toolscache.HandlerOptions) (toolscache.ResourceEventHandlerRegistration, error) {
	return k.AddEventHandler(handler)
}

// RemoveEventHandler stops telling a handler. It may be in a call still.
func (k *kind) RemoveEventHandler(handle toolscache.ResourceEventHandlerRegistration) error {
	r, ok := handle.(*registration)
	if !ok {
		return errors.New("remove handler: it was not added here")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, there := k.handlers[r]; there {
		delete(k.handlers, r)
		close(r.removed)
	}
	return nil
}

// AddIndexers is not for this cache: IndexField is.
func (k *kind) AddIndexers(toolscache.Indexers) error {
	return errors.New("add indexers: use IndexField of the cache")
}

// HasSynced reports whether all that was there at first is in the cache.
func (k *kind) HasSynced() bool {
	select {
	case <-k.synced:
		return true
	default:
		return false
	}
}

// HasSyncedChecker is HasSynced to wait for.
func (k *kind) HasSyncedChecker() toolscache.DoneChecker { return done{k.gvk.Kind, k.synced} }

// IsStopped reports whether the cache has ended.
func (k *kind) IsStopped() bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.running != nil && k.running.Err() != nil
}

func labelsOf(obj client.Object) labels.Set { return obj.GetLabels() }
