package garbagecollector

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/lru"

	"github.com/sinawi/sinawi/internal/controllers/served"
)

const (
	workers = 8
	// remembered is how many owners are known to be absent. As many as upstream's: each
	// may have had thousands of dependents, which come one after the other.
	remembered = 500
	// patience bounds the wait for the first state of all kinds. Who begins
	// earlier is still right, but asks the API server about more owners.
	patience = 30 * time.Second
)

// Controller collects garbage.
type Controller struct {
	discovery discovery.DiscoveryInterface
	metadata  metadata.Interface
	log       *slog.Logger
	graph     *graph
	queue     workqueue.TypedRateLimitingInterface[types.UID]
	gone      func(schema.GroupVersionKind, *metav1.PartialObjectMetadata)
	shared    Sharing    // nil: every kind is watched
	absent    *lru.Cache // identities of owners that are gone; a UID never comes back

	// rediscover asks for another look at what is served; it holds one request.
	rediscover chan struct{}

	mu    sync.Mutex // guards the fields below
	kinds served.Kinds
}

// Options vary the controller.
type Options struct {
	// Gone, if set, is told of every object that was deleted, of any kind: the
	// collector sees them anyway. It must not block.
	Gone func(schema.GroupVersionKind, *metav1.PartialObjectMetadata)
	// Shared, if set, has some kinds at hand; all others are watched.
	Shared Sharing
	// Events, if set, tells users of owners that cannot be.
	Events record.EventRecorder
}

// New returns a collector that reaches all kinds through d and m.
func New(d discovery.DiscoveryInterface, m metadata.Interface, log *slog.Logger, opts Options) *Controller {
	c := &Controller{
		gone: opts.Gone, shared: opts.Shared,
		discovery: d, metadata: m, log: log.With("controller", "garbagecollector"), graph: newGraph(),
		absent:     lru.New(remembered),
		rediscover: make(chan struct{}, 1),
	}
	if opts.Events != nil {
		c.graph.astray = func(dependent identity, ref metav1.OwnerReference) { warn(opts.Events, dependent, ref) }
	}
	return c
}

// warn tells a dependent that its owner is in another namespace.
func warn(events record.EventRecorder, dependent identity, ref metav1.OwnerReference) {
	version, kind := dependent.kind.ToAPIVersionAndKind()
	about := &corev1.ObjectReference{
		APIVersion: version, Kind: kind, Namespace: dependent.namespace, Name: dependent.name, UID: dependent.uid,
	}
	events.Eventf(about, corev1.EventTypeWarning, "OwnerRefInvalidNamespace",
		"ownerRef [%s/%s, namespace: %s, name: %s, uid: %s] does not exist in namespace %q",
		ref.APIVersion, ref.Kind, dependent.namespace, ref.Name, ref.UID, dependent.namespace)
}

// Run watches and collects until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	// The queue has goroutines of its own, so it is made where it is shut down.
	c.queue = workqueue.NewTypedRateLimitingQueue(
		workqueue.NewTypedItemExponentialFailureRateLimiter[types.UID](50*time.Millisecond, 5*time.Minute))
	group, ctx := errgroup.WithContext(ctx)
	ready := make(chan struct{})
	group.Go(func() error {
		m := newMonitors(c)
		m.run(ctx, ready)
		return nil
	})
	group.Go(func() error {
		select {
		case <-ready:
		case <-time.After(patience):
			c.log.Warn("begin before all kinds are known")
		case <-ctx.Done():
		}
		c.work(ctx)
		return nil
	})
	group.Go(func() error {
		<-ctx.Done()
		c.queue.ShutDown()
		return nil
	})
	return group.Wait()
}

func (c *Controller) work(ctx context.Context) {
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for {
				uid, down := c.queue.Get()
				if down {
					return
				}
				c.handle(ctx, uid)
				c.queue.Done(uid)
			}
		})
	}
	wg.Wait()
}

func (c *Controller) handle(ctx context.Context, uid types.UID) {
	err := c.process(ctx, uid)
	switch {
	case err == nil:
		c.queue.Forget(uid)
	case ctx.Err() != nil:
	default:
		level := slog.LevelDebug
		if c.queue.NumRequeues(uid) == 8 && !errors.Is(err, errUnseen) {
			level = slog.LevelWarn
		}
		c.log.Log(ctx, level, "collect later", "uid", uid, "err", err)
		c.queue.AddRateLimited(uid)
	}
}

func (c *Controller) wake(uids []types.UID) {
	for _, uid := range uids {
		c.queue.Add(uid)
	}
}

// served returns where objects of a kind are found.
func (c *Controller) served(kind schema.GroupVersionKind) (served.Kind, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	k, ok := c.kinds.ByKind[kind]
	return k, ok
}

// lookAgain asks for another look at what is served.
func (c *Controller) lookAgain() {
	select {
	case c.rediscover <- struct{}{}:
	default:
	}
}
