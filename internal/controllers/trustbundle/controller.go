// Package trustbundle publishes the cluster's CA certificate as the
// ClusterTrustBundle of the signer kubernetes.io/kube-apiserver-serving, so that
// pods can mount it without a ConfigMap.
//
// It owns all trust bundles of that signer: others than the one of the present
// CA are removed.
package trustbundle

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/loop"
)

const signer = "kubernetes.io/kube-apiserver-serving"

// Controller reconciles the trust bundles of the signer.
type Controller struct {
	loop.Deps
	loop *loop.Loop
	name string
	ca   string
}

// New returns a controller that publishes the PEM bundle.
func New(deps loop.Deps, ca []byte) *Controller {
	hash := sha256.Sum256(ca)
	prefix := strings.ReplaceAll(signer, "/", ":") + ":"
	c := &Controller{Deps: deps, ca: string(ca), name: fmt.Sprintf("%s%x", prefix, hash[:12])}
	c.loop = loop.New("clustertrustbundle", 1, deps, c.reconcile)
	c.loop.Watch(&certificatesv1.ClusterTrustBundle{}, func(obj client.Object) []loop.Key {
		if obj.(*certificatesv1.ClusterTrustBundle).Spec.SignerName != signer {
			return nil
		}
		return loop.Self(obj)
	})
	c.loop.Begin(loop.Key{Name: c.name}) // nothing else asks for a bundle that was never there
	return c
}

// Run reconciles until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

func (c *Controller) create(ctx context.Context) error {
	err := c.Client.Create(ctx, &certificatesv1.ClusterTrustBundle{
		ObjectMeta: metav1.ObjectMeta{Name: c.name},
		Spec:       certificatesv1.ClusterTrustBundleSpec{SignerName: signer, TrustBundle: c.ca},
	})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("publish trust bundle %s: %w", c.name, err)
	}
	return nil
}

func (c *Controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	have := &certificatesv1.ClusterTrustBundle{}
	err := c.Cache.Get(ctx, key, have, client.UnsafeDisableDeepCopy)
	switch {
	case apierrors.IsNotFound(err) && key.Name == c.name:
		return 0, c.create(ctx)
	case err != nil:
		return 0, client.IgnoreNotFound(err)
	case key.Name != c.name:
		if err := c.Client.Delete(ctx, have); client.IgnoreNotFound(err) != nil {
			return 0, fmt.Errorf("remove trust bundle %s: %w", key.Name, err)
		}
	case have.Spec.TrustBundle != c.ca:
		want := have.DeepCopy()
		want.Spec.TrustBundle = c.ca
		if err := c.Client.Update(ctx, want); err != nil {
			return 0, fmt.Errorf("publish trust bundle %s: %w", c.name, err)
		}
	}
	return 0, nil
}
