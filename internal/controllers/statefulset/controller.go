package statefulset

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/expect"
	"github.com/sinawi/sinawi/internal/controllers/history"
	"github.com/sinawi/sinawi/internal/controllers/loop"
	"github.com/sinawi/sinawi/internal/controllers/workload"
)

// hashLabel carries a revision's hash on the revision.
const hashLabel = "controller.kubernetes.io/hash"

// Controller reconciles StatefulSets.
type Controller struct {
	loop.Deps
	loop    *loop.Loop
	pending *expect.Tracker
}

var kind = appsv1.SchemeGroupVersion.WithKind("StatefulSet")

// New returns a controller that works with the given dependencies.
func New(deps loop.Deps) *Controller {
	c := &Controller{Deps: deps, pending: expect.New()}
	c.loop = loop.New("statefulset", 5, deps, c.reconcile)
	c.loop.WatchSelf(&appsv1.StatefulSet{})
	workload.WatchOwned(c.loop, deps, c.pending, &corev1.Pod{}, kind, &appsv1.StatefulSetList{})
	return c
}

// Run reconciles until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

func (c *Controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	set := &appsv1.StatefulSet{}
	if err := c.Cache.Get(ctx, key, set); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
	if err != nil || selector.Empty() {
		c.Log.Error("stateful set has no valid selector", "key", key.String(), "err", err)
		return 0, nil
	}
	snap := snapshot{set: set}
	claimer := &workload.Claimer{Client: c.Client, Cache: c.Cache, Owner: set, Kind: kind, Selector: selector}
	named := func(pod *corev1.Pod) bool { // only pods that bear one of the set's names can be its
		_, ok := ordinal(set, pod)
		return ok
	}
	if snap.pods, err = workload.Claimed(ctx, claimer, &corev1.PodList{}, named); err != nil {
		return 0, err
	}
	now := time.Now()
	if settled, again := expect.Settled(c.pending, set.UID, snap.pods, now); !settled {
		return again, nil
	}
	book := &history.Book{
		Client: c.Client, Cache: c.Cache, Owner: set, Kind: kind, Selector: set.Spec.Selector,
		HashLabel: hashLabel,
		Hash: func(_ *corev1.PodTemplateSpec, data []byte) string {
			return history.Hash(data, ptr.Deref(set.Status.CollisionCount, 0))
		},
	}
	revisions, err := book.List(ctx)
	if err != nil {
		return 0, err
	}
	update, err := book.Latest(ctx, &set.Spec.Template, revisions)
	if errors.Is(err, history.ErrCollision) {
		return 0, c.countCollision(ctx, set)
	}
	if err != nil {
		return 0, err
	}
	current := update
	for _, r := range revisions {
		if r.Name == set.Status.CurrentRevision {
			current = r
		}
	}
	snap.current, snap.update = current.Name, update.Name
	p := decide(snap, now)
	if err := c.act(ctx, set, p, current, update); err != nil {
		return 0, err
	}
	inUse := func(r *appsv1.ControllerRevision) bool {
		return r.Name == current.Name || r.Name == update.Name ||
			slices.ContainsFunc(snap.pods, func(pod *corev1.Pod) bool { return revision(pod) == r.Name })
	}
	return p.again, book.Trim(ctx, revisions, inUse, set.Spec.RevisionHistoryLimit)
}

func (c *Controller) countCollision(ctx context.Context, set *appsv1.StatefulSet) error {
	status := *set.Status.DeepCopy()
	status.CollisionCount = workload.OneMore(status.CollisionCount)
	return c.updateStatus(ctx, set, status)
}

