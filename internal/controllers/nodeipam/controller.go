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
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/loop"
	"github.com/sinawi/sinawi/internal/controllers/node"
)

// Controller gives ranges to nodes.
type Controller struct {
	deps   loop.Deps
	ledger *ledger // complete before the loop begins: it waits until its watches are in step
}

// New returns a controller that cuts nodes' ranges from the cluster's: at most
// one of IPv4 and one of IPv6.
func New(deps loop.Deps, ranges []netip.Prefix) *Controller {
	return &Controller{deps: deps, ledger: newLedger(ranges)}
}

// Part is what the controller wants of nodes.
func (c *Controller) Part() node.Part {
	return node.Part{
		Changed: c.nodeChanged, Shape: c.shape,
		// Its event may have come before the range was given.
		Gone: func(node *corev1.Node) { c.ledger.free(node.UID) },
	}
}

func (c *Controller) nodeChanged(before, after *corev1.Node) []loop.Key {
	if after != nil {
		parts := held(after)
		if len(parts) == 0 {
			return loop.Self(after)
		}
		c.ledger.hold(after.UID, parts)
		return nil
	}
	c.ledger.free(before.UID)
	// A range is free again: whoever waits for one may have it.
	var nodes corev1.NodeList
	if err := c.deps.Cache.List(context.Background(), &nodes, client.UnsafeDisableDeepCopy); err != nil {
		c.deps.Log.Error("list nodes after one went", "node", before.Name, "err", err)
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

func (c *Controller) shape(node *corev1.Node) (time.Duration, error) {
	if len(node.Spec.PodCIDRs) > 0 || node.DeletionTimestamp != nil {
		return 0, nil
	}
	parts, err := c.ledger.give(node.UID)
	if err != nil {
		c.deps.Events.Eventf(node, corev1.EventTypeNormal, "CIDRNotAvailable", "Node %s status is now: CIDRNotAvailable", node.Name)
		return 0, fmt.Errorf("pod range for node %s: %w", node.Name, err)
	}
	for _, p := range parts {
		node.Spec.PodCIDRs = append(node.Spec.PodCIDRs, p.String())
	}
	node.Spec.PodCIDR = node.Spec.PodCIDRs[0]
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
