package workload

import (
	"context"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// verdict is what becomes of an object that an owner may take.
type verdict int

const (
	foreign verdict = iota // it is none of the owner's business
	kept
	adopted
	released
)

// judge decides for an owner with this selector.
func judge(owner metav1.Object, selector labels.Selector, obj client.Object) verdict {
	ref := metav1.GetControllerOfNoCopy(obj)
	matches := selector.Matches(labels.Set(obj.GetLabels()))
	switch {
	case ref != nil && ref.UID != owner.GetUID():
		return foreign
	case ref != nil && matches:
		return kept
	case ref != nil && owner.GetDeletionTimestamp() != nil:
		return foreign
	case ref != nil:
		return released
	case !matches || owner.GetDeletionTimestamp() != nil || obj.GetDeletionTimestamp() != nil:
		return foreign
	default:
		return adopted
	}
}

// Claimer adopts and releases objects for one owner.
type Claimer struct {
	Client client.Client
	// Cache has the objects, indexed by Index.
	Cache    client.Reader
	Owner    client.Object
	Kind     schema.GroupVersionKind
	Selector labels.Selector
	// Finalizers are added to an object when it is adopted and taken off when it
	// is released.
	Finalizers []string

	checked bool
}

// Claimed returns the owner's objects among those that list, which is empty, can
// hold: those that it controls and still selects, and orphans that it now adopts.
// What it selects no more is released. Only objects that pass may, if there is
// one, are looked at. They are shared with the cache: read-only. One that cannot
// be claimed does not hinder the others; it is in the error.
func Claimed[T client.Object](ctx context.Context, c *Claimer, list client.ObjectList, may func(T) bool) ([]T, error) {
	loose := list.DeepCopyObject().(client.ObjectList)
	owned, err := Owned[T](ctx, c.Cache, list, c.Owner.GetNamespace(), c.Owner.GetUID())
	if err != nil {
		return nil, fmt.Errorf("list %T of %s: %w", list, c.Kind.Kind, err)
	}
	nobodys, err := orphans[T](ctx, c.Cache, loose, c.Owner.GetNamespace())
	if err != nil {
		return nil, fmt.Errorf("list %T of nobody: %w", list, err)
	}
	var mine []T
	var errs []error
	for _, obj := range append(owned, nobodys...) {
		if may != nil && !may(obj) {
			continue
		}
		yes, err := c.take(ctx, obj)
		if err != nil {
			errs = append(errs, err)
		} else if yes {
			mine = append(mine, obj)
		}
	}
	return mine, errors.Join(errs...)
}

// take returns whether obj is the owner's after adopting or releasing it as its
// labels ask.
func (c *Claimer) take(ctx context.Context, obj client.Object) (bool, error) {
	switch judge(c.Owner, c.Selector, obj) {
	case kept:
		return true, nil
	case released:
		return false, c.release(ctx, obj)
	case adopted:
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
	return append(without(have, add), add...)
}

func without(have, drop []string) []string {
	return slices.DeleteFunc(slices.Clone(have), func(name string) bool { return slices.Contains(drop, name) })
}
