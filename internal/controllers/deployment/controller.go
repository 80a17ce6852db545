package deployment

import (
	"context"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/expect"
	"github.com/sinawi/sinawi/internal/controllers/loop"
	"github.com/sinawi/sinawi/internal/controllers/workload"
)

// Controller reconciles Deployments.
type Controller struct {
	loop.Deps
	loop    *loop.Loop
	pending *expect.Tracker
}

var (
	kind    = appsv1.SchemeGroupVersion.WithKind("Deployment")
	setKind = appsv1.SchemeGroupVersion.WithKind("ReplicaSet")
)

// New returns a controller that works with the given dependencies.
func New(deps loop.Deps) *Controller {
	c := &Controller{Deps: deps, pending: expect.New()}
	c.loop = loop.New("deployment", 5, deps, c.reconcile)
	c.loop.WatchSelf(&appsv1.Deployment{})
	workload.WatchOwned(c.loop, deps, c.pending, &appsv1.ReplicaSet{}, kind, &appsv1.DeploymentList{})
	c.loop.WatchChanges(&corev1.Pod{}, c.podChanged)
	return c
}

// Run reconciles until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

// podChanged wakes a deployment that waits for its old pods to be gone.
func (c *Controller) podChanged(before, after client.Object) []loop.Key {
	if after != nil {
		return nil
	}
	var keys []loop.Key
	for _, key := range workload.OwnerKey(before, setKind) {
		set := &appsv1.ReplicaSet{}
		if err := c.Cache.Get(context.Background(), key, set, client.UnsafeDisableDeepCopy); err != nil {
			continue
		}
		for _, key := range workload.OwnerKey(set, kind) {
			d := &appsv1.Deployment{}
			err := c.Cache.Get(context.Background(), key, d, client.UnsafeDisableDeepCopy)
			if err == nil && d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
				keys = append(keys, key)
			}
		}
	}
	return keys
}

func (c *Controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	d := &appsv1.Deployment{}
	if err := c.Cache.Get(ctx, key, d); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil {
		c.Log.Error("deployment has an invalid selector", "key", key.String(), "err", err)
		return 0, nil
	}
	if selector.Empty() {
		c.Events.Eventf(d, corev1.EventTypeWarning, "SelectingAll",
			"This deployment is selecting all pods. A non-empty selector is required.")
		status := d.Status
		status.ObservedGeneration = d.Generation
		return 0, c.updateStatus(ctx, d, status)
	}
	snap := snapshot{deployment: d}
	claimer := &workload.Claimer{Client: c.Client, Cache: c.Cache, Owner: d, Kind: kind, Selector: selector}
	if snap.sets, err = workload.Claimed[*appsv1.ReplicaSet](ctx, claimer, &appsv1.ReplicaSetList{}, nil); err != nil {
		return 0, err
	}
	now := time.Now()
	if settled, again := expect.Settled(c.pending, d.UID, snap.sets, now); !settled {
		return again, nil
	}
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		if snap.oldPodsRunning, err = c.oldPodsRunning(ctx, d, snap.sets); err != nil {
			return 0, err
		}
	}
	p := decide(snap, now)
	return p.again, c.act(ctx, d, p)
}

// oldPodsRunning says whether a pod of an old set still runs, terminating ones
// included.
func (c *Controller) oldPodsRunning(ctx context.Context, d *appsv1.Deployment, sets []*appsv1.ReplicaSet) (bool, error) {
	for _, set := range sets {
		if SameTemplate(&set.Spec.Template, &d.Spec.Template) {
			continue
		}
		pods, err := workload.Owned[*corev1.Pod](ctx, c.Cache, &corev1.PodList{}, d.Namespace, set.UID)
		if err != nil {
			return false, fmt.Errorf("list pods of replica set: %w", err)
		}
		if slices.ContainsFunc(pods, func(pod *corev1.Pod) bool { return !workload.Finished(pod) }) {
			return true, nil
		}
	}
	return false, nil
}

