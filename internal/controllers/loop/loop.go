package loop

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// Deps is what every controller needs from the outside.
type Deps struct {
	// Client writes, and reads what must not come from a cache.
	Client client.Client
	// Cache answers all other reads. Objects it returns are shared: read-only.
	Cache cache.Cache
	// Events tells users what the controller did.
	Events record.EventRecorder
	// Log is for operators.
	Log *slog.Logger
}

// Key names the object to reconcile.
type Key = types.NamespacedName

// Reconcile brings one object closer to what is asked of it. A positive delay
// asks for the same key again after that time even if nothing changes.
type Reconcile func(ctx context.Context, key Key) (again time.Duration, err error)

// conflictDelay is how long a key waits after its write met a newer object. The
// newer object's own event usually brings the key back sooner.
const conflictDelay = 50 * time.Millisecond

// Loop is one controller's queue, watches and workers.
type Loop struct {
	name    string
	workers int
	deps    Deps
	do      Reconcile
	sources []source.Source
	watches *watches
	// A key whose reconciling failed waits that long at first, twice as long each
	// further time, and never longer than the most.
	first, most time.Duration
}

// New returns a loop that runs do with the given number of workers.
func New(name string, workers int, deps Deps, do Reconcile) *Loop {
	return &Loop{
		name: name, workers: workers, deps: deps, do: do, watches: newWatches(),
		first: 5 * time.Millisecond, most: 5 * time.Minute,
	}
}

// Retry sets how long a key waits whose reconciling failed: at first, and at most.
func (l *Loop) Retry(first, most time.Duration) { l.first, l.most = first, most }

// Watch enqueues the keys that mapper gives for every change of objects of
// obj's kind. For an update both the old and the new object are mapped, so that
// whoever lost an object hears of it too.
func (l *Loop) Watch(obj client.Object, mapper func(client.Object) []Key) {
	l.WatchChanges(obj, func(before, after client.Object) []Key {
		var keys []Key
		if before != nil {
			keys = mapper(before)
		}
		if after != nil {
			keys = append(keys, mapper(after)...)
		}
		return keys
	})
}

// WatchChanges is Watch for those who must compare: before is nil for an added
// object, after for a deleted one. What changed returns may depend on other objects
// in the cache, if their kinds are watched too: it is not called before all are.
func (l *Loop) WatchChanges(obj client.Object, changed func(before, after client.Object) []Key) {
	l.sources = append(l.sources, source.Kind(l.watches.on(l.deps.Cache), obj, changes{l.watches, changed}))
}

// changes enqueues the keys of changed objects. The library's handler of functions finds
// out by reflection for each event whether the queue has priorities, which none has here.
type changes struct {
	watches *watches
	changed func(before, after client.Object) []Key
}

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

func (c changes) add(ctx context.Context, q queue, before, after client.Object) {
	if !c.watches.await(ctx) {
		return
	}
	var last Key
	for i, key := range c.changed(before, after) {
		if i > 0 && key == last {
			continue
		}
		q.Add(reconcile.Request{NamespacedName: key})
		last = key
	}
}

// Create implements handler.EventHandler.
func (c changes) Create(ctx context.Context, e event.CreateEvent, q queue) {
	c.add(ctx, q, nil, e.Object)
}

// Update implements handler.EventHandler.
func (c changes) Update(ctx context.Context, e event.UpdateEvent, q queue) {
	c.add(ctx, q, e.ObjectOld, e.ObjectNew)
}

// Delete implements handler.EventHandler.
func (c changes) Delete(ctx context.Context, e event.DeleteEvent, q queue) {
	c.add(ctx, q, e.Object, nil)
}

// Generic implements handler.EventHandler.
func (c changes) Generic(context.Context, event.GenericEvent, queue) {}

// WatchSelf reconciles the changed object itself.
func (l *Loop) WatchSelf(obj client.Object) {
	l.WatchChanges(obj, func(before, after client.Object) []Key {
		if after == nil {
			after = before
		}
		return Self(after)
	})
}

// WatchChannel enqueues the keys that mapper gives for every object that comes
// through the channel. It is for changes that no cache shows.
func (l *Loop) WatchChannel(events <-chan event.GenericEvent, mapper func(client.Object) []Key) {
	l.sources = append(l.sources, source.Channel(events, handler.Funcs{
		GenericFunc: func(_ context.Context, e event.GenericEvent, q queue) {
			for _, key := range mapper(e.Object) {
				q.Add(reconcile.Request{NamespacedName: key})
			}
		},
	}))
}

// Begin enqueues a key once, whatever is watched: it is reconciled when the
// caches are in step. It is for an object that must exist although nothing else
// would ask for it.
func (l *Loop) Begin(key Key) {
	l.sources = append(l.sources, source.Func(func(_ context.Context, q queue) error {
		q.Add(reconcile.Request{NamespacedName: key})
		return nil
	}))
}

// Self is the key of the object itself.
func Self(obj client.Object) []Key { return []Key{client.ObjectKeyFromObject(obj)} }

// Run watches and reconciles until ctx ends, then waits for the workers.
func (l *Loop) Run(ctx context.Context) error {
	skip, classic := true, false
	logger := logr.FromSlogHandler(l.deps.Log.With("controller", l.name).Handler())
	c, err := controller.NewUnmanaged(l.name, controller.Options{
		SkipNameValidation:      &skip,
		UsePriorityQueue:        &classic,
		MaxConcurrentReconciles: l.workers,
		Reconciler:              reconcile.Func(l.reconcile),
		NewQueue:                l.newQueue,
		LogConstructor: func(req *reconcile.Request) logr.Logger {
			if req == nil {
				return logger.V(4) // the library's start and stop lines are for debugging
			}
			return logger.WithValues("namespace", req.Namespace, "name", req.Name)
		},
	})
	if err != nil {
		return fmt.Errorf("build controller %s: %w", l.name, err)
	}
	for _, src := range l.sources {
		if err := c.Watch(src); err != nil {
			return fmt.Errorf("watch for controller %s: %w", l.name, err)
		}
	}
	if err := c.Start(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("run controller %s: %w", l.name, err)
	}
	return nil
}

func (l *Loop) reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	again, err := l.do(ctx, req.NamespacedName)
	switch {
	case err == nil:
		return reconcile.Result{RequeueAfter: again}, nil
	case ctx.Err() != nil:
		return reconcile.Result{}, nil
	case apierrors.IsConflict(err):
		l.deps.Log.Debug("object changed meanwhile", "controller", l.name, "key", req.String(), "err", err)
		return reconcile.Result{RequeueAfter: conflictDelay}, nil
	default:
		return reconcile.Result{}, err
	}
}

// newQueue builds the library's rate-limited queue. It stays nameless, which
// switches its metrics off: their upkeep would wake every queue twice a second,
// and a machine at rest pays for that.
func (l *Loop) newQueue(string, workqueue.TypedRateLimiter[reconcile.Request]) workqueue.TypedRateLimitingInterface[reconcile.Request] {
	return workqueue.NewTypedRateLimitingQueue(
		workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](l.first, l.most))
}
