package persistentvolume

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/component-helpers/storage/ephemeral"
	"k8s.io/component-helpers/storage/volume"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/loop"
	"github.com/sinawi/sinawi/internal/controllers/workload"
)

// The cache's indexes: claims by the volume that they name, or else by the class that
// they want, the volumes that no claim has by theirs, and pods by the claims that they
// use.
const (
	pendingIndex = "pendingClass"
	freeIndex    = "freeClass"
	claimIndex   = "spec.volumes.claim"
)

const isDefault = "storageclass.kubernetes.io/is-default-class"

// Index tells the cache what the controller looks up by. It is called once for a
// cache, before its readers run.
func Index(ctx context.Context, c cache.Cache) error {
	err := c.IndexField(ctx, &corev1.PersistentVolumeClaim{}, pendingIndex, func(obj client.Object) []string {
		claim := obj.(*corev1.PersistentVolumeClaim)
		if claim.Spec.VolumeName != "" {
			return []string{volumeKey(claim.Spec.VolumeName)}
		}
		return []string{classKey(volume.GetPersistentVolumeClaimClass(claim))}
	})
	if err != nil {
		return fmt.Errorf("index claims by class: %w", err)
	}
	err = c.IndexField(ctx, &corev1.PersistentVolume{}, freeIndex, func(obj client.Object) []string {
		v := obj.(*corev1.PersistentVolume)
		if ref := v.Spec.ClaimRef; ref != nil {
			return []string{ref.Namespace + "/" + ref.Name}
		}
		return []string{classKey(volume.GetPersistentVolumeClass(v))}
	})
	if err != nil {
		return fmt.Errorf("index volumes by class: %w", err)
	}
	err = c.IndexField(ctx, &corev1.Pod{}, claimIndex, func(obj client.Object) []string { return Claims(obj.(*corev1.Pod)) })
	if err != nil {
		return fmt.Errorf("index pods by claim: %w", err)
	}
	return nil
}

func classKey(class string) string { return "class " + class }

func volumeKey(name string) string { return "volume " + name }

// Claims are the names of the claims that a pod uses, also through ephemeral volumes.
func Claims(pod *corev1.Pod) []string {
	var out []string
	for i := range pod.Spec.Volumes {
		switch v := &pod.Spec.Volumes[i]; {
		case v.PersistentVolumeClaim != nil:
			out = append(out, v.PersistentVolumeClaim.ClaimName)
		case v.Ephemeral != nil:
			out = append(out, ephemeral.VolumeClaimName(pod, v))
		}
	}
	return out
}

// Users returns the pods that use a claim. They are the cache's own: read-only.
func Users(ctx context.Context, r client.Reader, claim client.Object) ([]corev1.Pod, error) {
	var pods corev1.PodList
	err := r.List(ctx, &pods, client.InNamespace(claim.GetNamespace()),
		client.MatchingFields{claimIndex: claim.GetName()}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("list pods that use claim %s: %w", claim.GetName(), err)
	}
	return pods.Items, nil
}

// Controller reconciles claims and volumes.
type Controller struct {
	loop.Deps
	claims, volumes *loop.Loop
	recyclers       map[string]attempt // by volume; only the volumes' one worker asks
}

// New returns a controller that works with the given dependencies.
func New(deps loop.Deps) *Controller {
	c := &Controller{Deps: deps, recyclers: map[string]attempt{}}
	c.claims = loop.New("persistentvolumeclaim", 1, deps, c.claim)
	c.claims.WatchSelf(&corev1.PersistentVolumeClaim{})
	c.claims.Watch(&corev1.PersistentVolume{}, c.claimsOfVolume)
	c.claims.Watch(&storagev1.StorageClass{}, c.claimsOfClass)
	c.claims.WatchChanges(&corev1.Pod{}, c.claimsOfPod)
	c.volumes = loop.New("persistentvolume", 1, deps, c.volume)
	c.volumes.WatchSelf(&corev1.PersistentVolume{})
	c.volumes.Watch(&corev1.PersistentVolumeClaim{}, volumesOfClaim)
	c.volumes.WatchChanges(&corev1.Pod{}, recycledBy)
	return c
}

// Run reconciles until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.claims.Run(ctx) })
	group.Go(func() error { return c.volumes.Run(ctx) })
	return group.Wait()
}

