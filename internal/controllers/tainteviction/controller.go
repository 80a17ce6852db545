// Package tainteviction deletes pods from nodes whose NoExecute taints they do
// not tolerate, or not any longer.
//
// It owns nothing but these deletions. How long a pod was tolerated follows from
// the taint and the pod themselves, so that a restart does not begin anew.
package tainteviction

import (
	"context"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/loop"
	"github.com/sinawi/sinawi/internal/controllers/workload"
)

// Controller reconciles pods.
type Controller struct {
	loop.Deps
	loop *loop.Loop

	mu   sync.Mutex              // guards the field below
	seen map[types.UID]time.Time // pods that are to go, and since when that is known
}

// New returns a controller that works with the given dependencies.
func New(deps loop.Deps) *Controller {
	c := &Controller{Deps: deps, seen: map[types.UID]time.Time{}}
	c.loop = loop.New("tainteviction", 4, deps, c.reconcile)
	c.loop.WatchChanges(&corev1.Node{}, c.nodeChanged)
	c.loop.WatchChanges(&corev1.Pod{}, c.podChanged)
	return c
}

// Run reconciles until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

func (c *Controller) nodeChanged(before, after client.Object) []loop.Key {
	node, ok := after.(*corev1.Node)
	if !ok {
		return nil
	}
	taints := evicting(node)
	var had []corev1.Taint
	if old, ok := before.(*corev1.Node); ok {
		had = evicting(old)
	}
	if equality.Semantic.DeepEqual(taints, had) {
		return nil
	}
	pods, err := workload.PodsOn(context.Background(), c.Cache, node.Name)
	if err != nil {
		c.Log.Error("list pods of a tainted node", "node", node.Name, "err", err)
	}
	var keys []loop.Key
	for _, pod := range pods {
		keys = append(keys, loop.Self(pod)...)
	}
	return keys
}

func (c *Controller) podChanged(before, after client.Object) []loop.Key {
	pod, ok := after.(*corev1.Pod)
	old, _ := before.(*corev1.Pod)
	if !ok {
		c.spare(old)
		return nil
	}
	if pod.Spec.NodeName == "" || pod.DeletionTimestamp != nil ||
		(old != nil && old.Spec.NodeName == pod.Spec.NodeName && len(old.Spec.Tolerations) == len(pod.Spec.Tolerations)) {
		return nil
	}
	if taints, err := c.taints(context.Background(), pod); err == nil && len(taints) == 0 {
		return nil
	}
	return loop.Self(pod)
}

func (c *Controller) taints(ctx context.Context, pod *corev1.Pod) ([]corev1.Taint, error) {
	node := &corev1.Node{}
	err := c.Cache.Get(ctx, loop.Key{Name: pod.Spec.NodeName}, node, client.UnsafeDisableDeepCopy)
	if apierrors.IsNotFound(err) {
		return nil, nil // its own event comes
	}
	return evicting(node), err
}

func (c *Controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	pod := &corev1.Pod{}
	if err := c.Cache.Get(ctx, key, pod, client.UnsafeDisableDeepCopy); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	if pod.Spec.NodeName == "" || pod.DeletionTimestamp != nil || workload.Finished(pod) {
		return 0, nil
	}
	taints, err := c.taints(ctx, pod)
	if err != nil {
		return 0, err
	}
	stands, limited := tolerance(pod, taints)
	if !limited {
		c.spare(pod)
		return 0, nil
	}
	now := time.Now()
	if stands > 0 {
		if left := since(pod, taints, c.firstSeen(pod.UID, now)).Add(stands).Sub(now); left > 0 {
			return left, nil
		}
		c.forget(pod.UID)
	} else {
		c.spare(pod) // it goes at once, not when it was meant to
	}
	return 0, c.evict(ctx, pod, now)
}

func (c *Controller) evict(ctx context.Context, pod *corev1.Pod, now time.Time) error {
	c.Events.Eventf(pod, corev1.EventTypeNormal, "TaintManagerEviction", "Marking for deletion Pod %s/%s", pod.Namespace, pod.Name)
	if err := workload.Evict(ctx, c.Client, pod, "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint", now); err != nil {
		return err
	}
	c.Log.Info("pod evicted from tainted node", "pod", pod.Namespace+"/"+pod.Name, "node", pod.Spec.NodeName)
	return nil
}

// firstSeen is when the pod was first met on a tainted node.
func (c *Controller) firstSeen(uid types.UID, now time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at, known := c.seen[uid]; known {
		return at
	}
	c.seen[uid] = now
	return now
}

// forget reports whether the pod was meant to go.
func (c *Controller) forget(uid types.UID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, known := c.seen[uid]
	delete(c.seen, uid)
	return known
}

// spare takes an eviction back that was to come.
func (c *Controller) spare(pod *corev1.Pod) {
	if c.forget(pod.UID) {
		c.Events.Eventf(pod, corev1.EventTypeNormal, "TaintManagerEviction", "Cancelling deletion of Pod %s/%s", pod.Namespace, pod.Name)
	}
}
