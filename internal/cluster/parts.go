package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// stopTimeout is how long one part may take to stop before the next is stopped
// anyway: a part that hangs must not keep the store from closing cleanly.
const stopTimeout = 15 * time.Second

// abandonTimeout is for all parts together where nothing is left to save.
const abandonTimeout = 2 * time.Second

// parts runs the components. They are started one by one and stopped in the
// opposite order; the first that ends with an error ends all.
type parts struct {
	base    context.Context // outlives the signal to stop, so that parts stop in order
	running []*part
	failed  chan error
}

type part struct {
	name   string
	cancel context.CancelFunc
	done   chan struct{}
}

func newParts(ctx context.Context) *parts {
	return &parts{base: context.WithoutCancel(ctx), failed: make(chan error, 1)}
}

// start runs a part until stop is called.
func (p *parts) start(name string, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(p.base)
	one := &part{name: name, cancel: cancel, done: make(chan struct{})}
	p.running = append(p.running, one)
	go func() {
		defer close(one.done)
		err := run(ctx)
		if ctx.Err() != nil {
			return // it was told to stop
		}
		if err == nil {
			err = fmt.Errorf("ended without being told to")
		}
		select {
		case p.failed <- fmt.Errorf("%s: %w", name, err):
		default: // another part failed first
		}
	}()
}

// wait returns when ctx ends (nil) or when a part has failed (its error).
func (p *parts) wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-p.failed:
		return err
	}
}

// stop stops all parts, the last started first.
func (p *parts) stop() {
	for i := len(p.running) - 1; i >= 0; i-- {
		one := p.running[i]
		began := time.Now()
		one.cancel()
		if one.ended(stopTimeout) {
			slog.Debug("part stopped", "part", one.name, "took", time.Since(began))
		} else {
			slog.Error("part did not stop in time, going on", "part", one.name, "waited", stopTimeout)
		}
	}
	p.running = nil
}

// abandon tells all parts to stop at once and waits little: after the store has
// broken down none of them can finish what it is doing.
func (p *parts) abandon() {
	for _, one := range p.running {
		one.cancel()
	}
	until := time.Now().Add(abandonTimeout)
	for _, one := range p.running {
		one.ended(time.Until(until))
	}
	p.running = nil
}

// ended waits for the part's end.
func (p *part) ended(most time.Duration) bool {
	limit := time.NewTimer(most)
	defer limit.Stop()
	select {
	case <-p.done:
		return true
	case <-limit.C:
		return false
	}
}
