package rbac

import (
	"context"
	"maps"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sinawi/sinawi/internal/apiserver/authz/follow"
	"github.com/sinawi/sinawi/internal/store/feed"
)

// Follow keeps the index in step with the store until ctx ends.
func (x *Index) Follow(ctx context.Context, from *feed.Feed) error {
	return follow.Run(ctx, from, x.gate, x.sources()...)
}

func (x *Index) sources() []follow.Source {
	named := func(resource string) schema.GroupResource {
		return schema.GroupResource{Group: rbacv1.GroupName, Resource: resource}
	}
	return []follow.Source{{
		Resource: named("roles"),
		Set: func(_, obj runtime.Object) {
			r := obj.(*rbacv1.Role)
			x.SetRole(r.Namespace, r.Name, r.Rules)
		},
		Drop: func(obj runtime.Object) {
			r := obj.(*rbacv1.Role)
			x.DeleteRole(r.Namespace, r.Name)
		},
		Clear: func() { x.clearRoles(false) },
	}, {
		Resource: named("clusterroles"),
		Set: func(_, obj runtime.Object) {
			r := obj.(*rbacv1.ClusterRole)
			x.SetRole("", r.Name, r.Rules)
		},
		Drop:  func(obj runtime.Object) { x.DeleteRole("", obj.(*rbacv1.ClusterRole).Name) },
		Clear: func() { x.clearRoles(true) },
	}, {
		Resource: named("rolebindings"),
		Set: func(_, obj runtime.Object) {
			b := obj.(*rbacv1.RoleBinding)
			x.SetBinding(b.Namespace, b.Name, b.RoleRef, b.Subjects)
		},
		Drop: func(obj runtime.Object) {
			b := obj.(*rbacv1.RoleBinding)
			x.DeleteBinding(b.Namespace, b.Name)
		},
		Clear: func() { x.clearBindings(false) },
	}, {
		Resource: named("clusterrolebindings"),
		Set: func(_, obj runtime.Object) {
			b := obj.(*rbacv1.ClusterRoleBinding)
			x.SetBinding("", b.Name, b.RoleRef, b.Subjects)
		},
		Drop:  func(obj runtime.Object) { x.DeleteBinding("", obj.(*rbacv1.ClusterRoleBinding).Name) },
		Clear: func() { x.clearBindings(true) },
	}}
}

func (x *Index) clearRoles(clusterWide bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	maps.DeleteFunc(x.roles, func(k key, _ []rbacv1.PolicyRule) bool { return (k.namespace == "") == clusterWide })
}

func (x *Index) clearBindings(clusterWide bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for k := range x.bindings {
		if (k.namespace == "") == clusterWide {
			x.drop(k)
		}
	}
}
