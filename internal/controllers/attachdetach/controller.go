package attachdetach

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/loop"
	"github.com/sinawi/sinawi/internal/controllers/persistentvolume"
	"github.com/sinawi/sinawi/internal/controllers/workload"
)

// The cache's indexes of VolumeAttachments.
const (
	nodeIndex   = "spec.nodeName"
	volumeIndex = "spec.source.persistentVolumeName"
)

// Index tells the cache what the controller looks up by. It is called once for a
// cache, before its readers run.
func Index(ctx context.Context, c cache.Cache) error {
	err := c.IndexField(ctx, &storagev1.VolumeAttachment{}, nodeIndex, func(obj client.Object) []string {
		return []string{obj.(*storagev1.VolumeAttachment).Spec.NodeName}
	})
	if err != nil {
		return fmt.Errorf("index volume attachments by node: %w", err)
	}
	err = c.IndexField(ctx, &storagev1.VolumeAttachment{}, volumeIndex, func(obj client.Object) []string {
		if name := obj.(*storagev1.VolumeAttachment).Spec.Source.PersistentVolumeName; name != nil {
			return []string{*name}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("index volume attachments by volume: %w", err)
	}
	return nil
}

// Controller reconciles the volumes of nodes.
type Controller struct {
	loop.Deps
	loop *loop.Loop
}

// New returns a controller that works with the given dependencies. The cache must have
// the indexes of this package, of persistentvolume and of workload.
func New(deps loop.Deps) *Controller {
	c := &Controller{Deps: deps}
	c.loop = loop.New("attachdetach", 2, deps, c.reconcile)
	c.loop.WatchChanges(&corev1.Pod{}, func(before, after client.Object) []loop.Key {
		if after == nil {
			after = before
		}
		pod := after.(*corev1.Pod)
		if pod.Spec.NodeName == "" || len(persistentvolume.Claims(pod)) == 0 {
			return nil
		}
		return []loop.Key{{Name: pod.Spec.NodeName}}
	})
	c.loop.WatchChanges(&corev1.Node{}, func(before, after client.Object) []loop.Key {
		if before != nil && after != nil && !matters(before.(*corev1.Node), after.(*corev1.Node)) {
			return nil
		}
		if after == nil {
			after = before
		}
		return loop.Self(after)
	})
	c.loop.Watch(&storagev1.VolumeAttachment{}, c.nodesOf)
	// A pod may be seen on its node before its claim is seen to be bound, or the volume
	// is seen at all: the caches of kinds do not wait for each other.
	c.loop.WatchChanges(&corev1.PersistentVolumeClaim{}, func(before, after client.Object) []loop.Key {
		if after == nil || before != nil && before.(*corev1.PersistentVolumeClaim).Spec.VolumeName == after.(*corev1.PersistentVolumeClaim).Spec.VolumeName {
			return nil
		}
		return c.nodesUsing(after.(*corev1.PersistentVolumeClaim))
	})
	c.loop.WatchChanges(&corev1.PersistentVolume{}, func(before, after client.Object) []loop.Key {
		if before != nil || after == nil {
			return nil // where its data lies never changes
		}
		return c.nodesUsing(claimOf(after.(*corev1.PersistentVolume)))
	})
	return c
}

// Run reconciles until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

// matters leaves out the heartbeats of nodes.
func matters(a, b *corev1.Node) bool {
	return !slices.Equal(a.Status.VolumesInUse, b.Status.VolumesInUse) || outOfService(a) != outOfService(b) ||
		!slices.Equal(a.Status.VolumesAttached, b.Status.VolumesAttached)
}

// nodesOf are the node of an attachment and, when it goes, those that wait for the volume.
func (c *Controller) nodesOf(obj client.Object) []loop.Key {
	a := obj.(*storagev1.VolumeAttachment)
	keys := []loop.Key{{Name: a.Spec.NodeName}}
	name := a.Spec.Source.PersistentVolumeName
	if name == nil {
		return keys
	}
	var v corev1.PersistentVolume
	if c.Cache.Get(context.Background(), loop.Key{Name: *name}, &v, client.UnsafeDisableDeepCopy) != nil {
		return keys
	}
	for _, key := range c.nodesUsing(claimOf(&v)) {
		if key != keys[0] {
			keys = append(keys, key)
		}
	}
	return keys
}

// claimOf is the claim that a volume is for, by name, or nil.
func claimOf(v *corev1.PersistentVolume) *corev1.PersistentVolumeClaim {
	if v.Spec.ClaimRef == nil {
		return nil
	}
	return &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: v.Spec.ClaimRef.Namespace, Name: v.Spec.ClaimRef.Name}}
}

// nodesUsing are the nodes of the pods that use a claim.
func (c *Controller) nodesUsing(claim *corev1.PersistentVolumeClaim) (keys []loop.Key) {
	if claim == nil {
		return nil
	}
	pods, err := persistentvolume.Users(context.Background(), c.Cache, claim)
	if err != nil {
		c.Log.Warn("pods of a claim not read", "namespace", claim.Namespace, "claim", claim.Name, "err", err)
	}
	for i := range pods {
		if node := pods[i].Spec.NodeName; node != "" {
			keys = append(keys, loop.Key{Name: node})
		}
	}
	return keys
}