// act writes the plan: new set, changed sets, the deployment's revision, old
// sets' removal, status. What was written is expected to show in the cache
// before the next decision.
func (c *Controller) act(ctx context.Context, d *appsv1.Deployment, p plan) error {
	if p.create != nil {
		if again, err := c.create(ctx, d, &p); err != nil || again {
			return err
		}
	}
	for _, set := range p.update {
		if err := c.Client.Update(ctx, set); err != nil {
			return fmt.Errorf("update replica set %s: %w", set.Name, err)
		}
		c.pending.Updated(d.UID, set, time.Now())
	}
	for _, s := range p.scaled {
		direction := "up"
		if s.to < s.from {
			direction = "down"
		}
		c.Events.Eventf(d, corev1.EventTypeNormal, "ScalingReplicaSet",
			"Scaled %s replica set %s from %d to %d", direction, s.set, s.from, s.to)
	}
	for _, set := range p.remove {
		err := c.Client.Delete(ctx, set, client.Preconditions{UID: &set.UID, ResourceVersion: &set.ResourceVersion})
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete old replica set %s: %w", set.Name, err)
		}
		if err == nil {
			c.pending.Deleted(d.UID, set.UID, time.Now())
		}
	}
	if p.revision != "" && p.revision != d.Annotations[RevisionAnnotation] {
		return c.updateRevision(ctx, d, p)
	}
	return c.updateStatus(ctx, d, p.status)
}

// create makes the new set. It returns true when the plan must be made again.
func (c *Controller) create(ctx context.Context, d *appsv1.Deployment, p *plan) (again bool, err error) {
	set := p.create.DeepCopy()
	err = c.Client.Create(ctx, set)
	switch {
	case err == nil:
		c.pending.Created(d.UID, set, time.Now())
		return false, nil
	case apierrors.IsAlreadyExists(err):
		return true, c.resolveCollision(ctx, d, p.create)
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return true, nil // nothing can be created here any more
	}
	message := fmt.Sprintf("Failed to create new replica set %q: %v", set.Name, err)
	r := rollout{d: d, now: time.Now(), status: *d.Status.DeepCopy()}
	if hasDeadline(d) {
		r.setCondition(appsv1.DeploymentProgressing, corev1.ConditionFalse, "ReplicaSetCreateError", message)
		if err := c.updateStatus(ctx, d, r.status); err != nil {
			c.Log.Error("update status of deployment", "name", d.Name, "err", err)
		}
	}
	c.Events.Eventf(d, corev1.EventTypeWarning, "ReplicaSetCreateError", "%s", message)
	return true, fmt.Errorf("create replica set %s: %w", set.Name, err)
}

// resolveCollision handles a set of the wanted name: if it is the one meant, the
// cache will show it; if it belongs to other content, the hash must change.
func (c *Controller) resolveCollision(ctx context.Context, d *appsv1.Deployment, want *appsv1.ReplicaSet) error {
	have := &appsv1.ReplicaSet{}
	if err := c.Client.Get(ctx, client.ObjectKeyFromObject(want), have); err != nil {
		return fmt.Errorf("read replica set %s: %w", want.Name, err)
	}
	ref := metav1.GetControllerOfNoCopy(have)
	if ref != nil && ref.UID == d.UID && SameTemplate(&have.Spec.Template, &want.Spec.Template) {
		c.pending.Created(d.UID, have, time.Now())
		return nil
	}
	status := *d.Status.DeepCopy()
	status.CollisionCount = workload.OneMore(status.CollisionCount)
	c.Log.Warn("replica set name is taken, trying another hash", "deployment", d.Name, "replicaset", want.Name)
	return c.updateStatus(ctx, d, status)
}

// updateRevision writes the revision with the status: a deployment whose
// annotations change by themselves gets another generation, as if its user had
// asked for something new.
func (c *Controller) updateRevision(ctx context.Context, d *appsv1.Deployment, p plan) error {
	changed := d.DeepCopy()
	changed.Annotations = withLabel(changed.Annotations, RevisionAnnotation, p.revision)
	changed.Status = p.status
	if err := c.Client.Status().Update(ctx, changed); err != nil {
		return client.IgnoreNotFound(fmt.Errorf("set revision: %w", err))
	}
	return nil
}

func (c *Controller) updateStatus(ctx context.Context, d *appsv1.Deployment, next appsv1.DeploymentStatus) error {
	if equality.Semantic.DeepEqual(d.Status, next) {
		return nil
	}
	changed := d.DeepCopy()
	changed.Status = next
	if err := c.Client.Status().Update(ctx, changed); err != nil {
		return client.IgnoreNotFound(fmt.Errorf("update status of deployment: %w", err))
	}
	return nil
}