// act carries out the plan: storage before the pods that need it.
func (c *Controller) act(ctx context.Context, set *appsv1.StatefulSet, p plan, current, update *appsv1.ControllerRevision) error {
	var errs []error
	errs = append(errs, c.keepClaims(ctx, set, p))
	for _, pod := range p.identify {
		n, _ := ordinal(set, pod)
		changed := pod.DeepCopy()
		identify(set, changed, n)
		errs = append(errs, c.relabel(ctx, set, pod, changed))
	}
	for _, n := range p.store {
		errs = append(errs, c.createClaims(ctx, set, n))
	}
	for _, one := range p.create {
		revision := update
		if one.revision == current.Name {
			revision = current
		}
		if err := c.create(ctx, set, one, revision); err != nil {
			errs = append(errs, err)
			break
		}
		p.status.Replicas++
		if one.revision == current.Name {
			p.status.CurrentReplicas++
		}
		if one.revision == update.Name {
			p.status.UpdatedReplicas++
		}
	}
	for _, pod := range p.renew {
		errs = append(errs, c.remove(ctx, set, pod))
	}
	for _, pod := range p.remove {
		errs = append(errs, c.remove(ctx, set, pod))
	}
	errs = append(errs, c.updateStatus(ctx, set, p.status))
	return errors.Join(errs...)
}

// relabel writes the labels that a pod's number asks for.
func (c *Controller) relabel(ctx context.Context, set *appsv1.StatefulSet, pod, changed *corev1.Pod) error {
	err := c.Client.Patch(ctx, changed, client.MergeFrom(pod))
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		c.Events.Eventf(set, corev1.EventTypeWarning, "FailedUpdate", "Update Pod %s in StatefulSet %s failed error: %s", pod.Name, set.Name, err)
		return fmt.Errorf("label pod %s: %w", pod.Name, err)
	}
	c.Events.Eventf(set, corev1.EventTypeNormal, "SuccessfulUpdate", "Update Pod %s in StatefulSet %s successful", pod.Name, set.Name)
	return nil
}

func (c *Controller) create(ctx context.Context, set *appsv1.StatefulSet, one creation, revision *appsv1.ControllerRevision) error {
	template, err := history.Template(revision)
	if err != nil {
		return err
	}
	if err := c.createClaims(ctx, set, one.ordinal); err != nil {
		c.Events.Eventf(set, corev1.EventTypeWarning, "FailedCreate", "Create Pod %s in StatefulSet %s failed error: %s", podName(set, one.ordinal), set.Name, err)
		return err
	}
	pod := build(set, template, revision.Name, one.ordinal)
	err = c.Client.Create(ctx, pod)
	switch {
	case err == nil:
		c.pending.Created(set.UID, pod, time.Now())
		c.Events.Eventf(set, corev1.EventTypeNormal, "SuccessfulCreate", "Create Pod %s in StatefulSet %s successful", pod.Name, set.Name)
		return nil
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil // nothing can be created here any more
	case apierrors.IsAlreadyExists(err): // the cache does not show it yet, or it is another's
		return fmt.Errorf("create pod %s: %w", pod.Name, err)
	default:
		c.Events.Eventf(set, corev1.EventTypeWarning, "FailedCreate", "Create Pod %s in StatefulSet %s failed error: %s", pod.Name, set.Name, err)
		return fmt.Errorf("create pod %s: %w", pod.Name, err)
	}
}

func (c *Controller) createClaims(ctx context.Context, set *appsv1.StatefulSet, n int) error {
	var errs []error
	for _, claim := range claims(set, n) {
		errs = append(errs, c.createClaim(ctx, set, n, claim))
	}
	return kerrors.NewAggregate(errs) // its words are in events
}

func (c *Controller) createClaim(ctx context.Context, set *appsv1.StatefulSet, n int, claim *corev1.PersistentVolumeClaim) error {
	const failed = "Create Claim %s for Pod %s in StatefulSet %s failed error: %s"
	have := &corev1.PersistentVolumeClaim{}
	err := c.Cache.Get(ctx, client.ObjectKeyFromObject(claim), have, client.UnsafeDisableDeepCopy)
	switch {
	case err == nil && have.DeletionTimestamp != nil:
		return fmt.Errorf("pvc %s is being deleted", claim.Name)
	case err == nil:
		return nil
	case !apierrors.IsNotFound(err):
		c.Events.Eventf(set, corev1.EventTypeWarning, "FailedCreate", failed, claim.Name, podName(set, n), set.Name, err)
		return fmt.Errorf("failed to retrieve PVC %s: %w", claim.Name, err)
	}
	claim.OwnerReferences = claimOwners(set, nil, n, nil)
	err = c.Client.Create(ctx, claim)
	switch {
	case err == nil:
		c.Events.Eventf(set, corev1.EventTypeNormal, "SuccessfulCreate", "Create Claim %s Pod %s in StatefulSet %s success", claim.Name, podName(set, n), set.Name)
		return nil
	case apierrors.IsAlreadyExists(err):
		return nil
	default:
		c.Events.Eventf(set, corev1.EventTypeWarning, "FailedCreate", failed, claim.Name, podName(set, n), set.Name, err)
		return fmt.Errorf("failed to create PVC %s: %w", claim.Name, err)
	}
}

