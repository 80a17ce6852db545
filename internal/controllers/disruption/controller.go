// Package disruption says how many pods may be evicted now.
//
// It owns the status of PodDisruptionBudgets. Evictions themselves are the API
// server's, which takes from the number allowed here and notes the pod; a noted
// pod counts as gone until it is, or until it is clear that it stays.
package disruption

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/loop"
	"github.com/sinawi/sinawi/internal/controllers/workload"
)

// Controller reconciles PodDisruptionBudgets.
type Controller struct {
	loop.Deps
	loop  *loop.Loop
	stale *loop.Loop // of pods that somebody meant to disrupt, and did not
}

// New returns a controller that works with the given dependencies.
func New(deps loop.Deps) *Controller {
	c := &Controller{Deps: deps}
	c.loop = loop.New("disruption", 2, deps, c.reconcile)
	c.loop.WatchSelf(&policyv1.PodDisruptionBudget{})
	c.loop.WatchChanges(&corev1.Pod{}, c.podChanged)
	// A pod's controller that is scaled changes what is expected.
	for _, kind := range []client.Object{&appsv1.Deployment{}, &appsv1.StatefulSet{}, &appsv1.ReplicaSet{}} {
		c.loop.WatchChanges(kind, c.scaled)
	}
	c.stale = loop.New("disruption-stale", 1, deps, c.clear)
	c.stale.WatchChanges(&corev1.Pod{}, func(_, after client.Object) []loop.Key {
		if pod, ok := after.(*corev1.Pod); ok && undisrupted(pod) {
			return loop.Self(pod)
		}
		return nil
	})
	return c
}

// Run reconciles until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.loop.Run(ctx) })
	g.Go(func() error { return c.stale.Run(ctx) })
	return g.Wait()
}

func (c *Controller) podChanged(before, after client.Object) []loop.Key {
	old, _ := before.(*corev1.Pod)
	next, _ := after.(*corev1.Pod)
	if old != nil && next != nil && workload.Ready(old) == workload.Ready(next) &&
		(old.DeletionTimestamp == nil) == (next.DeletionTimestamp == nil) &&
		labels.Equals(old.Labels, next.Labels) {
		return nil
	}
	var keys []loop.Key
	for _, pod := range []*corev1.Pod{old, next} {
		if pod == nil {
			continue
		}
		selecting := c.selecting(pod.Namespace, pod.Labels)
		if len(selecting) > 1 && pod == last(old, next) {
			c.Events.Eventf(pod, corev1.EventTypeWarning, "MultiplePodDisruptionBudgets",
				"Pod %q/%q matches multiple PodDisruptionBudgets.  Chose %q arbitrarily.", pod.Namespace, pod.Name, selecting[0].Name)
		}
		keys = append(keys, selecting...)
	}
	return keys
}

// last is what is known last of a pod.
func last(old, next *corev1.Pod) *corev1.Pod {
	if next != nil {
		return next
	}
	return old
}

// selecting are the budgets that select pods with these labels.
func (c *Controller) selecting(namespace string, of map[string]string) []loop.Key {
	var list policyv1.PodDisruptionBudgetList
	if err := c.Cache.List(context.Background(), &list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		c.Log.Error("list disruption budgets", "err", err)
		return nil
	}
	var keys []loop.Key
	for i := range list.Items {
		selector, err := metav1.LabelSelectorAsSelector(list.Items[i].Spec.Selector)
		if err == nil && selector.Matches(labels.Set(of)) {
			keys = append(keys, loop.Self(&list.Items[i])...)
		}
	}
	return keys
}

func (c *Controller) scaled(before, after client.Object) []loop.Key {
	if before == nil || after == nil {
		return nil // its pods tell
	}
	was, template := size(before)
	is, _ := size(after)
	if was == is {
		return nil
	}
	return c.selecting(after.GetNamespace(), template)
}

func size(obj client.Object) (int32, map[string]string) {
	switch o := obj.(type) {
	case *appsv1.Deployment:
		return count(o.Spec.Replicas), o.Spec.Template.Labels
	case *appsv1.StatefulSet:
		return count(o.Spec.Replicas), o.Spec.Template.Labels
	case *appsv1.ReplicaSet:
		return count(o.Spec.Replicas), o.Spec.Template.Labels
	}
	return 0, nil
}

