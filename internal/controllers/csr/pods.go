package csr

import (
	"context"
	"fmt"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/loop"
)

// keepPodRequest is how long the request of a pod for a certificate stays: the
// node that made it reads the answer at once.
const keepPodRequest = 15 * time.Minute

// PodRequests removes requests of pods for certificates that have had their
// time. Who signs them is the signer's own program.
type PodRequests struct {
	loop.Deps
	loop *loop.Loop
	now  func() time.Time
}

// NewPodRequests returns a controller that works with the given dependencies.
func NewPodRequests(deps loop.Deps) *PodRequests {
	c := &PodRequests{Deps: deps, now: time.Now}
	c.loop = loop.New("podcertificaterequest", 1, deps, c.reconcile)
	c.loop.WatchChanges(&certificatesv1.PodCertificateRequest{}, func(before, after client.Object) []loop.Key {
		if before != nil || after == nil {
			return nil
		}
		return loop.Self(after)
	})
	return c
}

// Run reconciles until ctx ends.
func (c *PodRequests) Run(ctx context.Context) error { return c.loop.Run(ctx) }

func (c *PodRequests) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	have := &certificatesv1.PodCertificateRequest{}
	if err := c.Cache.Get(ctx, key, have, client.UnsafeDisableDeepCopy); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	if left := have.CreationTimestamp.Add(keepPodRequest).Sub(c.now()); left > 0 {
		return left, nil
	}
	if err := c.Client.Delete(ctx, have, client.Preconditions{UID: &have.UID}); client.IgnoreNotFound(err) != nil {
		return 0, fmt.Errorf("remove pod certificate request %s: %w", key, err)
	}
	return 0, nil
}
