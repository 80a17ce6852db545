package quota

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apiserver/pkg/admission"
	apiquota "k8s.io/apiserver/pkg/quota/v1"
	"k8s.io/apiserver/pkg/quota/v1/generic"
	resourcehelper "k8s.io/component-helpers/resource"
)

const countPods corev1.ResourceName = "count/pods"

func pods(list generic.ListFuncByNamespace, now func() time.Time) apiquota.Evaluator {
	return &evaluator{
		resource: schema.GroupResource{Resource: "pods"},
		list:     list,
		handles: func(a admission.Attributes) bool {
			switch a.GetSubresource() {
			case "":
				return a.GetOperation() == admission.Create || a.GetOperation() == admission.Update && changesScope(a)
			case "resize":
				return a.GetOperation() == admission.Update
			}
			return false
		},
		counts:      podName,
		scope:       podScope,
		usage:       func(obj runtime.Object) (corev1.ResourceList, error) { return podUsage(obj, now()) },
		constraints: podConstraints,
	}
}

// changesScope says whether an update makes a pod one that ends by itself, or no
// longer: other quotas may have a say in it then.
func changesScope(a admission.Attributes) bool {
	pod, ok := a.GetObject().(*corev1.Pod)
	old, had := a.GetOldObject().(*corev1.Pod)
	return ok && had && ends(pod) != ends(old)
}

// ends says whether a pod has a deadline.
func ends(pod *corev1.Pod) bool {
	return pod.Spec.ActiveDeadlineSeconds != nil && *pod.Spec.ActiveDeadlineSeconds >= 0
}

// podName says whether pods have a part in what a name limits.
func podName(name corev1.ResourceName) bool {
	switch name {
	case countPods, corev1.ResourcePods,
		corev1.ResourceCPU, corev1.ResourceRequestsCPU, corev1.ResourceLimitsCPU,
		corev1.ResourceMemory, corev1.ResourceRequestsMemory, corev1.ResourceLimitsMemory,
		corev1.ResourceEphemeralStorage, corev1.ResourceRequestsEphemeralStorage, corev1.ResourceLimitsEphemeralStorage:
		return true
	}
	if strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) {
		return true
	}
	requested, ok := strings.CutPrefix(string(name), corev1.DefaultResourceRequestsPrefix)
	return ok && (strings.HasPrefix(requested, corev1.ResourceHugePagesPrefix) || extended(corev1.ResourceName(requested)))
}

// byClass begins the name by which a container asks for devices of a class.
const byClass = "deviceclass.resource.kubernetes.io/"

// extended resources are those of devices: they have a domain of their own, or
// name a class of devices.
func extended(name corev1.ResourceName) bool {
	if strings.HasPrefix(string(name), byClass) {
		return true
	}
	return strings.Contains(string(name), "/") && !strings.Contains(string(name), "kubernetes.io/") &&
		!strings.HasPrefix(string(name), corev1.DefaultResourceRequestsPrefix)
}

// PodCounts says whether a pod still uses what it asked for: it does until it
// has ended, or until it should have been gone.
func PodCounts(pod *corev1.Pod, now time.Time) bool {
	if pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded {
		return false
	}
	if pod.DeletionTimestamp != nil && pod.DeletionGracePeriodSeconds != nil {
		grace := time.Duration(*pod.DeletionGracePeriodSeconds) * time.Second
		return !now.After(pod.DeletionTimestamp.Add(grace))
	}
	return true
}

func podUsage(obj runtime.Object, now time.Time) (corev1.ResourceList, error) {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return nil, fmt.Errorf("measure pod: unexpected %T", obj)
	}
	out := corev1.ResourceList{countPods: count(1)}
	if !PodCounts(pod, now) {
		return out, nil
	}
	options := resourcehelper.PodResourcesOptions{UseStatusResources: true}
	maps.Copy(out, compute(resourcehelper.PodRequests(pod, options), resourcehelper.PodLimits(pod, options)))
	out[corev1.ResourcePods] = count(1)
	return out, nil
}

// compute puts requests and limits under the names that quotas have for them.
func compute(requests, limits corev1.ResourceList) corev1.ResourceList {
	out := corev1.ResourceList{}
	for name, q := range requests {
		switch {
		case name == corev1.ResourceCPU, name == corev1.ResourceMemory, name == corev1.ResourceEphemeralStorage,
			strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix):
			out[name] = q
			out[corev1.DefaultResourceRequestsPrefix+name] = q
		case extended(name):
			out[corev1.DefaultResourceRequestsPrefix+name] = q
		}
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		if q, ok := limits[name]; ok {
			out["limits."+name] = q
		}
	}
	return out
}

