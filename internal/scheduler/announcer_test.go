package scheduler

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// counted counts what is created, which takes its time.
type counted struct {
	client.Client
	created atomic.Int64
}

func (c *counted) Create(context.Context, client.Object, ...client.CreateOption) error {
	time.Sleep(2 * time.Millisecond)
	c.created.Add(1)
	return nil
}

// TestEventsWaitInARush: in a rush of placements few of them are told, and the rest when
// it is over.
func TestEventsWaitInARush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &counted{}
		a := newAnnouncer(c)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- a.run(ctx) }()
		tell := func(n int) {
			for i := range n {
				a.tell(asks(fmt.Sprintf("p%d", i), nil), "n1", time.Now())
			}
		}
		tell(few)
		time.Sleep(few * time.Millisecond)
		synctest.Wait()
		if got := c.created.Load(); got != few {
			t.Errorf("of few events %d are written at once, want all %d", got, few)
		}
		c.created.Store(0)
		const seconds, perSecond = 2, 2000
		for range seconds * 100 {
			tell(perSecond / 100)
			time.Sleep(10 * time.Millisecond)
		}
		if got, most := c.created.Load(), int64(2*few+seconds*time.Second/often); got < most/2 || got > most {
			t.Errorf("in a rush %d events are written, want up to %d", got, most)
		}
		time.Sleep(calm + seconds*perSecond*2*time.Millisecond)
		synctest.Wait()
		if got := c.created.Load(); got != seconds*perSecond || a.untold.Load() != 0 {
			t.Errorf("after it %d events are written and %d are left, want %d and none", got, a.untold.Load(), seconds*perSecond)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestEventsEndWithTheScheduler: who stops does not work off what is left to tell.
func TestEventsEndWithTheScheduler(t *testing.T) {
	c := &counted{}
	a := newAnnouncer(c)
	for i := range 1000 {
		a.tell(asks(fmt.Sprintf("p%d", i), nil), "n1", time.Now())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.run(ctx); err != nil {
		t.Error(err)
	}
	if got := c.created.Load(); got > 0 {
		t.Errorf("%d events are written after the end", got)
	}
}
