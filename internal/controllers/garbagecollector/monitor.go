package garbagecollector

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/sinawi/sinawi/internal/controllers/served"
)

const (
	// soon is how long a change of what is served is left to take effect.
	soon = 300 * time.Millisecond
	// later is when it is looked at once more, for servers that were slow.
	later = 5 * time.Second
	// retry is how long a discovery that failed waits.
	retry = 10 * time.Second
)

// monitors are the watches, one for each kind that can be collected.
type monitors struct {
	c       *Controller
	running map[schema.GroupVersionResource]*monitor
	wg      sync.WaitGroup
}

type monitor struct {
	kind   served.Kind
	cancel context.CancelFunc
	synced <-chan struct{}
}

func newMonitors(c *Controller) *monitors {
	return &monitors{c: c, running: map[schema.GroupVersionResource]*monitor{}}
}

// run keeps the watches in step with what is served until ctx ends. It closes
// ready when the first set of them has delivered all there was.
func (m *monitors) run(ctx context.Context, ready chan struct{}) {
	defer m.wg.Wait()
	first := true
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.c.rediscover:
			timer.Reset(soon)
			continue
		case <-timer.C:
		}
		added, err := m.sync(ctx)
		switch {
		case err != nil:
			m.c.log.Warn("discovery did not answer", "err", err)
			timer.Reset(retry)
			continue
		case first:
			first = false
			m.announce(ctx, ready)
		case added:
			timer.Reset(later)
		}
	}
}

// announce closes ready when all running watches are in step.
func (m *monitors) announce(ctx context.Context, ready chan struct{}) {
	var waits []<-chan struct{}
	for _, mon := range m.running {
		waits = append(waits, mon.synced)
	}
	m.wg.Go(func() {
		for _, synced := range waits {
			select {
			case <-synced:
			case <-ctx.Done():
				return
			}
		}
		close(ready)
	})
}

// sync starts and stops watches after what is served now.
func (m *monitors) sync(ctx context.Context) (changed bool, err error) {
	kinds, err := served.Ask(m.c.discovery)
	if err != nil {
		return false, err
	}
	wanted := map[schema.GroupVersionResource]served.Kind{}
	for _, k := range kinds.Preferred {
		if k.Can("delete", "list", "watch") && !ignored(k.Resource.GroupResource()) {
			wanted[k.Resource] = k
		}
	}
	for resource, mon := range m.running {
		if _, ok := wanted[resource]; ok {
			continue
		}
		if kinds.Failed[resource.GroupVersion()] != nil {
			kinds.ByKind[mon.kind.Kind] = mon.kind // its server is silent, not gone
			continue
		}
		mon.cancel()
		delete(m.running, resource)
		m.c.wake(m.c.graph.doubt(mon.kind.Kind.GroupKind()))
		changed = true
	}
	m.c.mu.Lock()
	m.c.kinds = kinds
	m.c.mu.Unlock()
	for resource, k := range wanted {
		if m.running[resource] == nil {
			m.running[resource] = m.start(ctx, k)
			changed = true
		}
	}
	return changed, nil
}

// ignored are kinds that nobody owns and that change all the time.
func ignored(r schema.GroupResource) bool {
	return r == schema.GroupResource{Resource: "events"} || r == schema.GroupResource{Group: "events.k8s.io", Resource: "events"}
}

// describesKinds says whether a change of such an object changes what is served.
func describesKinds(r schema.GroupResource) bool {
	return r == schema.GroupResource{Group: "apiextensions.k8s.io", Resource: "customresourcedefinitions"} ||
		r == schema.GroupResource{Group: "apiregistration.k8s.io", Resource: "apiservices"}
}

func (m *monitors) start(ctx context.Context, k served.Kind) *monitor {
	ctx, cancel := context.WithCancel(ctx)
	f := &feed{c: m.c, kind: k, synced: make(chan struct{})}
	if m.c.shared != nil && m.c.shared.Shares(k.Kind) {
		m.wg.Go(func() { f.follow(ctx) })
	} else {
		m.wg.Go(func() { f.watch(ctx) })
	}
	return &monitor{kind: k, cancel: cancel, synced: f.synced}
}

// feed brings the objects of one kind into the graph, from one goroutine.
type feed struct {
	c      *Controller
	kind   served.Kind
	done   atomic.Bool
	synced chan struct{}
}

// watch asks the API server for the metadata of the kind until ctx ends.
func (f *feed) watch(ctx context.Context) {
	source := f.c.metadata.Resource(f.kind.Resource)
	cache.NewReflectorWithOptions(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return source.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return source.Watch(ctx, o)
		},
	}, &metav1.PartialObjectMetadata{}, &store{feed: f, known: map[types.UID]bool{}},
		cache.ReflectorOptions{Name: "garbage/" + f.kind.Resource.Resource}).RunWithContext(ctx)
}

func (f *feed) observe(meta *metav1.PartialObjectMetadata) {
	f.c.wake(f.c.graph.observe(f.kind.Kind, meta))
}

func (f *feed) remove(meta *metav1.PartialObjectMetadata) {
	f.c.wake(f.c.graph.remove(meta.UID))
	if f.c.gone != nil {
		f.c.gone(f.kind.Kind, meta)
	}
}

// complete notes that all there was has been observed.
func (f *feed) complete() {
	if f.done.CompareAndSwap(false, true) {
		close(f.synced)
	}
}

// notice looks again at what is served, should a change of this kind change it.
func (f *feed) notice() {
	if f.done.Load() && describesKinds(f.kind.Resource.GroupResource()) {
		f.c.lookAgain()
	}
}

// store is what a reflector fills: what would be kept goes into the graph. Only
// the uids are kept here, to notice what went while a watch was interrupted.
type store struct {
	feed  *feed
	known map[types.UID]bool
}

func (s *store) Add(obj any) error {
	if meta, ok := obj.(*metav1.PartialObjectMetadata); ok {
		s.known[meta.UID] = true
		s.feed.observe(meta)
		s.feed.notice()
	}
	return nil
}

func (s *store) Update(obj any) error { return s.Add(obj) }

func (s *store) Delete(obj any) error {
	if meta, ok := obj.(*metav1.PartialObjectMetadata); ok {
		delete(s.known, meta.UID)
		s.feed.remove(meta)
		s.feed.notice()
	}
	return nil
}

// Replace takes in a whole list. Whoever is not in it is gone.
func (s *store) Replace(objs []any, _ string) error {
	before := s.known
	s.known = make(map[types.UID]bool, len(objs))
	for _, obj := range objs {
		if meta, ok := obj.(*metav1.PartialObjectMetadata); ok {
			delete(before, meta.UID)
			s.known[meta.UID] = true
			s.feed.observe(meta)
		}
	}
	for uid := range before {
		s.feed.c.wake(s.feed.c.graph.remove(uid))
	}
	s.feed.complete()
	s.feed.notice()
	return nil
}

func (s *store) Resync() error { return nil }
