// Package resourceclaim makes the claims that pods ask for by templates, and
// gives devices back when nobody uses them any more.
//
// It owns status.resourceClaimStatuses of pods, and of claims the users that
// have gone. Which devices a claim gets is the scheduler's decision.
package resourceclaim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/loop"
	"github.com/sinawi/sinawi/internal/controllers/workload"
)

// Controller reconciles pods and claims.
type Controller struct {
	loop.Deps
	pods, claims *loop.Loop

	mu sync.Mutex
	// unseen are the claims just made, by pod and entry, until the cache shows
	// the pod that names them: none is made twice. Guarded by mu.
	unseen map[loop.Key]map[string]made
}

// made is a claim that was made for a pod.
type made struct {
	pod  types.UID
	name string
}

// New returns a controller that works with the given dependencies.
func New(deps loop.Deps) *Controller {
	c := &Controller{Deps: deps, unseen: map[loop.Key]map[string]made{}}
	c.pods = loop.New("resourceclaim", 4, deps, c.reconcilePod)
	c.pods.WatchChanges(&corev1.Pod{}, func(before, after client.Object) []loop.Key {
		pod, ok := after.(*corev1.Pod)
		if !ok {
			pod = before.(*corev1.Pod)
		}
		if len(pod.Spec.ResourceClaims) > 0 {
			return loop.Self(pod)
		}
		return nil
	})
	c.pods.WatchChanges(&resourcev1.ResourceClaimTemplate{}, c.templateChanged)
	c.pods.Watch(&resourcev1.ResourceClaim{}, func(obj client.Object) []loop.Key {
		return workload.OwnerKey(obj, corev1.SchemeGroupVersion.WithKind("Pod"))
	})
	c.claims = loop.New("resourceclaim-users", 4, deps, c.reconcileClaim)
	c.claims.WatchSelf(&resourcev1.ResourceClaim{})
	c.claims.WatchChanges(&corev1.Pod{}, func(before, after client.Object) []loop.Key {
		pod, ok := after.(*corev1.Pod)
		if ok && !done(pod) {
			return nil
		}
		if !ok {
			pod = before.(*corev1.Pod)
		}
		var keys []loop.Key
		for _, name := range claims(pod) {
			keys = append(keys, loop.Key{Namespace: pod.Namespace, Name: name})
		}
		return keys
	})
	return c
}

// Run reconciles until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.pods.Run(ctx) })
	group.Go(func() error { return c.claims.Run(ctx) })
	return group.Wait()
}

// templateChanged wakes the pods that waited for a new template.
func (c *Controller) templateChanged(before, after client.Object) []loop.Key {
	if before != nil || after == nil {
		return nil
	}
	// Those without a node yet have no claims yet.
	waiting, err := workload.PodsOn(context.Background(), c.Cache, "")
	if err != nil {
		c.Log.Error("list pods that wait for a claim template", "err", err)
	}
	var keys []loop.Key
	for _, pod := range waiting {
		uses := func(e corev1.PodResourceClaim) bool {
			return e.ResourceClaimTemplateName != nil && *e.ResourceClaimTemplateName == after.GetName()
		}
		if pod.Namespace == after.GetNamespace() && slices.ContainsFunc(pod.Spec.ResourceClaims, uses) {
			keys = append(keys, loop.Self(pod)...)
		}
	}
	return keys
}

func (c *Controller) reconcilePod(ctx context.Context, key loop.Key) (time.Duration, error) {
	pod := &corev1.Pod{}
	err := c.Cache.Get(ctx, key, pod, client.UnsafeDisableDeepCopy)
	if err != nil || pod.DeletionTimestamp != nil || done(pod) {
		c.forget(key)
		return 0, client.IgnoreNotFound(err)
	}
	changed := pod.DeepCopy()
	for i := range pod.Spec.ResourceClaims {
		entry := &pod.Spec.ResourceClaims[i]
		if entry.ResourceClaimTemplateName == nil {
			continue
		}
		if err := c.provide(ctx, changed, entry); err != nil {
			c.Events.Eventf(pod, corev1.EventTypeWarning, "FailedResourceClaimCreation", "PodResourceClaim %s: %v", entry.Name, err)
			return 0, fmt.Errorf("provide claim %s of pod %s: %w", entry.Name, pod.Name, err)
		}
	}
	if !slices.EqualFunc(pod.Status.ResourceClaimStatuses, changed.Status.ResourceClaimStatuses, sameStatus) {
		if err := c.Client.Status().Patch(ctx, changed, client.MergeFrom(pod)); err != nil {
			return 0, client.IgnoreNotFound(fmt.Errorf("write claims of pod %s: %w", pod.Name, err))
		}
	}
	if pod.Spec.NodeName == "" {
		return 0, nil // the scheduler reserves
	}
	c.forget(key) // it is bound, so its claims were seen
	return 0, c.reserve(ctx, changed)
}

