package steady

import (
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/watch"
)

const (
	// maxQueued bounds a queue, counted in shared events.
	maxQueued = 10_000
	// copied is what an event counts whose object is this watch's own.
	copied = 10
	// kept is the room that an empty queue keeps.
	kept = 64
	// ahead is how many events wait in the channel itself: the reader flushes
	// when it finds none there.
	ahead = 32

	// A source that was resumed may be ended again before it tells anything
	// when the machine is very busy. After so many in a row, with a pause before
	// each, there is no hope.
	maxFruitless = 20
	pause        = 10 * time.Millisecond
)

// watcher is one steady watch.
type watcher struct {
	out  chan watch.Event
	stop chan struct{}
	once sync.Once

	// What follows belongs to the goroutine that runs.

	source    watch.Interface // nil while there is none
	again     func(version string) (watch.Interface, error)
	at        position
	fruitless int              // sources that were resumed and have told nothing
	paused    <-chan time.Time // not nil while no source is to be resumed
	finished  bool             // nothing more will come from a source
	queue     queue
}

func newWatcher(source watch.Interface, at position, again func(string) (watch.Interface, error)) *watcher {
	return &watcher{
		out: make(chan watch.Event, ahead), stop: make(chan struct{}),
		source: source, at: at, again: again,
	}
}

func (w *watcher) ResultChan() <-chan watch.Event { return w.out }

func (w *watcher) Stop() { w.once.Do(func() { close(w.stop) }) }

// run moves events from the source to the reader until both are done.
func (w *watcher) run(ctx context.Context) {
	defer close(w.out)
	defer func() {
		if w.source != nil {
			w.source.Stop()
		}
	}()
	for {
		if w.source == nil && w.paused == nil && !w.finished && w.queue.weight <= maxQueued/2 {
			w.resume()
		}
		if w.finished && w.queue.empty() {
			return
		}
		var in <-chan watch.Event
		if w.source != nil && w.queue.weight < maxQueued {
			in = w.source.ResultChan()
		}
		var out chan<- watch.Event
		var next watch.Event
		if !w.queue.empty() {
			out, next = w.out, w.queue.first()
		}
		select {
		case e, ok := <-in:
			w.take(e, ok)
		case out <- next:
			w.queue.pop()
		case <-w.paused:
			w.paused = nil
		case <-w.stop:
			return
		case <-ctx.Done():
			return
		}
	}
}

// take queues an event, or notes that the source has ended.
func (w *watcher) take(e watch.Event, ok bool) {
	switch {
	case !ok:
		w.source = nil
		w.finished = w.finished || w.at.version == "" || w.fruitless == maxFruitless
		if w.fruitless > 0 {
			w.paused = time.After(pause)
		}
		return
	case e.Type != watch.Error:
		w.at.pass(e)
	case w.fruitless > 0: // upstream's just end; the client learns why when it comes back
		w.finished = true
		return
	default:
		w.finished = true
	}
	w.fruitless = 0
	w.queue.push(e)
}

// resume takes the watch up again where it was when its source ended.
func (w *watcher) resume() {
	source, err := w.again(w.at.version)
	if err != nil {
		w.finished = true
		return
	}
	w.source = source
	w.fruitless++
}

// queue holds events in order. Its memory is given back when it is empty.
type queue struct {
	events []watch.Event
	head   int // events before it are gone
	weight int
}

func (q *queue) empty() bool { return q.head == len(q.events) }

func (q *queue) first() watch.Event { return q.events[q.head] }

func (q *queue) push(e watch.Event) {
	if q.head > len(q.events)/2 && q.head > kept {
		n := copy(q.events, q.events[q.head:])
		clear(q.events[n:])
		q.events, q.head = q.events[:n], 0
	}
	q.events = append(q.events, e)
	q.weight += weight(e)
}

func (q *queue) pop() {
	q.weight -= weight(q.events[q.head])
	q.events[q.head] = watch.Event{}
	q.head++
	if !q.empty() {
		return
	}
	q.head = 0
	if cap(q.events) > kept {
		q.events = nil
		return
	}
	q.events = q.events[:0]
}

func weight(e watch.Event) int {
	if shared(e.Object) {
		return 1
	}
	return copied
}
