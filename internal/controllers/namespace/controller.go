// Package namespace empties namespaces that are being deleted and then lets them
// go.
//
// It owns spec.finalizers' "kubernetes" and the deletion conditions of a
// terminating namespace. It promises that the namespace goes only after a pass
// over all served kinds found nothing in it, pods first, so that what pods need
// while they end outlives them.
package namespace

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/loop"
	"github.com/sinawi/sinawi/internal/controllers/served"
)

const (
	// settle is how long a deletion must be known before the last look: every
	// server's admission has learned of it by then and lets nothing in.
	settle = 500 * time.Millisecond
	// firstDelay to lastDelay lie between two passes, and between them a quarter
	// of the time in which all passes found the same: whoever makes
	// progress is looked at often, whoever hangs is not. What ends sooner is
	// usually noticed through its pods.
	firstDelay = 200 * time.Millisecond
	lastDelay  = 15 * time.Second
	// together is how many kinds are worked on at once.
	together = 4
)

// Controller reconciles namespaces.
type Controller struct {
	loop.Deps
	loop      *loop.Loop
	discovery discovery.DiscoveryInterface
	metadata  metadata.Interface

	mu      sync.Mutex // guards the field below
	passing map[types.UID]progress
}

// progress is what is remembered of a namespace on its way out.
type progress struct {
	since time.Time // when its deletion was noticed
	moved time.Time // when a pass last found something else than the one before
	found string
}

// New returns a controller that works with the given dependencies.
func New(deps loop.Deps, d discovery.DiscoveryInterface, m metadata.Interface) *Controller {
	c := &Controller{Deps: deps, discovery: d, metadata: m, passing: map[types.UID]progress{}}
	c.loop = loop.New("namespace", 5, deps, c.reconcile)
	c.loop.WatchChanges(&corev1.Namespace{}, c.changed)
	c.loop.WatchChanges(&corev1.Pod{}, c.podChanged)
	return c
}

// Run reconciles until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

func (c *Controller) changed(before, after client.Object) []loop.Key {
	switch {
	case after == nil:
		c.mu.Lock()
		delete(c.passing, before.GetUID())
		c.mu.Unlock()
		return nil
	case after.GetDeletionTimestamp() == nil:
		return nil
	case before != nil && before.GetDeletionTimestamp() != nil && before.GetGeneration() == after.GetGeneration():
		return nil // our own conditions
	}
	return loop.Self(after)
}

// podChanged wakes a terminating namespace when a pod in it is gone.
func (c *Controller) podChanged(before, after client.Object) []loop.Key {
	if after != nil {
		return nil
	}
	key := loop.Key{Name: before.GetNamespace()}
	ns := &corev1.Namespace{}
	if err := c.Cache.Get(context.Background(), key, ns, client.UnsafeDisableDeepCopy); err != nil || ns.DeletionTimestamp == nil {
		return nil
	}
	return []loop.Key{key}
}

func (c *Controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	ns := &corev1.Namespace{}
	if err := c.Cache.Get(ctx, key, ns); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	if ns.DeletionTimestamp == nil || !slices.Contains(ns.Spec.Finalizers, corev1.FinalizerKubernetes) {
		return 0, nil
	}
	began := time.Now()
	found := c.empty(ctx, ns.Name)
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	p := c.passed(ns.UID, found.String(), began)
	if !found.empty() {
		_, err := c.report(ctx, ns, found)
		return min(max(began.Sub(p.moved)/4, firstDelay), lastDelay), err
	}
	if age := began.Sub(p.since); age < settle {
		return settle - age, nil
	}
	if othersKeep(ns) {
		var err error
		if ns, err = c.report(ctx, ns, found); err != nil {
			return 0, err
		}
	}
	return 0, c.finalize(ctx, ns)
}

// othersKeep says that the namespace outlives our finalizer: then it must not go
// on saying what was left in it.
func othersKeep(ns *corev1.Namespace) bool {
	return len(ns.Finalizers) > 0 || len(ns.Spec.Finalizers) > 1
}

// passed remembers what the pass that began then found, and says how far the
// namespace is.
func (c *Controller) passed(uid types.UID, found string, began time.Time) progress {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, known := c.passing[uid]
	if !known {
		p.since = began
	}
	if found != p.found {
		p.found, p.moved = found, began
	}
	c.passing[uid] = p
	return p
}

