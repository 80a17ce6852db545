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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/loop"
)

// Controller reconciles nodes.
type Controller struct {
	loop.Deps
	loop   *loop.Loop
	ledger *ledger // complete before the loop begins: it waits until its watches are in step
}

// New returns a controller that cuts nodes' ranges from the cluster's: at most
// one of IPv4 and one of IPv6.
func New(deps loop.Deps, ranges []netip.Prefix) *Controller {
	c := &Controller{Deps: deps, ledger: newLedger(ranges)}
	c.loop = loop.New("nodeipam", 1, deps, c.reconcile)
	c.loop.WatchChanges(&corev1.Node{}, c.nodeChanged)
	return c
}

// Run reconciles until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

func (c *Controller) nodeChanged(before, after client.Object) []loop.Key {
	if after != nil {
		node := after.(*corev1.Node)
		parts := held(node)
		if len(parts) == 0 {
			return loop.Self(after)
		}
		c.ledger.hold(node.UID, parts)
		return nil
	}
	c.ledger.free(before.GetUID())
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
	parts, err := c.ledger.give(node.UID)
	if err != nil {
		c.Events.Eventf(node, corev1.EventTypeNormal, "CIDRNotAvailable", "Node %s status is now: CIDRNotAvailable", node.Name)
		return 0, fmt.Errorf("pod range for node %s: %w", node.Name, err)
	}
	changed := node.DeepCopy()
	for _, p := range parts {
		changed.Spec.PodCIDRs = append(changed.Spec.PodCIDRs, p.String())
	}
	changed.Spec.PodCIDR = changed.Spec.PodCIDRs[0]
	err = c.Client.Patch(ctx, changed, client.MergeFrom(node))
	if apierrors.IsNotFound(err) {
		c.ledger.free(node.UID) // its event may have come before the range was given
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("set pod range of node %s: %w", node.Name, err)
	}
	return 0, nil
}

// held are the ranges that the node has.
func held(node *corev1.Node) []netip.Prefix {
	var parts []netip.Prefix
	for _, s := range node.Spec.PodCIDRs {
		if p, err := netip.ParsePrefix(s); err == nil {
			parts = append(parts, p)
		}
	}
	return parts
}
