// Package quota measures what objects count towards resource quotas: the API
// server asks what a write would add, the controller what a namespace uses.
// Both must agree, which is why the rules stand here, apart from both.
//
// The rules are pure. Listing is the caller's, and so is the clock.
package quota

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	apiquota "k8s.io/apiserver/pkg/quota/v1"
	"k8s.io/apiserver/pkg/quota/v1/generic"
)

// List returns the objects of a resource in a namespace.
type List func(resource schema.GroupResource, namespace string) ([]runtime.Object, error)

// New returns the rules. list may be nil where only single objects are
// measured, as in admission.
func New(list List, now func() time.Time) apiquota.Configuration {
	in := func(r string) generic.ListFuncByNamespace {
		return func(namespace string) ([]runtime.Object, error) {
			return list(schema.GroupResource{Resource: r}, namespace)
		}
	}
	evaluators := []apiquota.Evaluator{
		pods(in("pods"), now), services(in("services")), claims(in("persistentvolumeclaims")), deviceClaims(list, now),
	}
	for _, r := range []corev1.ResourceName{
		corev1.ResourceConfigMaps, corev1.ResourceQuotas, corev1.ResourceReplicationControllers, corev1.ResourceSecrets,
	} {
		evaluators = append(evaluators, generic.NewObjectCountEvaluator(schema.GroupResource{Resource: string(r)}, in(string(r)), r))
	}
	return generic.NewConfiguration(evaluators, map[schema.GroupResource]struct{}{{Resource: "events"}: {}})
}

// Counted returns the resource that a name like count/deployments.apps counts.
func Counted(name corev1.ResourceName) (schema.GroupResource, bool) {
	rest, ok := strings.CutPrefix(string(name), "count/")
	if !ok || rest == "" {
		return schema.GroupResource{}, false
	}
	return schema.ParseGroupResource(rest), true
}

// evaluator measures one resource by functions.
type evaluator struct {
	resource schema.GroupResource
	list     generic.ListFuncByNamespace
	handles  func(admission.Attributes) bool
	// counts says whether the resource has a part in what a name limits.
	counts      func(name corev1.ResourceName) bool
	scope       generic.MatchesScopeFunc // nil: no scope matches
	usage       func(runtime.Object) (corev1.ResourceList, error)
	constraints func(required []corev1.ResourceName, obj runtime.Object) error // nil: none
}

// GroupResource names what is measured.
func (e *evaluator) GroupResource() schema.GroupResource { return e.resource }

// Handles says whether a write can change what is used.
func (e *evaluator) Handles(a admission.Attributes) bool { return e.handles(a) }

// Constraints says what an object must state when the names are limited.
func (e *evaluator) Constraints(required []corev1.ResourceName, obj runtime.Object) error {
	if e.constraints == nil {
		return nil
	}
	return e.constraints(required, obj)
}

func (e *evaluator) inScope(s corev1.ScopedResourceSelectorRequirement, obj runtime.Object) (bool, error) {
	if e.scope == nil {
		return false, nil
	}
	return e.scope(s, obj)
}

// Matches says whether a quota has a say in an object.
func (e *evaluator) Matches(q *corev1.ResourceQuota, obj runtime.Object) (bool, error) {
	return generic.Matches(q, obj, e.MatchingResources, e.inScope)
}

// MatchingResources returns the names in which the resource has a part.
func (e *evaluator) MatchingResources(names []corev1.ResourceName) []corev1.ResourceName {
	var out []corev1.ResourceName
	for _, n := range names {
		if e.counts(n) {
			out = append(out, n)
		}
	}
	return out
}

// MatchingScopes returns the scopes that an object is in.
func (e *evaluator) MatchingScopes(obj runtime.Object, scopes []corev1.ScopedResourceSelectorRequirement) ([]corev1.ScopedResourceSelectorRequirement, error) {
	out := []corev1.ScopedResourceSelectorRequirement{}
	for _, s := range scopes {
		ok, err := e.inScope(s, obj)
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, s)
		}
	}
	return out, nil
}

// UncoveredQuotaScopes returns the limited scopes that no quota covers.
func (e *evaluator) UncoveredQuotaScopes(limited, matched []corev1.ScopedResourceSelectorRequirement) ([]corev1.ScopedResourceSelectorRequirement, error) {
	out := []corev1.ScopedResourceSelectorRequirement{}
	for _, l := range limited {
		if !slices.ContainsFunc(matched, func(m corev1.ScopedResourceSelectorRequirement) bool { return m.ScopeName == l.ScopeName }) {
			out = append(out, l)
		}
	}
	return out, nil
}

// Usage returns what one object uses.
func (e *evaluator) Usage(obj runtime.Object) (corev1.ResourceList, error) { return e.usage(obj) }

// UsageStats returns what a namespace uses.
func (e *evaluator) UsageStats(o apiquota.UsageStatsOptions) (apiquota.UsageStats, error) {
	return generic.CalculateUsageStats(o, e.list, e.inScope, e.usage)
}

func count(n int) resource.Quantity { return *resource.NewQuantity(int64(n), resource.DecimalSI) }

func oneOf(names ...corev1.ResourceName) func(corev1.ResourceName) bool {
	return func(name corev1.ResourceName) bool { return slices.Contains(names, name) }
}
