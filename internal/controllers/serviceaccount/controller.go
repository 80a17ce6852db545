// Package serviceaccount gives every namespace its default ServiceAccount.
//
// It owns nothing else: an account that exists is left as it is.
package serviceaccount

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/loop"
)

const name = "default"

// Controller reconciles namespaces.
type Controller struct {
	loop.Deps
	loop *loop.Loop
}

// New returns a controller that works with the given dependencies.
func New(deps loop.Deps) *Controller {
	c := &Controller{Deps: deps}
	c.loop = loop.New("serviceaccount", 1, deps, c.reconcile)
	c.loop.WatchSelf(&corev1.Namespace{})
	c.loop.WatchChanges(&corev1.ServiceAccount{}, func(before, after client.Object) []loop.Key {
		if after != nil || before.GetName() != name {
			return nil
		}
		return []loop.Key{{Name: before.GetNamespace()}}
	})
	return c
}

// Run reconciles until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

func (c *Controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	ns := &corev1.Namespace{}
	if err := c.Cache.Get(ctx, key, ns, client.UnsafeDisableDeepCopy); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	if !needed(ns) {
		return 0, nil
	}
	have := &corev1.ServiceAccount{}
	err := c.Cache.Get(ctx, loop.Key{Namespace: ns.Name, Name: name}, have, client.UnsafeDisableDeepCopy)
	if !apierrors.IsNotFound(err) {
		return 0, err
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns.Name, Name: name}}
	err = c.Client.Create(ctx, account)
	if err == nil || apierrors.IsAlreadyExists(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return 0, nil
	}
	return 0, fmt.Errorf("create default service account in %s: %w", ns.Name, err)
}

func needed(ns *corev1.Namespace) bool {
	return ns.DeletionTimestamp == nil && ns.Status.Phase != corev1.NamespaceTerminating
}
