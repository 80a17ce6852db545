// Package resourcequota counts what namespaces use of their quotas.
//
// Admission adds what a write will use; this controller says what is used when
// a quota is made or changed, and takes off what is gone. It writes the status
// of quotas and nothing else. What objects count is package quota's.
//
// Pods, services and claims are watched. Of other counted resources it hears when
// one is deleted, from who sees all deletions; for what may be missed there, a
// quota that limits them is counted again every few minutes.
package resourcequota

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiquota "k8s.io/apiserver/pkg/quota/v1"
	"k8s.io/apiserver/pkg/quota/v1/generic"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/sinawi/sinawi/internal/controllers/loop"
	"github.com/sinawi/sinawi/internal/quota"
)

// recount is how often a quota over unwatched resources is counted again; it is
// upstream's resync period.
const recount = 5 * time.Minute

// A number that was just written may be wrong: admission charges before the
// object is there, for writes that then fail too, and we count what a cache shows.
// So what changed is counted once more when that has settled.
const (
	later  = "/later" // marks the key of such a count
	settle = 2 * time.Second
)

// Controller reconciles quotas.
type Controller struct {
	loop.Deps
	loop *loop.Loop
	gone chan event.GenericEvent

	mu  sync.Mutex // guards the field below
	due map[loop.Key]time.Time
}

// New returns a controller that works with the given dependencies.
func New(deps loop.Deps) *Controller {
	c := &Controller{Deps: deps, gone: make(chan event.GenericEvent, 1024), due: map[loop.Key]time.Time{}}
	c.loop = loop.New("resourcequota", 2, deps, c.reconcile)
	c.loop.WatchChanges(&corev1.ResourceQuota{}, func(before, after client.Object) []loop.Key {
		q, ok := after.(*corev1.ResourceQuota)
		switch {
		case !ok:
			return nil
		case before != nil && apiquota.Equals(q.Spec.Hard, q.Status.Hard):
			return []loop.Key{{Namespace: q.Namespace, Name: q.Name + later}}
		}
		return loop.Self(after)
	})
	c.loop.WatchChanges(&corev1.Pod{}, func(before, after client.Object) []loop.Key {
		return c.freed(before, after, func() bool {
			old, new := before.(*corev1.Pod), after.(*corev1.Pod)
			now := time.Now()
			return quota.PodCounts(old, now) && !quota.PodCounts(new, now)
		})
	})
	c.loop.WatchChanges(&corev1.Service{}, func(before, after client.Object) []loop.Key {
		return c.freed(before, after, func() bool {
			return before.(*corev1.Service).Spec.Type != after.(*corev1.Service).Spec.Type
		})
	})
	c.loop.WatchChanges(&corev1.PersistentVolumeClaim{}, func(before, after client.Object) []loop.Key {
		return c.freed(before, after, func() bool {
			old, new := before.(*corev1.PersistentVolumeClaim), after.(*corev1.PersistentVolumeClaim)
			return !apiequality.Semantic.DeepEqual(old.Status.AllocatedResources, new.Status.AllocatedResources)
		})
	})
	c.loop.WatchChannel(c.gone, func(obj client.Object) []loop.Key { return c.freed(obj, nil, nil) })
	return c
}

// Gone tells of a deleted object of any kind. It never waits.
func (c *Controller) Gone(kind schema.GroupVersionKind, obj *metav1.PartialObjectMetadata) {
	if obj.Namespace == "" || isWatched(schema.GroupResource{Group: kind.Group, Resource: strings.ToLower(kind.Kind) + "s"}) {
		return
	}
	select {
	case c.gone <- event.GenericEvent{Object: obj}:
	default: // very much goes at once: the next to go or the recount makes up for it
	}
}

// Run reconciles until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

// freed returns the quotas of a namespace in which something was given back: an
// object is gone, or less says that it shrank.
func (c *Controller) freed(before, after client.Object, less func() bool) []loop.Key {
	if before == nil || after != nil && !less() {
		return nil
	}
	list := &corev1.ResourceQuotaList{}
	err := c.Cache.List(context.Background(), list, client.InNamespace(before.GetNamespace()), client.UnsafeDisableDeepCopy)
	if err != nil {
		c.Log.Warn("list quotas", "namespace", before.GetNamespace(), "err", err)
		return nil
	}
	var keys []loop.Key
	for i := range list.Items {
		keys = append(keys, client.ObjectKeyFromObject(&list.Items[i]))
	}
	return keys
}

// wait says how long a count that shall come later must still wait.
func (c *Controller) wait(key loop.Key) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, known := c.due[key]
	if !known {
		at = time.Now().Add(settle)
		c.due[key] = at
	}
	left := time.Until(at)
	if left <= 0 {
		delete(c.due, key)
	}
	return left
}