func sameStatus(a, b corev1.PodResourceClaimStatus) bool {
	return a.Name == b.Name && (a.ResourceClaimName == nil) == (b.ResourceClaimName == nil) &&
		(a.ResourceClaimName == nil || *a.ResourceClaimName == *b.ResourceClaimName)
}

// provide makes the claim of an entry unless it is there, and notes it in pod.
func (c *Controller) provide(ctx context.Context, pod *corev1.Pod, entry *corev1.PodResourceClaim) error {
	name, noted := recorded(pod, entry.Name)
	if noted && name == "" {
		return nil // none is needed
	}
	if noted {
		claim := &resourcev1.ResourceClaim{}
		err := c.Cache.Get(ctx, loop.Key{Namespace: pod.Namespace, Name: name}, claim, client.UnsafeDisableDeepCopy)
		if client.IgnoreNotFound(err) != nil {
			return err
		}
		if apierrors.IsNotFound(err) { // perhaps the cache has not heard of it yet
			err = c.Client.Get(ctx, loop.Key{Namespace: pod.Namespace, Name: name}, claim)
		}
		if client.IgnoreNotFound(err) != nil || err == nil && isFor(pod, claim) == nil {
			return err
		}
	}
	name, err := c.orphan(ctx, pod, entry.Name, name)
	if err != nil {
		return err
	}
	if name == "" {
		template := &resourcev1.ResourceClaimTemplate{}
		if err := c.Cache.Get(ctx, loop.Key{Namespace: pod.Namespace, Name: *entry.ResourceClaimTemplateName}, template, client.UnsafeDisableDeepCopy); err != nil {
			if apierrors.IsNotFound(err) { // in the words of Kubernetes' own controller
				err = apierrors.NewNotFound(resourcev1.Resource("resourceclaimtemplate"), *entry.ResourceClaimTemplateName)
			}
			return fmt.Errorf("resource claim template %q: %w", *entry.ResourceClaimTemplateName, err)
		}
		claim := fromTemplate(pod, entry.Name, template)
		if err := c.Client.Create(ctx, claim); err != nil {
			return fmt.Errorf("create ResourceClaim %s: %w", claim.GenerateName, err)
		}
		name = claim.Name
		c.remember(pod, entry.Name, name)
	}
	status := corev1.PodResourceClaimStatus{Name: entry.Name, ResourceClaimName: &name}
	list := slices.DeleteFunc(pod.Status.ResourceClaimStatuses, func(s corev1.PodResourceClaimStatus) bool { return s.Name == entry.Name })
	pod.Status.ResourceClaimStatuses = append(list, status)
	return nil
}

// orphan is the name of a claim that was made for the entry, but for the one
// that is lost, and that the pod does not name; "" is that there is none.
func (c *Controller) orphan(ctx context.Context, pod *corev1.Pod, entry, lost string) (string, error) {
	c.mu.Lock()
	last := c.unseen[client.ObjectKeyFromObject(pod)][entry]
	c.mu.Unlock()
	if last.pod == pod.UID && last.name != lost {
		return last.name, nil
	}
	claims, err := workload.Owned[*resourcev1.ResourceClaim](ctx, c.Cache, &resourcev1.ResourceClaimList{}, pod.Namespace, pod.UID)
	if err != nil {
		return "", err
	}
	for _, claim := range claims {
		if claim.Annotations[resourcev1.PodResourceClaimAnnotation] == entry && claim.DeletionTimestamp == nil && claim.Name != lost {
			return claim.Name, nil
		}
	}
	return "", nil
}

