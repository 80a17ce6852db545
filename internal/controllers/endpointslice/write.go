package endpointslice

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/expect"
)

// write carries out a plan: additions first, so that no endpoint is missing in
// between. What was written is expected to show in the cache.
func write(ctx context.Context, to client.Client, pending *expect.Tracker, owner client.Object, p plan) error {
	for _, slice := range p.create {
		err := to.Create(ctx, slice)
		if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("create endpoint slice of %s: %w", owner.GetName(), err)
		}
		pending.Created(owner.GetUID(), slice, time.Now())
	}
	for _, slice := range p.update {
		if err := to.Update(ctx, slice); err != nil {
			return fmt.Errorf("update endpoint slice %s: %w", slice.Name, err)
		}
		pending.Updated(owner.GetUID(), slice, time.Now())
	}
	for _, slice := range p.remove {
		err := to.Delete(ctx, slice, client.Preconditions{UID: &slice.UID})
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete endpoint slice %s: %w", slice.Name, err)
		}
		if err == nil {
			pending.Deleted(owner.GetUID(), slice.UID, time.Now())
		}
	}
	return nil
}
