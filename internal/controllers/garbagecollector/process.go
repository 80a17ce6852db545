package garbagecollector

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
)

var (
	// errUnseen says that an object exists which no watch has shown yet.
	errUnseen = errors.New("object exists but was not seen yet")
	// errUnserved says that the kind is not served, or not known to be.
	errUnserved = errors.New("kind is not served")
)

// process looks at one node and does what is due. An error asks for another try.
func (c *Controller) process(ctx context.Context, uid types.UID) error {
	v, ok := c.graph.look(uid)
	switch {
	case !ok:
		return nil
	case v.virtual:
		return c.verify(ctx, v)
	case v.foreground:
		return c.finishForeground(ctx, v)
	case v.orphaning:
		return c.orphanDependents(ctx, v)
	case v.deleting || len(v.owners) == 0:
		return nil
	}
	return c.collect(ctx, v)
}

// verify asks whether an owner that somebody named exists.
func (c *Controller) verify(ctx context.Context, v view) error {
	obj, err := c.read(ctx, v.identity)
	if apierrors.IsNotFound(err) || (err == nil && obj.UID != v.uid) {
		c.wake(c.graph.missing(v.uid))
		return nil
	}
	if err != nil {
		return err
	}
	return errUnseen // its own watch brings it in, or its deletion lets it go
}

// finishForeground lets an owner go that waits for its dependents, once none
// blocks it.
func (c *Controller) finishForeground(ctx context.Context, v view) error {
	if len(v.blocking) == 0 {
		return c.dropFinalizer(ctx, v.identity, metav1.FinalizerDeleteDependents)
	}
	for _, d := range v.blocking {
		if dep, ok := c.graph.look(d.uid); ok && !dep.foreground {
			c.queue.Add(d.uid)
		}
	}
	return nil
}

// orphanDependents makes all dependents forget the owner, then lets it go.
func (c *Controller) orphanDependents(ctx context.Context, v view) error {
	var errs []error
	for _, d := range v.dependents {
		errs = append(errs, c.change(ctx, d, func(obj *metav1.PartialObjectMetadata) map[string]any {
			return dropOwners(obj, []types.UID{v.uid})
		}))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("orphan dependents of %s: %w", v.name, err)
	}
	return c.dropFinalizer(ctx, v.identity, metav1.FinalizerOrphanDependents)
}

// collect deletes an object that has no owner left, or takes owners that are
// gone off one that has.
func (c *Controller) collect(ctx context.Context, v view) error {
	latest, err := c.read(ctx, v.identity)
	if apierrors.IsNotFound(err) || (err == nil && latest.UID != v.uid) {
		c.wake(c.graph.remove(v.uid))
		return nil
	}
	if err != nil || latest.DeletionTimestamp != nil || len(latest.OwnerReferences) == 0 {
		return err
	}
	var solid int
	var dangling, leaving []types.UID
	for _, ref := range latest.OwnerReferences {
		p, err := c.owner(ctx, ref, v.namespace)
		if err != nil {
			return err
		}
		switch p {
		case absent:
			dangling = append(dangling, ref.UID)
		case waiting:
			leaving = append(leaving, ref.UID)
		default:
			solid++
		}
	}
	switch {
	case solid > 0 && len(dangling)+len(leaving) == 0:
		return nil
	case solid > 0:
		return c.change(ctx, v.identity, func(obj *metav1.PartialObjectMetadata) map[string]any {
			return dropOwners(obj, append(dangling, leaving...))
		})
	case len(leaving) > 0 && len(v.dependents) > 0:
		return c.deleteInForeground(ctx, v, latest)
	default:
		return c.delete(ctx, v.identity, latest, propagation(latest))
	}
}

// deleteInForeground is for an object whose owner waits for it and which has
// dependents itself: they go first. Should one of them wait already, the circle
// is broken by not blocking any more.
func (c *Controller) deleteInForeground(ctx context.Context, v view, latest *metav1.PartialObjectMetadata) error {
	if v.stuck {
		err := c.change(ctx, v.identity, func(obj *metav1.PartialObjectMetadata) map[string]any { return unblock(obj) })
		if err != nil {
			return err
		}
		return c.delete(ctx, v.identity, nil, metav1.DeletePropagationForeground)
	}
	return c.delete(ctx, v.identity, latest, metav1.DeletePropagationForeground)
}

// propagation is what a finalizer on the object asks for already.
func propagation(obj *metav1.PartialObjectMetadata) metav1.DeletionPropagation {
	switch {
	case slices.Contains(obj.Finalizers, metav1.FinalizerOrphanDependents):
		return metav1.DeletePropagationOrphan
	case slices.Contains(obj.Finalizers, metav1.FinalizerDeleteDependents):
		return metav1.DeletePropagationForeground
	default:
		return metav1.DeletePropagationBackground
	}
}

