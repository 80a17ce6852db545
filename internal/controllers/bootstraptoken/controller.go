// Package bootstraptoken looks after the short tokens with which nodes join: it
// removes those that have expired, and signs the public ConfigMap cluster-info
// with each of the others that is meant for it, so that whoever holds a token
// can tell the true cluster from a false one before it trusts any certificate.
//
// It owns the signatures in cluster-info and the end of token secrets. The
// tokens themselves are made by people.
package bootstraptoken

import (
	"context"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/loop"
)

const (
	infoName  = "cluster-info"
	secretPre = "bootstrap-token-"
)

// Controller reconciles token secrets, and with any of them cluster-info.
type Controller struct {
	loop.Deps
	loop *loop.Loop
	now  func() time.Time
}

// New returns a controller that works with the given dependencies.
func New(deps loop.Deps) *Controller {
	c := &Controller{Deps: deps, now: time.Now}
	c.loop = loop.New("bootstraptoken", 1, deps, c.reconcile)
	c.loop.Watch(&corev1.Secret{}, func(obj client.Object) []loop.Key {
		if !isToken(obj.(*corev1.Secret)) {
			return nil
		}
		return []loop.Key{client.ObjectKeyFromObject(obj), info()}
	})
	c.loop.Watch(named(), func(obj client.Object) []loop.Key {
		if client.ObjectKeyFromObject(obj) != info() {
			return nil
		}
		return []loop.Key{info()}
	})
	return c
}

// Run reconciles until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

func info() loop.Key { return loop.Key{Namespace: metav1.NamespacePublic, Name: infoName} }

// named stands for a ConfigMap without its content: of all others the names do.
func named() *metav1.PartialObjectMetadata {
	obj := &metav1.PartialObjectMetadata{}
	obj.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ConfigMap"))
	return obj
}

func isToken(s *corev1.Secret) bool {
	return s.Namespace == metav1.NamespaceSystem && s.Type == corev1.SecretTypeBootstrapToken
}

func (c *Controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	if key == info() {
		return c.sign(ctx)
	}
	secret := &corev1.Secret{}
	if err := c.Cache.Get(ctx, key, secret, client.UnsafeDisableDeepCopy); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	if !isToken(secret) {
		return 0, nil
	}
	if lasts, ended := left(secret, c.now()); !ended {
		return lasts, nil
	}
	err := c.Client.Delete(ctx, secret, client.Preconditions{UID: &secret.UID})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return 0, fmt.Errorf("remove expired bootstrap token %s: %w", secret.Name, err)
	}
	c.Log.InfoContext(ctx, "expired bootstrap token removed", "secret", secret.Name)
	return 0, nil
}

func (c *Controller) sign(ctx context.Context) (time.Duration, error) {
	have := &corev1.ConfigMap{}
	if err := c.Client.Get(ctx, info(), have); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	var secrets corev1.SecretList
	if err := c.Cache.List(ctx, &secrets, client.InNamespace(metav1.NamespaceSystem), client.UnsafeDisableDeepCopy); err != nil {
		return 0, fmt.Errorf("list bootstrap tokens: %w", err)
	}
	want, again := plan(have.Data, secrets.Items, c.now())
	if maps.Equal(want, have.Data) {
		return again, nil
	}
	have.Data = want
	if err := c.Client.Update(ctx, have); err != nil {
		return 0, fmt.Errorf("sign %s: %w", infoName, err)
	}
	return again, nil
}
