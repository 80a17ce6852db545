package quota

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	apiquota "k8s.io/apiserver/pkg/quota/v1"
	"k8s.io/apiserver/pkg/quota/v1/generic"
)

const (
	countServices corev1.ResourceName = "count/services"
	countClaims   corev1.ResourceName = "count/persistentvolumeclaims"
	// ofClass stands between a storage class and what is limited of it.
	ofClass = ".storageclass.storage.k8s.io/"
)

func writes(a admission.Attributes) bool {
	return a.GetSubresource() == "" && (a.GetOperation() == admission.Create || a.GetOperation() == admission.Update)
}

func services(list generic.ListFuncByNamespace) apiquota.Evaluator {
	return &evaluator{
		resource: schema.GroupResource{Resource: "services"},
		list:     list,
		handles:  writes, // the type of a service can change
		counts: oneOf(countServices, corev1.ResourceServices,
			corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers),
		usage: serviceUsage,
	}
}

func serviceUsage(obj runtime.Object) (corev1.ResourceList, error) {
	service, ok := obj.(*corev1.Service)
	if !ok {
		return nil, fmt.Errorf("measure service: unexpected %T", obj)
	}
	ports, balancers := 0, 0
	switch service.Spec.Type {
	case corev1.ServiceTypeNodePort:
		ports = len(service.Spec.Ports)
	case corev1.ServiceTypeLoadBalancer:
		ports, balancers = len(service.Spec.Ports), 1
		// Ports may not be given out yet: what counts is what will be.
		if a := service.Spec.AllocateLoadBalancerNodePorts; a != nil && !*a {
			ports = 0
			for _, p := range service.Spec.Ports {
				if p.NodePort != 0 {
					ports++
				}
			}
		}
	}
	return corev1.ResourceList{
		countServices: count(1), corev1.ResourceServices: count(1),
		corev1.ResourceServicesNodePorts: count(ports), corev1.ResourceServicesLoadBalancers: count(balancers),
	}, nil
}

func claims(list generic.ListFuncByNamespace) apiquota.Evaluator {
	return &evaluator{
		resource: schema.GroupResource{Resource: "persistentvolumeclaims"},
		list:     list,
		handles: func(a admission.Attributes) bool {
			return writes(a) || a.GetSubresource() == "status" && a.GetOperation() == admission.Update
		},
		counts: func(name corev1.ResourceName) bool {
			_, suffix, found := strings.Cut(string(name), ofClass)
			if found {
				name = corev1.ResourceName(suffix)
			}
			return !found && name == countClaims || name == corev1.ResourcePersistentVolumeClaims || name == corev1.ResourceRequestsStorage
		},
		scope: claimScope,
		usage: claimUsage,
	}
}

func claimUsage(obj runtime.Object) (corev1.ResourceList, error) {
	pvc, ok := obj.(*corev1.PersistentVolumeClaim)
	if !ok {
		return nil, fmt.Errorf("measure claim: unexpected %T", obj)
	}
	class := ""
	if pvc.Spec.StorageClassName != nil {
		class = *pvc.Spec.StorageClassName
	}
	if beta, ok := pvc.Annotations[corev1.BetaStorageClassAnnotation]; ok {
		class = beta
	}
	out := corev1.ResourceList{corev1.ResourcePersistentVolumeClaims: count(1), countClaims: count(1)}
	if class != "" {
		out[corev1.ResourceName(class+ofClass)+corev1.ResourcePersistentVolumeClaims] = count(1)
	}
	if size, ok := storage(pvc); ok {
		out[corev1.ResourceRequestsStorage] = size
		if class != "" {
			out[corev1.ResourceName(class+ofClass)+corev1.ResourceRequestsStorage] = size
		}
	}
	return out, nil
}

// storage is what a claim holds: what it asks for, or more while a growth that
// was taken back is still there. It is rounded up to whole bytes.
func storage(pvc *corev1.PersistentVolumeClaim) (resource.Quantity, bool) {
	size, ok := pvc.Spec.Resources.Requests[corev1.ResourceStorage]
	if !ok {
		return size, false
	}
	if held, ok := pvc.Status.AllocatedResources[corev1.ResourceStorage]; ok && held.Cmp(size) > 0 {
		size = held
	}
	size = size.DeepCopy()
	size.RoundUp(0)
	return size, true
}

func claimScope(s corev1.ScopedResourceSelectorRequirement, obj runtime.Object) (bool, error) {
	pvc, ok := obj.(*corev1.PersistentVolumeClaim)
	if !ok {
		return false, fmt.Errorf("scope of claim: unexpected %T", obj)
	}
	if s.ScopeName != corev1.ResourceQuotaScopeVolumeAttributesClass {
		return false, nil
	}
	var classes []string
	for _, name := range []*string{pvc.Spec.VolumeAttributesClassName, pvc.Status.CurrentVolumeAttributesClassName} {
		if name != nil && *name != "" {
			classes = append(classes, *name)
		}
	}
	if m := pvc.Status.ModifyVolumeStatus; m != nil && m.TargetVolumeAttributesClassName != "" {
		classes = append(classes, m.TargetVolumeAttributesClassName)
	}
	return selected(s, classes)
}