// keepClaims puts the claims' owners right, so that they go when the set's
// policy says.
func (c *Controller) keepClaims(ctx context.Context, set *appsv1.StatefulSet, p plan) error {
	if len(set.Spec.VolumeClaimTemplates) == 0 {
		return nil
	}
	var errs []error
	for _, n := range p.keep {
		changed, err := c.own(ctx, set, n, nil)
		switch {
		case err != nil:
			errs = append(errs, err)
			c.Events.Eventf(set, corev1.EventTypeWarning, "FailedUpdate", "Update Pod %s in StatefulSet %s failed error: %s", podName(set, n), set.Name, err)
		case changed:
			c.Events.Eventf(set, corev1.EventTypeNormal, "SuccessfulUpdate", "Update Pod %s in StatefulSet %s successful", podName(set, n), set.Name)
		}
	}
	for _, pod := range p.giveUp {
		n, _ := ordinal(set, pod)
		_, err := c.own(ctx, set, n, pod)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// own puts the owners of one pod's claims right, and says whether they were wrong.
func (c *Controller) own(ctx context.Context, set *appsv1.StatefulSet, n int, condemned *corev1.Pod) (wrong bool, _ error) {
	for _, claim := range claims(set, n) {
		have := &corev1.PersistentVolumeClaim{}
		if err := c.Cache.Get(ctx, client.ObjectKeyFromObject(claim), have); err != nil {
			if apierrors.IsNotFound(err) {
				continue
			}
			return wrong, fmt.Errorf("read claim %s: %w", claim.Name, err)
		}
		changed := have.DeepCopy()
		changed.OwnerReferences = claimOwners(set, have.OwnerReferences, n, condemned)
		if equality.Semantic.DeepEqual(have.OwnerReferences, changed.OwnerReferences) {
			continue
		}
		err := c.Client.Patch(ctx, changed, client.MergeFromWithOptions(have, client.MergeFromWithOptimisticLock{}))
		if client.IgnoreNotFound(err) != nil {
			return wrong, fmt.Errorf("set owners of claim %s: %w", claim.Name, err)
		}
		wrong = true
	}
	return wrong, nil
}

func (c *Controller) remove(ctx context.Context, set *appsv1.StatefulSet, pod *corev1.Pod) error {
	err := c.Client.Delete(ctx, pod, client.Preconditions{UID: &pod.UID})
	switch {
	case apierrors.IsNotFound(err) || apierrors.IsConflict(err):
		return nil
	case err != nil:
		c.Events.Eventf(set, corev1.EventTypeWarning, "FailedDelete", "Delete Pod %s in StatefulSet %s failed error: %s", pod.Name, set.Name, err)
		return fmt.Errorf("delete pod %s: %w", pod.Name, err)
	}
	c.pending.Deleted(set.UID, pod.UID, time.Now())
	c.Events.Eventf(set, corev1.EventTypeNormal, "SuccessfulDelete", "Delete Pod %s in StatefulSet %s successful", pod.Name, set.Name)
	return nil
}

func (c *Controller) updateStatus(ctx context.Context, set *appsv1.StatefulSet, next appsv1.StatefulSetStatus) error {
	if equality.Semantic.DeepEqual(set.Status, next) {
		return nil
	}
	changed := set.DeepCopy()
	changed.Status = next
	if err := c.Client.Status().Update(ctx, changed); err != nil {
		return client.IgnoreNotFound(fmt.Errorf("update status of stateful set: %w", err))
	}
	return nil
}
