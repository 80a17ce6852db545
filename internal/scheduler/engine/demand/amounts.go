package demand

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"
)

// Amounts is an amount of every resource: CPU in thousandths, all others in
// their base unit.
type Amounts struct {
	MilliCPU  int64
	Memory    int64
	Ephemeral int64
	Others    map[corev1.ResourceName]int64 // extended resources and huge pages; nil when none
}

// AmountsOf reads a resource list. Pods are not among them: they are counted.
func AmountsOf(list corev1.ResourceList) Amounts {
	var a Amounts
	for name, q := range list {
		switch name {
		case corev1.ResourceCPU:
			a.MilliCPU = q.MilliValue()
		case corev1.ResourceMemory:
			a.Memory = q.Value()
		case corev1.ResourceEphemeralStorage:
			a.Ephemeral = q.Value()
		case corev1.ResourcePods:
		default:
			if a.Others == nil {
				a.Others = map[corev1.ResourceName]int64{}
			}
			a.Others[name] = q.Value()
		}
	}
	return a
}

// Of returns the amount of one resource.
func (a *Amounts) Of(name corev1.ResourceName) int64 {
	switch name {
	case corev1.ResourceCPU:
		return a.MilliCPU
	case corev1.ResourceMemory:
		return a.Memory
	case corev1.ResourceEphemeralStorage:
		return a.Ephemeral
	}
	return a.Others[name]
}

// Add adds sign × b, where sign is 1 or -1.
func (a *Amounts) Add(b *Amounts, sign int64) {
	a.MilliCPU += sign * b.MilliCPU
	a.Memory += sign * b.Memory
	a.Ephemeral += sign * b.Ephemeral
	for name, n := range b.Others {
		if a.Others == nil {
			a.Others = map[corev1.ResourceName]int64{}
		}
		a.Others[name] += sign * n
	}
}

// Equal reports whether all amounts are the same.
func (a *Amounts) Equal(b *Amounts) bool {
	return a.MilliCPU == b.MilliCPU && a.Memory == b.Memory && a.Ephemeral == b.Ephemeral && maps.Equal(a.Others, b.Others)
}

// Requests is what a pod takes of its node: the greater of what its containers
// together and its init containers one by one ask for, sidecars with both,
// or what it asks for as a whole, and its overhead. While a resize is under way
// it is the greater of what is wanted and what the node has granted, so that
// nothing that is still held is given away; a resize that the node called
// infeasible counts as granted.
func Requests(pod *corev1.Pod) corev1.ResourceList {
	return resourcehelper.PodRequests(pod, resourceOptions())
}

func resourceOptions() resourcehelper.PodResourcesOptions {
	return resourcehelper.PodResourcesOptions{UseStatusResources: true, InPlacePodLevelResourcesVerticalScalingEnabled: true}
}

// kube-scheduler scores a container that asks for nothing as if it asked for
// this much, so that such pods spread too.
const (
	ScoringMilliCPU = 100
	ScoringMemory   = 200 * 1024 * 1024
)

// Uses is what a pod takes of its node, and what it counts as in scores, which
// score says. Both are asked for at every change of every pod, so pods whose
// containers simply add up, which are nearly all, are added up without a list in
// between.
func Uses(pod *corev1.Pod, score func(*corev1.Pod) Amounts) (amounts, scoring Amounts) {
	if !addsUp(pod) {
		return AmountsOf(Requests(pod)), score(pod)
	}
	for i := range pod.Spec.Containers {
		requests := pod.Spec.Containers[i].Resources.Requests
		own := AmountsOf(requests)
		amounts.Add(&own, 1)
		if _, ok := requests[corev1.ResourceCPU]; !ok {
			own.MilliCPU = ScoringMilliCPU
		}
		if _, ok := requests[corev1.ResourceMemory]; !ok {
			own.Memory = ScoringMemory
		}
		scoring.Add(&own, 1)
	}
	return amounts, scoring
}

// addsUp says that a pod has nothing but containers to ask for it, in amounts that
// round to themselves, and that its node has not told what it granted them.
func addsUp(pod *corev1.Pod) bool {
	if len(pod.Spec.InitContainers) > 0 || pod.Spec.Resources != nil || len(pod.Spec.Overhead) > 0 ||
		pod.Status.Resources != nil || pod.Status.AllocatedResources != nil || len(pod.Status.NodeAllocatableResourceClaimStatuses) > 0 {
		return false
	}
	for i := range pod.Status.ContainerStatuses {
		if s := &pod.Status.ContainerStatuses[i]; s.Resources != nil || s.AllocatedResources != nil {
			return false
		}
	}
	for i := range pod.Spec.Containers {
		if !round(pod.Spec.Containers[i].Resources.Requests) {
			return false
		}
	}
	return true
}

// round says that no amount has a fraction: a sum is rounded up once, not in each
// of its parts.
func round(list corev1.ResourceList) bool {
	for name, q := range list {
		whole := resource.NewQuantity(q.Value(), q.Format)
		if name == corev1.ResourceCPU {
			whole = resource.NewMilliQuantity(q.MilliValue(), q.Format)
		}
		if whole.Cmp(q) != 0 {
			return false
		}
	}
	return true
}

func scoringFloor() corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewMilliQuantity(ScoringMilliCPU, resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(ScoringMemory, resource.BinarySI),
	}
}

// ScoringRequests is what a pod to be placed counts as in the score of a node's
// resources. What it asks for as a whole does not count there, as kube-scheduler
// has it; once it is placed that does.
func ScoringRequests(pod *corev1.Pod) Amounts {
	options := resourceOptions()
	options.NonMissingContainerRequests = scoringFloor()
	options.SkipPodLevelResources = true
	return AmountsOf(resourcehelper.PodRequests(pod, options))
}

// ScoringUse is what a placed pod counts as. Where a pod asks for an amount as a
// whole there is a floor only for what it does not speak of at all.
func ScoringUse(pod *corev1.Pod) Amounts {
	options := resourceOptions()
	options.NonMissingContainerRequests = scoringFloor()
	if resourcehelper.IsPodLevelRequestsSet(pod) {
		asked := resourcehelper.PodRequests(pod, resourceOptions())
		maps.DeleteFunc(options.NonMissingContainerRequests, func(name corev1.ResourceName, _ resource.Quantity) bool {
			_, ok := asked[name]
			return ok
		})
	}
	return AmountsOf(resourcehelper.PodRequests(pod, options))
}

// SortedKeys are the resources of a map, in order.
func SortedKeys[V any](m map[corev1.ResourceName]V) []corev1.ResourceName {
	return slices.Sorted(maps.Keys(m))
}
