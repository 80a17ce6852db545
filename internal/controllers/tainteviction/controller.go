// Package tainteviction deletes pods from nodes whose NoExecute taints they do
// not tolerate, or not any longer.
//
// It owns nothing but these deletions. A pod's time runs from when it was met on the
// tainted node, whatever the taint says of when it was put on: a taint that is older
// than its reader, because it was written by hand or before a restart, leaves the pod
// all the time that it asked for. Once it runs, other taints do not change when it
// ends, but they may end it at once or take the eviction back.
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

	mu  sync.Mutex              // guards the field below
	due map[types.UID]time.Time // pods that are to go, and when
}

// New returns a controller that works with the given dependencies.
func New(deps loop.Deps) *Controller {
	c := &Controller{Deps: deps, due: map[types.UID]time.Time{}}
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
		(old != nil && old.Spec.NodeName == pod.Spec.NodeName && equality.Semantic.DeepEqual(old.Spec.Tolerations, pod.Spec.Tolerations)) {
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
	if pod.Spec.NodeName == "" || pod.DeletionTimestamp != nil {
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
	if stands <= 0 {
		c.spare(pod) // it goes at once, not when it was meant to
		return 0, c.evict(ctx, pod, now)
	}
	if left := c.goes(pod.UID, now.Add(stands)).Sub(now); left > 0 {
		return left, nil
	}
	c.forget(pod.UID) // before it goes: that would look like an eviction taken back
	err = c.evict(ctx, pod, now)
	if err != nil {
		c.goes(pod.UID, now)
	}
	return 0, err
}

func (c *Controller) evict(ctx context.Context, pod *corev1.Pod, now time.Time) error {
	c.Events.Eventf(pod, corev1.EventTypeNormal, "TaintManagerEviction", "Marking for deletion Pod %s/%s", pod.Namespace, pod.Name)
	if err := workload.Evict(ctx, c.Client, pod, "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint", now); err != nil {
		return err
	}
	c.Log.Info("pod evicted from tainted node", "pod", pod.Namespace+"/"+pod.Name, "node", pod.Spec.NodeName)
	return nil
}

// goes is when the pod is to go: at the given time, unless that is settled already.
func (c *Controller) goes(uid types.UID, at time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if settled, known := c.due[uid]; known {
		return settled
	}
	c.due[uid] = at
	return at
}

// forget reports whether the pod was meant to go.
func (c *Controller) forget(uid types.UID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, known := c.due[uid]
	delete(c.due, uid)
	return known
}

// spare takes an eviction back that was to come.
func (c *Controller) spare(pod *corev1.Pod) {
	if c.forget(pod.UID) {
		c.Events.Eventf(pod, corev1.EventTypeNormal, "TaintManagerEviction", "Cancelling deletion of Pod %s/%s", pod.Namespace, pod.Name)
	}
}
