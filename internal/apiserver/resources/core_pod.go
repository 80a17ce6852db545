package resources

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/warning"
	"k8s.io/kubectl/pkg/util/qos"

	"github.com/sinawi/sinawi/internal/apiserver/defaults"
	"github.com/sinawi/sinawi/internal/apiserver/gated"
	"github.com/sinawi/sinawi/internal/apiserver/validation/pod"
	"github.com/sinawi/sinawi/internal/apiserver/warnings"
)

func podStrategy() Strategy {
	return checked(Strategy{
		PrepareForCreate: func(ctx context.Context, obj runtime.Object) {
			p := obj.(*corev1.Pod)
			p.Generation = 1
			p.Status = corev1.PodStatus{Phase: corev1.PodPending}
			gated.Pod(p, nil)
			markGated(p)
			mergeLabelKeys(p)
			for _, key := range appArmorFields(p) {
				warning.AddWarning(ctx, "", warnings.AppArmorAnnotation(key))
			}
			defaults.PodLevelResources(p)
			p.Status.QOSClass = qos.ComputePodQOS(p)
		},
		Again: func(obj runtime.Object) bool {
			p := obj.(*corev1.Pod) // the keys of labels would be merged twice
			return p.Spec.Affinity == nil && len(p.Spec.TopologySpreadConstraints) == 0
		},
		PrepareForUpdate: onUpdate(func(p, old *corev1.Pod) {
			p.Status = old.Status
			keepResources(p, old)
			gated.Pod(p, old)
			bumpGeneration(p, old, p.Spec, old.Spec)
		}),
		AllowUnconditionalUpdate: true,
		ResetFields:              resetStatus(),
		GracefulDelete:           podGracefulDelete,
		Warnings:                 onWarn(warnings.Pod),
	}, pod.Create, pod.Update)
}

func podStatusStrategy() *Strategy {
	s := checked(podStrategy(), nil, pod.StatusUpdate)
	s.PrepareForUpdate = onUpdate(func(p, old *corev1.Pod) {
		p.Spec = old.Spec
		p.DeletionTimestamp = nil
		p.OwnerReferences = old.OwnerReferences
		if p.Status.QOSClass == "" {
			p.Status.QOSClass = old.Status.QOSClass
		}
		keepClaims(&p.Status, &old.Status)
		keepObservedGeneration(&p.Status, &old.Status)
		gated.Pod(p, old)
	})
	s.ResetFields = [][]string{{"spec"}, {"metadata", "deletionTimestamp"}, {"metadata", "ownerReferences"}}
	return &s
}

// PodEphemeralContainers is the ephemeralcontainers subresource: it adds
// debugging containers to a running pod and changes nothing else.
func PodEphemeralContainers() Strategy {
	s := checked(podStrategy(), nil, pod.EphemeralContainersUpdate)
	s.PrepareForUpdate = onUpdate(func(p, old *corev1.Pod) {
		added := p.Spec.EphemeralContainers
		keepPod(p, old)
		p.Spec.EphemeralContainers = added
		gated.Pod(p, old)
		bumpGeneration(p, old, p.Spec, old.Spec)
	})
	return s
}

// PodResize is the resize subresource: it changes resources and resize
// policies of a pod and its containers in place.
func PodResize() Strategy {
	s := checked(podStrategy(), nil, pod.ResizeUpdate)
	s.PrepareForUpdate = onUpdate(func(p, old *corev1.Pod) {
		// Added, removed or renamed containers are left for validation to see.
		if sameNames(p.Spec.Containers, old.Spec.Containers) && sameNames(p.Spec.InitContainers, old.Spec.InitContainers) {
			resources := p.Spec.Resources
			containers := resized(p.Spec.Containers, old.Spec.Containers)
			initContainers := resized(p.Spec.InitContainers, old.Spec.InitContainers)
			keepPod(p, old)
			p.Spec.Resources, p.Spec.Containers, p.Spec.InitContainers = resources, containers, initContainers
		}
		keepResources(p, old)
		defaults.PodLevelResources(p)
		gated.Pod(p, old)
		bumpGeneration(p, old, p.Spec, old.Spec)
	})
	return s
}

// keepResources carries over what clients older than the field would erase.
func keepResources(p, old *corev1.Pod) {
	if p.Spec.Resources == nil {
		p.Spec.Resources = old.Spec.Resources.DeepCopy()
	}
}

