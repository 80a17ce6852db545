// Package resourcequota says how much of a quota is used.
//
// It owns the status of ResourceQuotas. The API server charges what comes; this
// package finds out what has gone, and measures anew when a quota changes. What
// counts how much is the business of package quota.
package resourcequota

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiquota "k8s.io/apiserver/pkg/quota/v1"
	"k8s.io/apiserver/pkg/quota/v1/generic"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/sinawi/sinawi/internal/controllers/loop"
	"github.com/sinawi/sinawi/internal/controllers/served"
	"github.com/sinawi/sinawi/internal/quota"
)

// Controller reconciles ResourceQuotas.
type Controller struct {
	loop.Deps
	loop      *loop.Loop
	discovery discovery.DiscoveryInterface
	metadata  metadata.Interface
	gone      chan event.GenericEvent
}

// New returns a controller that works with the given dependencies.
func New(deps loop.Deps, d discovery.DiscoveryInterface, m metadata.Interface) *Controller {
	c := &Controller{Deps: deps, discovery: d, metadata: m, gone: make(chan event.GenericEvent, 1024)}
	c.loop = loop.New("resourcequota", 2, deps, c.reconcile)
	c.loop.WatchSelf(&corev1.ResourceQuota{})
	c.loop.WatchChanges(&corev1.Pod{}, c.podChanged)
	c.loop.WatchChanges(&corev1.Service{}, c.changed)
	c.loop.WatchChanges(&corev1.PersistentVolumeClaim{}, c.changed)
	c.loop.WatchChannel(c.gone, func(obj client.Object) []loop.Key { return c.quotas(obj.GetNamespace()) })
	return c
}

// Run reconciles until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

// Gone tells that an object of any kind was deleted in a namespace. It does not
// wait: when very much goes at once, the next that goes makes up for it.
func (c *Controller) Gone(_ schema.GroupVersionKind, obj *metav1.PartialObjectMetadata) {
	if obj.Namespace == "" {
		return
	}
	select {
	case c.gone <- event.GenericEvent{Object: obj}:
	default:
	}
}

func (c *Controller) quotas(namespace string) []loop.Key {
	var list corev1.ResourceQuotaList
	if err := c.Cache.List(context.Background(), &list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		c.Log.Error("list resource quotas", "namespace", namespace, "err", err)
		return nil
	}
	var keys []loop.Key
	for i := range list.Items {
		keys = append(keys, loop.Self(&list.Items[i])...)
	}
	return keys
}

// podChanged is for pods that stop to count before they are gone.
func (c *Controller) podChanged(before, after client.Object) []loop.Key {
	old, _ := before.(*corev1.Pod)
	next, _ := after.(*corev1.Pod)
	now := time.Now()
	if old == nil || (next != nil && quota.PodCounts(old, now) == quota.PodCounts(next, now) &&
		equality.Semantic.DeepEqual(old.Spec.Containers, next.Spec.Containers)) {
		return nil
	}
	return c.quotas(old.Namespace)
}

func (c *Controller) changed(before, after client.Object) []loop.Key {
	if before == nil || (after != nil && before.GetGeneration() == after.GetGeneration() && after.GetGeneration() != 0) {
		return nil
	}
	return c.quotas(before.GetNamespace())
}

func (c *Controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	q := &corev1.ResourceQuota{}
	if err := c.Cache.Get(ctx, key, q); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	registry, err := c.registry(ctx, q)
	if err != nil {
		return 0, err
	}
	// Some kinds may not be countable now; what could be counted is told all the
	// same, and the error brings us back.
	used, measureErr := apiquota.CalculateUsage(q.Namespace, q.Spec.Scopes, q.Spec.Hard, registry, q.Spec.ScopeSelector)
	next := status(q, used)
	if !equality.Semantic.DeepEqual(q.Status, next) {
		q.Status = next
		if err := c.Client.Status().Update(ctx, q); err != nil {
			return 0, client.IgnoreNotFound(fmt.Errorf("update status of resource quota: %w", err))
		}
	}
	return 0, measureErr
}

