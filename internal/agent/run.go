package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// maxMessage is how long an answer of the runtime may be.
const maxMessage = 16 << 20

// Pauses between attempts to follow the runtime's events.
const (
	streamRetryFirst = 50 * time.Millisecond
	streamRetryMost  = 5 * time.Second
)

// relistPeriod is how often the runtime's lists are compared with what the workers
// know, should an event have been lost.
const relistPeriod = time.Minute

func connectParams() grpc.ConnectParams {
	return grpc.ConnectParams{
		Backoff:           backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.6, MaxDelay: time.Second},
		MinConnectTimeout: time.Second,
	}
}

// Run runs the node's pods until ctx ends. Containers go on after that.
func (a *Agent) Run(ctx context.Context) error {
	defer a.conn.Close()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.report.Run(ctx) })
	group.Go(func() error { return a.content.Run(ctx) })
	if a.server != nil {
		group.Go(func() error { return a.server.Run(ctx) })
	}
	group.Go(func() error { return a.watchNode(ctx) })
	group.Go(func() error { return a.node.Run(ctx) })
	group.Go(func() error { return a.runPods(ctx) })
	err := group.Wait()
	a.running.Wait()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// runPods runs what needs a runtime that answers.
func (a *Agent) runPods(ctx context.Context) error {
	answer, err := introduce(ctx, a.runtime)
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("ask the container runtime at %s for its version: %w", a.options.RuntimeEndpoint, err)
	}
	a.shared.RuntimeName = answer.RuntimeName
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.images.Run(ctx) })
	group.Go(func() error { return a.logs.Run(ctx) })
	group.Go(func() error { return a.follow(ctx) })
	group.Go(func() error { return a.watchDisk(ctx) })
	group.Go(func() error {
		if err := a.watchPods(ctx); err != nil || ctx.Err() != nil {
			return err
		}
		return a.tidy(ctx)
	})
	return group.Wait()
}

// follow hands the runtime's events to the workers.
func (a *Agent) follow(ctx context.Context) error {
	for wait := streamRetryFirst; ; wait = min(2*wait, streamRetryMost) {
		began := time.Now()
		err := a.stream(ctx)
		if ctx.Err() != nil {
			return nil
		}
		a.node.Changed() // the runtime may be away
		if time.Since(began) > streamRetryMost {
			wait = streamRetryFirst
		}
		a.deps.Log.Warn("container events lost, following again", "err", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

func (a *Agent) stream(ctx context.Context) error {
	events, err := a.runtime.GetContainerEvents(ctx, &cri.GetEventsRequest{}, grpc.WaitForReady(true))
	if err != nil {
		return fmt.Errorf("follow container events: %w", err)
	}
	// What happened before is not in the stream.
	a.wakeAll()
	a.node.Changed()
	for {
		event, err := events.Recv()
		if err != nil {
			return fmt.Errorf("follow container events: %w", err)
		}
		a.wake(event)
	}
}
