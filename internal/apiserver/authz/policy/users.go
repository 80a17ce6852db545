package policy

import (
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// userRoles are what people are given: the administrator's, and the three that
// are bound in a namespace. Those three only gather; a custom resource joins
// them by labels on a role of its own.
func userRoles() []rbacv1.ClusterRole {
	return []rbacv1.ClusterRole{
		clusterRole("cluster-admin", rule("*", "*", "*"), paths("*", "*")),
		gathers("admin", ""),
		gathers("edit", "admin"),
		gathers("view", "edit"),
		gathered("admin",
			rule("create", "authorization.k8s.io", "localsubjectaccessreviews"),
			rule(readWrite, "rbac.authorization.k8s.io", "roles rolebindings"),
		),
		gathered("edit", editRules()...),
		gathered("view", viewRules()...),
	}
}

const aggregateTo = "rbac.authorization.k8s.io/aggregate-to-"

// gathers is a role that is the sum of all that are labelled for it; it is part
// of the role into.
func gathers(name, into string) rbacv1.ClusterRole {
	r := clusterRole(name)
	r.AggregationRule = &rbacv1.AggregationRule{
		ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{aggregateTo + name: "true"}}},
	}
	if into != "" {
		r.Labels[aggregateTo+into] = "true"
	}
	return r
}

func gathered(into string, rules ...rbacv1.PolicyRule) rbacv1.ClusterRole {
	r := clusterRole("system:aggregate-to-"+into, rules...)
	r.Labels[aggregateTo+into] = "true"
	return r
}

// editRules write all that users own in a namespace, and read what would let a
// reader become somebody else.
func editRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		rule(read, "core", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"),
		rule("impersonate", "core", "serviceaccounts"),
		rule(write, "core", "pods pods/attach pods/exec pods/portforward pods/proxy"),
		rule("create", "core", "pods/eviction"),
		rule(write, "core", "configmaps persistentvolumeclaims replicationcontrollers replicationcontrollers/scale"+
			" secrets serviceaccounts services services/proxy"),
		rule("create", "core", "serviceaccounts/token"),
		rule(write, "core events.k8s.io", "events"),
		rule(write, "apps", "daemonsets deployments deployments/rollback deployments/scale"+
			" replicasets replicasets/scale statefulsets statefulsets/scale"),
		rule(write, "autoscaling", "horizontalpodautoscalers"),
		rule(write, "batch", "cronjobs jobs"),
		rule(write, "extensions", "daemonsets deployments deployments/rollback deployments/scale ingresses networkpolicies"+
			" replicasets replicasets/scale replicationcontrollers/scale"),
		rule(write, "policy", "poddisruptionbudgets"),
		rule(write, "networking.k8s.io", "ingresses networkpolicies"),
		// A lease may be what somebody is locked out by: only who may change it reads it.
		rule(readWrite, "coordination.k8s.io", "leases"),
		rule(write, "resource.k8s.io", "resourceclaims resourceclaimtemplates"),
	}
}

// viewRules read all in a namespace that is no secret.
func viewRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		rule(read, "core", "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods"+
			" replicationcontrollers replicationcontrollers/scale serviceaccounts services services/status"),
		rule(read, "core", "bindings limitranges namespaces/status pods/log pods/status"+
			" replicationcontrollers/status resourcequotas resourcequotas/status"),
		rule(read, "core", "namespaces"),
		rule(read, "core events.k8s.io", "events"),
		rule(read, "discovery.k8s.io", "endpointslices"),
		rule(read, "apps", "controllerrevisions "+withSub("daemonsets", "status")+withSub("deployments", "scale status")+
			withSub("replicasets", "scale status")+withSub("statefulsets", "scale status")),
		rule(read, "autoscaling", withSub("horizontalpodautoscalers", "status")),
		rule(read, "batch", withSub("cronjobs", "status")+withSub("jobs", "status")),
		rule(read, "extensions", withSub("daemonsets", "status")+withSub("deployments", "scale status")+
			withSub("ingresses", "status")+"networkpolicies "+withSub("replicasets", "scale status")+"replicationcontrollers/scale"),
		rule(read, "policy", withSub("poddisruptionbudgets", "status")),
		rule(read, "networking.k8s.io", withSub("ingresses", "status")+"networkpolicies"),
		rule(read, "resource.k8s.io", withSub("resourceclaims", "status")+"resourceclaimtemplates"),
	}
}

// withSub names a resource and its subresources, with a space after each.
func withSub(resource, subs string) string {
	out := resource + " "
	for _, sub := range strings.Fields(subs) {
		out += resource + "/" + sub + " "
	}
	return out
}