func (c *Controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	if name, ok := strings.CutSuffix(key.Name, later); ok {
		if left := c.wait(key); left > 0 {
			return left, nil
		}
		key.Name = name
	}
	q := &corev1.ResourceQuota{}
	if err := c.Cache.Get(ctx, key, q, client.UnsafeDisableDeepCopy); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	registry, watched := c.registry(ctx, q)
	used, err := apiquota.CalculateUsage(q.Namespace, q.Spec.Scopes, q.Spec.Hard, registry, q.Spec.ScopeSelector)
	if err != nil {
		return 0, fmt.Errorf("count what %s uses: %w", key, err)
	}
	if updated := counted(q, used); updated != nil {
		if err := c.Client.Status().Update(ctx, updated); err != nil {
			return 0, fmt.Errorf("update status of quota %s: %w", key, client.IgnoreNotFound(err))
		}
	}
	if watched {
		return 0, nil
	}
	return recount, nil
}

// counted returns q with what is used, nil when it says so already.
func counted(q *corev1.ResourceQuota, used corev1.ResourceList) *corev1.ResourceQuota {
	used = apiquota.Mask(used, apiquota.ResourceNames(q.Spec.Hard))
	if apiquota.Equals(q.Status.Hard, q.Spec.Hard) && apiquota.Equals(q.Status.Used, used) {
		return nil
	}
	updated := q.DeepCopy()
	updated.Status = corev1.ResourceQuotaStatus{Hard: updated.Spec.Hard.DeepCopy(), Used: used}
	return updated
}

// registry has what is needed to count for q, and says whether all of it is
// watched.
func (c *Controller) registry(ctx context.Context, q *corev1.ResourceQuota) (apiquota.Registry, bool) {
	list := func(resource schema.GroupResource, namespace string) ([]runtime.Object, error) {
		return c.list(ctx, resource, namespace)
	}
	evaluators := quota.New(list, time.Now).Evaluators()
	watched := true
	for name := range q.Spec.Hard {
		known := slices.ContainsFunc(evaluators, func(e apiquota.Evaluator) bool {
			return isWatched(e.GroupResource()) && len(e.MatchingResources([]corev1.ResourceName{name})) > 0
		})
		watched = watched && known
		resource, counts := quota.Counted(name)
		if !counts || slices.ContainsFunc(evaluators, func(e apiquota.Evaluator) bool { return e.GroupResource() == resource }) {
			continue
		}
		if _, err := c.Client.RESTMapper().KindFor(resource.WithVersion("")); meta.IsNoMatchError(err) {
			continue // nobody knows how many there are of a kind that is not served
		}
		evaluators = append(evaluators, generic.NewObjectCountEvaluator(resource, func(namespace string) ([]runtime.Object, error) {
			return c.list(ctx, resource, namespace)
		}, ""))
	}
	return generic.NewRegistry(evaluators), watched
}

func isWatched(resource schema.GroupResource) bool {
	return resource.Group == "" && slices.Contains([]string{"pods", "services", "persistentvolumeclaims"}, resource.Resource)
}

// list reads watched kinds from the cache, and the names of others from the
// server.
func (c *Controller) list(ctx context.Context, resource schema.GroupResource, namespace string) ([]runtime.Object, error) {
	var list client.ObjectList
	var from client.Reader = c.Cache
	options := []client.ListOption{client.InNamespace(namespace)}
	switch resource {
	case schema.GroupResource{Resource: "pods"}:
		list = &corev1.PodList{}
	case schema.GroupResource{Resource: "services"}:
		list = &corev1.ServiceList{}
	case schema.GroupResource{Resource: "persistentvolumeclaims"}:
		list = &corev1.PersistentVolumeClaimList{}
	case schema.GroupResource{Group: resourcev1.GroupName, Resource: "resourceclaims"}:
		list, from = &resourcev1.ResourceClaimList{}, c.Client
	case schema.GroupResource{Group: resourcev1.GroupName, Resource: "deviceclasses"}:
		list, from = &resourcev1.DeviceClassList{}, c.Client
	default:
		gvk, err := c.Client.RESTMapper().KindFor(resource.WithVersion(""))
		if err != nil {
			return nil, err
		}
		names := &metav1.PartialObjectMetadataList{}
		names.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
		list, from = names, c.Client
	}
	if from == c.Cache {
		options = append(options, client.UnsafeDisableDeepCopy)
	}
	if err := from.List(ctx, list, options...); err != nil {
		return nil, err
	}
	return meta.ExtractList(list)
}
