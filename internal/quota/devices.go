package quota

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiquota "k8s.io/apiserver/pkg/quota/v1"
)

const countDeviceClaims corev1.ResourceName = "count/resourceclaims.resource.k8s.io"

func claimResource() schema.GroupResource {
	return schema.GroupResource{Group: resourcev1.GroupName, Resource: "resourceclaims"}
}

// deviceClaims measures claims for devices: by class, and by the names under
// which containers could have asked for the same.
func deviceClaims(list List, now func() time.Time) apiquota.Evaluator {
	d := devices{list: list, now: now}
	return &evaluator{
		resource: claimResource(),
		list: func(namespace string) ([]runtime.Object, error) {
			return list(claimResource(), namespace)
		},
		handles: writes,
		counts:  d.counts,
		usage:   d.usage,
	}
}

// devices measures claims; list may be nil, and then no class has a name for
// containers.
type devices struct {
	list List
	now  func() time.Time
}

func (d devices) counts(name corev1.ResourceName) bool {
	if name == countDeviceClaims || strings.HasSuffix(string(name), corev1.ResourceClaimsPerClass) {
		return true
	}
	asked, ok := strings.CutPrefix(string(name), corev1.DefaultResourceRequestsPrefix)
	if !ok || !extended(corev1.ResourceName(asked)) {
		return false
	}
	class, implicit := strings.CutPrefix(asked, byClass)
	for c, name := range d.names() {
		if implicit && c == class || name == asked {
			return true
		}
	}
	return false
}

// names are the names for containers, by class; classes without one are left out.
func (d devices) names() map[string]string {
	out := map[string]string{}
	if d.list == nil {
		return out
	}
	classes, err := d.list(schema.GroupResource{Group: resourcev1.GroupName, Resource: "deviceclasses"}, "")
	if err != nil {
		return out // as if they had none: a quota must not stop all writes
	}
	for _, obj := range classes {
		if c, ok := obj.(*resourcev1.DeviceClass); ok && c.Spec.ExtendedResourceName != nil {
			out[c.Name] = *c.Spec.ExtendedResourceName
		}
	}
	return out
}

func (d devices) usage(obj runtime.Object) (corev1.ResourceList, error) {
	claim, ok := obj.(*resourcev1.ResourceClaim)
	if !ok {
		return nil, fmt.Errorf("measure claim for devices: unexpected %T", obj)
	}
	classes := map[string]int64{}
	for i := range claim.Spec.Devices.Requests {
		r := &claim.Spec.Devices.Requests[i]
		if e := r.Exactly; len(r.FirstAvailable) == 0 && e != nil {
			classes[e.DeviceClassName] += most(e.AllocationMode, e.Count)
			continue
		}
		// One of them will be chosen: of each class, the most that it can be.
		worst := map[string]int64{}
		for _, s := range r.FirstAvailable {
			worst[s.DeviceClassName] = max(worst[s.DeviceClassName], most(s.AllocationMode, s.Count))
		}
		for class, n := range worst {
			classes[class] += n
		}
	}
	out := corev1.ResourceList{countDeviceClaims: count(1)}
	if len(classes) == 0 {
		return out, nil
	}
	names, byName := d.names(), corev1.ResourceList{}
	for class, n := range classes {
		out[corev1.ResourceName(class+corev1.ResourceClaimsPerClass)] = count(int(n))
		byName[corev1.ResourceName(corev1.ResourceImplicitExtendedClaimsPerClass+class)] = count(int(n))
		if name := names[class]; name != "" {
			byName[corev1.ResourceName(corev1.DefaultResourceRequestsPrefix+name)] = count(int(n))
		}
	}
	counted := d.countedOf(claim)
	for name, n := range byName {
		n.Sub(counted[name])
		if n.Sign() > 0 {
			out[name] = n
		}
	}
	return out, nil
}

// most is how many devices a request may get.
func most(mode resourcev1.DeviceAllocationMode, n int64) int64 {
	switch mode {
	case resourcev1.DeviceAllocationModeExactCount:
		return n
	case resourcev1.DeviceAllocationModeAll:
		return resourcev1.AllocationResultsMaxSize
	}
	return 0 // of a mode to come
}

// countedOf returns what the pod counts for which a claim was made, because its
// containers ask for devices by name: that must not count twice.
func (d devices) countedOf(claim *resourcev1.ResourceClaim) corev1.ResourceList {
	owner := metav1.GetControllerOfNoCopy(claim)
	if d.list == nil || claim.Annotations[resourcev1.ExtendedResourceClaimAnnotation] != "true" ||
		owner == nil || owner.Kind != "Pod" || owner.APIVersion != "v1" {
		return nil
	}
	pods, err := d.list(schema.GroupResource{Resource: "pods"}, claim.Namespace)
	if err != nil {
		return nil
	}
	for _, obj := range pods {
		pod, ok := obj.(*corev1.Pod)
		if !ok || pod.Name != owner.Name {
			continue
		}
		if pod.UID != owner.UID || !d.isFor(claim, pod) {
			return nil
		}
		used, err := podUsage(pod, d.now())
		if err != nil {
			return nil
		}
		return used
	}
	return nil
}

// isFor says whether a claim is the one that was made for a pod: the one that
// the pod names or, before it does, the first of those that it owns.
func (d devices) isFor(claim *resourcev1.ResourceClaim, pod *corev1.Pod) bool {
	if s := pod.Status.ExtendedResourceClaimStatus; s != nil {
		return s.ResourceClaimName == claim.Name
	}
	all, err := d.list(claimResource(), claim.Namespace)
	if err != nil {
		return false
	}
	for _, obj := range all {
		other, ok := obj.(*resourcev1.ResourceClaim)
		if !ok || other.Annotations[resourcev1.ExtendedResourceClaimAnnotation] != "true" {
			continue
		}
		owner := metav1.GetControllerOfNoCopy(other)
		if owner == nil || owner.UID != pod.UID {
			continue
		}
		if cmp.Or(other.CreationTimestamp.Compare(claim.CreationTimestamp.Time), strings.Compare(other.Name, claim.Name)) < 0 {
			return false
		}
	}
	return true
}
