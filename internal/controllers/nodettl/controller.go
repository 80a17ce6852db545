// Package nodettl tells nodes how long they may keep what they have read of
// secrets and config maps: longer in a large cluster, so that it is not asked
// too often. It owns the annotation node.alpha.kubernetes.io/ttl of nodes.
package nodettl

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/loop"
	"github.com/sinawi/sinawi/internal/controllers/node"
)

// rest is how long the cluster must have stayed at a step before the nodes that are
// there are told so: one that grows fast is not written once for each step on the way.
const rest = 10 * time.Second

// Controller annotates nodes.
type Controller struct {
	loop.Deps
	loop *loop.Loop
	rest time.Duration

	mu    sync.Mutex // guards the fields below
	size  int        // nodes
	step  int        // of bounds
	since time.Time  // when the cluster came to the step
	stale bool       // nodes that were there before have not been told
}

// New returns a controller that works with the given dependencies.
func New(deps loop.Deps) *Controller {
	c := &Controller{Deps: deps, rest: rest}
	c.loop = loop.New("nodettl", 1, deps, c.tellAll)
	c.loop.WatchChanges(&corev1.Node{}, func(before, after client.Object) []loop.Key {
		if c.count(before, after) {
			return []loop.Key{{}} // names no node
		}
		return nil
	})
	return c
}

// Part is what the controller wants of a node that comes or is changed.
func (c *Controller) Part() node.Part {
	return node.Part{
		Changed: func(before, after *corev1.Node) []loop.Key {
			const key = corev1.ObjectTTLAnnotationKey
			if after == nil || before != nil && before.Annotations[key] == after.Annotations[key] {
				return nil
			}
			return loop.Self(after)
		},
		Shape: func(node *corev1.Node) (time.Duration, error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			annotate(node, ttl(c.step))
			return 0, nil
		},
	}
}

// Run tells nodes that are there of another step, until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

// count reports whether the cluster came to another step with a change.
func (c *Controller) count(before, after client.Object) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case after == nil:
		c.size--
	case before == nil:
		c.size++
	}
	step := next(c.step, c.size)
	if step == c.step {
		return false
	}
	c.step, c.since, c.stale = step, time.Now(), true
	return true
}

// tellAll annotates all nodes once the cluster stays at a step.
func (c *Controller) tellAll(ctx context.Context, _ loop.Key) (time.Duration, error) {
	c.mu.Lock()
	step, left, stale := c.step, time.Until(c.since.Add(c.rest)), c.stale
	c.stale = stale && left > 0
	c.mu.Unlock()
	if !stale || left > 0 {
		return max(left, 0), nil
	}
	if err := c.writeAll(ctx, ttl(step)); err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.stale = true
		return 0, err
	}
	return 0, nil
}

func (c *Controller) writeAll(ctx context.Context, seconds int) error {
	var list corev1.NodeList
	if err := c.Cache.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list nodes: %w", err)
	}
	for i := range list.Items {
		if err := c.write(ctx, &list.Items[i], seconds); err != nil {
			return err
		}
	}
	return nil
}

func (c *Controller) write(ctx context.Context, node *corev1.Node, seconds int) error {
	if annotated(node, seconds) {
		return nil
	}
	changed := node.DeepCopy()
	annotate(changed, seconds)
	if err := c.Client.Update(ctx, changed); err != nil {
		return client.IgnoreNotFound(fmt.Errorf("annotate node %s: %w", node.Name, err))
	}
	return nil
}

// annotated says that a node needs no other annotation.
func annotated(node *corev1.Node, seconds int) bool {
	return node.Annotations[corev1.ObjectTTLAnnotationKey] == strconv.Itoa(seconds) || node.DeletionTimestamp != nil
}

func annotate(node *corev1.Node, seconds int) {
	if annotated(node, seconds) {
		return
	}
	if node.Annotations == nil {
		node.Annotations = map[string]string{}
	}
	node.Annotations[corev1.ObjectTTLAnnotationKey] = strconv.Itoa(seconds)
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
