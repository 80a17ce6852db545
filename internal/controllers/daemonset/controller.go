package daemonset

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/util/flowcontrol"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/expect"
	"github.com/sinawi/sinawi/internal/controllers/history"
	"github.com/sinawi/sinawi/internal/controllers/loop"
	"github.com/sinawi/sinawi/internal/controllers/workload"
)

// Controller reconciles DaemonSets.
type Controller struct {
	loop.Deps
	loop    *loop.Loop
	pending *expect.Tracker
	// failures slows down the replacement of pods that keep ending.
	failures *flowcontrol.Backoff
}

var kind = appsv1.SchemeGroupVersion.WithKind("DaemonSet")

// New returns a controller that works with the given dependencies.
func New(deps loop.Deps) *Controller {
	c := &Controller{Deps: deps, pending: expect.New(), failures: flowcontrol.NewBackOff(time.Second, 15*time.Minute)}
	c.loop = loop.New("daemonset", 3, deps, c.reconcile)
	c.loop.WatchSelf(&appsv1.DaemonSet{})
	c.loop.WatchChanges(&corev1.Pod{}, c.podChanged)
	c.loop.WatchChanges(&corev1.Node{}, c.nodeChanged)
	return c
}

// Run reconciles until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

func (c *Controller) podChanged(before, after client.Object) []loop.Key {
	for _, obj := range []client.Object{before, after} {
		if obj != nil {
			c.pending.Seen(obj)
		}
	}
	keys, err := workload.Wake(context.Background(), c.Cache, kind, &appsv1.DaemonSetList{}, before, after)
	if err != nil {
		c.Log.Error("find daemon sets of a pod", "err", err)
	}
	return keys
}

// nodeChanged wakes the sets for which the node has become another.
func (c *Controller) nodeChanged(before, after client.Object) []loop.Key {
	old, _ := before.(*corev1.Node)
	node, _ := after.(*corev1.Node)
	if old != nil && node != nil && equality.Semantic.DeepEqual(old.Labels, node.Labels) &&
		equality.Semantic.DeepEqual(old.Spec.Taints, node.Spec.Taints) {
		return nil
	}
	var sets appsv1.DaemonSetList
	if err := c.Cache.List(context.Background(), &sets, client.UnsafeDisableDeepCopy); err != nil {
		c.Log.Error("list daemon sets", "err", err)
		return nil
	}
	var keys []loop.Key
	for i := range sets.Items {
		set := &sets.Items[i]
		if old != nil && node != nil {
			run, stay := fit(set, node)
			if r, s := fit(set, old); r == run && s == stay {
				continue
			}
		}
		keys = append(keys, loop.Self(set)...)
	}
	return keys
}

func (c *Controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	set := &appsv1.DaemonSet{}
	if err := c.Cache.Get(ctx, key, set); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
	if err != nil || selector.Empty() {
		c.Log.Error("daemon set has no valid selector", "key", key.String(), "err", err)
		return 0, nil
	}
	pods, err := c.claim(ctx, set, selector)
	if err != nil {
		return 0, err
	}
	now := time.Now()
	if settled, again := expect.Settled(c.pending, set.UID, pods, now); !settled {
		return again, nil
	}
	book := &history.Book{
		Client: c.Client, Cache: c.Cache, Owner: set, Kind: kind, Selector: set.Spec.Selector,
		HashLabel: appsv1.DefaultDaemonSetUniqueLabelKey, Collisions: set.Status.CollisionCount,
	}
	revisions, err := book.List(ctx)
	if err != nil {
		return 0, err
	}
	latest, err := book.Latest(ctx, &set.Spec.Template, revisions)
	if errors.Is(err, history.ErrCollision) {
		return 0, c.countCollision(ctx, set)
	}
	if err != nil {
		return 0, err
	}
	nodes, err := c.nodes(ctx)
	if err != nil {
		return 0, err
	}
	hash := latest.Labels[appsv1.DefaultDaemonSetUniqueLabelKey]
	p := decide(snapshot{set: set, nodes: nodes, pods: pods, hash: hash}, now)
	again, err := c.act(ctx, set, p, hash)
	if err != nil {
		return 0, err
	}
	inUse := func(r *appsv1.ControllerRevision) bool {
		h := r.Labels[appsv1.DefaultDaemonSetUniqueLabelKey]
		used := h == hash
		for _, pod := range pods {
			used = used || pod.Labels[appsv1.DefaultDaemonSetUniqueLabelKey] == h
		}
		return used
	}
	return again, book.Trim(ctx, revisions, inUse, set.Spec.RevisionHistoryLimit)
}