// claimsOfVolume are the claims for which a volume's change matters: the one that it
// names, those that name it, or those that wait for such a volume.
func (c *Controller) claimsOfVolume(obj client.Object) []loop.Key {
	v := obj.(*corev1.PersistentVolume)
	named := c.pending(volumeKey(v.Name))
	if ref := v.Spec.ClaimRef; ref != nil {
		return append(named, loop.Key{Namespace: ref.Namespace, Name: ref.Name})
	}
	return append(named, c.pending(classKey(volume.GetPersistentVolumeClass(v)))...)
}

// claimsOfPod are the claims that a pod uses which has come: one that waits for a
// first pod waits for its node from then on.
func (c *Controller) claimsOfPod(before, after client.Object) []loop.Key {
	pod, ok := after.(*corev1.Pod)
	if !ok || before != nil || pod.Spec.NodeName != "" {
		return nil
	}
	var keys []loop.Key
	for _, name := range Claims(pod) {
		keys = append(keys, loop.Key{Namespace: pod.Namespace, Name: name})
	}
	return keys
}

func (c *Controller) claimsOfClass(obj client.Object) []loop.Key {
	keys := c.pending(classKey(obj.GetName()))
	if obj.GetAnnotations()[isDefault] == "true" {
		keys = append(keys, c.pending(classKey(""))...)
	}
	return keys
}

func (c *Controller) pending(key string) []loop.Key {
	var claims corev1.PersistentVolumeClaimList
	err := c.Cache.List(context.Background(), &claims, client.MatchingFields{pendingIndex: key}, client.UnsafeDisableDeepCopy)
	if err != nil {
		c.Log.Warn("claims not read", "for", key, "err", err)
	}
	keys := make([]loop.Key, 0, len(claims.Items))
	for i := range claims.Items {
		keys = append(keys, client.ObjectKeyFromObject(&claims.Items[i]))
	}
	return keys
}

func volumesOfClaim(obj client.Object) []loop.Key {
	if name := obj.(*corev1.PersistentVolumeClaim).Spec.VolumeName; name != "" {
		return []loop.Key{{Name: name}}
	}
	return nil
}

func (c *Controller) claim(ctx context.Context, key loop.Key) (time.Duration, error) {
	claim := &corev1.PersistentVolumeClaim{}
	if err := c.Cache.Get(ctx, key, claim, client.UnsafeDisableDeepCopy); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	plan, err := planClaim(claim, c.world(ctx))
	if err != nil {
		return 0, err
	}
	if plan.event != nil {
		c.Events.Event(claim, plan.event.kind, plan.event.reason, plan.event.message)
	}
	switch {
	case plan.bind != nil:
		return 0, c.bind(ctx, plan.bind, claim)
	case plan.class != "":
		changed := claim.DeepCopy()
		changed.Spec.StorageClassName = &plan.class
		if err := c.Client.Update(ctx, changed); err != nil {
			return 0, fmt.Errorf("give claim %s the default class: %w", key, err)
		}
		return 0, nil
	}
	if plan.provisioner != "" && claim.Annotations[volume.AnnStorageProvisioner] != plan.provisioner {
		changed := claim.DeepCopy()
		annotate(changed, volume.AnnStorageProvisioner, plan.provisioner)
		annotate(changed, volume.AnnBetaStorageProvisioner, plan.provisioner)
		if err := c.Client.Update(ctx, changed); err != nil {
			return 0, fmt.Errorf("ask provisioner %s for claim %s: %w", plan.provisioner, key, err)
		}
		claim = changed
	}
	if plan.phase != "" && claim.Status.Phase != plan.phase {
		changed := claim.DeepCopy()
		withoutVolume(&changed.Status, plan.phase)
		if err := c.Client.Status().Update(ctx, changed); err != nil {
			return 0, fmt.Errorf("write phase of claim %s: %w", key, err)
		}
	}
	return 0, nil
}

// withoutVolume is the status of a claim that has no volume, or none any more.
func withoutVolume(status *corev1.PersistentVolumeClaimStatus, phase corev1.PersistentVolumeClaimPhase) {
	status.Phase, status.AccessModes, status.Capacity = phase, nil, nil
}

func annotate(obj client.Object, key, value string) {
	annotations := obj.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[key] = value
	obj.SetAnnotations(annotations)
}

