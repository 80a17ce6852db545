// Package follow keeps an authorizer's index in step with the change feed of
// the store: it takes in the present state of several resources, opens a gate,
// and passes on what changes. The objects are those of the watch caches and
// must not be changed; nothing is kept twice.
package follow

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sinawi/sinawi/internal/store/feed"
)

// Source is one resource and what to do with its objects.
type Source struct {
	Resource schema.GroupResource
	// Set takes in an object; old is its former state, nil for a new one.
	Set  func(old, obj runtime.Object)
	Drop func(obj runtime.Object)
	// Clear forgets all objects of the resource.
	Clear func()
}

func (s Source) apply(c feed.Change) {
	switch c.Type {
	case feed.Replaced:
		s.Clear()
		for _, obj := range c.Objects {
			s.Set(nil, obj)
		}
	case feed.Deleted:
		s.Drop(c.Object)
	default:
		s.Set(c.Old, c.Object)
	}
}

// Run follows the sources until ctx ends. It opens gate when the present state
// of all of them has been taken in.
func Run(ctx context.Context, from *feed.Feed, gate *Gate, sources ...Source) error {
	var filling sync.WaitGroup
	filling.Add(len(sources))
	work, ctx := errgroup.WithContext(ctx)
	for _, s := range sources {
		filled := sync.OnceFunc(filling.Done)
		work.Go(func() error {
			defer filled() // lets the waiter below go when this one ends early
			return from.Log(s.Resource).Follow(ctx, func(c feed.Change) error {
				s.apply(c)
				filled()
				return nil
			})
		})
	}
	work.Go(func() error {
		filling.Wait()
		if ctx.Err() == nil {
			gate.Open()
		}
		return nil
	})
	err := work.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// patience is how long a question waits for an index that fills.
const patience = 10 * time.Second

// Gate holds questions back until an index can answer them.
type Gate struct {
	once   sync.Once
	opened chan struct{}
}

// NewGate returns a gate that is closed.
func NewGate() *Gate { return &Gate{opened: make(chan struct{})} }

// Open lets everybody pass from now on.
func (g *Gate) Open() { g.once.Do(func() { close(g.opened) }) }

// Pass waits until the gate is open.
func (g *Gate) Pass(ctx context.Context) error {
	select {
	case <-g.opened:
		return nil
	default:
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-g.opened:
		return nil
	case <-timer.C:
	case <-ctx.Done():
	}
	return errors.New("authorizer: not yet filled, try again")
}
