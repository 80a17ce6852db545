package nodelifecycle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/loop"
	"github.com/sinawi/sinawi/internal/controllers/workload"
)

const (
	// defaultGrace is how long a node may be silent.
	defaultGrace = 50 * time.Second
	// startup is how much longer one may be that has not said anything yet.
	startup = 10 * time.Second
)

// Options vary the controller.
type Options struct {
	// Grace is how long a node may be silent; default 50 s.
	Grace time.Duration
}

// Controller reconciles nodes.
type Controller struct {
	loop.Deps
	loop   *loop.Loop
	grace  time.Duration
	census *census // complete before the loop begins: it waits until its watches are in step

	mu    sync.Mutex // guards the fields below
	heard map[string]sign
	next  map[string]time.Time      // per zone, when a node may be evicted again
	done  map[types.UID]metav1.Time // of silent nodes: the transition whose pods are marked
}

// sign is the last sign of life of a node: what it was and when it came, by our
// own clock.
type sign struct {
	lease, status time.Time
	at            time.Time
}

// New returns a controller that works with the given dependencies.
func New(deps loop.Deps, opts Options) *Controller {
	c := &Controller{
		Deps: deps, grace: cmp.Or(opts.Grace, defaultGrace), census: newCensus(),
		heard: map[string]sign{}, next: map[string]time.Time{}, done: map[types.UID]metav1.Time{},
	}
	c.loop = loop.New("nodelifecycle", 4, deps, c.reconcile)
	c.loop.WatchChanges(&corev1.Node{}, c.nodeChanged)
	c.loop.WatchChanges(&coordinationv1.Lease{}, c.leaseChanged)
	return c
}

// Run reconciles until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

// leaseChanged only remembers: the timer of the node asks.
func (c *Controller) leaseChanged(_, after client.Object) []loop.Key {
	lease, ok := after.(*coordinationv1.Lease)
	if ok && lease.Namespace == corev1.NamespaceNodeLease && lease.Spec.RenewTime != nil {
		c.hear(lease.Name, sign{lease: lease.Spec.RenewTime.Time})
	}
	return nil
}

// hear notes a sign of life if it is a new one.
func (c *Controller) hear(name string, s sign) {
	c.mu.Lock()
	defer c.mu.Unlock()
	have, known := c.heard[name]
	if known && !s.lease.After(have.lease) && !s.status.After(have.status) {
		return
	}
	if s.lease.After(have.lease) {
		have.lease = s.lease
	}
	if s.status.After(have.status) {
		have.status = s.status
	}
	have.at = time.Now()
	c.heard[name] = have
}

func (c *Controller) nodeChanged(before, after client.Object) []loop.Key {
	if after == nil {
		c.mu.Lock()
		delete(c.heard, before.GetName())
		delete(c.done, before.GetUID())
		c.mu.Unlock()
		c.tell(before, "RemovingNode", "Removing Node %v from Controller")
		return selves(c.census.forget(before.GetName()))
	}
	node := after.(*corev1.Node)
	if before == nil {
		c.tell(node, "RegisteredNode", "Registered Node %v in Controller")
	}
	if r := condition(node, corev1.NodeReady); r != nil {
		c.hear(node.Name, sign{status: r.LastHeartbeatTime.Time})
	} else {
		c.hear(node.Name, sign{status: node.CreationTimestamp.Time})
	}
	keys := selves(c.census.note(node))
	if old, _ := before.(*corev1.Node); old != nil && len(relabel(node.Labels)) == 0 && equality.Semantic.DeepEqual(old.Spec, node.Spec) && sameStates(old, node) {
		return keys
	}
	return append(keys, loop.Self(node)...)
}

func (c *Controller) tell(node client.Object, reason, format string) {
	c.Events.Eventf(node, corev1.EventTypeNormal, reason, "Node %s event: "+format, node.GetName(), node.GetName())
}

func selves(nodes []string) []loop.Key {
	var keys []loop.Key
	for _, name := range nodes {
		keys = append(keys, loop.Key{Name: name})
	}
	return keys
}

// sameStates says that two statuses differ in no condition's state.
func sameStates(a, b *corev1.Node) bool {
	if len(a.Status.Conditions) != len(b.Status.Conditions) {
		return false
	}
	for _, x := range a.Status.Conditions {
		y := condition(b, x.Type)
		if y == nil || y.Status != x.Status {
			return false
		}
	}
	return true
}

func (c *Controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	node := &corev1.Node{}
	if err := c.Cache.Get(ctx, key, node); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	now := time.Now()
	again := c.silentIn(node, now)
	if again <= 0 {
		if err := c.markSilent(ctx, node, now); err != nil {
			return 0, err
		}
		again = 0 // its next sign of life comes with a change of the node
	}
	if err := c.relabel(ctx, node); err != nil {
		return 0, err
	}
	wait, err := c.taint(ctx, node, now)
	if err != nil {
		return 0, err
	}
	if wait > 0 && (again == 0 || wait < again) {
		again = wait
	}
	return again, c.markPods(ctx, node, now)
}

