package pod

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
)

// resources checks what a container or a pod asks for and is limited to; name
// checks the name of a resource.
func resources(l *check.List, r *corev1.ResourceRequirements, claims sets.Set[string], path *field.Path, name func(*field.Path, corev1.ResourceName)) {
	computes, hugePages := false, false
	limits, requests := path.Child("limits"), path.Child("requests")
	amounts := func(list corev1.ResourceList, path *field.Path, each func(corev1.ResourceName)) {
		for _, resource := range check.Keys(list) {
			q, at := list[resource], path.Key(string(resource))
			name(at, resource)
			l.Quantity(at, resource, q)
			each(resource)
			if check.IsHugePage(resource) {
				hugePages = true
				if !check.HugePagesDivide(resource, q) {
					l.Invalid(at, q.String(), fmt.Sprintf("%s is not positive integer multiple of %s", q.String(), resource))
				}
			}
			computes = computes || resource == corev1.ResourceCPU || resource == corev1.ResourceMemory
		}
	}
	amounts(r.Limits, limits, func(corev1.ResourceName) {})
	amounts(r.Requests, requests, func(resource corev1.ResourceName) {
		q := r.Requests[resource]
		limit, limited := r.Limits[resource]
		switch {
		case !limited && !check.MayOvercommit(resource):
			l.Required(limits, "Limit must be set for non overcommitable resources")
		case limited && !check.MayOvercommit(resource) && q.Cmp(limit) != 0:
			l.Invalid(requests, q.String(), fmt.Sprintf("must be equal to %s limit of %s", resource, limit.String()))
		case limited && q.Cmp(limit) > 0:
			l.Invalid(requests, q.String(), fmt.Sprintf("must be less than or equal to %s limit of %s", resource, limit.String()))
		}
	})
	if hugePages && !computes {
		l.Forbidden(path, "HugePages require cpu or memory")
	}
	claimNames(l, r.Claims, claims, path.Child("claims"))
}

// claimNames checks that a container uses claims that its pod has, each
// request of one once.
func claimNames(l *check.List, list []corev1.ResourceClaim, known sets.Set[string], path *field.Path) {
	used := sets.New[string]() // "claim" or "claim/request"
	for i, c := range list {
		at := path.Index(i)
		if c.Name == "" {
			l.Required(at, "")
			continue
		}
		key := c.Name
		if c.Request != "" {
			l.Label(at.Child("request"), c.Request)
			key += "/" + c.Request
		}
		overlaps := used.Has(c.Name)
		if c.Request == "" {
			for other := range used {
				overlaps = overlaps || strings.HasPrefix(other, c.Name+"/")
			}
		}
		switch {
		case overlaps:
			l.Duplicate(at, c.Name)
		case used.Has(key):
			l.Duplicate(at, key)
		}
		used.Insert(key)
		if !known.Has(c.Name) {
			missing := field.NotFound(at, c.Name)
			missing.Detail = "must be one of the names in pod.spec.resourceClaims"
			if len(known) == 0 {
				missing.Detail += " which is empty"
			} else {
				missing.Detail += ": " + strings.Join(sets.List(known), ", ")
			}
			l.Add(missing)
		}
	}
}

// podResources checks resources that are given for the pod as a whole.
func podResources(l *check.List, s *corev1.PodSpec, claims sets.Set[string], path *field.Path) {
	r := s.Resources
	if r == nil {
		return
	}
	if s.OS != nil && s.OS.Name == corev1.Windows {
		l.Forbidden(path, "may not be set for a windows pod")
		return
	}
	if r.Claims != nil {
		l.Forbidden(path.Child("claims"), "claims may not be set for Resources at pod-level")
	}
	resources(l, r, claims, path, func(path *field.Path, name corev1.ResourceName) {
		before := len(l.Errors)
		l.ResourceName(path, name)
		if len(l.Errors) == before && !resourcehelper.IsSupportedPodLevelResource(name) {
			l.Add(field.NotSupported(path, name, sets.List(resourcehelper.SupportedPodLevelResources())))
		}
	})
	sum := resourcehelper.AggregateContainerRequests(&corev1.Pod{Spec: *s}, resourcehelper.PodResourcesOptions{})
	for _, name := range check.Keys(sum) {
		wanted := sum[name]
		given, ok := r.Requests[name]
		if !ok {
			continue
		}
		if wanted.Cmp(given) > 0 {
			l.Invalid(path.Child("requests").Key(string(name)), given.String(), fmt.Sprintf("must be greater than or equal to aggregate container requests of %s", wanted.String()))
		}
	}
	hugePagesFit(l, s, path.Child("limits"))
	for i := range s.Containers {
		for _, name := range check.Keys(s.Containers[i].Resources.Limits) {
			limit := s.Containers[i].Resources.Limits[name]
			if most, ok := r.Limits[name]; ok && limit.Cmp(most) > 0 {
				l.Invalid(path.Child("containers").Index(i).Key(string(name)).Child("limits"), limit.String(),
					fmt.Sprintf("must be less than or equal to pod limits of %s", most.String()))
			}
		}
	}
}

// hugePagesFit checks that the pod's huge pages are enough for its containers
// together: what is not overcommitted cannot be less than the sum.
func hugePagesFit(l *check.List, s *corev1.PodSpec, path *field.Path) {
	sum := resourcehelper.AggregateContainerLimits(&corev1.Pod{Spec: *s}, resourcehelper.PodResourcesOptions{})
	for _, name := range check.Keys(sum) {
		wanted := sum[name]
		given, ok := s.Resources.Limits[name]
		if ok && check.IsHugePage(name) && wanted.Cmp(given) > 0 {
			l.Invalid(path.Key(string(name)), given.String(), fmt.Sprintf("must be greater than or equal to aggregate container limits of %s", wanted.String()))
		}
	}
}
