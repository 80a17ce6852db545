package endpointslice

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/backend"
	"github.com/sinawi/sinawi/internal/controllers/expect"
	"github.com/sinawi/sinawi/internal/controllers/loop"
	"github.com/sinawi/sinawi/internal/controllers/workload"
)

// Controller reconciles services.
type Controller struct {
	loop.Deps
	loop     *loop.Loop
	pending  *expect.Tracker
	triggers backend.Triggers
}

var kind = corev1.SchemeGroupVersion.WithKind("Service")

// New returns a controller that works with the given dependencies.
func New(deps loop.Deps) *Controller {
	c := &Controller{Deps: deps, pending: expect.New()}
	c.loop = loop.New("endpointslice", 5, deps, c.reconcile)
	c.loop.WatchSelf(&corev1.Service{})
	backend.WatchPods(c.loop, deps)
	c.loop.WatchChanges(&corev1.Node{}, c.nodeChanged)
	c.loop.WatchChanges(&corev1.Node{}, c.capacityChanged)
	watchSlices(c.loop, c.pending, manager)
	return c
}

// Run reconciles until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

// capacityChanged wakes the services that go by topology when a node counts for
// more or less than before. One that has just come is not ready yet.
func (c *Controller) capacityChanged(before, after client.Object) []loop.Key {
	old, _ := before.(*corev1.Node)
	next, _ := after.(*corev1.Node)
	if old == nil || next != nil && counts(old) == counts(next) && old.Status.Allocatable.Cpu().Equal(*next.Status.Allocatable.Cpu()) &&
		old.Labels[corev1.LabelTopologyZone] == next.Labels[corev1.LabelTopologyZone] {
		return nil
	}
	var list corev1.ServiceList
	if err := c.Cache.List(context.Background(), &list, client.UnsafeDisableDeepCopy); err != nil {
		c.Log.Error("list services", "err", err)
	}
	var keys []loop.Key
	for i := range list.Items {
		if byTopology(&list.Items[i]) {
			keys = append(keys, loop.Self(&list.Items[i])...)
		}
	}
	return keys
}

// nodeChanged wakes the services of a node's pods when the node comes, goes or
// moves to another zone.
func (c *Controller) nodeChanged(before, after client.Object) []loop.Key {
	node := after
	if after == nil {
		node = before
	} else if before != nil && before.GetLabels()[corev1.LabelTopologyZone] == after.GetLabels()[corev1.LabelTopologyZone] {
		return nil
	}
	var keys []loop.Key
	pods, err := workload.PodsOn(context.Background(), c.Cache, node.GetName())
	for _, pod := range pods {
		var of []loop.Key
		if of, err = backend.Services(context.Background(), c.Cache, pod.Namespace, pod.Labels); err != nil {
			break
		}
		keys = append(keys, of...)
	}
	if err != nil {
		c.Log.Error("find services on a node", "node", node.GetName(), "err", err)
	}
	return keys
}

func (c *Controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	service := &corev1.Service{}
	if err := c.Cache.Get(ctx, key, service, client.UnsafeDisableDeepCopy); err != nil {
		c.triggers.Forget(key)
		return 0, client.IgnoreNotFound(err) // the garbage collector takes the slices
	}
	if service.DeletionTimestamp != nil || len(service.Spec.Selector) == 0 {
		return 0, nil
	}
	snap, err := c.snapshot(ctx, service)
	if err != nil {
		return 0, err
	}
	if settled, again := expect.Settled(c.pending, service.UID, snap.slices, time.Now()); !settled {
		return again, nil
	}
	p := decide(snap)
	for _, e := range p.events {
		c.Events.Event(service, e.kind, e.reason, e.message)
	}
	since := c.triggers.Since(service, snap.pods)
	for _, slice := range slices.Concat(p.create, p.update) {
		backend.Stamp(&slice.ObjectMeta, since)
	}
	return 0, write(ctx, c.Client, c.pending, service, p)
}

func (c *Controller) snapshot(ctx context.Context, service *corev1.Service) (snapshot, error) {
	snap := snapshot{service: service, zones: map[string]string{}}
	var err error
	if snap.pods, err = backend.Pods(ctx, c.Cache, service); err != nil {
		return snap, err
	}
	for _, pod := range snap.pods {
		name := pod.Spec.NodeName
		if _, known := snap.zones[name]; known || name == "" {
			continue
		}
		node := &corev1.Node{}
		err := c.Cache.Get(ctx, loop.Key{Name: name}, node, client.UnsafeDisableDeepCopy)
		if err == nil {
			snap.zones[name] = node.Labels[corev1.LabelTopologyZone]
		} else if !apierrors.IsNotFound(err) {
			return snap, fmt.Errorf("read node %s: %w", name, err)
		}
	}
	if byTopology(service) {
		var list corev1.NodeList
		if err := c.Cache.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
			return snap, fmt.Errorf("list nodes: %w", err)
		}
		snap.shares, snap.unshared = sharesOf(list.Items)
	}
	snap.slices, err = slicesOf(ctx, c.Cache, client.ObjectKeyFromObject(service), manager)
	return snap, err
}
