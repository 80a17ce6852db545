package core

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
)

// ResourceQuota checks a new quota.
func ResourceQuota(q *corev1.ResourceQuota) field.ErrorList {
	l := check.List{Errors: check.ObjectMeta(&q.ObjectMeta, true, apivalidation.NameIsDNSSubdomain)}
	quotaSpec(&l, &q.Spec, field.NewPath("spec"))
	quotaStatus(&l, &q.Status, field.NewPath("status"))
	return l.Errors
}

// ResourceQuotaUpdate checks a changed quota: what it applies to stays.
func ResourceQuotaUpdate(q, old *corev1.ResourceQuota) field.ErrorList {
	l := check.List{Errors: check.ObjectMetaUpdate(&q.ObjectMeta, &old.ObjectMeta)}
	quotaSpec(&l, &q.Spec, field.NewPath("spec"))
	if !sets.New(q.Spec.Scopes...).Equal(sets.New(old.Spec.Scopes...)) {
		l.Invalid(field.NewPath("spec", "scopes"), q.Spec.Scopes, check.Immutable)
	}
	return l.Errors
}

// ResourceQuotaStatusUpdate checks a changed status.
func ResourceQuotaStatusUpdate(q, old *corev1.ResourceQuota) field.ErrorList {
	l := check.List{Errors: check.ObjectMetaUpdate(&q.ObjectMeta, &old.ObjectMeta)}
	if q.ResourceVersion == "" {
		l.Required(field.NewPath("resourceVersion"), "")
	}
	quotaStatus(&l, &q.Status, field.NewPath("status"))
	return l.Errors
}

func quotaStatus(l *check.List, s *corev1.ResourceQuotaStatus, path *field.Path) {
	quotaAmounts(l, s.Hard, path.Child("hard"))
	quotaAmounts(l, s.Used, path.Child("used"))
}

func quotaAmounts(l *check.List, list corev1.ResourceList, path *field.Path) {
	for _, name := range check.Keys(list) {
		l.QuotaResourceName(path.Key(string(name)), name)
		l.Quantity(path.Key(string(name)), name, list[name])
	}
}

// podScopes are the scopes that select pods, and so limit what pods have.
func podScopes() []corev1.ResourceQuotaScope {
	return []corev1.ResourceQuotaScope{
		corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating,
		corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort,
		corev1.ResourceQuotaScopePriorityClass, corev1.ResourceQuotaScopeCrossNamespacePodAffinity,
	}
}

// limits tells whether a scope can be applied to a resource.
func limits(scope corev1.ResourceQuotaScope, name corev1.ResourceName) bool {
	podResource := slices.Contains([]corev1.ResourceName{
		corev1.ResourcePods, corev1.ResourceCPU, corev1.ResourceMemory,
		corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory, corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory,
	}, name)
	if !slices.Contains(podScopes(), scope) && scope != corev1.ResourceQuotaScopeVolumeAttributesClass {
		return true // refused as unknown already
	}
	switch scope {
	case corev1.ResourceQuotaScopeBestEffort:
		return name == corev1.ResourcePods
	case corev1.ResourceQuotaScopeVolumeAttributesClass:
		return name == corev1.ResourcePersistentVolumeClaims || name == corev1.ResourceRequestsStorage
	default:
		return podResource
	}
}

