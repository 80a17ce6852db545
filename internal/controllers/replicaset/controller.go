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

// Controller reconciles ReplicaSets.
type Controller struct {
	loop.Deps
	loop    *loop.Loop
	pending *expect.Tracker
}

var kind = appsv1.SchemeGroupVersion.WithKind("ReplicaSet")

// New returns a controller that works with the given dependencies.
func New(deps loop.Deps) *Controller {
	c := &Controller{Deps: deps, pending: expect.New()}
	c.loop = loop.New("replicaset", 5, deps, c.reconcile)
	c.loop.WatchSelf(&appsv1.ReplicaSet{})
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
	keys, err := workload.Wake(context.Background(), c.Cache, kind, &appsv1.ReplicaSetList{}, before, after)
	if err != nil {
		c.Log.Error("find replica sets of a pod", "err", err)
	}
	return keys
}

func (c *Controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	set := &appsv1.ReplicaSet{}
	if err := c.Cache.Get(ctx, key, set); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
	if err != nil {
		c.Log.Error("replica set has an invalid selector", "key", key.String(), "err", err)
		return 0, nil
	}
	snap := snapshot{set: set}
	if snap.pods, err = c.claim(ctx, set, selector); err != nil {
		return 0, err
	}
	now := time.Now()
	settled, again := expect.Settled(c.pending, set.UID, snap.pods, now)
	var failed *failure
	if settled {
		failed = c.act(ctx, &snap, now)
	}
	next, availableIn := status(snap, failed, time.Now())
	if err := c.updateStatus(ctx, set, next); err != nil {
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
func (c *Controller) claim(ctx context.Context, set *appsv1.ReplicaSet, selector labels.Selector) ([]*corev1.Pod, error) {
	var owned, orphans corev1.PodList
	if err := workload.ListOwned(ctx, c.Cache, &owned, set.Namespace, set.UID); err != nil {
		return nil, fmt.Errorf("list pods of replica set: %w", err)
	}
	if err := workload.ListOrphans(ctx, c.Cache, &orphans, set.Namespace); err != nil {
		return nil, fmt.Errorf("list orphan pods: %w", err)
	}
	claimer := workload.Claimer{Client: c.Client, Owner: set, Kind: kind, Selector: selector}
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
func (c *Controller) act(ctx context.Context, snap *snapshot, now time.Time) *failure {
	if int(*snap.set.Spec.Replicas) < len(snap.pods) {
		related, err := c.related(ctx, snap.set)
		if err != nil {
			c.Log.Error("list pods of sibling replica sets", "err", err)
		}
		snap.related = related
	}
	p := decide(*snap, now)
	if p.create > 0 {
		if err := c.create(ctx, snap.set, p.create); err != nil {
			return &failure{reason: "FailedCreate", err: err}
		}
	}
	if err := c.remove(ctx, snap.set, p.remove); err != nil {
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

func (c *Controller) create(ctx context.Context, set *appsv1.ReplicaSet, n int) error {
	_, err := workload.SlowStart(n, func() error {
		pod := workload.FromTemplate(&set.Spec.Template, set, metav1.NewControllerRef(set, kind))
		err := c.Client.Create(ctx, pod)
		switch {
		case err == nil:
			c.pending.Created(set.UID, pod, time.Now())
			c.Events.Eventf(set, corev1.EventTypeNormal, "SuccessfulCreate", "Created pod: %v", pod.Name)
			return nil
		case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
			return nil // nothing can be created here any more
		default:
			c.Events.Eventf(set, corev1.EventTypeWarning, "FailedCreate", "Error creating: %v", err)
			return fmt.Errorf("create pod: %w", err)
		}
	})
	return err
}

func (c *Controller) remove(ctx context.Context, set *appsv1.ReplicaSet, pods []*corev1.Pod) error {
	var wg sync.WaitGroup
	errs := make([]error, len(pods))
	for i, pod := range pods {
		wg.Go(func() {
			err := c.Client.Delete(ctx, pod, client.Preconditions{UID: &pod.UID})
			switch {
			case apierrors.IsNotFound(err) || apierrors.IsConflict(err):
			case err != nil:
				c.Events.Eventf(set, corev1.EventTypeWarning, "FailedDelete", "Error deleting: %v", err)
				errs[i] = fmt.Errorf("delete pod %s: %w", pod.Name, err)
			default:
				c.pending.Deleted(set.UID, pod.UID, time.Now())
				c.Events.Eventf(set, corev1.EventTypeNormal, "SuccessfulDelete", "Deleted pod: %v", pod.Name)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (c *Controller) updateStatus(ctx context.Context, set *appsv1.ReplicaSet, next appsv1.ReplicaSetStatus) error {
	if equality.Semantic.DeepEqual(set.Status, next) {
		return nil
	}
	changed := set.DeepCopy()
	changed.Status = next
	if err := c.Client.Status().Update(ctx, changed); err != nil {
		return client.IgnoreNotFound(fmt.Errorf("update status of replica set: %w", err))
	}
	return nil
}