// report writes what is left into the namespace's conditions, and returns it as
// it is then.
func (c *Controller) report(ctx context.Context, ns *corev1.Namespace, found leftover) (*corev1.Namespace, error) {
	changed := ns.DeepCopy()
	changed.Status.Phase = corev1.NamespaceTerminating
	changed.Status.Conditions = conditions(ns.Status.Conditions, found, metav1.Now())
	if equality.Semantic.DeepEqual(ns.Status, changed.Status) {
		return ns, nil
	}
	if err := c.Client.Status().Update(ctx, changed); client.IgnoreNotFound(err) != nil {
		return ns, fmt.Errorf("update status of namespace %s: %w", ns.Name, err)
	}
	return changed, nil
}

// finalize takes our finalizer off; if it was the last, the namespace is gone.
func (c *Controller) finalize(ctx context.Context, ns *corev1.Namespace) error {
	changed := ns.DeepCopy()
	changed.Spec.Finalizers = slices.DeleteFunc(changed.Spec.Finalizers, func(f corev1.FinalizerName) bool {
		return f == corev1.FinalizerKubernetes
	})
	if err := c.Client.SubResource("finalize").Update(ctx, changed); err != nil {
		return client.IgnoreNotFound(fmt.Errorf("finalize namespace %s: %w", ns.Name, err))
	}
	return nil
}

// empty deletes what the namespace holds and says what is still there after it.
func (c *Controller) empty(ctx context.Context, namespace string) leftover {
	found := leftover{remaining: map[string]int{}, finalizer: map[string]int{}}
	kinds, err := served.Ask(c.discovery)
	if err != nil {
		found.discovery = err
		return found
	}
	if len(kinds.Failed) > 0 {
		found.discovery = unanswered(kinds)
	}
	pods := func(k served.Kind) bool { return k.Resource.Group == "" && k.Resource.Resource == "pods" }
	for _, first := range []bool{true, false} {
		c.emptyKinds(ctx, namespace, &found, slices.DeleteFunc(slices.Clone(kinds.Preferred), func(k served.Kind) bool {
			return !k.Namespaced || !k.Can("list", "delete") || pods(k) != first
		}))
		if len(found.remaining) > 0 || len(found.failed) > 0 {
			break // pods still run
		}
	}
	return found
}

func unanswered(kinds served.Kinds) error {
	var errs []error
	for gv, err := range kinds.Failed {
		errs = append(errs, fmt.Errorf("%s: %w", gv, err))
	}
	slices.SortFunc(errs, func(a, b error) int {
		if a.Error() < b.Error() {
			return -1
		}
		return 1
	})
	return errors.Join(errs...)
}

func (c *Controller) emptyKinds(ctx context.Context, namespace string, found *leftover, kinds []served.Kind) {
	var mu sync.Mutex // guards found
	var group errgroup.Group
	group.SetLimit(together)
	for _, k := range kinds {
		group.Go(func() error {
			left, err := c.emptyKind(ctx, namespace, k)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				found.failed = append(found.failed, err.Error())
			}
			for i := range left {
				found.remaining[k.Resource.Resource+"."+k.Resource.Group]++
				for _, f := range left[i].Finalizers {
					found.finalizer[f]++
				}
			}
			return nil
		})
	}
	_ = group.Wait() // no part of it returns an error
	slices.Sort(found.failed)
}

// emptyKind deletes all objects of a kind and returns those still there.
func (c *Controller) emptyKind(ctx context.Context, namespace string, k served.Kind) ([]metav1.PartialObjectMetadata, error) {
	r := c.metadata.Resource(k.Resource).Namespace(namespace)
	list, err := r.List(ctx, metav1.ListOptions{})
	if err != nil || len(list.Items) == 0 {
		return nil, ignoreUnserved(err)
	}
	background := metav1.DeletePropagationBackground
	if k.Can("deletecollection") {
		err = r.DeleteCollection(ctx, metav1.DeleteOptions{PropagationPolicy: &background}, metav1.ListOptions{})
	} else {
		err = c.deleteEach(ctx, r, list.Items)
	}
	if err = ignoreUnserved(err); err != nil {
		return list.Items, fmt.Errorf("delete %s: %w", k.Resource.GroupResource(), err)
	}
	if list, err = r.List(ctx, metav1.ListOptions{}); err != nil {
		return nil, ignoreUnserved(err)
	}
	return list.Items, nil
}

func (c *Controller) deleteEach(ctx context.Context, r metadata.ResourceInterface, items []metav1.PartialObjectMetadata) error {
	background := metav1.DeletePropagationBackground
	for i := range items {
		err := r.Delete(ctx, items[i].Name, metav1.DeleteOptions{PropagationPolicy: &background})
		if client.IgnoreNotFound(err) != nil {
			return err
		}
	}
	return nil
}

// ignoreUnserved is for kinds that went while we worked.
func ignoreUnserved(err error) error {
	if apierrors.IsNotFound(err) || apierrors.IsMethodNotSupported(err) {
		return nil
	}
	return err
}
