package worker

import (
	"context"
	"errors"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/sinawi/sinawi/internal/agent/plan"
	"github.com/sinawi/sinawi/internal/agent/status"
)

// pullPatience is how long the loop itself waits for an image: long enough for
// one that is there already.
const pullPatience = 50 * time.Millisecond

// pull is one effort to have a container's image.
type pull struct {
	image string
	done  chan struct{} // closed when the fields below are set
	ref   string
	err   error
	retry time.Time
}

// prefetch begins the pulls of the containers that start first.
func (w *Worker) prefetch(ctx context.Context, m moment) {
	for i := range m.pod.Spec.InitContainers {
		c := &m.pod.Spec.InitContainers[i]
		w.pull(ctx, m.pod, c, m.now)
		if !plan.Sidecar(c) {
			return
		}
	}
	for i := range m.pod.Spec.Containers {
		w.pull(ctx, m.pod, &m.pod.Spec.Containers[i], m.now)
	}
}

// pull returns the effort for a container's image, a new one if there is none or
// the last one failed some time ago.
func (w *Worker) pull(ctx context.Context, pod *corev1.Pod, c *corev1.Container, now time.Time) *pull {
	w.mu.Lock()
	p := w.pulls[c.Name]
	w.mu.Unlock()
	if p != nil && p.image == c.Image {
		select {
		case <-p.done:
			if p.err == nil || now.Before(p.retry) {
				return p
			}
		default:
			return p
		}
	}
	p = &pull{image: c.Image, done: make(chan struct{})}
	w.mu.Lock()
	w.pulls[c.Name] = p
	w.mu.Unlock()
	w.beside.Go(func() {
		p.ref, p.err = w.deps.Images.Ensure(ctx, pod, c)
		if p.err != nil {
			p.retry = time.Now().Add(10 * time.Second)
			var at interface{ RetryAt() time.Time }
			if errors.As(p.err, &at) && !at.RetryAt().IsZero() {
				p.retry = at.RetryAt()
			}
		}
		close(p.done)
		w.Wake()
	})
	return p
}

// image returns the reference of a container's image; "" while it is not there.
// blocked says that containers after this one must wait too.
func (w *Worker) image(ctx context.Context, m moment, c *corev1.Container) (ref string, again time.Time, blocked bool) {
	p := w.pull(ctx, m.pod, c, m.now)
	timer := time.NewTimer(pullPatience)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		return "", time.Time{}, true // its end wakes the loop
	case <-ctx.Done():
		return "", time.Time{}, true
	}
	if p.err == nil {
		return p.ref, time.Time{}, false
	}
	if ctx.Err() != nil {
		return "", time.Time{}, true
	}
	reason := "ErrImagePull"
	var said interface{ Reason() string }
	if errors.As(p.err, &said) {
		reason = said.Reason()
	}
	w.problems[c.Name] = status.Problem{Reason: reason, Message: p.err.Error()}
	return "", p.retry, false
}

// used forgets the effort for an image that a container was started with: its
// next start asks again, as the pull policy wants.
func (w *Worker) used(container string) {
	w.mu.Lock()
	delete(w.pulls, container)
	w.mu.Unlock()
}
