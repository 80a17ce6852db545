// Package steady keeps watches alive that the watch cache gives up. The cache
// lets a watcher lag by ten events and a few milliseconds and then ends its
// watch: on a busy machine it ends nearly all of a hundred at a thousand writes
// a second, and each then comes back with a request of its own.
//
// Here every watch has a queue, which its goroutine fills as fast as the cache
// tells and its reader empties. A reader that lags finds many events at once,
// which cost it one flush and one write for all. Where the cache ends a watch
// all the same, it is taken up again at the last event that came from it, out
// of the cache's history, just as the client would: nothing is lost, doubled or
// out of order. What upstream promises of resource versions, initial events,
// bookmarks and selectors is the cache's work and is left as it is.
//
// A queue is bounded. Events that all watchers share count as one, events that
// are a copy for this watch alone count as many; with a full queue the cache is
// left to end the watch, which is taken up when there is room again. A watch
// that has fallen out of the cache's history ends, as upstream's do.
package steady

import (
	"context"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
)

// Watches returns s with steady watches. It is for a watch cache: s tells what
// is live by objects that can share their encodings.
func Watches(s storage.Interface) storage.Interface { return &steady{s} }

type steady struct{ storage.Interface }

// Watch starts a goroutine that ends with the watch or with ctx.
func (s *steady) Watch(ctx context.Context, key string, opts storage.ListOptions) (watch.Interface, error) {
	again := func(version string) (watch.Interface, error) {
		resumed := opts
		resumed.ResourceVersion, resumed.ResourceVersionMatch, resumed.SendInitialEvents = version, "", nil
		return s.Interface.Watch(ctx, key, resumed)
	}
	source, err := s.Interface.Watch(ctx, key, opts)
	if err != nil {
		return nil, err
	}
	w := newWatcher(source, startOf(opts), again)
	go w.run(ctx)
	return w, nil
}

// position is how far a watch has come.
type position struct {
	// version is that of the last event; "" while there is none from which a
	// watch could go on.
	version string
	// untilEnd: only the bookmark at the end of the initial events gives a
	// first version.
	untilEnd bool
}

func startOf(opts storage.ListOptions) position {
	initial := opts.SendInitialEvents != nil && *opts.SendInitialEvents
	switch {
	case initial:
		return position{untilEnd: true}
	case opts.ResourceVersion == "" || opts.ResourceVersion == "0":
		return position{} // the state comes first, in no order
	}
	return position{version: opts.ResourceVersion}
}

// pass takes note of an event. Initial events are in no order, and what follows
// them is newer than all of them.
func (p *position) pass(e watch.Event) {
	m, err := meta.Accessor(e.Object)
	if err != nil {
		return
	}
	if p.version == "" {
		switch {
		case p.untilEnd && (e.Type != watch.Bookmark || m.GetAnnotations()[metav1.InitialEventsAnnotationKey] != "true"):
			return
		case !p.untilEnd && e.Type != watch.Bookmark && !shared(e.Object):
			return
		}
	}
	p.version = m.GetResourceVersion()
}

// shared reports whether obj is one for all watchers.
func shared(obj runtime.Object) bool {
	_, ok := obj.(runtime.CacheableObject)
	return ok
}