// podConstraints requires every container to state what is limited of cpu and
// memory, unless the pod states it for all. For other resources nothing stated is nothing used.
func podConstraints(required []corev1.ResourceName, obj runtime.Object) error {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return fmt.Errorf("check pod: unexpected %T", obj)
	}
	if resourcehelper.IsPodLevelResourcesSet(pod) {
		return nil // the pod states them for all of its containers
	}
	missing := map[string][]string{}
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			have := compute(list[i].Resources.Requests, list[i].Resources.Limits)
			for _, name := range required {
				if _, stated := have[name]; !stated && mustState(name) {
					missing[string(name)] = append(missing[string(name)], list[i].Name)
				}
			}
		}
	}
	if len(missing) == 0 {
		return nil
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		slices.Sort(missing[name])
		parts = append(parts, name+" for: "+strings.Join(slices.Compact(missing[name]), ","))
	}
	return errors.New("must specify " + strings.Join(parts, "; "))
}

func mustState(name corev1.ResourceName) bool {
	return oneOf(corev1.ResourceCPU, corev1.ResourceRequestsCPU, corev1.ResourceLimitsCPU,
		corev1.ResourceMemory, corev1.ResourceRequestsMemory, corev1.ResourceLimitsMemory)(name)
}

func podScope(s corev1.ScopedResourceSelectorRequirement, obj runtime.Object) (bool, error) {
	pod, ok := obj.(*corev1.Pod)
	if !ok {
		return false, fmt.Errorf("scope of pod: unexpected %T", obj)
	}
	switch s.ScopeName {
	case corev1.ResourceQuotaScopeTerminating:
		return ends(pod), nil
	case corev1.ResourceQuotaScopeNotTerminating:
		return !ends(pod), nil
	case corev1.ResourceQuotaScopeBestEffort:
		return bestEffort(pod), nil
	case corev1.ResourceQuotaScopeNotBestEffort:
		return !bestEffort(pod), nil
	case corev1.ResourceQuotaScopePriorityClass:
		var values []string
		if pod.Spec.PriorityClassName != "" {
			values = []string{pod.Spec.PriorityClassName}
		}
		return selected(s, values)
	case corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return reachesOut(pod.Spec.Affinity), nil
	}
	return false, nil
}

// selected says whether a selector over a scope's values picks one of them.
func selected(s corev1.ScopedResourceSelectorRequirement, values []string) (bool, error) {
	if s.Operator == corev1.ScopeSelectorOpExists {
		return len(values) > 0, nil
	}
	operators := map[corev1.ScopeSelectorOperator]selection.Operator{
		corev1.ScopeSelectorOpIn: selection.In, corev1.ScopeSelectorOpNotIn: selection.NotIn, corev1.ScopeSelectorOpDoesNotExist: selection.DoesNotExist,
	}
	operator, ok := operators[s.Operator]
	if !ok {
		return false, fmt.Errorf("%q is not a valid scope selector operator", s.Operator)
	}
	requirement, err := labels.NewRequirement(string(s.ScopeName), operator, s.Values)
	if err != nil {
		return false, err
	}
	if len(values) == 0 {
		return requirement.Matches(labels.Set{}), nil
	}
	return slices.ContainsFunc(values, func(v string) bool { return requirement.Matches(labels.Set{string(s.ScopeName): v}) }), nil
}

// bestEffort pods state nothing of cpu and memory.
func bestEffort(pod *corev1.Pod) bool {
	states := func(r corev1.ResourceRequirements) bool {
		for _, list := range []corev1.ResourceList{r.Requests, r.Limits} {
			if !list.Cpu().IsZero() || !list.Memory().IsZero() {
				return true
			}
		}
		return false
	}
	if pod.Spec.Resources != nil && states(*pod.Spec.Resources) {
		return false
	}
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		if slices.ContainsFunc(list, func(c corev1.Container) bool { return states(c.Resources) }) {
			return false
		}
	}
	return true
}

// reachesOut says whether affinity looks at pods of other namespaces.
func reachesOut(a *corev1.Affinity) bool {
	if a == nil {
		return false
	}
	out := func(t corev1.PodAffinityTerm) bool { return len(t.Namespaces) != 0 || t.NamespaceSelector != nil }
	weighted := func(t corev1.WeightedPodAffinityTerm) bool { return out(t.PodAffinityTerm) }
	if p := a.PodAffinity; p != nil && (slices.ContainsFunc(p.RequiredDuringSchedulingIgnoredDuringExecution, out) ||
		slices.ContainsFunc(p.PreferredDuringSchedulingIgnoredDuringExecution, weighted)) {
		return true
	}
	p := a.PodAntiAffinity
	return p != nil && (slices.ContainsFunc(p.RequiredDuringSchedulingIgnoredDuringExecution, out) ||
		slices.ContainsFunc(p.PreferredDuringSchedulingIgnoredDuringExecution, weighted))
}