// silentIn is when the node will have been silent for too long.
func (c *Controller) silentIn(node *corev1.Node, now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	left := c.heard[node.Name].at.Add(c.grace).Sub(now)
	if condition(node, corev1.NodeReady) == nil {
		left += startup
	}
	return left
}

// relabel writes the old names of labels that a node has by their new names.
func (c *Controller) relabel(ctx context.Context, node *corev1.Node) error {
	more := relabel(node.Labels)
	if len(more) == 0 {
		return nil
	}
	changed := node.DeepCopy()
	maps.Copy(changed.Labels, more)
	if err := c.Client.Patch(ctx, changed, client.MergeFrom(node)); err != nil {
		return client.IgnoreNotFound(fmt.Errorf("label node %s: %w", node.Name, err))
	}
	*node = *changed
	return nil
}

func (c *Controller) markSilent(ctx context.Context, node *corev1.Node, now time.Time) error {
	before := readiness(node)
	changed := node.DeepCopy()
	changed.Status.Conditions = silence(node, now)
	if equality.Semantic.DeepEqual(changed.Status, node.Status) {
		return nil
	}
	if err := c.Client.Status().Update(ctx, changed); err != nil {
		return client.IgnoreNotFound(fmt.Errorf("mark node %s as silent: %w", node.Name, err))
	}
	if before == corev1.ConditionTrue {
		c.Log.Warn("node fell silent", "node", node.Name, "grace", c.grace)
		c.Events.Eventf(node, corev1.EventTypeNormal, "NodeNotReady", "Node %s status is now: NodeNotReady", node.Name)
	}
	*node = *changed
	return nil
}

// taint brings the node's taints up to date. It returns when to come back for
// one that has to wait its turn.
func (c *Controller) taint(ctx context.Context, node *corev1.Node, now time.Time) (time.Duration, error) {
	evict, wait := allow, time.Duration(0)
	if readiness(node) != corev1.ConditionTrue {
		evict, wait = c.turn(node, now)
	}
	changed := node.DeepCopy()
	changed.Spec.Taints = taints(node, evict, now)
	if equality.Semantic.DeepEqual(changed.Spec.Taints, node.Spec.Taints) {
		return wait, nil
	}
	err := c.Client.Patch(ctx, changed, client.MergeFromWithOptions(node, client.MergeFromWithOptimisticLock{}))
	if err != nil {
		return 0, client.IgnoreNotFound(fmt.Errorf("taint node %s: %w", node.Name, err))
	}
	*node = *changed
	return wait, nil
}

// turn says whether the pods of a node that is not ready may be driven off now.
func (c *Controller) turn(node *corev1.Node, now time.Time) (eviction, time.Duration) {
	gap, ever, current := c.census.pace(node)
	key := corev1.Taint{Key: taintFor(corev1.NodeReady, readiness(node)), Effect: corev1.TaintEffectNoExecute}
	switch {
	case !current:
		return hold, 0 // its change is on the way and brings it back
	case !ever:
		return never, 0
	case gap == 0:
		return hold, 0
	}
	for _, t := range node.Spec.Taints {
		if t.MatchTaint(&key) {
			return allow, 0
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if wait := c.next[zone(node)].Sub(now); wait > 0 {
		return hold, wait
	}
	c.next[zone(node)] = now.Add(gap)
	return allow, 0
}

// markPods makes the pods of a silent node unready, once for each time that it became
// so: nobody else can say it. A node that says itself that it is not ready speaks for
// its pods too.
func (c *Controller) markPods(ctx context.Context, node *corev1.Node, now time.Time) error {
	ready := condition(node, corev1.NodeReady)
	if ready == nil || ready.Status != corev1.ConditionUnknown {
		return nil
	}
	c.mu.Lock()
	last, known := c.done[node.UID]
	c.mu.Unlock()
	if known && last.Equal(&ready.LastTransitionTime) {
		return nil
	}
	pods, err := workload.PodsOn(ctx, c.Cache, node.Name)
	if err != nil {
		return err
	}
	var errs []error
	for _, pod := range pods {
		if !workload.Ready(pod) {
			continue
		}
		changed := pod.DeepCopy()
		state := workload.Condition(changed, corev1.PodReady)
		state.Status, state.LastTransitionTime = corev1.ConditionFalse, metav1.NewTime(now)
		err := c.Client.Status().Patch(ctx, changed, client.StrategicMergeFrom(pod))
		if client.IgnoreNotFound(err) != nil {
			errs = append(errs, fmt.Errorf("mark pod %s as not ready: %w", pod.Name, err))
			continue
		}
		c.Events.Event(pod, corev1.EventTypeWarning, "NodeNotReady", "Node is not ready")
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	c.mu.Lock()
	c.done[node.UID] = ready.LastTransitionTime
	c.mu.Unlock()
	return nil
}