func (c *Controller) remember(pod *corev1.Pod, entry, claim string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := client.ObjectKeyFromObject(pod)
	if c.unseen[key] == nil {
		c.unseen[key] = map[string]made{}
	}
	c.unseen[key][entry] = made{pod.UID, claim}
}

// forget is called when the pod asks for no more claims.
func (c *Controller) forget(pod loop.Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.unseen, pod)
}

// reserve notes the pod as a user of its claims: it was bound without them.
func (c *Controller) reserve(ctx context.Context, pod *corev1.Pod) error {
	var errs []error
	for i := range pod.Spec.ResourceClaims {
		entry := &pod.Spec.ResourceClaims[i]
		name := claimOf(pod, entry)
		if name == "" {
			continue
		}
		claim := &resourcev1.ResourceClaim{}
		if err := c.Cache.Get(ctx, loop.Key{Namespace: pod.Namespace, Name: name}, claim, client.UnsafeDisableDeepCopy); err != nil {
			errs = append(errs, client.IgnoreNotFound(err))
			continue
		}
		if !reservable(claim, pod) {
			continue
		}
		if entry.ResourceClaimTemplateName != nil {
			if err := isFor(pod, claim); err != nil {
				errs = append(errs, err)
				continue
			}
		}
		changed := claim.DeepCopy()
		changed.Status.ReservedFor = append(changed.Status.ReservedFor, resourcev1.ResourceClaimConsumerReference{Resource: "pods", Name: pod.Name, UID: pod.UID})
		if err := c.Client.Status().Update(ctx, changed); err != nil {
			errs = append(errs, fmt.Errorf("reserve claim %s for pod: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

func (c *Controller) reconcileClaim(ctx context.Context, key loop.Key) (time.Duration, error) {
	claim := &resourcev1.ResourceClaim{}
	if err := c.Cache.Get(ctx, key, claim, client.UnsafeDisableDeepCopy); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	var failed error
	left := users(claim, func(r resourcev1.ResourceClaimConsumerReference) bool {
		gone, err := c.gone(ctx, loop.Key{Namespace: claim.Namespace, Name: r.Name}, string(r.UID))
		failed = errors.Join(failed, err)
		return gone
	})
	ownerDone := false
	if ref := metav1.GetControllerOfNoCopy(claim); ref != nil && ref.APIVersion == "v1" && ref.Kind == "Pod" {
		gone, err := c.gone(ctx, loop.Key{Namespace: claim.Namespace, Name: ref.Name}, string(ref.UID))
		ownerDone, failed = gone, errors.Join(failed, err)
	}
	if failed != nil {
		return 0, failed
	}
	return 0, c.write(ctx, settle(claim, left, ownerDone))
}

func (c *Controller) write(ctx context.Context, ch change) error {
	name := ch.next.Name
	if ch.status {
		if err := c.Client.Status().Update(ctx, ch.next); err != nil {
			return client.IgnoreNotFound(fmt.Errorf("write users of claim %s: %w", name, err))
		}
	}
	if ch.release {
		ch.next.Finalizers = slices.DeleteFunc(ch.next.Finalizers, func(f string) bool { return f == resourcev1.Finalizer })
		if err := c.Client.Update(ctx, ch.next); err != nil {
			return client.IgnoreNotFound(fmt.Errorf("release claim %s: %w", name, err))
		}
	}
	if ch.remove {
		if err := c.Client.Delete(ctx, ch.next, client.Preconditions{UID: &ch.next.UID}); err != nil {
			return client.IgnoreNotFound(fmt.Errorf("delete claim %s: %w", name, err))
		}
	}
	return nil
}

// gone says that the pod with this uid will not use devices any more. That it
// does not exist is asked of the API itself: the cache may not know it yet.
func (c *Controller) gone(ctx context.Context, key loop.Key, uid string) (bool, error) {
	pod := &corev1.Pod{}
	err := c.Cache.Get(ctx, key, pod, client.UnsafeDisableDeepCopy)
	if apierrors.IsNotFound(err) || err == nil && string(pod.UID) != uid {
		pod = &corev1.Pod{}
		err = c.Client.Get(ctx, key, pod)
	}
	switch {
	case apierrors.IsNotFound(err):
		return true, nil
	case err != nil:
		return false, fmt.Errorf("read pod %s: %w", key.Name, err)
	}
	return string(pod.UID) != uid || done(pod), nil
}
