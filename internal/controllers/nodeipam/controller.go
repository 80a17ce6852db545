// Package nodeipam gives every node its own part of the cluster's pod ranges.
//
// It owns spec.podCIDR and spec.podCIDRs of nodes that have none. It promises
// that no two nodes get overlapping ranges, also when its cache lags behind, and
// never changes a range once given.
package nodeipam

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/loop"
)

// The sizes of a node's part.
const (
	nodeBits4 = 24
	nodeBits6 = 64
)

// Controller reconciles nodes.
type Controller struct {
	loop.Deps
	loop   *loop.Loop
	ranges []netip.Prefix
	// given are the ranges handed out that the cache may not show yet. The loop
	// has one worker, which alone touches this.
	given map[types.UID][]netip.Prefix
}

// New returns a controller that cuts nodes' ranges from the cluster's: at most
// one of IPv4 and one of IPv6.
func New(deps loop.Deps, ranges []netip.Prefix) *Controller {
	c := &Controller{Deps: deps, ranges: ranges, given: map[types.UID][]netip.Prefix{}}
	c.loop = loop.New("nodeipam", 1, deps, c.reconcile)
	c.loop.WatchChanges(&corev1.Node{}, c.nodeChanged)
	return c
}

// Run reconciles until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

func (c *Controller) nodeChanged(before, after client.Object) []loop.Key {
	if after != nil {
		if len(after.(*corev1.Node).Spec.PodCIDRs) > 0 && before != nil {
			return nil
		}
		return loop.Self(after)
	}
	// A range is free again: whoever waits for one may have it.
	var nodes corev1.NodeList
	if err := c.Cache.List(context.Background(), &nodes, client.UnsafeDisableDeepCopy); err != nil {
		c.Log.Error("list nodes after one went", "node", before.GetName(), "err", err)
		return nil
	}
	var keys []loop.Key
	for i := range nodes.Items {
		if len(nodes.Items[i].Spec.PodCIDRs) == 0 {
			keys = append(keys, loop.Self(&nodes.Items[i])...)
		}
	}
	return keys
}

func (c *Controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	node := &corev1.Node{}
	if err := c.Cache.Get(ctx, key, node); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	if len(node.Spec.PodCIDRs) > 0 || node.DeletionTimestamp != nil {
		return 0, nil
	}
	parts, known := c.given[node.UID]
	if !known {
		var err error
		if parts, err = c.cut(ctx); err != nil {
			c.Events.Eventf(node, corev1.EventTypeNormal, "CIDRNotAvailable", "Node %s status is now: CIDRNotAvailable", node.Name)
			return 0, fmt.Errorf("pod range for node %s: %w", node.Name, err)
		}
		c.given[node.UID] = parts
	}
	changed := node.DeepCopy()
	for _, p := range parts {
		changed.Spec.PodCIDRs = append(changed.Spec.PodCIDRs, p.String())
	}
	changed.Spec.PodCIDR = changed.Spec.PodCIDRs[0]
	if err := c.Client.Patch(ctx, changed, client.MergeFrom(node)); err != nil {
		return 0, client.IgnoreNotFound(fmt.Errorf("set pod range of node %s: %w", node.Name, err))
	}
	return 0, nil
}

// cut takes a free part of every cluster range.
func (c *Controller) cut(ctx context.Context) ([]netip.Prefix, error) {
	var nodes corev1.NodeList
	if err := c.Cache.List(ctx, &nodes, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	var used []netip.Prefix
	alive := map[types.UID]bool{}
	for i := range nodes.Items {
		node := &nodes.Items[i]
		alive[node.UID] = true
		for _, s := range node.Spec.PodCIDRs {
			if p, err := netip.ParsePrefix(s); err == nil {
				used = append(used, p)
			}
		}
	}
	for uid, parts := range c.given {
		if !alive[uid] {
			delete(c.given, uid)
			continue
		}
		used = append(used, parts...)
	}
	var parts []netip.Prefix
	for _, r := range c.ranges {
		bits := nodeBits4
		if r.Addr().Is6() {
			bits = nodeBits6
		}
		p, err := nextFree(r, max(bits, r.Bits()), used)
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	return parts, nil
}
