package node

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sinawi/sinawi/internal/store/feed"
)

// source is a resource that the graph is made of.
type source struct {
	resource schema.GroupResource
	set      func(old, obj runtime.Object)
	drop     func(obj runtime.Object)
	clear    func()
}

func (g *Graph) sources() []source {
	return []source{
		{schema.GroupResource{Resource: "pods"}, g.podChanged, func(obj runtime.Object) {
			pod := obj.(*corev1.Pod)
			g.DeletePod(pod.Namespace, pod.Name)
		}, g.clearPods},
		{schema.GroupResource{Resource: "persistentvolumes"}, func(_, obj runtime.Object) {
			g.SetVolume(obj.(*corev1.PersistentVolume))
		}, func(obj runtime.Object) {
			g.DeleteVolume(obj.(*corev1.PersistentVolume).Name)
		}, g.clearVolumes},
		{schema.GroupResource{Group: storagev1.GroupName, Resource: "volumeattachments"}, func(_, obj runtime.Object) {
			va := obj.(*storagev1.VolumeAttachment)
			g.setOwner(attachments, va.Name, va.Spec.NodeName)
		}, func(obj runtime.Object) {
			g.setOwner(attachments, obj.(*storagev1.VolumeAttachment).Name, "")
		}, func() { g.clearOwned(attachments) }},
		{schema.GroupResource{Group: resourcev1.GroupName, Resource: "resourceslices"}, func(_, obj runtime.Object) {
			s, node := obj.(*resourcev1.ResourceSlice), ""
			if s.Spec.NodeName != nil {
				node = *s.Spec.NodeName
			}
			g.setOwner(resourceSlices, s.Name, node)
		}, func(obj runtime.Object) {
			g.setOwner(resourceSlices, obj.(*resourcev1.ResourceSlice).Name, "")
		}, func() { g.clearOwned(resourceSlices) }},
	}
}

// Follow keeps the graph in step with the store until ctx ends. Its objects
// are those of the watch caches: nothing is kept twice.
func (g *Graph) Follow(ctx context.Context, from *feed.Feed) error {
	sources := g.sources()
	var filling sync.WaitGroup
	filling.Add(len(sources))
	work, ctx := errgroup.WithContext(ctx)
	for _, s := range sources {
		filled := sync.OnceFunc(filling.Done)
		work.Go(func() error {
			defer filled()
			return from.Log(s.resource).Follow(ctx, func(c feed.Change) error {
				s.apply(c)
				filled()
				return nil
			})
		})
	}
	work.Go(func() error {
		filling.Wait()
		g.fill()
		return nil
	})
	err := work.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (s source) apply(c feed.Change) {
	switch c.Type {
	case feed.Replaced:
		s.clear()
		for _, obj := range c.Objects {
			s.set(nil, obj)
		}
	case feed.Deleted:
		s.drop(c.Object)
	default:
		s.set(c.Old, c.Object)
	}
}

// podChanged passes on what changes a pod's references; its status changes far
// more often.
func (g *Graph) podChanged(before, after runtime.Object) {
	pod := after.(*corev1.Pod)
	if old, ok := before.(*corev1.Pod); ok && old.UID == pod.UID &&
		old.Spec.NodeName == pod.Spec.NodeName &&
		len(old.Spec.EphemeralContainers) == len(pod.Spec.EphemeralContainers) &&
		apiequality.Semantic.DeepEqual(old.Status.ResourceClaimStatuses, pod.Status.ResourceClaimStatuses) &&
		apiequality.Semantic.DeepEqual(old.Status.ExtendedResourceClaimStatus, pod.Status.ExtendedResourceClaimStatus) {
		return
	}
	g.SetPod(pod)
}
