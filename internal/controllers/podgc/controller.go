// Package podgc removes pods that nobody else can: those bound to nodes that do
// not exist any more, those that shall end on nodes that are out of service,
// those that were deleted before any node had them, and finished ones beyond a
// number.
package podgc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/loop"
	"github.com/sinawi/sinawi/internal/controllers/workload"
)

const (
	// defaultQuarantine is how long a node may be missing before its pods go.
	defaultQuarantine = 40 * time.Second
	// defaultFinished is how many finished pods may stay.
	defaultFinished = 12500
	// nodes, in the place of a namespace, marks keys that name a node.
	nodes = "//node"
)

// Options vary the controller.
type Options struct {
	// Quarantine is how long a node may be missing; default 40 s.
	Quarantine time.Duration
	// Finished is how many finished pods may stay; default 12,500.
	Finished int
}

// Controller reconciles pods and missing nodes.
type Controller struct {
	loop.Deps
	loop       *loop.Loop
	quarantine time.Duration
	limit      int

	mu       sync.Mutex // guards the fields below
	missing  map[string]time.Time
	finished map[loop.Key]bool
}

// New returns a controller that works with the given dependencies.
func New(deps loop.Deps, opts Options) *Controller {
	c := &Controller{
		Deps: deps, missing: map[string]time.Time{}, finished: map[loop.Key]bool{},
		quarantine: cmp.Or(opts.Quarantine, defaultQuarantine), limit: cmp.Or(opts.Finished, defaultFinished),
	}
	c.loop = loop.New("podgc", 2, deps, c.reconcile)
	c.loop.WatchChanges(&corev1.Node{}, func(before, after client.Object) []loop.Key {
		switch {
		case after == nil:
			return []loop.Key{{Namespace: nodes, Name: before.GetName()}}
		case outOfService(after.(*corev1.Node)) && (before == nil || !outOfService(before.(*corev1.Node))):
			return []loop.Key{{Namespace: nodes, Name: after.GetName()}}
		}
		return nil
	})
	c.loop.WatchChanges(&corev1.Pod{}, c.podChanged)
	return c
}

// Run reconciles until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

func (c *Controller) podChanged(before, after client.Object) []loop.Key {
	pod, ok := after.(*corev1.Pod)
	if !ok {
		c.count(client.ObjectKeyFromObject(before), false)
		return nil
	}
	old, _ := before.(*corev1.Pod)
	var keys []loop.Key
	if c.count(client.ObjectKeyFromObject(pod), workload.Finished(pod)) > c.limit && (old == nil || !workload.Finished(old)) {
		keys = append(keys, loop.Key{Namespace: nodes})
	}
	switch {
	case pod.Spec.NodeName == "" && pod.DeletionTimestamp != nil:
		keys = append(keys, loop.Self(pod)...)
	case pod.Spec.NodeName != "" && (old == nil || old.Spec.NodeName == "" || pod.DeletionTimestamp != nil && old.DeletionTimestamp == nil):
		node := &corev1.Node{}
		err := c.Cache.Get(context.Background(), loop.Key{Name: pod.Spec.NodeName}, node, client.UnsafeDisableDeepCopy)
		if apierrors.IsNotFound(err) || err == nil && pod.DeletionTimestamp != nil && outOfService(node) {
			keys = append(keys, loop.Key{Namespace: nodes, Name: pod.Spec.NodeName})
		}
	}
	return keys
}

// count keeps the set of finished pods and returns its size.
func (c *Controller) count(key loop.Key, finished bool) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if finished {
		c.finished[key] = true
	} else {
		delete(c.finished, key)
	}
	return len(c.finished)
}

func (c *Controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	switch {
	case key.Namespace == nodes && key.Name == "":
		return 0, c.trim(ctx)
	case key.Namespace == nodes:
		return c.collectNode(ctx, key.Name)
	}
	pod := &corev1.Pod{}
	if err := c.Cache.Get(ctx, key, pod, client.UnsafeDisableDeepCopy); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	if pod.Spec.NodeName != "" || pod.DeletionTimestamp == nil {
		return 0, nil
	}
	return 0, c.fail(ctx, pod)
}

