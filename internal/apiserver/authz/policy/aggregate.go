package policy

import (
	"cmp"
	"fmt"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// aggregate gives the aggregated ones of roles the rules that they gather from
// the others, in the order in which the controller of aggregated roles has
// them: it finds nothing to write in a new cluster.
func aggregate(roles []rbacv1.ClusterRole) {
	sorted := slices.SortedFunc(slices.Values(roles), func(a, b rbacv1.ClusterRole) int { return cmp.Compare(a.Name, b.Name) })
	for i := range roles {
		roles[i].Rules = rulesOf(&roles[i], sorted)
	}
}

// rulesOf follows the selectors down to roles with rules of their own; no role
// may select itself that way.
func rulesOf(role *rbacv1.ClusterRole, sorted []rbacv1.ClusterRole) []rbacv1.PolicyRule {
	if role.AggregationRule == nil {
		return role.Rules
	}
	var out []rbacv1.PolicyRule
	for i := range role.AggregationRule.ClusterRoleSelectors {
		selector, err := metav1.LabelSelectorAsSelector(&role.AggregationRule.ClusterRoleSelectors[i])
		if err != nil {
			panic(fmt.Sprintf("cluster role %s: %v", role.Name, err))
		}
		for j := range sorted {
			if !selector.Matches(labels.Set(sorted[j].Labels)) {
				continue
			}
			for _, r := range rulesOf(&sorted[j], sorted) {
				if !slices.ContainsFunc(out, func(have rbacv1.PolicyRule) bool { return apiequality.Semantic.DeepEqual(have, r) }) {
					out = append(out, r)
				}
			}
		}
	}
	return out
}
