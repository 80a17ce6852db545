package workload

import (
	"context"
	"fmt"
	"strconv"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// ownerIndex indexes objects by the uid of their controller; those that have
// none are under orphan.
const (
	ownerIndex = "metadata.controllerUID"
	orphan     = "none"

	nodeIndex = "spec.nodeNameOfPod"
)

// Index tells the cache to index the kinds that workloads own by their owner. It
// is called once for a cache, before its readers run.
func Index(ctx context.Context, c cache.Cache) error {
	kinds := []client.Object{&corev1.Pod{}, &appsv1.ReplicaSet{}, &appsv1.ControllerRevision{}, &batchv1.Job{}}
	for _, kind := range kinds {
		err := c.IndexField(ctx, kind, ownerIndex, func(obj client.Object) []string {
			if ref := metav1.GetControllerOfNoCopy(obj); ref != nil {
				return []string{string(ref.UID)}
			}
			return []string{orphan}
		})
		if err != nil {
			return fmt.Errorf("index %T by owner: %w", kind, err)
		}
	}
	err := c.IndexField(ctx, &corev1.Pod{}, nodeIndex, func(obj client.Object) []string {
		return []string{obj.(*corev1.Pod).Spec.NodeName}
	})
	if err != nil {
		return fmt.Errorf("index pods by node: %w", err)
	}
	return nil
}

// PodsOn returns the pods bound to a node; those of the empty name are bound to
// none. They are shared with the cache: read-only.
func PodsOn(ctx context.Context, r client.Reader, node string) ([]*corev1.Pod, error) {
	var list corev1.PodList
	if err := r.List(ctx, &list, client.MatchingFields{nodeIndex: node}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list pods on node %q: %w", node, err)
	}
	pods := make([]*corev1.Pod, len(list.Items))
	for i := range list.Items {
		pods[i] = &list.Items[i]
	}
	return pods, nil
}

// ListOwned fills list with the objects in the namespace that the owner with
// this uid controls. The items are shared with the cache: read-only.
func ListOwned(ctx context.Context, r client.Reader, list client.ObjectList, namespace string, owner types.UID) error {
	return listIndexed(ctx, r, list, namespace, string(owner))
}

// ListOrphans fills list with the objects in the namespace that nobody controls.
func ListOrphans(ctx context.Context, r client.Reader, list client.ObjectList, namespace string) error {
	return listIndexed(ctx, r, list, namespace, orphan)
}

func listIndexed(ctx context.Context, r client.Reader, list client.ObjectList, namespace, value string) error {
	return r.List(ctx, list, client.InNamespace(namespace),
		client.MatchingFields{ownerIndex: value}, client.UnsafeDisableDeepCopy)
}

// OwnerKey is the key of the object's controller if that is of the given kind.
func OwnerKey(obj client.Object, kind schema.GroupVersionKind) []types.NamespacedName {
	ref := metav1.GetControllerOfNoCopy(obj)
	if ref == nil || ref.Kind != kind.Kind {
		return nil
	}
	if gv, err := schema.ParseGroupVersion(ref.APIVersion); err != nil || gv.Group != kind.Group {
		return nil
	}
	return []types.NamespacedName{{Namespace: obj.GetNamespace(), Name: ref.Name}}
}

// Takers returns the keys of the owners in list that select an orphan. list is
// filled from the orphan's namespace.
func Takers(ctx context.Context, r client.Reader, list client.ObjectList, orphan client.Object) ([]types.NamespacedName, error) {
	if err := r.List(ctx, list, client.InNamespace(orphan.GetNamespace()), client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list who may adopt %s: %w", orphan.GetName(), err)
	}
	var keys []types.NamespacedName
	have := labels.Set(orphan.GetLabels())
	add := func(owner client.Object, by *metav1.LabelSelector) {
		selector, err := metav1.LabelSelectorAsSelector(by)
		if err == nil && !selector.Empty() && selector.Matches(have) {
			keys = append(keys, client.ObjectKeyFromObject(owner))
		}
	}
	switch l := list.(type) {
	case *appsv1.ReplicaSetList:
		for i := range l.Items {
			add(&l.Items[i], l.Items[i].Spec.Selector)
		}
	case *appsv1.DeploymentList:
		for i := range l.Items {
			add(&l.Items[i], l.Items[i].Spec.Selector)
		}
	case *appsv1.StatefulSetList:
		for i := range l.Items {
			add(&l.Items[i], l.Items[i].Spec.Selector)
		}
	case *appsv1.DaemonSetList:
		for i := range l.Items {
			add(&l.Items[i], l.Items[i].Spec.Selector)
		}
	case *batchv1.JobList:
		for i := range l.Items {
			add(&l.Items[i], l.Items[i].Spec.Selector)
		}
	case *corev1.ReplicationControllerList:
		for i := range l.Items {
			add(&l.Items[i], &metav1.LabelSelector{MatchLabels: l.Items[i].Spec.Selector})
		}
	default:
		return nil, fmt.Errorf("list who may adopt: %T is no list of owners", list)
	}
	return keys, nil
}

// Wake returns the keys to reconcile when an object that owners of a kind may
// control changed: its owner before and after, and for an orphan whoever of
// takers, a list to fill, may adopt it.
func Wake(ctx context.Context, r client.Reader, kind schema.GroupVersionKind, takers client.ObjectList, before, after client.Object) ([]types.NamespacedName, error) {
	var keys []types.NamespacedName
	if before != nil {
		keys = OwnerKey(before, kind)
	}
	if after == nil {
		return keys, nil
	}
	keys = append(keys, OwnerKey(after, kind)...)
	if metav1.GetControllerOfNoCopy(after) != nil || after.GetDeletionTimestamp() != nil || len(after.GetLabels()) == 0 {
		return keys, nil
	}
	more, err := Takers(ctx, r, takers, after)
	return append(keys, more...), err
}

// Claim says what becomes of an object that an owner with this selector may
// take: it is Kept, to be Adopted, to be Released, or none of its business.
func Claim(owner metav1.Object, selector labels.Selector, obj client.Object) Verdict {
	ref := metav1.GetControllerOfNoCopy(obj)
	matches := selector.Matches(labels.Set(obj.GetLabels()))
	switch {
	case ref != nil && ref.UID != owner.GetUID():
		return Foreign
	case ref != nil && matches:
		return Kept
	case ref != nil && owner.GetDeletionTimestamp() != nil:
		return Foreign
	case ref != nil:
		return Released
	case !matches || owner.GetDeletionTimestamp() != nil || obj.GetDeletionTimestamp() != nil:
		return Foreign
	default:
		return Adopted
	}
}

// Verdict is the answer of Claim.
type Verdict int

// The verdicts of Claim.
const (
	Foreign Verdict = iota
	Kept
	Adopted
	Released
)

// Claimer adopts and releases objects for one owner.
type Claimer struct {
	Client   client.Client
	Owner    client.Object
	Kind     schema.GroupVersionKind
	Selector labels.Selector
	// Finalizers are added to an object when it is adopted and taken off when it
	// is released.
	Finalizers []string

	checked bool
}

// Take returns whether obj is the owner's after adopting or releasing it as its
// labels ask.
func (c *Claimer) Take(ctx context.Context, obj client.Object) (bool, error) {
	switch Claim(c.Owner, c.Selector, obj) {
	case Kept:
		return true, nil
	case Released:
		return false, c.release(ctx, obj)
	case Adopted:
		if err := c.checkOwner(ctx); err != nil {
			return false, err
		}
		return c.adopt(ctx, obj)
	default:
		return false, nil
	}
}

// checkOwner reads the owner past the cache once before the first adoption: an
// owner that was deleted meanwhile must not take orphans that its deletion made.
func (c *Claimer) checkOwner(ctx context.Context) error {
	if c.checked {
		return nil
	}
	fresh := c.Owner.DeepCopyObject().(client.Object)
	if err := c.Client.Get(ctx, client.ObjectKeyFromObject(c.Owner), fresh); err != nil {
		return fmt.Errorf("read %s %s before adopting: %w", c.Kind.Kind, c.Owner.GetName(), err)
	}
	if fresh.GetUID() != c.Owner.GetUID() || fresh.GetDeletionTimestamp() != nil {
		return fmt.Errorf("adopt for %s %s: it is being deleted", c.Kind.Kind, c.Owner.GetName())
	}
	c.checked = true
	return nil
}

func (c *Claimer) adopt(ctx context.Context, obj client.Object) (bool, error) {
	changed := obj.DeepCopyObject().(client.Object)
	changed.SetOwnerReferences(append(changed.GetOwnerReferences(), *metav1.NewControllerRef(c.Owner, c.Kind)))
	changed.SetFinalizers(union(changed.GetFinalizers(), c.Finalizers))
	if err := c.patch(ctx, obj, changed); err != nil {
		return false, fmt.Errorf("adopt %s: %w", obj.GetName(), err)
	}
	return true, nil
}

func (c *Claimer) release(ctx context.Context, obj client.Object) error {
	changed := obj.DeepCopyObject().(client.Object)
	var refs []metav1.OwnerReference
	for _, ref := range obj.GetOwnerReferences() {
		if ref.UID != c.Owner.GetUID() {
			refs = append(refs, ref)
		}
	}
	changed.SetOwnerReferences(refs)
	changed.SetFinalizers(without(changed.GetFinalizers(), c.Finalizers))
	err := c.patch(ctx, obj, changed)
	if err = client.IgnoreNotFound(err); err != nil && !apierrors.IsInvalid(err) {
		return fmt.Errorf("release %s: %w", obj.GetName(), err)
	}
	return nil
}

func (c *Claimer) patch(ctx context.Context, before, after client.Object) error {
	return c.Client.Patch(ctx, after, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
}

func union(have, add []string) []string {
	out := without(have, add)
	return append(out, add...)
}

func without(have, drop []string) []string {
	var out []string
	for _, name := range have {
		keep := true
		for _, d := range drop {
			keep = keep && name != d
		}
		if keep {
			out = append(out, name)
		}
	}
	return out
}

// SlowStart calls fn n times in growing concurrent batches (1, 2, 4, …) and
// stops after the first batch with an error, so that what cannot work fails once
// and not n times. It returns how many calls worked.
func SlowStart(n int, fn func() error) (int, error) {
	done := 0
	for batch := min(n, 1); batch > 0; batch = min(2*batch, n-done) {
		errs := make(chan error, batch)
		var wg sync.WaitGroup
		for range batch {
			wg.Go(func() {
				if err := fn(); err != nil {
					errs <- err
				}
			})
		}
		wg.Wait()
		done += batch - len(errs)
		if len(errs) > 0 {
			return done, <-errs
		}
	}
	return done, nil
}

func parseCost(s string) (int64, error) {
	if s == "" {
		return 0, nil
	}
	return strconv.ParseInt(s, 10, 32)
}
