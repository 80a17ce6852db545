package scheduler

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/sinawi/sinawi/internal/mailbox"
)

// maxErrands is how many writes may be under way at once that placements wait for;
// each ends with a letter to the loop.
const maxErrands = 8

// errands are writes beside the bindings, few of them at once. Whoever gives one
// never waits.
type errands struct {
	most int                   // under way at once
	pace func(context.Context) // waits until the next may begin; nil: it may
	mail *mailbox.Mailbox[func(context.Context)]
}

func newErrands(most int) *errands {
	return &errands{most: most, mail: mailbox.New[func(context.Context)]()}
}

func (e *errands) give(do func(context.Context)) { e.mail.Put(do) }

// run runs errands until ctx ends, and returns when none is under way.
func (e *errands) run(ctx context.Context) error {
	var g errgroup.Group
	g.SetLimit(e.most)
	defer g.Wait()
	for {
		for _, do := range e.mail.Take() {
			if e.pace != nil {
				e.pace(ctx)
			}
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
