//lint:file-ignore SA1019 the older objects are what this package is for

// Package endpoints keeps the older Endpoints objects for those who still read
// them; EndpointSlices are what the cluster itself goes by.
//
// It owns the Endpoints of services that have a selector, and removes those of
// services that are gone. Endpoints of services without a selector are their
// users'.
package endpoints

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/backend"
	"github.com/sinawi/sinawi/internal/controllers/loop"
)

// Controller reconciles services.
type Controller struct {
	loop.Deps
	loop     *loop.Loop
	triggers backend.Triggers
}

// New returns a controller that works with the given dependencies.
func New(deps loop.Deps) *Controller {
	c := &Controller{Deps: deps}
	c.loop = loop.New("endpoints", 5, deps, c.reconcile)
	c.loop.WatchSelf(&corev1.Service{})
	backend.WatchPods(c.loop, deps)
	c.loop.Watch(&corev1.Endpoints{}, func(obj client.Object) []loop.Key {
		if obj.GetLabels()[managedBy] != manager {
			return nil
		}
		return loop.Self(obj)
	})
	return c
}

// Run reconciles until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

// reconcile needs no memory of its writes: it writes one object by name, and a
// write over an older state is refused.
func (c *Controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	have := &corev1.Endpoints{}
	err := c.Cache.Get(ctx, key, have, client.UnsafeDisableDeepCopy)
	switch {
	case apierrors.IsNotFound(err):
		have = nil
	case err != nil:
		return 0, err
	}
	service := &corev1.Service{}
	err = c.Cache.Get(ctx, key, service, client.UnsafeDisableDeepCopy)
	if apierrors.IsNotFound(err) {
		c.triggers.Forget(key)
		return 0, c.remove(ctx, have)
	}
	if err != nil || service.DeletionTimestamp != nil || len(service.Spec.Selector) == 0 || service.Spec.Type == corev1.ServiceTypeExternalName {
		return 0, err
	}
	pods, err := backend.Pods(ctx, c.Cache, service)
	if err != nil {
		return 0, err
	}
	next, since := decide(service, pods, have), c.triggers.Since(service, pods)
	if next == nil {
		return 0, nil
	}
	backend.Stamp(&next.ObjectMeta, since)
	return 0, c.write(ctx, have, next)
}

func (c *Controller) write(ctx context.Context, have, next *corev1.Endpoints) (err error) {
	if have == nil {
		err = c.Client.Create(ctx, next)
	} else {
		err = c.Client.Update(ctx, next)
	}
	switch {
	case err == nil, apierrors.IsAlreadyExists(err), apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil // one that exists but is not in the cache yet brings its own event
	case apierrors.IsConflict(err):
	case have == nil:
		c.Events.Eventf(next, corev1.EventTypeWarning, "FailedToCreateEndpoint", "Failed to create endpoint for service %v/%v: %v", next.Namespace, next.Name, err)
	default:
		c.Events.Eventf(next, corev1.EventTypeWarning, "FailedToUpdateEndpoint", "Failed to update endpoint %v/%v: %v", next.Namespace, next.Name, err)
	}
	return fmt.Errorf("write endpoints %s/%s: %w", next.Namespace, next.Name, err)
}

func (c *Controller) remove(ctx context.Context, have *corev1.Endpoints) error {
	if have == nil || have.Annotations[leader] != "" {
		return nil
	}
	err := c.Client.Delete(ctx, have, client.Preconditions{UID: &have.UID})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete endpoints %s: %w", have.Name, err)
	}
	return nil
}
