// Package node brings nodes to what the controllers of nodes want of them.
//
// Several controllers have something to say about a node that has just come: its part
// of the pod ranges, its taints, labels, annotations. Each is a Part that says what it
// wants, and this package writes all of it at once: where thousands of nodes join, one
// write each leaves room for their heartbeats that several would not. It owns the queue
// of nodes and the write, and nothing of what is written.
package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/loop"
)

// Part is a controller of nodes that leaves it to the loop to write them. Several nodes
// may be asked about at once, one never twice at a time. Nodes are shared and read-only,
// except for Shape.
type Part struct {
	// Changed notes a change and returns which nodes to look at for it: before is nil
	// for a node that came, after for one that went. All parts have noted a change
	// before any is asked for the node's shape.
	Changed func(before, after *corev1.Node) []loop.Key
	// Watch has the loop told of other objects. Optional.
	Watch func(*loop.Loop)
	// Status writes what the node's status shall have, and returns the node as it was
	// stored, or as it is if there is nothing to write. Optional.
	Status func(context.Context, *corev1.Node) (*corev1.Node, error)
	// Shape changes the node's labels, annotations and spec, which are its own to change,
	// and returns when to look at it again even if nothing changes; 0 is never. An error
	// keeps nobody else's changes from being written.
	Shape func(*corev1.Node) (again time.Duration, err error)
	// Settle does what follows once the node is as it should be. Optional.
	Settle func(context.Context, *corev1.Node) error
	// Gone is told of a node that was not there any more when it was written. Optional.
	Gone func(*corev1.Node)
}

const workers = 4

// Controller reconciles nodes.
type Controller struct {
	deps  loop.Deps
	loop  *loop.Loop
	parts []Part
}

// New returns a controller that writes what the parts want.
func New(deps loop.Deps, parts []Part) *Controller {
	c := &Controller{deps: deps, parts: parts}
	c.loop = loop.New("node", workers, deps, c.reconcile)
	c.loop.WatchChanges(&corev1.Node{}, c.changed)
	for _, p := range parts {
		if p.Watch != nil {
			p.Watch(c.loop)
		}
	}
	return c
}

func (c *Controller) changed(before, after client.Object) (keys []loop.Key) {
	was, _ := before.(*corev1.Node)
	is, _ := after.(*corev1.Node)
	for _, p := range c.parts {
		keys = append(keys, p.Changed(was, is)...)
	}
	return keys
}

// Run reconciles until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

func (c *Controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	node := &corev1.Node{}
	err := c.deps.Cache.Get(ctx, key, node, client.UnsafeDisableDeepCopy)
	for i := 0; i < len(c.parts) && err == nil; i++ {
		if status := c.parts[i].Status; status != nil {
			node, err = status(ctx, node)
		}
	}
	if err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	node, again, failed := c.shape(ctx, node)
	if apierrors.IsNotFound(failed) {
		return 0, nil
	}
	for _, p := range c.parts {
		if p.Settle != nil && failed == nil {
			failed = p.Settle(ctx, node)
		}
	}
	return again, failed
}

// shape asks all parts and writes the node if one of them wants it changed. It returns
// the node as it then is.
func (c *Controller) shape(ctx context.Context, node *corev1.Node) (_ *corev1.Node, again time.Duration, err error) {
	changed, errs := changeable(node), []error(nil)
	for _, p := range c.parts {
		wait, err := p.Shape(changed)
		if wait > 0 && (again == 0 || wait < again) {
			again = wait
		}
		errs = append(errs, err)
	}
	if same(node, changed) {
		return node, again, errors.Join(errs...)
	}
	changed = changed.DeepCopy()
	err = c.deps.Client.Update(ctx, changed)
	if apierrors.IsNotFound(err) {
		c.gone(node)
		return node, 0, err
	}
	if err != nil {
		return node, 0, fmt.Errorf("update node %s: %w", node.Name, err)
	}
	return changed, again, errors.Join(errs...)
}

// changeable is a node that shares with another what Shape does not change: most looks
// only find that it still lives.
func changeable(node *corev1.Node) *corev1.Node {
	changed := *node
	changed.Labels, changed.Annotations = maps.Clone(node.Labels), maps.Clone(node.Annotations)
	node.Spec.DeepCopyInto(&changed.Spec)
	return &changed
}

func same(a, b *corev1.Node) bool {
	return maps.Equal(a.Labels, b.Labels) && maps.Equal(a.Annotations, b.Annotations) && equality.Semantic.DeepEqual(a.Spec, b.Spec)
}

func (c *Controller) gone(node *corev1.Node) {
	for _, p := range c.parts {
		if p.Gone != nil {
			p.Gone(node)
		}
	}
}
