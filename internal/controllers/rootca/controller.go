// Package rootca publishes the cluster's CA certificate in every namespace, so
// that pods can trust the API server.
//
// It owns the ConfigMap kube-root-ca.crt of each namespace and puts it right when
// somebody changes it. Of all other ConfigMaps it sees the names only.
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
	// right are the versions, by namespace, that are known to be as they should.
	// The loop has one worker, which alone touches this.
	right map[string]string
}

// New returns a controller that publishes the given PEM bundle.
func New(deps loop.Deps, ca []byte) *Controller {
	c := &Controller{Deps: deps, data: map[string]string{file: string(ca)}, right: map[string]string{}}
	c.loop = loop.New("rootca", 1, deps, c.reconcile)
	c.loop.WatchSelf(&corev1.Namespace{})
	c.loop.Watch(named(), func(obj client.Object) []loop.Key {
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
		delete(c.right, key.Name)
		return 0, client.IgnoreNotFound(err)
	}
	if ns.DeletionTimestamp != nil || ns.Status.Phase == corev1.NamespaceTerminating {
		return 0, nil
	}
	key = loop.Key{Namespace: ns.Name, Name: Name}
	seen := named()
	err := c.Cache.Get(ctx, key, seen, client.UnsafeDisableDeepCopy)
	switch {
	case apierrors.IsNotFound(err):
		return 0, c.create(ctx, ns.Name)
	case err != nil || seen.ResourceVersion == c.right[ns.Name]:
		return 0, err
	}
	return 0, c.check(ctx, key)
}

// named is an object that stands for a ConfigMap without its content.
func named() *metav1.PartialObjectMetadata {
	obj := &metav1.PartialObjectMetadata{}
	obj.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ConfigMap"))
	return obj
}

// check reads the content and puts it right.
func (c *Controller) check(ctx context.Context, key loop.Key) error {
	have := &corev1.ConfigMap{}
	if err := c.Client.Get(ctx, key, have); err != nil {
		return client.IgnoreNotFound(err)
	}
	if !maps.Equal(have.Data, c.data) || have.Annotations[descriptionKey] == "" {
		have.Data = c.data
		if have.Annotations == nil {
			have.Annotations = map[string]string{}
		}
		have.Annotations[descriptionKey] = descriptionText
		if err := c.Client.Update(ctx, have); err != nil {
			return client.IgnoreNotFound(fmt.Errorf("update root CA in %s: %w", key.Namespace, err))
		}
	}
	c.right[key.Namespace] = have.ResourceVersion
	return nil
}

func (c *Controller) create(ctx context.Context, namespace string) error {
	made := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: Name,
			Annotations: map[string]string{descriptionKey: descriptionText},
		},
		Data: c.data,
	}
	err := c.Client.Create(ctx, made)
	if err == nil {
		c.right[namespace] = made.ResourceVersion
	}
	// A ConfigMap that the cache does not show yet brings its own event.
	if err == nil || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err) ||
		apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil
	}
	return fmt.Errorf("publish root CA in %s: %w", namespace, err)
}