func count(n *int32) int32 {
	if n == nil {
		return 1
	}
	return *n
}

func (c *Controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	budget := &policyv1.PodDisruptionBudget{}
	if err := c.Cache.Get(ctx, key, budget); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	if budget.DeletionTimestamp != nil {
		return 0, nil
	}
	now := time.Now()
	snap, err := c.snapshot(ctx, budget)
	if err != nil {
		return 0, c.fail(ctx, budget, err, now)
	}
	if len(snap.pods) == 0 {
		c.Events.Eventf(budget, corev1.EventTypeNormal, "NoPods", "No matching pods found")
	}
	if snap.unmanaged {
		c.Events.Eventf(budget, corev1.EventTypeWarning, "UnmanagedPods", "Pods selected by this PodDisruptionBudget (selector: %v) were found "+
			"to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. "+
			"To account for these pods please set \".spec.minAvailable\" field of the PDB to an integer value.", budget.Spec.Selector)
	}
	next, again, err := decide(snap, now)
	if err != nil {
		return 0, c.fail(ctx, budget, err, now)
	}
	for _, pod := range undeleted(snap, now) {
		// Upstream names the namespace twice here, and not the budget.
		c.Events.Eventf(pod, corev1.EventTypeWarning, "NotDeleted", "Pod was expected by PDB %s/%s to be deleted but it wasn't", budget.Namespace, budget.Namespace)
	}
	return again, c.write(ctx, budget, next)
}

func (c *Controller) write(ctx context.Context, budget *policyv1.PodDisruptionBudget, next policyv1.PodDisruptionBudgetStatus) error {
	if same(budget.Status, next) {
		return nil
	}
	changed := budget.DeepCopy()
	changed.Status = next
	if err := c.Client.Status().Update(ctx, changed); err != nil {
		return client.IgnoreNotFound(fmt.Errorf("update status of disruption budget: %w", err))
	}
	return nil
}

// fail closes the budget: when nobody knows what may go, nothing may. It is
// not tried again before something changes.
func (c *Controller) fail(ctx context.Context, budget *policyv1.PodDisruptionBudget, cause error, now time.Time) error {
	if apierrors.IsConflict(cause) {
		return cause
	}
	c.Events.Eventf(budget, corev1.EventTypeWarning, "CalculateExpectedPodCountFailed", "Failed to calculate the number of expected pods: %v", cause)
	next := *budget.Status.DeepCopy()
	next.DisruptionsAllowed = 0
	meta.SetStatusCondition(&next.Conditions, metav1.Condition{
		Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse, Reason: policyv1.SyncFailedReason,
		Message: cause.Error(), ObservedGeneration: next.ObservedGeneration, LastTransitionTime: metav1.NewTime(now),
	})
	c.Log.Error("expected pods of disruption budget", "budget", budget.Namespace+"/"+budget.Name, "err", cause)
	return c.write(ctx, budget, next)
}

func (c *Controller) snapshot(ctx context.Context, budget *policyv1.PodDisruptionBudget) (snapshot, error) {
	snap := snapshot{budget: budget}
	selector, err := metav1.LabelSelectorAsSelector(budget.Spec.Selector)
	if err != nil {
		return snap, fmt.Errorf("read selector: %w", err)
	}
	var list corev1.PodList
	err = c.Cache.List(ctx, &list, client.InNamespace(budget.Namespace), client.MatchingLabelsSelector{Selector: selector}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return snap, fmt.Errorf("list pods: %w", err)
	}
	controllers := map[types.UID]bool{}
	for i := range list.Items {
		pod := &list.Items[i]
		snap.pods = append(snap.pods, pod)
		ref := metav1.GetControllerOfNoCopy(pod)
		if budget.Spec.MinAvailable != nil && budget.Spec.MinAvailable.Type == intstr.Int {
			continue // no number of a controller is asked for
		}
		if ref == nil {
			snap.unmanaged = true
			continue
		}
		root, err := c.controller(ctx, pod.Namespace, ref)
		switch {
		case err != nil:
			return snap, err
		case root == nil:
			return snap, fmt.Errorf("found no controllers for pod %q", pod.Name)
		}
		if !controllers[root.uid] {
			controllers[root.uid] = true
			snap.scale += root.replicas
		}
	}
	return snap, nil
}
