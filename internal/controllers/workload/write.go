package workload

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/expect"
	"github.com/sinawi/sinawi/internal/controllers/loop"
)

// Pods makes and deletes pods for their owners. Users hear of it through events
// of the owner, and Pending so that the owner waits until its cache shows it.
type Pods struct {
	loop.Deps
	Pending *expect.Tracker
}

// Create makes the pod. In a namespace that is going nothing can be made any
// more; that is no error, for the owner goes too.
func (p *Pods) Create(ctx context.Context, owner client.Object, pod *corev1.Pod) error {
	err := p.Client.Create(ctx, pod)
	switch {
	case err == nil:
		p.Pending.Created(owner.GetUID(), pod, time.Now())
		p.Events.Eventf(owner, corev1.EventTypeNormal, "SuccessfulCreate", "Created pod: %v", pod.Name)
		return nil
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil
	default:
		p.Events.Eventf(owner, corev1.EventTypeWarning, "FailedCreate", "Error creating: %v", err)
		return fmt.Errorf("create pod: %w", err)
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

// DeleteAll deletes the pods, all at once: callers bound how many.
func (p *Pods) DeleteAll(ctx context.Context, owner client.Object, pods []*corev1.Pod) error {
	var wg sync.WaitGroup
	errs := make([]error, len(pods))
	for i, pod := range pods {
		wg.Go(func() { errs[i] = p.Delete(ctx, owner, pod) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// SlowStart calls fn n times in growing concurrent batches (1, 2, 4, …) and
// stops after the first batch with an error, so that what cannot work fails once
// and not n times. It returns how many calls worked.
func SlowStart(n int, fn func() error) (int, error) {
	done := 0
	for batch := min(n, 1); batch > 0; batch = min(2*batch, n-done) {
		errs := make(chan error, batch)
		var wg sync.WaitGroup
		for range batch {
			wg.Go(func() {
				if err := fn(); err != nil {
					errs <- err
				}
			})
		}
		wg.Wait()
		done += batch - len(errs)
		if len(errs) > 0 {
			return done, <-errs
		}
	}
	return done, nil
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