// status keeps the last number of what could not be measured.
func status(q *corev1.ResourceQuota, measured corev1.ResourceList) corev1.ResourceQuotaStatus {
	used := apiquota.Add(corev1.ResourceList{}, q.Status.Used)
	for name, n := range measured {
		used[name] = n
	}
	return corev1.ResourceQuotaStatus{
		Hard: apiquota.Add(corev1.ResourceList{}, q.Spec.Hard),
		Used: apiquota.Mask(used, apiquota.ResourceNames(q.Spec.Hard)),
	}
}

// registry has the rules for what the quota limits, those of kinds that it names
// one by one included.
func (c *Controller) registry(ctx context.Context, q *corev1.ResourceQuota) (apiquota.Registry, error) {
	l := &lister{c: c, ctx: ctx}
	evaluators := quota.New(l.list, time.Now).Evaluators()
	for _, name := range apiquota.ResourceNames(q.Spec.Hard) {
		resource, ok := quota.Counted(name)
		known := slices.ContainsFunc(evaluators, func(e apiquota.Evaluator) bool { return e.GroupResource() == resource })
		if !ok || known {
			continue
		}
		if _, err := l.kind(resource); errors.Is(err, errUnserved) {
			continue // a kind that may come to be served later
		} else if err != nil {
			return nil, err
		}
		evaluators = append(evaluators, generic.NewObjectCountEvaluator(resource, func(namespace string) ([]runtime.Object, error) {
			return l.list(resource, namespace)
		}, ""))
	}
	return generic.NewRegistry(evaluators), nil
}

var errUnserved = errors.New("resource is not served")

// lister lists for one measurement.
type lister struct {
	c     *Controller
	ctx   context.Context
	kinds *served.Kinds
}

func (l *lister) kind(resource schema.GroupResource) (served.Kind, error) {
	if l.kinds == nil {
		kinds, err := served.Ask(l.c.discovery)
		if err != nil {
			return served.Kind{}, err
		}
		l.kinds = &kinds
	}
	for _, k := range l.kinds.Preferred {
		if k.Resource.GroupResource() == resource {
			return k, nil
		}
	}
	return served.Kind{}, fmt.Errorf("%s: %w", resource, errUnserved)
}

// list reads whole objects from the cache where the rules look into them, and
// asks for names only where they are counted.
func (l *lister) list(resource schema.GroupResource, namespace string) ([]runtime.Object, error) {
	switch resource {
	case schema.GroupResource{Resource: "pods"}:
		list := &corev1.PodList{}
		err := l.cached(list, namespace)
		return objects(list.Items, func(p *corev1.Pod) runtime.Object { return p }), err
	case schema.GroupResource{Resource: "services"}:
		list := &corev1.ServiceList{}
		err := l.cached(list, namespace)
		return objects(list.Items, func(s *corev1.Service) runtime.Object { return s }), err
	case schema.GroupResource{Resource: "persistentvolumeclaims"}:
		list := &corev1.PersistentVolumeClaimList{}
		err := l.cached(list, namespace)
		return objects(list.Items, func(p *corev1.PersistentVolumeClaim) runtime.Object { return p }), err
	}
	k, err := l.kind(resource)
	if err != nil {
		return nil, err
	}
	list, err := l.c.metadata.Resource(k.Resource).Namespace(namespace).List(l.ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("count %s: %w", resource, err)
	}
	return objects(list.Items, func(m *metav1.PartialObjectMetadata) runtime.Object { return m }), nil
}

func (l *lister) cached(list client.ObjectList, namespace string) error {
	return l.c.Cache.List(l.ctx, list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy)
}

func objects[T any](items []T, as func(*T) runtime.Object) []runtime.Object {
	out := make([]runtime.Object, len(items))
	for i := range items {
		out[i] = as(&items[i])
	}
	return out
}
