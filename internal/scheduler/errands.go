package scheduler

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/sinawi/sinawi/internal/mailbox"
)

// maxErrands is how many errands may be under way at once.
const maxErrands = 8

// errands are writes that a placement needs beside its binding. Whoever gives one
// never waits; each ends with a letter to the loop.
type errands struct {
	mail *mailbox.Mailbox[func(context.Context)]
}

func newErrands() *errands { return &errands{mail: mailbox.New[func(context.Context)]()} }

func (e *errands) give(do func(context.Context)) { e.mail.Put(do) }

// run runs errands until ctx ends, and returns when none is under way.
func (e *errands) run(ctx context.Context) error {
	var g errgroup.Group
	g.SetLimit(maxErrands)
	defer g.Wait()
	for {
		for _, do := range e.mail.Take() {
			g.Go(func() error {
				do(ctx)
				return nil
			})
		}
		select {
		case <-ctx.Done():
			return nil
		case <-e.mail.Ready():
		}
	}
}
