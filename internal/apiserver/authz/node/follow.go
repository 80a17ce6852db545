package node

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sinawi/sinawi/internal/apiserver/authz/follow"
	"github.com/sinawi/sinawi/internal/store/feed"
)

func (g *Graph) sources() []follow.Source {
	return []follow.Source{{
		Resource: schema.GroupResource{Resource: "pods"},
		Set:      g.podChanged,
		Drop: func(obj runtime.Object) {
			pod := obj.(*corev1.Pod)
			g.DeletePod(pod.Namespace, pod.Name)
		},
		Clear: g.clearPods,
	}, {
		Resource: schema.GroupResource{Resource: "persistentvolumes"},
		Set:      func(_, obj runtime.Object) { g.SetVolume(obj.(*corev1.PersistentVolume)) },
		Drop:     func(obj runtime.Object) { g.DeleteVolume(obj.(*corev1.PersistentVolume).Name) },
		Clear:    g.clearVolumes,
	}, {
		Resource: schema.GroupResource{Group: storagev1.GroupName, Resource: "volumeattachments"},
		Set: func(_, obj runtime.Object) {
			va := obj.(*storagev1.VolumeAttachment)
			g.setOwner(attachments, va.Name, va.Spec.NodeName)
		},
		Drop:  func(obj runtime.Object) { g.setOwner(attachments, obj.(*storagev1.VolumeAttachment).Name, "") },
		Clear: func() { g.clearOwned(attachments) },
	}, {
		Resource: schema.GroupResource{Group: resourcev1.GroupName, Resource: "resourceslices"},
		Set: func(_, obj runtime.Object) {
			s, node := obj.(*resourcev1.ResourceSlice), ""
			if s.Spec.NodeName != nil {
				node = *s.Spec.NodeName
			}
			g.setOwner(resourceSlices, s.Name, node)
		},
		Drop:  func(obj runtime.Object) { g.setOwner(resourceSlices, obj.(*resourcev1.ResourceSlice).Name, "") },
		Clear: func() { g.clearOwned(resourceSlices) },
	}}
}

// Follow keeps the graph in step with the store until ctx ends.
func (g *Graph) Follow(ctx context.Context, from *feed.Feed) error {
	return follow.Run(ctx, from, g.gate, g.sources()...)
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
