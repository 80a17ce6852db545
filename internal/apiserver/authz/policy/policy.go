// Package policy holds the roles and bindings that every cluster starts with,
// the same as upstream's by name and content, and sees to it that a server
// finds them: what is missing is added at every start, what an administrator
// added stays, and an object annotated
// rbac.authorization.kubernetes.io/autoupdate=false is left alone.
//
// The roles are data, written as rows in the words of this file; reconcile.go
// writes them through the API.
package policy

import (
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	read      = "get list watch"
	write     = "create delete deletecollection patch update"
	readWrite = "create delete deletecollection get list patch update watch"
)

// rule allows verbs on resources of groups; each is a list of words. "core" is
// the group without a name.
func rule(verbs, groups, resources string, names ...string) rbacv1.PolicyRule {
	r := rbacv1.PolicyRule{
		Verbs: strings.Fields(verbs), APIGroups: strings.Fields(groups), Resources: strings.Fields(resources), ResourceNames: names,
	}
	for i, g := range r.APIGroups {
		if g == "core" {
			r.APIGroups[i] = ""
		}
	}
	return r
}

// paths allows verbs on paths outside the API groups.
func paths(verbs, urls string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: strings.Fields(verbs), NonResourceURLs: strings.Fields(urls)}
}

// events is what everybody needs who reports what he does.
func events() rbacv1.PolicyRule {
	return rule("create patch update", "core events.k8s.io", "events")
}

func marked(name, namespace string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name:        name,
		Namespace:   namespace,
		Labels:      map[string]string{"kubernetes.io/bootstrapping": "rbac-defaults"},
		Annotations: map[string]string{rbacv1.AutoUpdateAnnotationKey: "true"},
	}
}

func clusterRole(name string, rules ...rbacv1.PolicyRule) rbacv1.ClusterRole {
	return rbacv1.ClusterRole{ObjectMeta: marked(name, ""), Rules: rules}
}

func role(namespace, name string, rules ...rbacv1.PolicyRule) rbacv1.Role {
	return rbacv1.Role{ObjectMeta: marked(name, namespace), Rules: rules}
}

func user(name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: name}
}

func group(name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: name}
}

func account(name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: metav1.NamespaceSystem, Name: name}
}

func clusterBinding(name, role string, subjects ...rbacv1.Subject) rbacv1.ClusterRoleBinding {
	return rbacv1.ClusterRoleBinding{
		ObjectMeta: marked(name, ""),
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
		Subjects:   subjects,
	}
}

func binding(namespace, name, role string, subjects ...rbacv1.Subject) rbacv1.RoleBinding {
	return rbacv1.RoleBinding{
		ObjectMeta: marked(name, namespace),
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: role},
		Subjects:   subjects,
	}
}

// ClusterRoles returns the cluster roles, those of controllers included.
// Aggregated ones carry the rules that they gather from the others.
func ClusterRoles() []rbacv1.ClusterRole {
	roles := append(userRoles(), systemRoles()...)
	roles = append(roles, certificateRoles()...)
	for _, c := range controllers() {
		roles = append(roles, clusterRole(controllerPrefix+c.name, c.rules...))
	}
	aggregate(roles)
	return roles
}

// ClusterRoleBindings returns the cluster-wide bindings.
func ClusterRoleBindings() []rbacv1.ClusterRoleBinding {
	bindings := systemBindings()
	for _, c := range controllers() {
		bindings = append(bindings, clusterBinding(controllerPrefix+c.name, controllerPrefix+c.name, account(c.name)))
	}
	return bindings
}