// owner finds out whether an owner exists: by the graph where that knows, by
// asking the API server otherwise.
func (c *Controller) owner(ctx context.Context, ref metav1.OwnerReference, namespace string) (presence, error) {
	if p := c.graph.find(ref, namespace); p != unknown {
		return p, nil
	}
	id := claimed(ref, namespace)
	if _, known := c.absent.Get(id); known {
		return absent, nil
	}
	if k, ok := c.served(id.kind); ok && k.Namespaced && namespace == "" {
		return present, nil // a cluster's object cannot be owned from inside a namespace: leave it alone
	}
	obj, err := c.read(ctx, id)
	switch {
	case apierrors.IsNotFound(err), err == nil && obj.UID != ref.UID:
		c.absent.Add(id, nil)
		return absent, nil
	case err != nil:
		return unknown, fmt.Errorf("look for owner %s %s: %w", ref.Kind, ref.Name, err)
	case obj.DeletionTimestamp != nil && slices.Contains(obj.Finalizers, metav1.FinalizerDeleteDependents):
		return waiting, nil
	default:
		return present, nil
	}
}

func (c *Controller) at(id identity) (metadata.ResourceInterface, error) {
	k, ok := c.served(id.kind)
	if !ok {
		c.lookAgain()
		return nil, fmt.Errorf("%s: %w", id.kind, errUnserved)
	}
	if k.Namespaced {
		return c.metadata.Resource(k.Resource).Namespace(id.namespace), nil
	}
	return c.metadata.Resource(k.Resource), nil
}

func (c *Controller) read(ctx context.Context, id identity) (*metav1.PartialObjectMetadata, error) {
	r, err := c.at(id)
	if err != nil {
		return nil, err
	}
	return r.Get(ctx, id.name, metav1.GetOptions{})
}

// delete deletes the object of that uid; if latest is given, only as it is there.
func (c *Controller) delete(ctx context.Context, id identity, latest *metav1.PartialObjectMetadata, how metav1.DeletionPropagation) error {
	r, err := c.at(id)
	if err != nil {
		return err
	}
	pre := &metav1.Preconditions{UID: &id.uid}
	if latest != nil {
		pre.ResourceVersion = &latest.ResourceVersion
	}
	err = r.Delete(ctx, id.name, metav1.DeleteOptions{Preconditions: pre, PropagationPolicy: &how})
	if err == nil || apierrors.IsNotFound(err) {
		return nil
	}
	return fmt.Errorf("delete %s %s: %w", id.kind.Kind, id.name, err)
}

// change patches the metadata of an object as it is now; nil changes nothing.
func (c *Controller) change(ctx context.Context, id identity, f func(*metav1.PartialObjectMetadata) map[string]any) error {
	obj, err := c.read(ctx, id)
	if apierrors.IsNotFound(err) || (err == nil && obj.UID != id.uid) {
		return nil
	}
	if err != nil {
		return err
	}
	meta := f(obj)
	if meta == nil {
		return nil
	}
	meta["uid"], meta["resourceVersion"] = obj.UID, obj.ResourceVersion
	patch, err := json.Marshal(map[string]any{"metadata": meta})
	if err != nil {
		return fmt.Errorf("encode patch: %w", err)
	}
	r, err := c.at(id)
	if err != nil {
		return err
	}
	_, err = r.Patch(ctx, id.name, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("patch %s %s: %w", id.kind.Kind, id.name, err)
	}
	return nil
}

func (c *Controller) dropFinalizer(ctx context.Context, id identity, finalizer string) error {
	return c.change(ctx, id, func(obj *metav1.PartialObjectMetadata) map[string]any {
		if !slices.Contains(obj.Finalizers, finalizer) {
			return nil
		}
		kept := slices.DeleteFunc(slices.Clone(obj.Finalizers), func(f string) bool { return f == finalizer })
		return map[string]any{"finalizers": kept}
	})
}

func dropOwners(obj *metav1.PartialObjectMetadata, uids []types.UID) map[string]any {
	kept := slices.DeleteFunc(slices.Clone(obj.OwnerReferences), func(ref metav1.OwnerReference) bool {
		return slices.Contains(uids, ref.UID)
	})
	if len(kept) == len(obj.OwnerReferences) {
		return nil
	}
	return map[string]any{"ownerReferences": kept}
}

func unblock(obj *metav1.PartialObjectMetadata) map[string]any {
	refs := slices.Clone(obj.OwnerReferences)
	no := false
	changed := false
	for i := range refs {
		if refs[i].BlockOwnerDeletion != nil && *refs[i].BlockOwnerDeletion {
			refs[i].BlockOwnerDeletion = &no
			changed = true
		}
	}
	if !changed {
		return nil
	}
	return map[string]any{"ownerReferences": refs}
}