// bind ties a volume and a claim together, as far as they are not yet.
func (c *Controller) bind(ctx context.Context, v *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) error {
	if err := c.join(ctx, v, claim); err != nil {
		return fmt.Errorf("bind volume %s and claim %s/%s: %w", v.Name, claim.Namespace, claim.Name, err)
	}
	return nil
}

// join writes the volume first: it is what two claims could both take.
func (c *Controller) join(ctx context.Context, v *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) error {
	changed, dirty, err := volume.GetBindVolumeToClaim(v, claim)
	if err != nil {
		return err
	}
	if dirty {
		if err := c.Client.Update(ctx, changed); err != nil {
			return err
		}
		v = changed
	}
	if v.Status.Phase != corev1.VolumeBound {
		v = v.DeepCopy()
		v.Status.Phase, v.Status.Message, v.Status.Reason = corev1.VolumeBound, "", ""
		if err := c.Client.Status().Update(ctx, v); err != nil {
			return err
		}
	}
	if tied, dirty := tie(claim, v); dirty {
		if err := c.Client.Update(ctx, tied); err != nil {
			return err
		}
		claim = tied
	}
	if stated, dirty := state(claim, v); dirty {
		return c.Client.Status().Update(ctx, stated)
	}
	return nil
}

// tie makes a claim name its volume.
func tie(claim *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) (*corev1.PersistentVolumeClaim, bool) {
	_, done := claim.Annotations[volume.AnnBindCompleted]
	if done && claim.Spec.VolumeName == v.Name {
		return claim, false
	}
	claim = claim.DeepCopy()
	if claim.Spec.VolumeName != v.Name {
		claim.Spec.VolumeName = v.Name
		annotate(claim, volume.AnnBoundByController, "yes")
	}
	annotate(claim, volume.AnnBindCompleted, "yes")
	return claim, true
}

// state is a claim whose status says what its volume is.
func state(claim *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) (*corev1.PersistentVolumeClaim, bool) {
	bound := claim.Status.Phase == corev1.ClaimBound
	// What a claim has grown to is told by who made it grow.
	if bound && slices.Equal(claim.Status.AccessModes, v.Spec.AccessModes) && claim.Status.Capacity != nil {
		return claim, false
	}
	claim = claim.DeepCopy()
	claim.Status.Phase = corev1.ClaimBound
	claim.Status.AccessModes = slices.Clone(v.Spec.AccessModes)
	if !bound || claim.Status.Capacity == nil {
		claim.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: v.Spec.Capacity[corev1.ResourceStorage]}
		claim.Status.CurrentVolumeAttributesClassName = v.Spec.VolumeAttributesClassName
	}
	return claim, true
}

func (c *Controller) volume(ctx context.Context, key loop.Key) (time.Duration, error) {
	v := &corev1.PersistentVolume{}
	err := c.Cache.Get(ctx, key, v, client.UnsafeDisableDeepCopy)
	if apierrors.IsNotFound(err) {
		return 0, c.forgetRecycler(ctx, key.Name)
	}
	if err != nil {
		return 0, err
	}
	claim, err := c.claimOf(ctx, v)
	if err != nil {
		return 0, err
	}
	plan := planVolume(v, claim)
	if plan.event != nil {
		c.Events.Event(v, plan.event.kind, plan.event.reason, plan.event.message)
	}
	if plan.recycle {
		return c.recycle(ctx, v)
	}
	if plan.unbind {
		if v, err = c.unbind(ctx, v); err != nil {
			return 0, err
		}
	}
	if plan.erase != "" {
		return 0, c.erase(ctx, v, plan.erase)
	}
	return 0, c.writePhase(ctx, v, plan)
}

// unbind takes the claim off a volume that is free again; who named it by hand keeps it.
func (c *Controller) unbind(ctx context.Context, v *corev1.PersistentVolume) (*corev1.PersistentVolume, error) {
	changed := v.DeepCopy()
	if changed.Annotations[volume.AnnBoundByController] != "" {
		changed.Spec.ClaimRef = nil
		delete(changed.Annotations, volume.AnnBoundByController)
	} else {
		changed.Spec.ClaimRef.UID = ""
	}
	if err := c.Client.Update(ctx, changed); err != nil {
		return nil, fmt.Errorf("unbind volume %s: %w", v.Name, err)
	}
	return changed, nil
}

