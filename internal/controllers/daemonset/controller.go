package daemonset

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
	workload.WatchOwned(c.loop, deps, c.pending, &corev1.Pod{}, kind, &appsv1.DaemonSetList{})
	c.loop.WatchChanges(&corev1.Node{}, c.nodeChanged)
	return c
}

// Run reconciles until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

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
	if err != nil {
		c.Log.Error("daemon set has an invalid selector", "key", key.String(), "err", err)
		return 0, nil
	}
	if selector.Empty() {
		c.Events.Eventf(set, corev1.EventTypeWarning, "SelectingAll",
			"This daemon set is selecting all pods. A non-empty selector is required.")
		return 0, nil
	}
	claimer := &workload.Claimer{Client: c.Client, Cache: c.Cache, Owner: set, Kind: kind, Selector: selector}
	pods, err := workload.Claimed[*corev1.Pod](ctx, claimer, &corev1.PodList{}, nil)
	if err != nil {
		return 0, err
	}
	now := time.Now()
	if settled, again := expect.Settled(c.pending, set.UID, pods, now); !settled {
		return again, nil
	}
	book := &history.Book{
		Client: c.Client, Cache: c.Cache, Owner: set, Kind: kind, Selector: set.Spec.Selector,
		HashLabel: appsv1.DefaultDaemonSetUniqueLabelKey,
		Hash: func(template *corev1.PodTemplateSpec, _ []byte) string {
			return workload.TemplateHash(template, set.Status.CollisionCount)
		},
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
	status.CollisionCount = workload.OneMore(status.CollisionCount)
	return c.updateStatus(ctx, set, status)
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
			c.tellEnd(set, pod)
		}
		remove = append(remove, pod)
	}
	next := make(chan string, len(p.create))
	for _, node := range p.create {
		next <- node
	}
	write := workload.Pods{Deps: c.Deps, Pending: c.pending}
	_, createErr := workload.SlowStart(len(p.create), func() error {
		node := <-next
		if err := write.Create(ctx, set, build(set, node, hash)); err != nil {
			return fmt.Errorf("node %s: %w", node, err)
		}
		return nil
	})
	return again, errors.Join(createErr, write.DeleteAll(ctx, set, remove), c.updateStatus(ctx, set, p.status))
}

// tellEnd says that a pod ended that should not have.
func (c *Controller) tellEnd(set *appsv1.DaemonSet, pod *corev1.Pod) {
	if pod.Status.Phase == corev1.PodFailed {
		c.Events.Eventf(set, corev1.EventTypeWarning, "FailedDaemonPod",
			"Found failed daemon pod %s/%s on node %s, will try to kill it", pod.Namespace, pod.Name, pod.Spec.NodeName)
		return
	}
	c.Events.Eventf(set, corev1.EventTypeNormal, "SucceededDaemonPod",
		"Found succeeded daemon pod %s/%s on node %s, will try to delete it", pod.Namespace, pod.Name, pod.Spec.NodeName)
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