func quotaSpec(l *check.List, s *corev1.ResourceQuotaSpec, path *field.Path) {
	quotaAmounts(l, s.Hard, path.Child("hard"))
	known := append(podScopes(), corev1.ResourceQuotaScopeVolumeAttributesClass)
	at := path.Child("scopes")
	for _, scope := range s.Scopes {
		if !slices.Contains(known, scope) {
			l.Invalid(at, s.Scopes, "unsupported scope")
		}
		for _, name := range check.Keys(s.Hard) {
			if check.IsQuotaName(name) && !limits(scope, name) {
				l.Invalid(at, s.Scopes, "unsupported scope applied to resource")
			}
		}
	}
	conflictingScopes(l, s.Scopes, s, at)
	if s.ScopeSelector == nil {
		return
	}
	at = path.Child("scopeSelector", "matchExpressions")
	var used []corev1.ResourceQuotaScope
	for i := range s.ScopeSelector.MatchExpressions {
		r := &s.ScopeSelector.MatchExpressions[i]
		used = append(used, r.ScopeName)
		if !slices.Contains(known, r.ScopeName) {
			l.Invalid(at.Child("scopeName"), r.ScopeName, "unsupported scope")
		}
		for _, name := range check.Keys(s.Hard) {
			if check.IsQuotaName(name) && !limits(r.ScopeName, name) {
				l.Invalid(at, s.ScopeSelector, "unsupported scope applied to resource")
			}
		}
		scopeRequirement(l, r, at)
	}
	conflictingScopes(l, used, s, at)
}

func conflictingScopes(l *check.List, scopes []corev1.ResourceQuotaScope, s *corev1.ResourceQuotaSpec, path *field.Path) {
	for _, pair := range [][2]corev1.ResourceQuotaScope{
		{corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort},
		{corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating},
	} {
		if slices.Contains(scopes, pair[0]) && slices.Contains(scopes, pair[1]) {
			l.Invalid(path, s.Scopes, "conflicting scopes")
		}
	}
}

func scopeRequirement(l *check.List, r *corev1.ScopedResourceSelectorRequirement, path *field.Path) {
	valued := r.ScopeName == corev1.ResourceQuotaScopePriorityClass || r.ScopeName == corev1.ResourceQuotaScopeVolumeAttributesClass
	if slices.Contains(podScopes(), r.ScopeName) && !valued && r.Operator != corev1.ScopeSelectorOpExists {
		l.Invalid(path.Child("operator"), r.Operator,
			"must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity")
	}
	switch r.Operator {
	case corev1.ScopeSelectorOpIn, corev1.ScopeSelectorOpNotIn:
		if len(r.Values) == 0 {
			l.Required(path.Child("values"), "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector")
		}
	case corev1.ScopeSelectorOpExists, corev1.ScopeSelectorOpDoesNotExist:
		if len(r.Values) != 0 {
			l.Invalid(path.Child("values"), r.Values, "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector")
		}
	default:
		l.Invalid(path.Child("operator"), r.Operator, "not a valid selector operator")
	}
}

// LimitRange checks a limit range.
func LimitRange(r *corev1.LimitRange) field.ErrorList {
	l := check.List{Errors: check.ObjectMeta(&r.ObjectMeta, true, apivalidation.NameIsDNSSubdomain)}
	types := sets.New[corev1.LimitType]()
	for i := range r.Spec.Limits {
		item, at := &r.Spec.Limits[i], field.NewPath("spec", "limits").Index(i)
		limitType(&l, item.Type, at.Child("type"))
		if types.Has(item.Type) {
			l.Duplicate(at.Child("type"), item.Type)
		}
		types.Insert(item.Type)
		limitItem(&l, item, at)
	}
	return l.Errors
}

func limitType(l *check.List, t corev1.LimitType, path *field.Path) {
	if messages := validation.IsQualifiedName(string(t)); len(messages) > 0 {
		l.Messages(path, t, messages)
		return
	}
	known := []corev1.LimitType{corev1.LimitTypePod, corev1.LimitTypeContainer, corev1.LimitTypePersistentVolumeClaim}
	if !strings.Contains(string(t), "/") && !slices.Contains(known, t) {
		l.Invalid(path, t, "must be a standard limit type or fully qualified")
	}
}