func (c *Controller) nodes(ctx context.Context) ([]*corev1.Node, error) {
	var list corev1.NodeList
	if err := c.Cache.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	nodes := make([]*corev1.Node, len(list.Items))
	for i := range list.Items {
		nodes[i] = &list.Items[i]
	}
	return nodes, nil
}

func (c *Controller) countCollision(ctx context.Context, set *appsv1.DaemonSet) error {
	status := *set.Status.DeepCopy()
	n := int32(1)
	if status.CollisionCount != nil {
		n += *status.CollisionCount
	}
	status.CollisionCount = &n
	return c.updateStatus(ctx, set, status)
}

func (c *Controller) claim(ctx context.Context, set *appsv1.DaemonSet, selector labels.Selector) ([]*corev1.Pod, error) {
	var owned, loose corev1.PodList
	if err := workload.ListOwned(ctx, c.Cache, &owned, set.Namespace, set.UID); err != nil {
		return nil, fmt.Errorf("list pods of daemon set: %w", err)
	}
	if err := workload.ListOrphans(ctx, c.Cache, &loose, set.Namespace); err != nil {
		return nil, fmt.Errorf("list orphan pods: %w", err)
	}
	claimer := workload.Claimer{Client: c.Client, Owner: set, Kind: kind, Selector: selector}
	var mine []*corev1.Pod
	var errs []error
	for _, list := range [][]corev1.Pod{owned.Items, loose.Items} {
		for i := range list {
			yes, err := claimer.Take(ctx, &list[i])
			if err != nil {
				errs = append(errs, err)
			} else if yes {
				mine = append(mine, &list[i])
			}
		}
	}
	return mine, errors.Join(errs...)
}

// act carries out the plan. It returns when to come back.
func (c *Controller) act(ctx context.Context, set *appsv1.DaemonSet, p plan, hash string) (time.Duration, error) {
	again := p.again
	ended := map[*corev1.Pod]bool{}
	for _, pod := range p.ended {
		ended[pod] = true
	}
	var remove []*corev1.Pod
	for _, pod := range p.remove {
		if ended[pod] {
			key := string(set.UID) + "/" + pod.Spec.NodeName
			now := time.Now()
			if c.failures.IsInBackOffSinceUpdate(key, now) {
				if wait := c.failures.Get(key); again == 0 || wait < again {
					again = wait
				}
				continue
			}
			c.failures.Next(key, now)
			c.failures.GC()
		}
		remove = append(remove, pod)
	}
	next := make(chan string, len(p.create))
	for _, node := range p.create {
		next <- node
	}
	_, createErr := workload.SlowStart(len(p.create), func() error { return c.create(ctx, set, <-next, hash) })
	return again, errors.Join(createErr, c.remove(ctx, set, remove), c.updateStatus(ctx, set, p.status))
}

func (c *Controller) create(ctx context.Context, set *appsv1.DaemonSet, node, hash string) error {
	pod := build(set, node, hash)
	err := c.Client.Create(ctx, pod)
	switch {
	case err == nil:
		c.pending.Created(set.UID, pod, time.Now())
		c.Events.Eventf(set, corev1.EventTypeNormal, "SuccessfulCreate", "Created pod: %v", pod.Name)
		return nil
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil // nothing can be created here any more
	default:
		c.Events.Eventf(set, corev1.EventTypeWarning, "FailedCreate", "Error creating: %v", err)
		return fmt.Errorf("create pod for node %s: %w", node, err)
	}
}

func (c *Controller) remove(ctx context.Context, set *appsv1.DaemonSet, pods []*corev1.Pod) error {
	var wg sync.WaitGroup
	errs := make([]error, len(pods))
	for i, pod := range pods {
		wg.Go(func() {
			err := c.Client.Delete(ctx, pod, client.Preconditions{UID: &pod.UID})
			switch {
			case apierrors.IsNotFound(err) || apierrors.IsConflict(err):
			case err != nil:
				c.Events.Eventf(set, corev1.EventTypeWarning, "FailedDelete", "Error deleting: %v", err)
				errs[i] = fmt.Errorf("delete pod %s: %w", pod.Name, err)
			default:
				c.pending.Deleted(set.UID, pod.UID, time.Now())
				c.Events.Eventf(set, corev1.EventTypeNormal, "SuccessfulDelete", "Deleted pod: %v", pod.Name)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (c *Controller) updateStatus(ctx context.Context, set *appsv1.DaemonSet, next appsv1.DaemonSetStatus) error {
	if equality.Semantic.DeepEqual(set.Status, next) {
		return nil
	}
	changed := set.DeepCopy()
	changed.Status = next
	if err := c.Client.Status().Update(ctx, changed); err != nil {
		return client.IgnoreNotFound(fmt.Errorf("update status of daemon set: %w", err))
	}
	return nil
}
