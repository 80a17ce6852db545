// Package rbac decides whether roles and their bindings are valid, in the field
// paths and words that Kubernetes uses. Whether somebody may grant what a role
// holds is not its question. Its functions are pure.
package rbac

import (
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
	"github.com/sinawi/sinawi/internal/apiserver/validation/rule"
)

// name takes all that can stand in a path: roles are often called system:x.
func name(n string, prefix bool) []string { return path.ValidatePathSegmentName(n, prefix) }

// Role checks a role.
func Role(r *rbacv1.Role) field.ErrorList {
	l := check.List{Errors: rule.Namespaced(&r.ObjectMeta, name)}
	rules(&l, r.Rules, true)
	return l.Errors
}

// RoleUpdate checks a changed role.
func RoleUpdate(r, old *rbacv1.Role) field.ErrorList {
	return rule.All(Role(r), rule.MetaUpdate(&r.ObjectMeta, &old.ObjectMeta))
}

// ClusterRole checks a cluster role.
func ClusterRole(r *rbacv1.ClusterRole) field.ErrorList { return clusterRole(r, false) }

func clusterRole(r *rbacv1.ClusterRole, invalidValues bool) field.ErrorList {
	l := check.List{Errors: rule.Cluster(&r.ObjectMeta, name)}
	rules(&l, r.Rules, false)
	if r.AggregationRule == nil {
		return l.Errors
	}
	at := field.NewPath("aggregationRule", "clusterRoleSelectors")
	if len(r.AggregationRule.ClusterRoleSelectors) == 0 {
		l.Required(at, "at least one clusterRoleSelector required if aggregationRule is non-nil")
	}
	for i := range r.AggregationRule.ClusterRoleSelectors {
		selector := &r.AggregationRule.ClusterRoleSelectors[i]
		l.Add(check.Selector(selector, invalidValues, at.Index(i))...)
		if _, err := metav1.LabelSelectorAsSelector(selector); err != nil {
			l.Invalid(at.Index(i), selector, "invalid label selector.")
		}
	}
	return l.Errors
}

// ClusterRoleUpdate checks a changed cluster role.
func ClusterRoleUpdate(r, old *rbacv1.ClusterRole) field.ErrorList {
	tolerant := false
	if old.AggregationRule != nil {
		tolerant = slices.ContainsFunc(old.AggregationRule.ClusterRoleSelectors, func(s metav1.LabelSelector) bool {
			return len(rule.Selector(&s, nil)) > 0
		})
	}
	return rule.All(clusterRole(r, tolerant), rule.MetaUpdate(&r.ObjectMeta, &old.ObjectMeta))
}

func rules(l *check.List, list []rbacv1.PolicyRule, namespaced bool) {
	for i := range list {
		r, at := &list[i], field.NewPath("rules").Index(i)
		if len(r.Verbs) == 0 {
			l.Required(at.Child("verbs"), "")
		}
		if len(r.NonResourceURLs) > 0 {
			if namespaced {
				l.Invalid(at.Child("nonResourceURLs"), r.NonResourceURLs, "namespaced rules cannot apply to non-resource URLs")
			}
			if len(r.APIGroups) > 0 || len(r.Resources) > 0 || len(r.ResourceNames) > 0 {
				l.Invalid(at.Child("nonResourceURLs"), r.NonResourceURLs, "rules cannot apply to both regular resources and non-resource URLs")
			}
			continue
		}
		if len(r.APIGroups) == 0 {
			l.Required(at.Child("apiGroups"), "resource rules must supply at least one api group")
		}
		if len(r.Resources) == 0 {
			l.Required(at.Child("resources"), "resource rules must supply at least one resource")
		}
	}
}

// RoleBinding checks a role binding.
func RoleBinding(b *rbacv1.RoleBinding) field.ErrorList {
	l := check.List{Errors: rule.Namespaced(&b.ObjectMeta, name)}
	roleRef(&l, b.RoleRef, "Role", "ClusterRole")
	subjects(&l, b.Subjects, true)
	return l.Errors
}

// RoleBindingUpdate checks a changed role binding: its role stays.
func RoleBindingUpdate(b, old *rbacv1.RoleBinding) field.ErrorList {
	return rule.All(RoleBinding(b), rule.MetaUpdate(&b.ObjectMeta, &old.ObjectMeta), sameRole(b.RoleRef, old.RoleRef))
}

// ClusterRoleBinding checks a cluster role binding.
func ClusterRoleBinding(b *rbacv1.ClusterRoleBinding) field.ErrorList {
	l := check.List{Errors: rule.Cluster(&b.ObjectMeta, name)}
	roleRef(&l, b.RoleRef, "ClusterRole")
	subjects(&l, b.Subjects, false)
	return l.Errors
}

// ClusterRoleBindingUpdate checks a changed cluster role binding: its role stays.
func ClusterRoleBindingUpdate(b, old *rbacv1.ClusterRoleBinding) field.ErrorList {
	return rule.All(ClusterRoleBinding(b), rule.MetaUpdate(&b.ObjectMeta, &old.ObjectMeta), sameRole(b.RoleRef, old.RoleRef))
}

func sameRole(ref, old rbacv1.RoleRef) field.ErrorList {
	return rule.Immutable(ref, old, field.NewPath("roleRef"))
}

func roleRef(l *check.List, ref rbacv1.RoleRef, kinds ...string) {
	at := field.NewPath("roleRef")
	check.OneOf(l, at.Child("apiGroup"), ref.APIGroup, rbacv1.GroupName)
	check.OneOf(l, at.Child("kind"), ref.Kind, kinds...)
	if ref.Name == "" {
		l.Required(at.Child("name"), "")
		return
	}
	l.Messages(at.Child("name"), ref.Name, name(ref.Name, false))
}

func subjects(l *check.List, list []rbacv1.Subject, namespaced bool) {
	for i, s := range list {
		at := field.NewPath("subjects").Index(i)
		if s.Name == "" {
			l.Required(at.Child("name"), "")
		}
		switch s.Kind {
		case rbacv1.ServiceAccountKind:
			if s.Name != "" {
				l.Messages(at.Child("name"), s.Name, apivalidation.ValidateServiceAccountName(s.Name, false))
			}
			if s.APIGroup != "" {
				l.Add(field.NotSupported(at.Child("apiGroup"), s.APIGroup, []string{""}))
			}
			if s.Namespace == "" && !namespaced {
				l.Required(at.Child("namespace"), "")
			}
		case rbacv1.UserKind, rbacv1.GroupKind:
			check.OneOf(l, at.Child("apiGroup"), s.APIGroup, rbacv1.GroupName)
		default:
			l.Add(field.NotSupported(at.Child("kind"), s.Kind, []string{rbacv1.ServiceAccountKind, rbacv1.UserKind, rbacv1.GroupKind}))
		}
	}
}
