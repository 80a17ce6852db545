package workload

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/client/given"
	"github.com/sinawi/sinawi/internal/controllers/expect"
	"github.com/sinawi/sinawi/internal/controllers/loop"
)

// Pods makes and deletes pods for their owners. Users hear of it through events
// of the owner, and Pending so that the owner waits until its cache shows it.
type Pods struct {
	loop.Deps
	Pending *expect.Tracker
}

// Create makes the pod, which is given away. In a namespace that is going nothing can be made any
// more; that is no error, for the owner goes too. The error is the API's own: it
// becomes the message of the owner's condition.
func (p *Pods) Create(ctx context.Context, owner client.Object, pod *corev1.Pod) error {
	err := p.Client.Create(ctx, pod, given.Away{})
	switch {
	case err == nil:
		p.Pending.Created(owner.GetUID(), pod, time.Now())
		p.Events.Eventf(owner, corev1.EventTypeNormal, "SuccessfulCreate", "Created pod: %v", pod.Name)
		return nil
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil
	default:
		p.Events.Eventf(owner, corev1.EventTypeWarning, "FailedCreate", "Error creating: %v", err)
		return err
	}
}

// Delete deletes this very pod, unless it is gone or replaced already.
func (p *Pods) Delete(ctx context.Context, owner client.Object, pod *corev1.Pod) error {
	err := p.Client.Delete(ctx, pod, client.Preconditions{UID: &pod.UID})
	switch {
	case apierrors.IsNotFound(err) || apierrors.IsConflict(err):
		return nil
	case err != nil:
		p.Events.Eventf(owner, corev1.EventTypeWarning, "FailedDelete", "Error deleting: %v", err)
		return fmt.Errorf("delete pod %s: %w", pod.Name, err)
	}
	p.Pending.Deleted(owner.GetUID(), pod.UID, time.Now())
	p.Events.Eventf(owner, corev1.EventTypeNormal, "SuccessfulDelete", "Deleted pod: %v", pod.Name)
	return nil
}

// DeleteAll deletes the pods, many at once.
func (p *Pods) DeleteAll(ctx context.Context, owner client.Object, pods []*corev1.Pod) error {
	var wg sync.WaitGroup
	var next atomic.Int64
	errs := make([]error, len(pods))
	for range min(widest, len(pods)) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(pods); i = int(next.Add(1)) - 1 {
				errs[i] = p.Delete(ctx, owner, pods[i])
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// widest is how many calls SlowStart has under way at once in the end.
const widest = 64

// SlowStart calls fn n times: at first in concurrent batches that grow (1, 2, 4,
// …) and each wait for the one before, so that what cannot work fails once and
// not n times; when a batch of the widest would be due, the rest without such
// waits. It makes no more calls after one with an error. It returns how many
// calls worked.
func SlowStart(n int, fn func() error) (int, error) {
	done := 0
	for batch := min(n, 1); batch > 0; batch = min(2*batch, n-done) {
		size := batch
		if batch >= widest {
			size = n - done
		}
		worked, err := atOnce(size, min(batch, widest), fn)
		done += worked
		if err != nil {
			return done, err
		}
		batch = size
	}
	return done, nil
}

// atOnce calls fn n times in so many goroutines, until one call has an error.
func atOnce(n, width int, fn func() error) (int, error) {
	var left, worked atomic.Int64
	left.Store(int64(n))
	errs := make(chan error, width)
	var wg sync.WaitGroup
	for range width {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := fn(); err != nil {
					left.Store(0)
					errs <- err
					return
				}
				worked.Add(1)
			}
		})
	}
	wg.Wait()
	select {
	case err := <-errs:
		return int(worked.Load()), err
	default:
		return int(worked.Load()), nil
	}
}

// OneMore is what a status counts, none as long as there is nothing, after one
// more of it.
func OneMore(count *int32) *int32 {
	next := int32(1)
	if count != nil {
		next += *count
	}
	return &next
}