func limitItem(l *check.List, item *corev1.LimitRangeItem, path *field.Path) {
	name := l.ResourceName
	if item.Type == corev1.LimitTypePod || item.Type == corev1.LimitTypeContainer {
		name = l.ContainerResourceName
	}
	all := sets.New[corev1.ResourceName]()
	names := func(list corev1.ResourceList, at string) {
		for _, n := range check.Keys(list) {
			name(path.Child(at).Key(string(n)), n)
			all.Insert(n)
		}
	}
	names(item.Max, "max")
	names(item.Min, "min")
	if item.Type == corev1.LimitTypePod {
		if len(item.Default) > 0 {
			l.Forbidden(path.Child("default"), "may not be specified when `type` is 'Pod'")
		}
		if len(item.DefaultRequest) > 0 {
			l.Forbidden(path.Child("defaultRequest"), "may not be specified when `type` is 'Pod'")
		}
	} else {
		names(item.Default, "default")
		names(item.DefaultRequest, "defaultRequest")
	}
	if item.Type == corev1.LimitTypePersistentVolumeClaim {
		_, least := item.Min[corev1.ResourceStorage]
		_, most := item.Max[corev1.ResourceStorage]
		if !least && !most {
			l.Required(path.Child("limits"), "either minimum or maximum storage value is required, but neither was provided")
		}
	}
	names(item.MaxLimitRequestRatio, "maxLimitRequestRatio")
	for _, n := range sets.List(all) {
		limitOrder(l, item, n, path)
		limitRatio(l, item, n, path)
	}
}

// limitOrder checks that min ≤ defaultRequest ≤ default ≤ max.
func limitOrder(l *check.List, item *corev1.LimitRangeItem, name corev1.ResourceName, path *field.Path) {
	isPod := item.Type == corev1.LimitTypePod
	get := func(list corev1.ResourceList, mayBe bool) *resource.Quantity {
		if q, ok := list[name]; ok && mayBe {
			return &q
		}
		return nil
	}
	least, most := get(item.Min, true), get(item.Max, true)
	limit, request := get(item.Default, !isPod), get(item.DefaultRequest, !isPod)
	for _, o := range []struct {
		low, high   *resource.Quantity
		at          string
		value       *resource.Quantity
		what, above string
	}{
		{least, most, "min", least, "min", "max"},
		{least, request, "defaultRequest", request, "min", "default request"},
		{request, most, "defaultRequest", request, "default request", "max"},
		{request, limit, "defaultRequest", request, "default request", "default limit"},
		{least, limit, "default", least, "min", "default"},
		{limit, most, "default", most, "default", "max"},
	} {
		if o.low != nil && o.high != nil && o.low.Cmp(*o.high) > 0 {
			l.Invalid(path.Child(o.at).Key(string(name)), *o.value,
				fmt.Sprintf("%s value %s is greater than %s value %s", o.what, o.low.String(), o.above, o.high.String()))
		}
	}
	if !check.MayOvercommit(name) && limit != nil && request != nil && limit.Cmp(*request) != 0 {
		l.Invalid(path.Child("defaultRequest").Key(string(name)), *request,
			fmt.Sprintf("default value %s must equal to defaultRequest value %s in %s", limit.String(), request.String(), name))
	}
}

func limitRatio(l *check.List, item *corev1.LimitRangeItem, name corev1.ResourceName, path *field.Path) {
	ratio, ok := item.MaxLimitRequestRatio[name]
	if !ok {
		return
	}
	at := path.Child("maxLimitRequestRatio").Key(string(name))
	if ratio.Cmp(*resource.NewQuantity(1, resource.DecimalSI)) < 0 {
		l.Invalid(at, ratio, fmt.Sprintf("ratio %s is less than 1", ratio.String()))
	}
	least, hasLeast := item.Min[name]
	most, hasMost := item.Max[name]
	if !hasLeast || !hasMost {
		return
	}
	if reach := most.AsApproximateFloat64() / least.AsApproximateFloat64(); ratio.AsApproximateFloat64() > reach {
		l.Invalid(at, ratio, fmt.Sprintf("ratio %s is greater than max/min = %f", ratio.String(), reach))
	}
}
