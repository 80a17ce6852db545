// Package nodettl tells nodes how long they may keep what they have read of
// secrets and config maps: longer in a large cluster, so that it is not asked
// too often. It owns the annotation node.alpha.kubernetes.io/ttl of nodes.
package nodettl

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/loop"
)

// Controller reconciles nodes.
type Controller struct {
	loop.Deps
	loop *loop.Loop
	step int // of the last reconcile; one worker alone touches it
	size atomic.Int64
}

// New returns a controller that works with the given dependencies.
func New(deps loop.Deps) *Controller {
	c := &Controller{Deps: deps}
	c.loop = loop.New("nodettl", 1, deps, c.reconcile)
	c.loop.WatchChanges(&corev1.Node{}, func(before, after client.Object) []loop.Key {
		switch {
		case after == nil:
			c.size.Add(-1)
			return []loop.Key{{}} // names no node
		case before == nil:
			c.size.Add(1)
		case before.GetAnnotations()[corev1.ObjectTTLAnnotationKey] == after.GetAnnotations()[corev1.ObjectTTLAnnotationKey]:
			return nil
		}
		return loop.Self(after)
	})
	return c
}

// Run reconciles until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

// reconcile writes the annotation of one node, or of all when the cluster has
// grown or shrunk so much that all change.
func (c *Controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	if step := next(c.step, int(c.size.Load())); step != c.step {
		var list corev1.NodeList
		if err := c.Cache.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
			return 0, fmt.Errorf("list nodes: %w", err)
		}
		for i := range list.Items {
			if err := c.write(ctx, &list.Items[i], ttl(step)); err != nil {
				return 0, err
			}
		}
		c.step = step
	}
	if key.Name == "" {
		return 0, nil
	}
	node := &corev1.Node{}
	if err := c.Cache.Get(ctx, key, node, client.UnsafeDisableDeepCopy); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	return 0, c.write(ctx, node, ttl(c.step))
}

func (c *Controller) write(ctx context.Context, node *corev1.Node, seconds int) error {
	want := strconv.Itoa(seconds)
	if node.Annotations[corev1.ObjectTTLAnnotationKey] == want || node.DeletionTimestamp != nil {
		return nil
	}
	changed := node.DeepCopy()
	if changed.Annotations == nil {
		changed.Annotations = map[string]string{}
	}
	changed.Annotations[corev1.ObjectTTLAnnotationKey] = want
	if err := c.Client.Patch(ctx, changed, client.MergeFrom(node)); err != nil {
		return client.IgnoreNotFound(fmt.Errorf("annotate node %s: %w", node.Name, err))
	}
	return nil
}

// bounds is up to how many nodes each step reaches, and down to how many; that
// they overlap keeps a cluster at a bound from going back and forth.
func bounds(step int) (low, high, seconds int) {
	table := [][3]int{{0, 100, 0}, {90, 500, 15}, {450, 1000, 30}, {900, 2000, 60}, {1800, 10000, 300}, {9000, math.MaxInt, 600}}
	b := table[step]
	return b[0], b[1], b[2]
}

func ttl(step int) int {
	_, _, seconds := bounds(step)
	return seconds
}

// next is the step of a cluster of n nodes that was at a step.
func next(step, n int) int {
	for {
		low, high, _ := bounds(step)
		switch {
		case n > high:
			step++
		case n < low:
			step--
		default:
			return step
		}
	}
}
