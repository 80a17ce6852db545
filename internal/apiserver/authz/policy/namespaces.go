package policy

import (
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	authenticationReader = "extension-apiserver-authentication-reader"
	bootstrapSigner      = "system:controller:bootstrap-signer"
	cloudProvider        = "system:controller:cloud-provider"
	tokenCleaner         = "system:controller:token-cleaner"
	managerLock          = "system::leader-locking-kube-controller-manager"
	schedulerLock        = "system::leader-locking-kube-scheduler"
	// clusterInfo is a role of our own: nodes that hold nothing but a token read
	// which cluster it is for.
	clusterInfo = "sinawi:cluster-info"
	// leads is what a part does to a lease by which one of several leads.
	leads = "create get list update watch"
)

// Roles returns the roles inside namespaces.
func Roles() []rbacv1.Role {
	const system, public = metav1.NamespaceSystem, metav1.NamespacePublic
	return []rbacv1.Role{
		role(system, authenticationReader, rule(read, "core", "configmaps", "extension-apiserver-authentication")),
		role(system, bootstrapSigner, rule(read, "core", "secrets")),
		role(system, cloudProvider, rule("create get list watch", "core", "configmaps")),
		role(system, tokenCleaner, rule("delete get list watch", "core", "secrets"), events()),
		role(system, managerLock, rule(leads, "coordination.k8s.io", "leases"), rule(leads, "coordination.k8s.io", "leasecandidates")),
		role(system, schedulerLock, rule(leads, "coordination.k8s.io", "leases"), rule(leads, "coordination.k8s.io", "leasecandidates")),
		role(public, bootstrapSigner, rule(read, "core", "configmaps"),
			rule("update", "core", "configmaps", "cluster-info"), events()),
		role(public, clusterInfo, rule("get", "core", "configmaps", "cluster-info")),
	}
}

// RoleBindings returns the bindings inside namespaces.
func RoleBindings() []rbacv1.RoleBinding {
	const system, public = metav1.NamespaceSystem, metav1.NamespacePublic
	return []rbacv1.RoleBinding{
		binding(system, "system::"+authenticationReader, authenticationReader, user(kubeManager), user(kubeScheduler)),
		binding(system, managerLock, managerLock, user(kubeManager), account("kube-controller-manager"),
			account("leader-election-controller")),
		binding(system, schedulerLock, schedulerLock, user(kubeScheduler), account("kube-scheduler")),
		binding(system, bootstrapSigner, bootstrapSigner, account("bootstrap-signer")),
		binding(system, cloudProvider, cloudProvider, account("cloud-provider")),
		binding(system, tokenCleaner, tokenCleaner, account("token-cleaner")),
		binding(public, bootstrapSigner, bootstrapSigner, account("bootstrap-signer")),
		binding(public, clusterInfo, clusterInfo, group(unauthenticated), group(authenticated)),
	}
}
