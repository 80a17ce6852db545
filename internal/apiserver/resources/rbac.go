package resources

import (
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	rbacv1beta1 "k8s.io/api/rbac/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// RBAC returns the rows of the group rbac.authorization.k8s.io.
func RBAC() []Resource {
	return []Resource{clusterRoles(), clusterRoleBindings(), roles(), roleBindings()}
}

func roles() Resource {
	r := row[rbacv1.Role, rbacv1.RoleList](rbacv1.SchemeGroupVersion, "Role", "roles")
	r.NamesUnchecked = true
	r.Strategy = roleStrategy()
	return r
}

func clusterRoles() Resource {
	r := row[rbacv1.ClusterRole, rbacv1.ClusterRoleList](rbacv1.SchemeGroupVersion, "ClusterRole", "clusterroles")
	r.ClusterScoped, r.NamesUnchecked = true, true
	r.Strategy = clusterRoleStrategy()
	return r
}

func roleBindings() Resource {
	r := row[rbacv1.RoleBinding, rbacv1.RoleBindingList](rbacv1.SchemeGroupVersion, "RoleBinding", "rolebindings")
	r.NamesUnchecked = true
	r.Columns = bindingColumns(rbacv1beta1.RoleBinding{}, "roleBinding")
	r.Cells = cells(func(b *rbacv1.RoleBinding) []any {
		return bindingCells(&b.ObjectMeta, b.RoleRef, b.Subjects)
	})
	r.Strategy = roleBindingStrategy()
	return r
}

func clusterRoleBindings() Resource {
	r := row[rbacv1.ClusterRoleBinding, rbacv1.ClusterRoleBindingList](rbacv1.SchemeGroupVersion, "ClusterRoleBinding", "clusterrolebindings")
	r.ClusterScoped, r.NamesUnchecked = true, true
	r.Columns = bindingColumns(rbacv1beta1.ClusterRoleBinding{}, "clusterRoleBinding")
	r.Cells = cells(func(b *rbacv1.ClusterRoleBinding) []any {
		return bindingCells(&b.ObjectMeta, b.RoleRef, b.Subjects)
	})
	r.Strategy = clusterRoleBindingStrategy()
	return r
}

func bindingColumns(of documented, name string) []metav1.TableColumnDefinition {
	return append([]metav1.TableColumnDefinition{
		nameColumn(), docColumn("Role", "string", of, "roleRef"), ageColumn(),
	}, wide(
		column("Users", "string", "Users in the "+name),
		column("Groups", "string", "Groups in the "+name),
		column("ServiceAccounts", "string", "ServiceAccounts in the "+name),
	)...)
}

func bindingCells(meta *metav1.ObjectMeta, ref rbacv1.RoleRef, subjects []rbacv1.Subject) []any {
	var users, groups, accounts []string
	for _, s := range subjects {
		switch s.Kind {
		case rbacv1.UserKind:
			users = append(users, s.Name)
		case rbacv1.GroupKind:
			groups = append(groups, s.Name)
		case rbacv1.ServiceAccountKind:
			accounts = append(accounts, s.Namespace+"/"+s.Name)
		}
	}
	return []any{
		meta.Name, ref.Kind + "/" + ref.Name, since(meta.CreationTimestamp),
		strings.Join(users, ", "), strings.Join(groups, ", "), strings.Join(accounts, ", "),
	}
}
