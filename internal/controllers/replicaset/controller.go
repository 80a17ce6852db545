package replicaset

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/expect"
	"github.com/sinawi/sinawi/internal/controllers/loop"
	"github.com/sinawi/sinawi/internal/controllers/workload"
)

// Controller reconciles ReplicaSets, or what looks like them.
type Controller struct {
	loop.Deps
	form
	loop    *loop.Loop
	pending *expect.Tracker
	pace    *workload.Pace
}

// New returns a controller of ReplicaSets that works with the given dependencies.
func New(deps loop.Deps) *Controller { return newController(deps, "replicaset", replicaSets()) }

// NewReplicationController returns a controller of ReplicationControllers.
func NewReplicationController(deps loop.Deps) *Controller {
	return newController(deps, "replicationcontroller", replicationControllers())
}

func newController(deps loop.Deps, name string, f form) *Controller {
	c := &Controller{Deps: deps, form: f, pending: expect.New(), pace: workload.NewPace()}
	c.loop = loop.New(name, 5, deps, c.reconcile)
	c.loop.WatchSelf(f.empty())
	workload.WatchOwned(c.loop, deps, c.pending, &corev1.Pod{}, f.kind, f.list())
	return c
}

// Run reconciles until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

func (c *Controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	if wait := c.pace.Wait(key, time.Now()); wait > 0 {
		return wait, nil
	}
	owner := c.empty()
	if err := c.Cache.Get(ctx, key, owner); err != nil {
		c.pace.Looked(key, 0, time.Now())
		return 0, client.IgnoreNotFound(err)
	}
	set := c.view(owner)
	selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
	if err != nil {
		c.Log.Error("replica set has an invalid selector", "key", key.String(), "err", err)
		return 0, nil
	}
	snap := snapshot{set: set}
	claimer := &workload.Claimer{Client: c.Client, Cache: c.Cache, Owner: owner, Kind: c.kind, Selector: selector}
	if snap.pods, err = workload.Claimed(ctx, claimer, &corev1.PodList{}, worthHaving); err != nil {
		return 0, err
	}
	now := time.Now()
	settled, again := expect.Settled(c.pending, set.UID, snap.pods, now)
	var failed *failure
	if settled {
		failed = c.act(ctx, owner, &snap, now)
	}
	next, availableIn := status(snap, failed, time.Now())
	if err := c.updateStatus(ctx, owner, set.Status, next); err != nil {
		return 0, err
	}
	c.pace.Looked(key, len(snap.pods), time.Now())
	if availableIn > 0 && (again == 0 || availableIn < again) {
		again = availableIn
	}
	if failed != nil {
		return 0, failed.err
	}
	return again, nil
}

// worthHaving says that the pod is somebody's or can still be of use to the set.
func worthHaving(pod *corev1.Pod) bool {
	return metav1.GetControllerOfNoCopy(pod) != nil || workload.Active(pod)
}

// act carries out the decision and says what did not work.
func (c *Controller) act(ctx context.Context, owner client.Object, snap *snapshot, now time.Time) *failure {
	if int(*snap.set.Spec.Replicas) < len(snap.pods) {
		related, err := c.related(ctx, snap.set)
		if err != nil {
			c.Log.Error("list pods of sibling replica sets", "err", err)
		}
		snap.related = related
	}
	p := decide(*snap, now)
	write := workload.Pods{Deps: c.Deps, Pending: c.pending}
	_, err := workload.SlowStart(p.create, func() error {
		return write.Create(ctx, owner, workload.FromTemplate(&snap.set.Spec.Template, snap.set, metav1.NewControllerRef(snap.set, c.kind)))
	})
	if err != nil {
		return &failure{reason: "FailedCreate", err: err}
	}
	if err := write.DeleteAll(ctx, owner, p.remove); err != nil {
		return &failure{reason: "FailedDelete", err: err}
	}
	return nil
}

func (c *Controller) related(ctx context.Context, set *appsv1.ReplicaSet) ([]*corev1.Pod, error) {
	owners := []*appsv1.ReplicaSet{set}
	if ref := metav1.GetControllerOfNoCopy(set); ref != nil {
		var err error
		owners, err = workload.Owned[*appsv1.ReplicaSet](ctx, c.Cache, &appsv1.ReplicaSetList{}, set.Namespace, ref.UID)
		if err != nil {
			return nil, err
		}
	}
	var pods []*corev1.Pod
	for _, owner := range owners {
		owned, err := workload.Owned[*corev1.Pod](ctx, c.Cache, &corev1.PodList{}, set.Namespace, owner.UID)
		if err != nil {
			return nil, err
		}
		pods = append(pods, owned...)
	}
	return pods, nil
}

func (c *Controller) updateStatus(ctx context.Context, owner client.Object, have, next appsv1.ReplicaSetStatus) error {
	if equality.Semantic.DeepEqual(have, next) {
		return nil
	}
	if err := c.Client.Status().Update(ctx, c.withStatus(owner, next)); err != nil {
		return client.IgnoreNotFound(fmt.Errorf("update status of %s: %w", c.kind.Kind, err))
	}
	return nil
}