func (c *Controller) writePhase(ctx context.Context, v *corev1.PersistentVolume, plan volumePlan) error {
	told := plan.phase != corev1.VolumeFailed || v.Status.Message == plan.reason
	if plan.phase == "" || v.Status.Phase == plan.phase && told {
		return nil
	}
	changed := v.DeepCopy()
	changed.Status.Phase, changed.Status.Message = plan.phase, plan.reason
	if err := c.Client.Status().Update(ctx, changed); err != nil {
		return fmt.Errorf("write phase of volume %s: %w", v.Name, err)
	}
	return nil
}

// claimOf is the claim that a volume names, nil if it is gone. That is asked of the
// API itself: a volume is released once and for all.
func (c *Controller) claimOf(ctx context.Context, v *corev1.PersistentVolume) (*corev1.PersistentVolumeClaim, error) {
	ref := v.Spec.ClaimRef
	if ref == nil || ref.UID == "" {
		return nil, nil
	}
	key := loop.Key{Namespace: ref.Namespace, Name: ref.Name}
	claim := &corev1.PersistentVolumeClaim{}
	err := c.Cache.Get(ctx, key, claim, client.UnsafeDisableDeepCopy)
	if err == nil && claim.UID == ref.UID {
		return claim, nil
	}
	claim = &corev1.PersistentVolumeClaim{}
	err = c.Client.Get(ctx, key, claim)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read claim %s of volume %s: %w", key, v.Name, err)
	}
	return claim, nil
}

// world reads what a plan asks for.
func (c *Controller) world(ctx context.Context) world {
	return world{
		class: func(name string) *storagev1.StorageClass { return get(ctx, c, name, &storagev1.StorageClass{}) },
		volume: func(name string) *corev1.PersistentVolume {
			return get(ctx, c, name, &corev1.PersistentVolume{})
		},
		candidates: func(class string, claim *corev1.PersistentVolumeClaim) []*corev1.PersistentVolume {
			return c.free(ctx, classKey(class), claim.Namespace+"/"+claim.Name)
		},
		defaultClass: func() *storagev1.StorageClass { return c.defaultClass(ctx) },
		user: func(claim *corev1.PersistentVolumeClaim) string {
			pods, err := Users(ctx, c.Cache, claim)
			if err != nil {
				c.Log.Warn("pods of a claim not read", "claim", claim.Name, "err", err)
			}
			var names []string
			for i := range pods {
				if pods[i].Spec.NodeName == "" && !workload.Finished(&pods[i]) {
					names = append(names, pods[i].Name)
				}
			}
			return strings.Join(names, ",")
		},
	}
}

// get reads a cluster-scoped object, nil if there is none.
func get[T client.Object](ctx context.Context, c *Controller, name string, obj T) (none T) {
	if name == "" || c.Cache.Get(ctx, loop.Key{Name: name}, obj, client.UnsafeDisableDeepCopy) != nil {
		return none
	}
	return obj
}

func (c *Controller) free(ctx context.Context, keys ...string) []*corev1.PersistentVolume {
	var out []*corev1.PersistentVolume
	for _, key := range keys {
		var list corev1.PersistentVolumeList
		err := c.Cache.List(ctx, &list, client.MatchingFields{freeIndex: key}, client.UnsafeDisableDeepCopy)
		if err != nil {
			c.Log.Warn("volumes not read", "err", err)
		}
		for i := range list.Items {
			out = append(out, &list.Items[i])
		}
	}
	return out
}

// defaultClass is the class of claims that name none: of several the newest.
func (c *Controller) defaultClass(ctx context.Context) *storagev1.StorageClass {
	var list storagev1.StorageClassList
	if err := c.Cache.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		c.Log.Warn("storage classes not read", "err", err)
	}
	var newest *storagev1.StorageClass
	for i := range list.Items {
		class := &list.Items[i]
		if class.Annotations[isDefault] != "true" && class.Annotations["storageclass.beta.kubernetes.io/is-default-class"] != "true" {
			continue
		}
		if newest == nil || newest.CreationTimestamp.Before(&class.CreationTimestamp) ||
			newest.CreationTimestamp.Equal(&class.CreationTimestamp) && class.Name < newest.Name {
			newest = class
		}
	}
	return newest
}
