package feed

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
)

// Tee returns s as its watch cache sees it, and tells log what passes: the
// lists that fill the cache and the watches that keep it up to date. key
// computes an object's key.
func Tee(s storage.Interface, log *Log, key func(runtime.Object) (string, error)) storage.Interface {
	return &tee{Interface: s, log: log, key: key}
}

type tee struct {
	storage.Interface
	log *Log
	key func(runtime.Object) (string, error)

	mu    sync.Mutex
	pages map[string]runtime.Object // guarded by mu; a list that is being read page by page
}

// GetList is called by the watch cache when it fills itself, in pages.
func (t *tee) GetList(ctx context.Context, key string, opts storage.ListOptions, list runtime.Object) error {
	if err := t.Interface.GetList(ctx, key, opts, list); err != nil {
		return err
	}
	if !opts.Recursive || opts.ResourceVersionMatch == metav1.ResourceVersionMatchExact {
		return nil // a check, not a fill
	}
	items, err := meta.ExtractList(list)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if opts.Predicate.Continue == "" || t.pages == nil {
		t.pages = make(map[string]runtime.Object, len(items))
	}
	for i, obj := range items {
		k, err := t.key(obj)
		if err != nil {
			return err
		}
		if i > 0 {
			share(obj, items[i-1])
		}
		t.pages[k] = obj
	}
	if m, err := meta.ListAccessor(list); err == nil && m.GetContinue() == "" {
		t.log.replace(t.pages)
		t.pages = nil
	}
	return nil
}

func (t *tee) Watch(ctx context.Context, key string, opts storage.ListOptions) (watch.Interface, error) {
	w, err := t.Interface.Watch(ctx, key, opts)
	if err != nil {
		return nil, err
	}
	tw := &teeWatch{tee: t, source: w, out: make(chan watch.Event), stop: make(chan struct{})}
	if opts.SendInitialEvents != nil && *opts.SendInitialEvents {
		tw.initial = map[string]runtime.Object{}
	}
	go tw.run()
	return tw, nil
}

// teeWatch passes events on after it has told the log.
type teeWatch struct {
	tee     *tee
	source  watch.Interface
	out     chan watch.Event
	stop    chan struct{}
	once    sync.Once
	initial map[string]runtime.Object // not nil until the initial events are complete
	added   runtime.Object            // the last one that was new; the next may be its sibling
}

func (w *teeWatch) ResultChan() <-chan watch.Event { return w.out }

func (w *teeWatch) Stop() {
	w.once.Do(func() {
		close(w.stop)
		w.source.Stop()
	})
}

func (w *teeWatch) run() {
	defer close(w.out)
	defer w.source.Stop()
	for event := range w.source.ResultChan() {
		w.observe(event)
		select {
		case w.out <- event:
		case <-w.stop:
			return
		}
	}
}

func (w *teeWatch) observe(event watch.Event) {
	obj := event.Object
	if timed, ok := obj.(storage.WatchEventWithRecordTime); ok {
		obj = timed.Unwrap()
	}
	switch event.Type {
	case watch.Bookmark:
		if w.initial != nil && isInitialEnd(obj) {
			w.tee.log.replace(w.initial)
			w.initial = nil
		}
	case watch.Added, watch.Modified, watch.Deleted:
		key, err := w.tee.key(obj)
		if err != nil {
			return // the watch cache meets the same error and reports it
		}
		w.shrink(key, obj)
		switch {
		case w.initial != nil && event.Type == watch.Deleted:
			delete(w.initial, key)
		case w.initial != nil:
			w.initial[key] = obj
		case event.Type == watch.Deleted:
			w.tee.log.remove(key, obj)
		default:
			w.tee.log.set(key, obj)
		}
	}
}

// shrink gives an object the memory of its last state, or of the last new object.
func (w *teeWatch) shrink(key string, obj runtime.Object) {
	like := w.tee.log.Get(key)
	if like == nil {
		like, w.added = w.added, obj
	}
	if like != nil {
		share(obj, like)
	}
}

func isInitialEnd(obj runtime.Object) bool {
	m, err := meta.Accessor(obj)
	return err == nil && m.GetAnnotations()[metav1.InitialEventsAnnotationKey] == "true"
}