// keepClaims carries over what clients that know nothing of claims would
// erase; an empty list, which is not an absent one, clears.
func keepClaims(s, old *corev1.PodStatus) {
	if s.ResourceClaimStatuses == nil {
		s.ResourceClaimStatuses = old.ResourceClaimStatuses
	}
	if s.ExtendedResourceClaimStatus == nil {
		s.ExtendedResourceClaimStatus = old.ExtendedResourceClaimStatus
	}
	if s.NodeAllocatableResourceClaimStatuses == nil {
		s.NodeAllocatableResourceClaimStatuses = old.NodeAllocatableResourceClaimStatuses
	}
}

// keepPod resets all of p that a subresource may not write to what old has.
func keepPod(p, old *corev1.Pod) {
	p.Spec, p.Status = old.Spec, old.Status
	metav1.ResetObjectMetaForStatus(&p.ObjectMeta, &old.ObjectMeta)
}

func sameNames(a, b []corev1.Container) bool {
	return slices.EqualFunc(a, b, func(x, y corev1.Container) bool { return x.Name == y.Name })
}

// resized returns old with the resources and resize policies of updated.
func resized(updated, old []corev1.Container) []corev1.Container {
	out := slices.Clone(old)
	for i := range out {
		out[i].Resources, out[i].ResizePolicy = updated[i].Resources, updated[i].ResizePolicy
	}
	return out
}

// podGracefulDelete fills the grace period: what the caller says, or else the
// pod; nothing at all for a pod that no node has started or that has ended.
func podGracefulDelete(ctx context.Context, obj runtime.Object, options *metav1.DeleteOptions) bool {
	if options == nil {
		return false
	}
	p := obj.(*corev1.Pod)
	period := deref(askedGrace(ctx, options), deref(p.Spec.TerminationGracePeriodSeconds, 0))
	if p.Spec.NodeName == "" || p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded {
		period = 0
	}
	if period < 0 {
		period = 1
	}
	options.GracePeriodSeconds = &period
	return true
}

// keepObservedGeneration carries over what clients older than the field would
// erase. Types may repeat, so values are matched in order.
func keepObservedGeneration(s, old *corev1.PodStatus) {
	if s.ObservedGeneration == 0 {
		s.ObservedGeneration = old.ObservedGeneration
	}
	known := map[corev1.PodConditionType][]int64{}
	for _, c := range old.Conditions {
		known[c.Type] = append(known[c.Type], c.ObservedGeneration)
	}
	for i := range s.Conditions {
		c := &s.Conditions[i]
		generations := known[c.Type]
		if len(generations) == 0 {
			continue
		}
		known[c.Type] = generations[1:]
		if c.ObservedGeneration == 0 {
			c.ObservedGeneration = generations[0]
		}
	}
}

// markGated says in the status that a pod with gates is not to be scheduled.
func markGated(p *corev1.Pod) {
	if len(p.Spec.SchedulingGates) == 0 {
		return
	}
	p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonSchedulingGated,
		Message:            "Scheduling is blocked due to non-empty scheduling gates",
		LastTransitionTime: metav1.Now(),
	})
}

// mergeLabelKeys turns matchLabelKeys and mismatchLabelKeys into selector
// terms with the pod's own label values.
func mergeLabelKeys(p *corev1.Pod) {
	if a := p.Spec.Affinity; a != nil {
		if a.PodAffinity != nil {
			mergeAffinity(a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution, a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution, p.Labels)
		}
		if a.PodAntiAffinity != nil {
			mergeAffinity(a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution, a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution, p.Labels)
		}
	}
	for i := range p.Spec.TopologySpreadConstraints {
		c := &p.Spec.TopologySpreadConstraints[i]
		mergeSelector(c.LabelSelector, c.MatchLabelKeys, metav1.LabelSelectorOpIn, p.Labels)
	}
}

func mergeAffinity(required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm, labels map[string]string) {
	merge := func(t *corev1.PodAffinityTerm) {
		mergeSelector(t.LabelSelector, t.MatchLabelKeys, metav1.LabelSelectorOpIn, labels)
		mergeSelector(t.LabelSelector, t.MismatchLabelKeys, metav1.LabelSelectorOpNotIn, labels)
	}
	for i := range preferred {
		merge(&preferred[i].PodAffinityTerm)
	}
	for i := range required {
		merge(&required[i])
	}
}

// mergeSelector leaves a nil selector alone: it matches nothing.
func mergeSelector(s *metav1.LabelSelector, keys []string, op metav1.LabelSelectorOperator, labels map[string]string) {
	if s == nil {
		return
	}
	for _, key := range keys {
		if value, ok := labels[key]; ok {
			s.MatchExpressions = append(s.MatchExpressions, metav1.LabelSelectorRequirement{Key: key, Operator: op, Values: []string{value}})
		}
	}
}