func (c *Controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	s, err := c.read(ctx, key.Name)
	if err != nil {
		return 0, err
	}
	p := decide(s, time.Now())
	for _, u := range p.refused {
		c.Events.Eventf(u.pod, corev1.EventTypeWarning, "FailedAttachVolume",
			"Multi-Attach error for volume %q Volume is already exclusively attached to one node and can't be attached to another", u.volume.Name)
	}
	for _, a := range p.attach {
		if err := c.Client.Create(ctx, a); err != nil && !apierrors.IsAlreadyExists(err) {
			return 0, fmt.Errorf("attach volume %s to node %s: %w", *a.Spec.Source.PersistentVolumeName, key.Name, err)
		}
	}
	for _, a := range p.detach {
		if err := c.Client.Delete(ctx, a); client.IgnoreNotFound(err) != nil {
			return 0, fmt.Errorf("detach %s from node %s: %w", a.Name, key.Name, err)
		}
	}
	return p.again, c.tell(ctx, s, p.attached)
}

// tell writes what is attached into the node's status, and for whom it is new says so.
func (c *Controller) tell(ctx context.Context, s snapshot, attached []corev1.AttachedVolume) error {
	if s.node == nil || slices.Equal(s.node.Status.VolumesAttached, attached) {
		return nil
	}
	node := s.node.DeepCopy()
	node.Status.VolumesAttached = attached
	if err := c.Client.Status().Patch(ctx, node, client.MergeFrom(s.node)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("tell node %s its volumes: %w", s.name, err)
	}
	for _, u := range s.uses {
		is := func(a corev1.AttachedVolume) bool { return a.Name == unique(u.volume) }
		if slices.ContainsFunc(attached, is) && !slices.ContainsFunc(s.node.Status.VolumesAttached, is) {
			c.Events.Eventf(u.pod, corev1.EventTypeNormal, "SuccessfulAttachVolume", "AttachVolume.Attach succeeded for volume %q ", u.volume.Name)
		}
	}
	return nil
}

// read takes a snapshot of a node.
func (c *Controller) read(ctx context.Context, name string) (snapshot, error) {
	s := snapshot{name: name}
	node := &corev1.Node{}
	err := c.Cache.Get(ctx, loop.Key{Name: name}, node, client.UnsafeDisableDeepCopy)
	if err == nil {
		s.node = node
	} else if !apierrors.IsNotFound(err) {
		return s, fmt.Errorf("read node %s: %w", name, err)
	}
	var list storagev1.VolumeAttachmentList
	if err := c.Cache.List(ctx, &list, client.MatchingFields{nodeIndex: name}, client.UnsafeDisableDeepCopy); err != nil {
		return s, fmt.Errorf("list volume attachments of node %s: %w", name, err)
	}
	for i := range list.Items {
		s.attachments = append(s.attachments, &list.Items[i])
	}
	s.others = func(volume string) []string {
		var list storagev1.VolumeAttachmentList
		if err := c.Cache.List(ctx, &list, client.MatchingFields{volumeIndex: volume}, client.UnsafeDisableDeepCopy); err != nil {
			c.Log.Warn("volume attachments not read", "volume", volume, "err", err)
		}
		var nodes []string
		for i := range list.Items {
			if n := list.Items[i].Spec.NodeName; n != name {
				nodes = append(nodes, n)
			}
		}
		return nodes
	}
	pods, err := workload.PodsOn(ctx, c.Cache, name)
	if err != nil {
		return s, err
	}
	for _, pod := range pods {
		if workload.Finished(pod) {
			continue
		}
		for _, claim := range persistentvolume.Claims(pod) {
			if v := c.attachable(ctx, loop.Key{Namespace: pod.Namespace, Name: claim}); v != nil {
				s.uses = append(s.uses, use{pod: pod, volume: v})
			}
		}
	}
	return s, nil
}

// attachable is the volume of a claim if it is one that has to be attached, or nil.
func (c *Controller) attachable(ctx context.Context, key loop.Key) *corev1.PersistentVolume {
	claim := &corev1.PersistentVolumeClaim{}
	if c.Cache.Get(ctx, key, claim, client.UnsafeDisableDeepCopy) != nil || claim.Spec.VolumeName == "" {
		return nil
	}
	v := &corev1.PersistentVolume{}
	if c.Cache.Get(ctx, loop.Key{Name: claim.Spec.VolumeName}, v, client.UnsafeDisableDeepCopy) != nil || v.Spec.CSI == nil {
		return nil
	}
	driver := &storagev1.CSIDriver{}
	err := c.Cache.Get(ctx, loop.Key{Name: v.Spec.CSI.Driver}, driver, client.UnsafeDisableDeepCopy)
	if err == nil && driver.Spec.AttachRequired != nil && !*driver.Spec.AttachRequired {
		return nil
	}
	return v
}
