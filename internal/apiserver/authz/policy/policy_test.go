package policy

import (
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/auth/rbac/validation"
)

func TestEveryBindingHasItsRole(t *testing.T) {
	roles := map[string]bool{}
	for _, r := range ClusterRoles() {
		if roles[r.Name] {
			t.Errorf("cluster role %s stands twice", r.Name)
		}
		roles[r.Name] = true
		for i, rule := range r.Rules {
			if len(rule.Verbs) == 0 || len(rule.Resources)+len(rule.NonResourceURLs) == 0 || len(rule.Resources) > 0 && len(rule.APIGroups) == 0 {
				t.Errorf("cluster role %s: rule %d is not complete: %v", r.Name, i, rule)
			}
		}
	}
	for _, b := range ClusterRoleBindings() {
		if !roles[b.RoleRef.Name] {
			t.Errorf("cluster role binding %s: no cluster role %s", b.Name, b.RoleRef.Name)
		}
	}
	inside := map[string]bool{}
	for _, r := range Roles() {
		inside[r.Namespace+"/"+r.Name] = true
	}
	for _, b := range RoleBindings() {
		if !inside[b.Namespace+"/"+b.RoleRef.Name] {
			t.Errorf("role binding %s/%s: no role %s", b.Namespace, b.Name, b.RoleRef.Name)
		}
	}
}

func TestUserRolesContainEachOther(t *testing.T) {
	rules := map[string][]rbacv1.PolicyRule{}
	for _, r := range ClusterRoles() {
		rules[r.Name] = r.Rules
	}
	for _, pair := range []string{"cluster-admin admin", "admin edit", "edit view", "view system:aggregate-to-view"} {
		more, less, _ := strings.Cut(pair, " ")
		if ok, missing := validation.Covers(rules[more], rules[less]); !ok {
			t.Errorf("%s lacks of %s: %v", more, less, missing)
		}
	}
	if ok, _ := validation.Covers(rules["view"], []rbacv1.PolicyRule{rule("get", "core", "secrets")}); ok {
		t.Error("view reads secrets")
	}
	if ok, _ := validation.Covers(rules["edit"], []rbacv1.PolicyRule{rule("create", rbacv1.GroupName, "rolebindings")}); ok {
		t.Error("edit grants rights")
	}
}

func TestAggregate(t *testing.T) {
	labelled := func(name, label string, rules ...rbacv1.PolicyRule) rbacv1.ClusterRole {
		return rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{label: "true"}}, Rules: rules}
	}
	gatherer := func(name, label, selects string) rbacv1.ClusterRole {
		r := labelled(name, label)
		r.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{selects: "true"}}}}
		return r
	}
	get, list := rule("get", "core", "x"), rule("list", "core", "x")
	all := []rbacv1.ClusterRole{
		gatherer("outer", "", "to-outer"), gatherer("inner", "to-outer", "to-inner"),
		labelled("b", "to-inner", list), labelled("a", "to-inner", get, list), labelled("c", "other", rule("delete", "core", "x")),
	}
	aggregate(all)
	for i := range 2 {
		got := all[i].Rules
		if len(got) != 2 || !slices.Equal(got[0].Verbs, get.Verbs) || !slices.Equal(got[1].Verbs, list.Verbs) {
			t.Errorf("%s gathers %v", all[i].Name, got)
		}
	}
}

func TestWhoMayWhat(t *testing.T) {
	roles := map[string][]rbacv1.PolicyRule{}
	for _, r := range ClusterRoles() {
		roles[r.Name] = r.Rules
	}
	for _, r := range Roles() {
		roles[r.Namespace+"/"+r.Name] = r.Rules
	}
	const lock = "kube-system/system::leader-locking-kube-scheduler"
	for _, c := range []struct {
		role string
		rule rbacv1.PolicyRule
		want bool
	}{
		{"view", rule(read, "core events.k8s.io", "events"), true},
		{"view", rule("get", "coordination.k8s.io", "leases"), false},
		{"edit", rule(write, "events.k8s.io", "events"), true},
		{"edit", rule(readWrite, "coordination.k8s.io", "leases"), true},
		{"system:monitoring", rule("get", "core", "nodes/metrics"), true},
		{"system:monitoring", paths("get", "/statusz /flagz"), true},
		{"system:node", rule("create", "events.k8s.io", "events"), true},
		{"system:node", rule("get", "core", "serviceaccounts"), true},
		{"system:node", rule("create", "resource.k8s.io", "resourceslices"), false},
		{"system:cluster-trust-bundle-discovery", rule(read, "certificates.k8s.io", "clustertrustbundles"), true},
		{"system:kube-scheduler", rule("patch", "resource.k8s.io", "resourceclaims/binding"), true},
		{"system:kube-scheduler", rule("watch", "coordination.k8s.io", "leases", "kube-scheduler"), true},
		{"system:controller:storage-version-migrator-controller", rule("create", "core", "pods"), false},
		{"system:controller:node-controller", rule("list", "coordination.k8s.io", "leases"), true},
		{"system:controller:expand-controller", rule("get", "core", "services"), false},
		{"system:controller:pvc-protection-controller", rule("update", "core", "persistentvolumeclaims/status"), true},
		{lock, rule("create get list update watch", "coordination.k8s.io", "leases leasecandidates"), true},
		{lock, rule("get", "core", "configmaps", "kube-scheduler"), false},
	} {
		if got, _ := validation.Covers(roles[c.role], []rbacv1.PolicyRule{c.rule}); got != c.want {
			t.Errorf("%s, %v: %v, want %v", c.role, c.rule, got, c.want)
		}
	}
}
