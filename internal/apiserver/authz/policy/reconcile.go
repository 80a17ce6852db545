package policy

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/retry"
	"k8s.io/component-helpers/auth/rbac/reconciliation"
)

// writers is how many objects are written at a time: a new cluster gets about
// a hundred, and the store joins concurrent writes into one flush.
const writers = 16

// Reconcile writes what is missing of the roles and bindings. It reads each
// kind once, so that the start of a server that has them all writes nothing.
func Reconcile(ctx context.Context, client kubernetes.Interface) error {
	for _, name := range []string{metav1.NamespaceSystem, metav1.NamespacePublic} {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		_, err := client.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			_, err = client.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{})
		}
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("make namespace %s: %w", name, err)
		}
	}
	work, ctx := errgroup.WithContext(ctx)
	work.SetLimit(writers)
	for _, part := range []func(context.Context, kubernetes.Interface, func(func() error)) error{
		clusterRolesOf, clusterBindingsOf, rolesOf, bindingsOf,
	} {
		if err := part(ctx, client, work.Go); err != nil {
			work.Go(func() error { return err })
			break
		}
	}
	return work.Wait()
}

// listAll asks for a whole kind, from the watch cache.
func listAll() metav1.ListOptions { return metav1.ListOptions{ResourceVersion: "0"} }

func clusterRolesOf(ctx context.Context, client kubernetes.Interface, do func(func() error)) error {
	list, err := client.RbacV1().ClusterRoles().List(ctx, listAll())
	if err != nil {
		return fmt.Errorf("list cluster roles: %w", err)
	}
	have := map[string]*rbacv1.ClusterRole{}
	for i := range list.Items {
		have[list.Items[i].Name] = &list.Items[i]
	}
	for _, want := range ClusterRoles() {
		m := &knownRole{RuleOwnerModifier: reconciliation.ClusterRoleModifier{Client: client.RbacV1().ClusterRoles()}}
		if r := have[want.Name]; r != nil {
			m.known = reconciliation.ClusterRoleRuleOwner{ClusterRole: r}
		}
		reconcileRole(reconciliation.ClusterRoleRuleOwner{ClusterRole: &want}, m, do)
	}
	return nil
}

func rolesOf(ctx context.Context, client kubernetes.Interface, do func(func() error)) error {
	list, err := client.RbacV1().Roles("").List(ctx, listAll())
	if err != nil {
		return fmt.Errorf("list roles: %w", err)
	}
	have := map[string]*rbacv1.Role{}
	for i := range list.Items {
		have[list.Items[i].Namespace+"/"+list.Items[i].Name] = &list.Items[i]
	}
	for _, want := range Roles() {
		m := &knownRole{RuleOwnerModifier: reconciliation.RoleModifier{
			Client: client.RbacV1(), NamespaceClient: client.CoreV1().Namespaces(),
		}}
		if r := have[want.Namespace+"/"+want.Name]; r != nil {
			m.known = reconciliation.RoleRuleOwner{Role: r}
		}
		reconcileRole(reconciliation.RoleRuleOwner{Role: &want}, m, do)
	}
	return nil
}

func reconcileRole(want reconciliation.RuleOwner, m *knownRole, do func(func() error)) {
	do(func() error {
		options := reconciliation.ReconcileRoleOptions{Role: want, Confirm: true, Client: m}
		return again("role", want.GetName(), func() error {
			_, err := options.Run()
			return err
		})
	})
}

func clusterBindingsOf(ctx context.Context, client kubernetes.Interface, do func(func() error)) error {
	list, err := client.RbacV1().ClusterRoleBindings().List(ctx, listAll())
	if err != nil {
		return fmt.Errorf("list cluster role bindings: %w", err)
	}
	have := map[string]*rbacv1.ClusterRoleBinding{}
	for i := range list.Items {
		have[list.Items[i].Name] = &list.Items[i]
	}
	for _, want := range ClusterRoleBindings() {
		m := &knownBinding{RoleBindingModifier: reconciliation.ClusterRoleBindingClientAdapter{Client: client.RbacV1().ClusterRoleBindings()}}
		if b := have[want.Name]; b != nil {
			m.known = reconciliation.ClusterRoleBindingAdapter{ClusterRoleBinding: b}
		}
		reconcileBinding(reconciliation.ClusterRoleBindingAdapter{ClusterRoleBinding: &want}, m, do)
	}
	return nil
}

func bindingsOf(ctx context.Context, client kubernetes.Interface, do func(func() error)) error {
	list, err := client.RbacV1().RoleBindings("").List(ctx, listAll())
	if err != nil {
		return fmt.Errorf("list role bindings: %w", err)
	}
	have := map[string]*rbacv1.RoleBinding{}
	for i := range list.Items {
		have[list.Items[i].Namespace+"/"+list.Items[i].Name] = &list.Items[i]
	}
	for _, want := range RoleBindings() {
		m := &knownBinding{RoleBindingModifier: reconciliation.RoleBindingClientAdapter{
			Client: client.RbacV1(), NamespaceClient: client.CoreV1().Namespaces(),
		}}
		if b := have[want.Namespace+"/"+want.Name]; b != nil {
			m.known = reconciliation.RoleBindingAdapter{RoleBinding: b}
		}
		reconcileBinding(reconciliation.RoleBindingAdapter{RoleBinding: &want}, m, do)
	}
	return nil
}

func reconcileBinding(want reconciliation.RoleBinding, m *knownBinding, do func(func() error)) {
	do(func() error {
		options := reconciliation.ReconcileRoleBindingOptions{RoleBinding: want, Confirm: true, Client: m}
		return again("role binding", want.GetName(), func() error {
			_, err := options.Run()
			return err
		})
	})
}

// again repeats what lost against another writer.
func again(kind, name string, f func() error) error {
	if err := retry.RetryOnConflict(retry.DefaultBackoff, f); err != nil {
		return fmt.Errorf("reconcile %s %s: %w", kind, name, err)
	}
	return nil
}

// knownRole answers the first question from the list and later ones, after
// another writer came between, from the server.
type knownRole struct {
	reconciliation.RuleOwnerModifier
	known reconciliation.RuleOwner // nil: there was none
	asked bool
}

// Get returns the role as it is.
func (k *knownRole) Get(namespace, name string) (reconciliation.RuleOwner, error) {
	if k.asked {
		return k.RuleOwnerModifier.Get(namespace, name)
	}
	k.asked = true
	if k.known == nil {
		return nil, apierrors.NewNotFound(rbacv1.Resource("roles"), name)
	}
	return k.known, nil
}

// knownBinding is the same for a binding.
type knownBinding struct {
	reconciliation.RoleBindingModifier
	known reconciliation.RoleBinding // nil: there was none
	asked bool
}

// Get returns the binding as it is.
func (k *knownBinding) Get(namespace, name string) (reconciliation.RoleBinding, error) {
	if k.asked {
		return k.RoleBindingModifier.Get(namespace, name)
	}
	k.asked = true
	if k.known == nil {
		return nil, apierrors.NewNotFound(rbacv1.Resource("rolebindings"), name)
	}
	return k.known, nil
}
