package replicaset

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
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
}

// New returns a controller of ReplicaSets that works with the given dependencies.
func New(deps loop.Deps) *Controller { return newController(deps, "replicaset", replicaSets()) }

// NewReplicationController returns a controller of ReplicationControllers.
func NewReplicationController(deps loop.Deps) *Controller {
	return newController(deps, "replicationcontroller", replicationControllers())
}

func newController(deps loop.Deps, name string, f form) *Controller {
	c := &Controller{Deps: deps, form: f, pending: expect.New()}
	c.loop = loop.New(name, 5, deps, c.reconcile)
	c.loop.WatchSelf(f.empty())
	c.loop.WatchChanges(&corev1.Pod{}, c.podChanged)
	return c
}

// Run reconciles until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

// podChanged enqueues the pod's owner, before and after; an orphan wakes every
// set that could adopt it.
func (c *Controller) podChanged(before, after client.Object) []loop.Key {
	for _, obj := range []client.Object{before, after} {
		if obj != nil {
			c.pending.Seen(obj)
		}
	}
	keys, err := workload.Wake(context.Background(), c.Cache, c.kind, c.list(), before, after)
	if err != nil {
		c.Log.Error("find replica sets of a pod", "err", err)
	}
	return keys
}

func (c *Controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	owner := c.empty()
	if err := c.Cache.Get(ctx, key, owner); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	set := c.view(owner)
	selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
	if err != nil {
		c.Log.Error("replica set has an invalid selector", "key", key.String(), "err", err)
		return 0, nil
	}
	snap := snapshot{set: set}
	if snap.pods, err = c.claim(ctx, owner, selector); err != nil {
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
	if availableIn > 0 && (again == 0 || availableIn < again) {
		again = availableIn
	}
	if failed != nil {
		return 0, failed.err
	}
	return again, nil
}

// claim returns all pods of the set, adopting orphans that match and releasing
// pods that no longer do.
func (c *Controller) claim(ctx context.Context, owner client.Object, selector labels.Selector) ([]*corev1.Pod, error) {
	var owned, orphans corev1.PodList
	if err := workload.ListOwned(ctx, c.Cache, &owned, owner.GetNamespace(), owner.GetUID()); err != nil {
		return nil, fmt.Errorf("list pods of replica set: %w", err)
	}
	if err := workload.ListOrphans(ctx, c.Cache, &orphans, owner.GetNamespace()); err != nil {
		return nil, fmt.Errorf("list orphan pods: %w", err)
	}
	claimer := workload.Claimer{Client: c.Client, Owner: owner, Kind: c.kind, Selector: selector}
	var mine []*corev1.Pod
	var errs []error
	for _, list := range [][]corev1.Pod{owned.Items, orphans.Items} {
		for i := range list {
			pod := &list[i]
			if metav1.GetControllerOfNoCopy(pod) == nil && !workload.Active(pod) {
				continue
			}
			yes, err := claimer.Take(ctx, pod)
			if err != nil {
				errs = append(errs, err)
			} else if yes {
				mine = append(mine, pod)
			}
		}
	}
	return mine, errors.Join(errs...)
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
	if p.create > 0 {
		if err := c.create(ctx, owner, snap.set, p.create); err != nil {
			return &failure{reason: "FailedCreate", err: err}
		}
	}
	if err := c.remove(ctx, owner, p.remove); err != nil {
		return &failure{reason: "FailedDelete", err: err}
	}
	return nil
}

func (c *Controller) related(ctx context.Context, set *appsv1.ReplicaSet) ([]*corev1.Pod, error) {
	owners := []appsv1.ReplicaSet{*set}
	if ref := metav1.GetControllerOfNoCopy(set); ref != nil {
		var sets appsv1.ReplicaSetList
		if err := workload.ListOwned(ctx, c.Cache, &sets, set.Namespace, ref.UID); err != nil {
			return nil, err
		}
		owners = sets.Items
	}
	var pods []*corev1.Pod
	for i := range owners {
		var list corev1.PodList
		if err := workload.ListOwned(ctx, c.Cache, &list, set.Namespace, owners[i].UID); err != nil {
			return nil, err
		}
		for j := range list.Items {
			pods = append(pods, &list.Items[j])
		}
	}
	return pods, nil
}

func (c *Controller) create(ctx context.Context, owner client.Object, set *appsv1.ReplicaSet, n int) error {
	_, err := workload.SlowStart(n, func() error {
		pod := workload.FromTemplate(&set.Spec.Template, set, metav1.NewControllerRef(set, c.kind))
		err := c.Client.Create(ctx, pod)
		switch {
		case err == nil:
			c.pending.Created(set.UID, pod, time.Now())
			c.Events.Eventf(owner, corev1.EventTypeNormal, "SuccessfulCreate", "Created pod: %v", pod.Name)
			return nil
		case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
			return nil // nothing can be created here any more
		default:
			c.Events.Eventf(owner, corev1.EventTypeWarning, "FailedCreate", "Error creating: %v", err)
			return fmt.Errorf("create pod: %w", err)
		}
	})
	return err
}

func (c *Controller) remove(ctx context.Context, owner client.Object, pods []*corev1.Pod) error {
	var wg sync.WaitGroup
	errs := make([]error, len(pods))
	for i, pod := range pods {
		wg.Go(func() {
			err := c.Client.Delete(ctx, pod, client.Preconditions{UID: &pod.UID})
			switch {
			case apierrors.IsNotFound(err) || apierrors.IsConflict(err):
			case err != nil:
				c.Events.Eventf(owner, corev1.EventTypeWarning, "FailedDelete", "Error deleting: %v", err)
				errs[i] = fmt.Errorf("delete pod %s: %w", pod.Name, err)
			default:
				c.pending.Deleted(owner.GetUID(), pod.UID, time.Now())
				c.Events.Eventf(owner, corev1.EventTypeNormal, "SuccessfulDelete", "Deleted pod: %v", pod.Name)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
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