// outOfService says that nothing runs on the node any more: it is silent, and
// somebody has vouched for that it is off.
func outOfService(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeOutOfService }) &&
		!slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
			return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
		})
}

// collectNode removes the pods of a node that has been missing for long enough
// and that the API server does not know either.
func (c *Controller) collectNode(ctx context.Context, name string) (time.Duration, error) {
	node := &corev1.Node{}
	err := c.Cache.Get(ctx, loop.Key{Name: name}, node, client.UnsafeDisableDeepCopy)
	if !apierrors.IsNotFound(err) {
		c.found(name)
		if err == nil && outOfService(node) {
			return 0, c.collectTerminating(ctx, name)
		}
		return 0, err
	}
	pods, err := workload.PodsOn(ctx, c.Cache, name)
	if err != nil || len(pods) == 0 {
		c.found(name)
		return 0, err
	}
	if wait := time.Until(c.missingSince(name).Add(c.quarantine)); wait > 0 {
		return wait, nil
	}
	if err := c.Client.Get(ctx, loop.Key{Name: name}, node); !apierrors.IsNotFound(err) {
		return 0, err
	}
	var errs []error
	for _, pod := range pods {
		errs = append(errs, workload.Disrupt(ctx, c.Client, pod, "DeletionByPodGC", "PodGC: node no longer exists", true, time.Now()), c.remove(ctx, pod))
	}
	return 0, errors.Join(errs...)
}

// collectTerminating removes the pods that were told to end on a node that does
// nothing any more.
func (c *Controller) collectTerminating(ctx context.Context, name string) error {
	pods, err := workload.PodsOn(ctx, c.Cache, name)
	if err != nil {
		return err
	}
	var errs []error
	for _, pod := range pods {
		if pod.DeletionTimestamp != nil {
			errs = append(errs, c.fail(ctx, pod))
		}
	}
	return errors.Join(errs...)
}

// fail notes that a pod has failed, for whoever counts that, and removes it.
func (c *Controller) fail(ctx context.Context, pod *corev1.Pod) error {
	if !workload.Finished(pod) {
		failed := pod.DeepCopy()
		failed.Status.Phase, failed.Status.ObservedGeneration = corev1.PodFailed, pod.Generation
		if err := c.Client.Status().Patch(ctx, failed, client.MergeFrom(pod)); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("fail pod %s: %w", pod.Name, err)
		}
	}
	return c.remove(ctx, pod)
}

func (c *Controller) missingSince(name string) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, known := c.missing[name]
	if !known {
		at = time.Now()
		c.missing[name] = at
	}
	return at
}

func (c *Controller) found(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.missing, name)
}

// sooner orders finished pods by who goes first: those that were evicted, then the
// oldest.
func sooner(a, b *corev1.Pod) int {
	evicted := func(p *corev1.Pod) int {
		if p.Status.Phase == corev1.PodFailed && p.Status.Reason == "Evicted" {
			return 0
		}
		return 1
	}
	return cmp.Or(evicted(a)-evicted(b), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
}

// trim removes the finished pods beyond the limit.
func (c *Controller) trim(ctx context.Context) error {
	var list corev1.PodList
	if err := c.Cache.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list pods: %w", err)
	}
	var finished []*corev1.Pod
	for i := range list.Items {
		if workload.Finished(&list.Items[i]) {
			finished = append(finished, &list.Items[i])
		}
	}
	slices.SortFunc(finished, sooner)
	var errs []error
	for _, pod := range finished[:max(len(finished)-c.limit, 0)] {
		errs = append(errs, c.remove(ctx, pod))
	}
	return errors.Join(errs...)
}

// remove takes a pod out at once: no node is there to end it.
func (c *Controller) remove(ctx context.Context, pod *corev1.Pod) error {
	err := c.Client.Delete(ctx, pod, client.GracePeriodSeconds(0), client.Preconditions{UID: &pod.UID})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("remove pod %s: %w", pod.Name, err)
	}
	return nil
}
