// Package feed is the change feed of the store: what every object looks like
// now and every change to it, in order, for consumers in this process.
//
// A Tee sits between a watch cache and etcd and sees the very objects that the
// cache keeps, so that a consumer shares them without a copy. They are
// read-only: changing one corrupts what the API server answers.
package feed

import (
	"context"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Type says what happened to an object.
type Type int

// The kinds of change. Replaced is a whole new state: the objects of the
// resource are those of the change's Objects and no others.
const (
	Added Type = iota
	Modified
	Deleted
	Replaced
)

// Change is one step of a resource.
type Change struct {
	Type Type
	Key  string
	// Object is the state after the change; the last state for Deleted.
	Object runtime.Object
	// Old is the state before; nil for Added.
	Old runtime.Object
	// Objects by key, for Replaced. Not to be changed.
	Objects map[string]runtime.Object
}

// Feed holds one log per resource.
type Feed struct {
	mu   sync.Mutex
	logs map[schema.GroupResource]*Log // guarded by mu
}

// New returns a feed without logs; a log comes into being when it is asked for.
func New() *Feed { return &Feed{logs: map[schema.GroupResource]*Log{}} }

// Log returns the log of a resource.
func (f *Feed) Log(gr schema.GroupResource) *Log {
	f.mu.Lock()
	defer f.mu.Unlock()
	l := f.logs[gr]
	if l == nil {
		l = &Log{objects: map[string]runtime.Object{}, synced: make(chan struct{})}
		f.logs[gr] = l
	}
	return l
}

// Len returns how many objects a resource has, zero if it has no log.
func (f *Feed) Len(gr schema.GroupResource) int {
	f.mu.Lock()
	l := f.logs[gr]
	f.mu.Unlock()
	if l == nil {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.objects)
}

// Log is the present state of a resource and those who follow it.
type Log struct {
	mu        sync.Mutex
	objects   map[string]runtime.Object // guarded by mu
	followers map[*follower]struct{}    // guarded by mu
	synced    chan struct{}             // closed when objects is complete for the first time
	complete  bool                      // guarded by mu
}

// follower buffers without bound: a slow consumer costs memory, never the
// progress of the store. Consumers are parts of this process that drain fast.
type follower struct {
	queue []Change
	wake  chan struct{}
}

// Synced is closed when the log has seen the whole resource once.
func (l *Log) Synced() <-chan struct{} { return l.synced }

// Follow calls f with the present state as one Replaced change and then with
// every change in order, until ctx ends or f returns an error.
func (l *Log) Follow(ctx context.Context, f func(Change) error) error {
	select {
	case <-l.synced:
	case <-ctx.Done():
		return ctx.Err()
	}
	fl := &follower{wake: make(chan struct{}, 1)}
	l.mu.Lock()
	state := make(map[string]runtime.Object, len(l.objects))
	for k, o := range l.objects {
		state[k] = o
	}
	if l.followers == nil {
		l.followers = map[*follower]struct{}{}
	}
	l.followers[fl] = struct{}{}
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		delete(l.followers, fl)
		l.mu.Unlock()
	}()
	if err := f(Change{Type: Replaced, Objects: state}); err != nil {
		return err
	}
	for {
		select {
		case <-fl.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
		l.mu.Lock()
		batch := fl.queue
		fl.queue = nil
		l.mu.Unlock()
		for _, c := range batch {
			if err := f(c); err != nil {
				return err
			}
		}
	}
}

// Get returns the present state of an object, nil when there is none.
func (l *Log) Get(key string) runtime.Object {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.objects[key]
}

// Each calls f with the present state of every object, in no order. The log waits
// for f.
func (l *Log) Each(f func(runtime.Object)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, obj := range l.objects {
		f(obj)
	}
}

func (l *Log) set(key string, obj runtime.Object) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := Change{Type: Added, Key: key, Object: obj, Old: l.objects[key]}
	if c.Old != nil {
		c.Type = Modified
	}
	l.objects[key] = obj
	l.tell(c)
}

func (l *Log) remove(key string, last runtime.Object) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := Change{Type: Deleted, Key: key, Object: last, Old: l.objects[key]}
	delete(l.objects, key)
	l.tell(c)
}

func (l *Log) replace(objects map[string]runtime.Object) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.objects = objects
	if !l.complete {
		l.complete = true
		close(l.synced)
		return // nobody can follow before this
	}
	if len(l.followers) == 0 {
		return
	}
	state := make(map[string]runtime.Object, len(objects))
	for k, o := range objects {
		state[k] = o
	}
	l.tell(Change{Type: Replaced, Objects: state})
}

// tell queues c for every follower. The caller holds mu.
func (l *Log) tell(c Change) {
	for fl := range l.followers {
		fl.queue = append(fl.queue, c)
		select {
		case fl.wake <- struct{}{}:
		default:
		}
	}
}
