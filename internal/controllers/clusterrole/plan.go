package clusterrole

import (
	"cmp"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// rules puts together what the role selects: selector by selector, the roles of
// each by name, every rule once.
func rules(role *rbacv1.ClusterRole, all []rbacv1.ClusterRole) []rbacv1.PolicyRule {
	roles := slices.Clone(all)
	slices.SortFunc(roles, func(a, b rbacv1.ClusterRole) int { return cmp.Compare(a.Name, b.Name) })
	var out []rbacv1.PolicyRule
	for i := range role.AggregationRule.ClusterRoleSelectors {
		selector, err := metav1.LabelSelectorAsSelector(&role.AggregationRule.ClusterRoleSelectors[i])
		if err != nil {
			continue // validation does not let it in
		}
		for j := range roles {
			if roles[j].Name == role.Name || !selector.Matches(labels.Set(roles[j].Labels)) {
				continue
			}
			for _, rule := range roles[j].Rules {
				known := slices.ContainsFunc(out, func(r rbacv1.PolicyRule) bool { return equality.Semantic.DeepEqual(r, rule) })
				if !known {
					out = append(out, *rule.DeepCopy())
				}
			}
		}
	}
	return out
}
