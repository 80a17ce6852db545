// Package rootca publishes the cluster's CA certificate in every namespace, so
// that pods can trust the API server.
//
// It owns the ConfigMap kube-root-ca.crt of each namespace and puts it right when
// somebody changes it.
package rootca

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
	// Name is the ConfigMap's name in every namespace.
	Name = "kube-root-ca.crt"

	file            = "ca.crt"
	descriptionKey  = "kubernetes.io/description"
	descriptionText = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. " +
		"No other usage is guaranteed across distributions of Kubernetes clusters."
)

// Controller reconciles namespaces.
type Controller struct {
	loop.Deps
	loop *loop.Loop
	data map[string]string
}

// New returns a controller that publishes the given PEM bundle.
func New(deps loop.Deps, ca []byte) *Controller {
	c := &Controller{Deps: deps, data: map[string]string{file: string(ca)}}
	c.loop = loop.New("rootca", 1, deps, c.reconcile)
	c.loop.WatchChanges(&corev1.Namespace{}, func(_, after client.Object) []loop.Key {
		if after == nil {
			return nil
		}
		return loop.Self(after)
	})
	c.loop.Watch(&corev1.ConfigMap{}, func(obj client.Object) []loop.Key {
		if obj.GetName() != Name {
			return nil
		}
		return []loop.Key{{Name: obj.GetNamespace()}}
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
	if ns.DeletionTimestamp != nil || ns.Status.Phase == corev1.NamespaceTerminating {
		return 0, nil
	}
	have := &corev1.ConfigMap{}
	err := c.Cache.Get(ctx, loop.Key{Namespace: ns.Name, Name: Name}, have)
	switch {
	case apierrors.IsNotFound(err):
		return 0, c.create(ctx, ns.Name)
	case err != nil:
		return 0, err
	case maps.Equal(have.Data, c.data) && have.Annotations[descriptionKey] != "":
		return 0, nil
	}
	have.Data = c.data
	if have.Annotations == nil {
		have.Annotations = map[string]string{}
	}
	have.Annotations[descriptionKey] = descriptionText
	if err := c.Client.Update(ctx, have); err != nil {
		return 0, client.IgnoreNotFound(fmt.Errorf("update root CA in %s: %w", ns.Name, err))
	}
	return 0, nil
}

func (c *Controller) create(ctx context.Context, namespace string) error {
	err := c.Client.Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: Name,
			Annotations: map[string]string{descriptionKey: descriptionText},
		},
		Data: c.data,
	})
	// A ConfigMap that the cache does not show yet brings its own event.
	if err == nil || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err) ||
		apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil
	}
	return fmt.Errorf("publish root CA in %s: %w", namespace, err)
}
