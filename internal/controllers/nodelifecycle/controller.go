package nodelifecycle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/time/rate"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/loop"
	"github.com/sinawi/sinawi/internal/controllers/node"
	"github.com/sinawi/sinawi/internal/controllers/workload"
)

const (
	// defaultGrace is how long a node may be silent.
	defaultGrace = 50 * time.Second
	// startup is how much longer one may be that has not said anything yet.
	startup = 10 * time.Second
	// marksAtOnce nodes are taken for dead at once, and marksPerSecond more in a second.
	// Where many seem to have died, it may be this side that is behind with what they
	// say: a node that is heard meanwhile is not taken for dead, and those that are leave
	// room for the others' signs. (Upstream's controller writes 30 at once and 20 a second.)
	marksAtOnce    = 100
	marksPerSecond = 20
	// lookAgain is how long a node waits for its turn at least, and half of how long at most.
	lookAgain = time.Second
)

// Options vary the controller.
type Options struct {
	// Grace is how long a node may be silent; default 50 s.
	Grace time.Duration
}

// Controller judges nodes.
type Controller struct {
	loop.Deps
	grace  time.Duration
	census *census       // complete before the loop begins: it waits until its watches are in step
	marks  *rate.Limiter // of nodes taken for dead

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
	return &Controller{
		Deps: deps, grace: cmp.Or(opts.Grace, defaultGrace), census: newCensus(), marks: rate.NewLimiter(marksPerSecond, marksAtOnce),
		heard: map[string]sign{}, next: map[string]time.Time{}, done: map[types.UID]metav1.Time{},
	}
}

// Part is what the controller wants of nodes.
func (c *Controller) Part() node.Part {
	return node.Part{
		Changed: c.nodeChanged,
		Watch:   func(l *loop.Loop) { l.WatchChanges(&coordinationv1.Lease{}, c.leaseChanged) },
		Status:  c.markSilent, Shape: c.shape, Settle: c.markPods,
	}
}

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

func (c *Controller) nodeChanged(before, node *corev1.Node) []loop.Key {
	if node == nil {
		c.mu.Lock()
		delete(c.heard, before.Name)
		delete(c.done, before.UID)
		c.mu.Unlock()
		c.tell(before, "RemovingNode", "Removing Node %v from Controller")
		return selves(c.census.forget(before.Name))
	}
	if before == nil {
		c.tell(node, "RegisteredNode", "Registered Node %v in Controller")
	}
	if r := condition(node, corev1.NodeReady); r != nil {
		c.hear(node.Name, sign{status: r.LastHeartbeatTime.Time})
	} else {
		c.hear(node.Name, sign{status: node.CreationTimestamp.Time})
	}
	keys := selves(c.census.note(node))
	if before != nil && len(relabel(node.Labels)) == 0 && equality.Semantic.DeepEqual(before.Spec, node.Spec) && sameStates(before, node) {
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

// silentIn is when the node will have been silent for too long. One whose coming has not
// been noted yet has all its time.
func (c *Controller) silentIn(node *corev1.Node, now time.Time) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	left := c.grace
	if s, known := c.heard[node.Name]; known {
		left = s.at.Add(c.grace).Sub(now)
	}
	if condition(node, corev1.NodeReady) == nil {
		left += startup
	}
	return left
}

// markSilent writes into the status of a node that has been silent for too long that
// nothing is known of it. Where it is not this node's turn yet, shape brings it back.
func (c *Controller) markSilent(ctx context.Context, node *corev1.Node) (*corev1.Node, error) {
	now := time.Now()
	if c.silentIn(node, now) > 0 || known(node) || !c.marks.AllowN(now, 1) {
		return node, nil
	}
	before := readiness(node)
	changed := node.DeepCopy()
	changed.Status.Conditions = silence(node, now)
	if err := c.Client.Status().Update(ctx, changed); err != nil {
		return node, fmt.Errorf("mark node %s as silent: %w", node.Name, err)
	}
	if before == corev1.ConditionTrue {
		c.Log.Warn("node fell silent", "node", node.Name, "grace", c.grace)
		c.Events.Eventf(node, corev1.EventTypeNormal, "NodeNotReady", "Node %s status is now: NodeNotReady", node.Name)
	}
	return changed, nil
}

// shape gives the node the labels and taints that follow from what it is and how it is.
// It is asked for again when the node may have fallen silent, or its turn has come.
func (c *Controller) shape(node *corev1.Node) (time.Duration, error) {
	now := time.Now()
	again := c.silentIn(node, now)
	switch {
	case again > 0:
	case known(node):
		again = 0 // its next sign of life comes with a change of the node
	default:
		again = lookAgain + rand.N(lookAgain)
	}
	maps.Copy(node.Labels, relabel(node.Labels))
	evict, wait := allow, time.Duration(0)
	if readiness(node) != corev1.ConditionTrue {
		evict, wait = c.turn(node, now)
	}
	node.Spec.Taints = taints(node, evict, now)
	if wait > 0 && (again == 0 || wait < again) {
		again = wait
	}
	return again, nil
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
func (c *Controller) markPods(ctx context.Context, node *corev1.Node) error {
	now := metav1.Now()
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
		state.Status, state.LastTransitionTime = corev1.ConditionFalse, now
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
