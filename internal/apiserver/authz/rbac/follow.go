package rbac

import (
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	rbacinformers "k8s.io/client-go/informers/rbac/v1"
	"k8s.io/client-go/tools/cache"
)

// Follow keeps the index in step with the informers, which their owner starts.
func (x *Index) Follow(informers rbacinformers.Interface) error {
	for _, f := range []struct {
		informer cache.SharedIndexInformer
		set      func(obj any)
		forget   func(namespace, name string)
	}{
		{informers.Roles().Informer(), func(obj any) {
			if r, ok := obj.(*rbacv1.Role); ok {
				x.SetRole(r.Namespace, r.Name, r.Rules)
			}
		}, x.DeleteRole},
		{informers.ClusterRoles().Informer(), func(obj any) {
			if r, ok := obj.(*rbacv1.ClusterRole); ok {
				x.SetRole("", r.Name, r.Rules)
			}
		}, x.DeleteRole},
		{informers.RoleBindings().Informer(), func(obj any) {
			if b, ok := obj.(*rbacv1.RoleBinding); ok {
				x.SetBinding(b.Namespace, b.Name, b.RoleRef, b.Subjects)
			}
		}, x.DeleteBinding},
		{informers.ClusterRoleBindings().Informer(), func(obj any) {
			if b, ok := obj.(*rbacv1.ClusterRoleBinding); ok {
				x.SetBinding("", b.Name, b.RoleRef, b.Subjects)
			}
		}, x.DeleteBinding},
	} {
		_, err := f.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    f.set,
			UpdateFunc: func(_, obj any) { f.set(obj) },
			DeleteFunc: func(obj any) {
				k, err := cache.DeletionHandlingMetaNamespaceKeyFunc(obj)
				if err != nil {
					return
				}
				if namespace, name, err := cache.SplitMetaNamespaceKey(k); err == nil {
					f.forget(namespace, name)
				}
			},
		})
		if err != nil {
			return fmt.Errorf("follow roles and bindings: %w", err)
		}
	}
	return nil
}
