package policy

import (
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Aggregate returns the rules that role gathers from all roles: those of the
// selected ones, in the order of the selectors and then of the names, each rule
// once. An aggregated role contributes what it gathers itself, so that the
// result does not depend on which was written first.
func Aggregate(role *rbacv1.ClusterRole, all []rbacv1.ClusterRole) []rbacv1.PolicyRule {
	sorted := slices.Clone(all)
	slices.SortFunc(sorted, func(a, b rbacv1.ClusterRole) int {
		switch {
		case a.Name < b.Name:
			return -1
		case a.Name > b.Name:
			return 1
		}
		return 0
	})
	return aggregate(role, sorted, map[string]bool{})
}

// aggregate keeps in visiting the roles on the way down, so that two that
// select each other do not turn for ever.
func aggregate(role *rbacv1.ClusterRole, sorted []rbacv1.ClusterRole, visiting map[string]bool) []rbacv1.PolicyRule {
	if role.AggregationRule == nil {
		return role.Rules
	}
	visiting[role.Name] = true
	defer delete(visiting, role.Name)
	var out []rbacv1.PolicyRule
	for i := range role.AggregationRule.ClusterRoleSelectors {
		selector, err := metav1.LabelSelectorAsSelector(&role.AggregationRule.ClusterRoleSelectors[i])
		if err != nil {
			continue // validation refuses such a selector; an older one selects nothing
		}
		for j := range sorted {
			part := &sorted[j]
			if visiting[part.Name] || !selector.Matches(labels.Set(part.Labels)) {
				continue
			}
			for _, r := range aggregate(part, sorted, visiting) {
				if !slices.ContainsFunc(out, func(have rbacv1.PolicyRule) bool { return apiequality.Semantic.DeepEqual(have, r) }) {
					out = append(out, r)
				}
			}
		}
	}
	return out
}
