package admit

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// own returns the pod with what it asks for of the node itself: not what it has a claim
// for devices for, nor resources that the node does not know, which are the cluster's.
func own(pod *corev1.Pod, allocatable corev1.ResourceList) *corev1.Pod {
	foreign := func(container string, name corev1.ResourceName) bool {
		if extended(name) {
			_, known := allocatable[name]
			return !known || claimed(pod, container, name)
		}
		return strings.HasPrefix(string(name), resourcev1.ResourceDeviceClassPrefix) && claimed(pod, container, name)
	}
	asksElsewhere := func(c corev1.Container) bool {
		for name := range c.Resources.Requests {
			if foreign(c.Name, name) {
				return true
			}
		}
		return false
	}
	if !slices.ContainsFunc(pod.Spec.InitContainers, asksElsewhere) && !slices.ContainsFunc(pod.Spec.Containers, asksElsewhere) {
		return pod
	}
	out := pod.DeepCopy()
	for _, list := range [][]corev1.Container{out.Spec.InitContainers, out.Spec.Containers} {
		for i := range list {
			maps.DeleteFunc(list[i].Resources.Requests, func(name corev1.ResourceName, _ resource.Quantity) bool { return foreign(list[i].Name, name) })
		}
	}
	return out
}

// extended reports whether a resource has a domain of its own.
func extended(name corev1.ResourceName) bool {
	s := string(name)
	return strings.Contains(s, "/") && !strings.Contains(s, corev1.ResourceDefaultNamespacePrefix) &&
		!strings.HasPrefix(s, corev1.DefaultResourceRequestsPrefix)
}

// claimed reports whether a container has a resource by the claim that was made for it.
func claimed(pod *corev1.Pod, container string, name corev1.ResourceName) bool {
	s := pod.Status.ExtendedResourceClaimStatus
	return s != nil && slices.ContainsFunc(s.RequestMappings, func(m corev1.ContainerExtendedResourceRequest) bool {
		return m.ContainerName == container && m.ResourceName == string(name)
	})
}
