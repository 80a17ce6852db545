package policy

import rbacv1 "k8s.io/api/rbac/v1"

// systemRoles are what the parts of a cluster need, whoever runs them.
func systemRoles() []rbacv1.ClusterRole {
	return []rbacv1.ClusterRole{
		clusterRole("system:discovery",
			paths("get", "/livez /readyz /healthz /version /version/ /openapi /openapi/* /api /api/* /apis /apis/*")),
		clusterRole("system:monitoring",
			paths("get", "/metrics /metrics/slis /livez /readyz /healthz /livez/* /readyz/* /healthz/* /flagz /statusz"),
			rule("get", "core", "nodes/metrics")),
		clusterRole("system:public-info-viewer",
			paths("get", "/livez /readyz /healthz /version /version/")),
		clusterRole("system:service-account-issuer-discovery",
			paths("get", "/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/")),
		clusterRole("system:basic-user",
			rule("create", "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews"),
			rule("create", "authentication.k8s.io", "selfsubjectreviews"),
		),
		clusterRole("system:auth-delegator",
			rule("create", "authentication.k8s.io", "tokenreviews"),
			rule("create", "authorization.k8s.io", "subjectaccessreviews"),
		),
		clusterRole("system:kube-aggregator", rule(read, "core", "endpoints services")),
		clusterRole("system:kube-dns", rule("list watch", "core", "endpoints services")),
		clusterRole("system:heapster",
			rule(read, "core", "events namespaces nodes pods"),
			rule(read, "extensions", "deployments"),
		),
		clusterRole("system:node", NodeRules()...),
		metricsReader(),
		clusterRole("system:node-bootstrapper", rule("create get list watch", "certificates.k8s.io", "certificatesigningrequests")),
		clusterRole("system:node-problem-detector",
			rule("get", "core", "nodes"), rule("patch", "core", "nodes/status"), events()),
		clusterRole("system:node-proxier",
			rule("list watch", "core", "endpoints services"), rule(read, "core", "nodes"), events(),
			rule("list watch", "networking.k8s.io", "servicecidrs"),
			rule("list watch", "discovery.k8s.io", "endpointslices"),
		),
		clusterRole("system:kubelet-api-admin",
			rule(read, "core", "nodes"), rule("proxy", "core", "nodes"),
			rule("*", "core", "nodes/log nodes/metrics nodes/proxy nodes/stats"),
			rule("*", "core", "nodes/configz nodes/healthz nodes/pods"),
		),
		clusterRole("system:persistent-volume-provisioner",
			rule("create delete get list watch", "core", "persistentvolumes"),
			rule("get list update watch", "core", "persistentvolumeclaims"),
			rule(read, "storage.k8s.io", "storageclasses"),
			rule("watch", "core", "events"), events(),
		),
		clusterRole("system:volume-scheduler",
			rule("get list patch update watch", "core", "persistentvolumes"),
			rule(read, "storage.k8s.io", "storageclasses"),
			rule("get list patch update watch", "core", "persistentvolumeclaims"),
		),
		clusterRole("system:kube-scheduler", schedulerRules()...),
		clusterRole("system:kube-controller-manager", managerRules()...),
		clusterRole("system:cluster-trust-bundle-discovery", rule(read, "certificates.k8s.io", "clustertrustbundles")),
		clusterRole(nodeNetwork, nodeNetworkRules()...),
	}
}

// metricsReader lets all who may look see what nodes and pods use.
func metricsReader() rbacv1.ClusterRole {
	r := clusterRole("system:aggregated-metrics-reader", rule(read, "metrics.k8s.io", "pods nodes"))
	for _, into := range []string{"view", "edit", "admin"} {
		r.Labels[aggregateTo+into] = "true"
	}
	return r
}

func schedulerRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		events(),
		rule("create", "coordination.k8s.io", "leases"),
		rule("get list update watch", "coordination.k8s.io", "leases", "kube-scheduler"),
		rule(readWrite, "coordination.k8s.io", "leasecandidates"),
		rule(read, "core", "nodes"),
		rule("delete get list watch", "core", "pods"),
		rule("create", "core", "bindings pods/binding"),
		rule("patch update", "core", "pods/status"),
		rule(read, "core", "replicationcontrollers services"),
		rule(read, "apps extensions", "replicasets"),
		rule(read, "apps", "statefulsets"),
		rule(read, "policy", "poddisruptionbudgets"),
		rule(read, "core", "persistentvolumeclaims persistentvolumes"),
		rule("create", "authentication.k8s.io", "tokenreviews"),
		rule("create", "authorization.k8s.io", "subjectaccessreviews"),
		rule(read, "storage.k8s.io", "csinodes"),
		rule(read, "core", "namespaces"),
		rule(read, "storage.k8s.io", "csidrivers"),
		rule(read, "storage.k8s.io", "csistoragecapacities"),
		rule(read, "storage.k8s.io", "volumeattachments"),
		rule(read, "resource.k8s.io", "deviceclasses"),
		rule("get list patch update watch", "resource.k8s.io", "resourceclaims"),
		rule("get list patch update watch", "resource.k8s.io", "resourceclaims/status"),
		rule("update", "core", "pods/finalizers"),
		rule(read, "resource.k8s.io", "resourceslices"),
		rule("create delete", "resource.k8s.io", "resourceclaims"),
		rule(read, "resource.k8s.io", "devicetaintrules"),
		rule("patch update", "resource.k8s.io", "resourceclaims/binding"),
		rule(read, "scheduling.k8s.io", "podgroups"),
		rule("patch update", "scheduling.k8s.io", "podgroups/status"),
		rule(read, "scheduling.sinawi.dev", "queues"),
		rule("patch update", "scheduling.sinawi.dev", "queues/status"),
	}
}

func managerRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		events(),
		rule("create", "coordination.k8s.io", "leases"),
		rule("get update", "coordination.k8s.io", "leases", "kube-controller-manager"),
		rule("create", "core", "secrets serviceaccounts"),
		rule("delete", "core", "secrets"),
		rule("get", "core", "configmaps namespaces secrets serviceaccounts"),
		rule("update", "core", "secrets serviceaccounts"),
		rule("create", "authentication.k8s.io", "tokenreviews"),
		rule("create", "authorization.k8s.io", "subjectaccessreviews"),
		rule("list watch", "*", "*"),
		rule("create", "core", "serviceaccounts/token"),
	}
}

// NodeRules are what every node may do; the node authorizer narrows most of
// them to what has to do with the node that asks.
func NodeRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		rule("create", "authentication.k8s.io", "tokenreviews"),
		rule("create", "authorization.k8s.io", "localsubjectaccessreviews subjectaccessreviews"),
		rule(read, "core", "services"),
		rule("create get list watch", "core", "nodes"),
		rule("patch update", "core", "nodes/status"),
		rule("patch update", "core", "nodes"),
		events(),
		rule(read, "core", "pods"),
		rule("create delete", "core", "pods"),
		rule("patch update", "core", "pods/status"),
		rule("create", "core", "pods/eviction"),
		rule(read, "core", "configmaps secrets"),
		rule("get", "core", "persistentvolumeclaims persistentvolumes"),
		rule("get", "core", "endpoints"),
		rule("create get list watch", "certificates.k8s.io", "certificatesigningrequests"),
		rule("create delete get patch update", "coordination.k8s.io", "leases"),
		rule("get", "storage.k8s.io", "volumeattachments"),
		rule("get patch update", "core", "persistentvolumeclaims/status"),
		rule("create", "core", "serviceaccounts/token"),
		rule(read, "storage.k8s.io", "csidrivers"),
		rule("create delete get patch update", "storage.k8s.io", "csinodes"),
		rule(read, "node.k8s.io", "runtimeclasses"),
		rule("get", "resource.k8s.io", "resourceclaims"),
		rule("deletecollection", "resource.k8s.io", "resourceslices"),
		rule(read, "certificates.k8s.io", "clustertrustbundles"),
		rule("get", "core", "serviceaccounts"),
		rule("create get list watch", "certificates.k8s.io", "podcertificaterequests"),
	}
}

// nodeNetwork is a role of our own: services, names and routes are made by the
// agent itself and not by add-ons with accounts of their own.
const nodeNetwork = "sinawi:node-network"

func nodeNetworkRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		rule(read, "core", "endpoints namespaces nodes services"),
		rule(read, "discovery.k8s.io", "endpointslices"),
		rule(read, "networking.k8s.io", "networkpolicies servicecidrs"),
		rule("create patch update", "events.k8s.io", "events"),
	}
}

const (
	authenticated   = "system:authenticated"
	unauthenticated = "system:unauthenticated"
	kubeScheduler   = "system:kube-scheduler"
	kubeManager     = "system:kube-controller-manager"
)

func systemBindings() []rbacv1.ClusterRoleBinding {
	// Most are named after their role.
	bind := func(role string, subjects ...rbacv1.Subject) rbacv1.ClusterRoleBinding {
		return clusterBinding(role, role, subjects...)
	}
	return []rbacv1.ClusterRoleBinding{
		bind("cluster-admin", group("system:masters")),
		bind("system:monitoring", group("system:monitoring")),
		bind("system:discovery", group(authenticated)),
		bind("system:basic-user", group(authenticated)),
		bind("system:public-info-viewer", group(authenticated), group(unauthenticated)),
		bind("system:node-proxier", user("system:kube-proxy")),
		bind(kubeManager, user(kubeManager)),
		bind("system:kube-dns", account("kube-dns")),
		bind(kubeScheduler, user(kubeScheduler)),
		bind("system:volume-scheduler", user(kubeScheduler)),
		bind("system:service-account-issuer-discovery", group("system:serviceaccounts")),
		bind("system:cluster-trust-bundle-discovery", group("system:serviceaccounts")),
		bind("system:node"), // nodes are authorized by what runs on them
		bind(nodeNetwork, group("system:nodes")),
	}
}

// certificateRoles say whose certificates a controller may approve.
func certificateRoles() []rbacv1.ClusterRole {
	const csrs = "system:certificates.k8s.io:"
	approver := func(name, signer string) rbacv1.ClusterRole {
		return clusterRole(csrs+name, rule("approve", "certificates.k8s.io", "signers", "kubernetes.io/"+signer))
	}
	return []rbacv1.ClusterRole{
		clusterRole(csrs+"certificatesigningrequests:nodeclient",
			rule("create", "certificates.k8s.io", "certificatesigningrequests/nodeclient")),
		clusterRole(csrs+"certificatesigningrequests:selfnodeclient",
			rule("create", "certificates.k8s.io", "certificatesigningrequests/selfnodeclient")),
		approver("legacy-unknown-approver", "legacy-unknown"),
		approver("kubelet-serving-approver", "kubelet-serving"),
		approver("kube-apiserver-client-approver", "kube-apiserver-client"),
		approver("kube-apiserver-client-kubelet-approver", "kube-apiserver-client-kubelet"),
	}
}
