package node

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// Follow keeps the graph in step with the informers, which their owner starts.
func (g *Graph) Follow(factory informers.SharedInformerFactory) error {
	for _, f := range []struct {
		informer cache.SharedIndexInformer
		set      func(old, obj any)
		forget   func(namespace, name string)
	}{
		{factory.Core().V1().Pods().Informer(), g.podChanged, g.DeletePod},
		{factory.Core().V1().PersistentVolumes().Informer(), func(_, obj any) {
			if pv, ok := obj.(*corev1.PersistentVolume); ok {
				g.SetVolume(pv)
			}
		}, func(_, name string) { g.DeleteVolume(name) }},
		{factory.Storage().V1().VolumeAttachments().Informer(), func(_, obj any) {
			if va, ok := obj.(*storagev1.VolumeAttachment); ok {
				g.setOwner(attachments, va.Name, va.Spec.NodeName)
			}
		}, func(_, name string) { g.setOwner(attachments, name, "") }},
		{factory.Resource().V1().ResourceSlices().Informer(), func(_, obj any) {
			if s, ok := obj.(*resourcev1.ResourceSlice); ok {
				node := ""
				if s.Spec.NodeName != nil {
					node = *s.Spec.NodeName
				}
				g.setOwner(resourceSlices, s.Name, node)
			}
		}, func(_, name string) { g.setOwner(resourceSlices, name, "") }},
	} {
		_, err := f.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(obj any) { f.set(nil, obj) },
			UpdateFunc: f.set,
			DeleteFunc: func(obj any) {
				k, err := cache.DeletionHandlingMetaNamespaceKeyFunc(obj)
				if err != nil {
					return
				}
				if namespace, name, err := cache.SplitMetaNamespaceKey(k); err == nil {
					f.forget(namespace, name)
				}
			},
		})
		if err != nil {
			return fmt.Errorf("follow what nodes use: %w", err)
		}
	}
	return nil
}

// podChanged passes on what changes a pod's references; its status changes far
// more often.
func (g *Graph) podChanged(before, after any) {
	pod, ok := after.(*corev1.Pod)
	if !ok {
		return
	}
	if old, ok := before.(*corev1.Pod); ok && old != nil && old.UID == pod.UID &&
		old.Spec.NodeName == pod.Spec.NodeName &&
		len(old.Spec.EphemeralContainers) == len(pod.Spec.EphemeralContainers) &&
		apiequality.Semantic.DeepEqual(old.Status.ResourceClaimStatuses, pod.Status.ResourceClaimStatuses) &&
		apiequality.Semantic.DeepEqual(old.Status.ExtendedResourceClaimStatus, pod.Status.ExtendedResourceClaimStatus) {
		return
	}
	g.SetPod(pod)
}
