package policy

import rbacv1 "k8s.io/api/rbac/v1"

const controllerPrefix = "system:controller:"

// controller is what one controller needs; its service account in kube-system
// has the same name.
type controller struct {
	name  string
	rules []rbacv1.PolicyRule
}

func controllers() []controller {
	var all []controller
	for _, part := range [][]controller{workloadControllers(), networkControllers(), storageControllers(), clusterControllers()} {
		all = append(all, part...)
	}
	return all
}

type rules = []rbacv1.PolicyRule

const podWrites = "create delete list patch watch"

func workloadControllers() []controller {
	return []controller{
		{"cronjob-controller", rules{
			rule("get list update watch", "batch", "cronjobs"),
			rule("create delete get list patch update watch", "batch", "jobs"),
			rule("update", "batch", "cronjobs/status"), rule("update", "batch", "cronjobs/finalizers"),
			rule("delete list watch", "core", "pods"), events(),
		}},
		{"daemon-set-controller", rules{
			rule(read, "apps extensions", "daemonsets"),
			rule("update", "apps extensions", "daemonsets/status"), rule("update", "apps extensions", "daemonsets/finalizers"),
			rule("list watch", "core", "nodes"), rule(podWrites, "core", "pods"), rule("create", "core", "pods/binding"),
			rule("create delete get list patch update watch", "apps", "controllerrevisions"), events(),
		}},
		{"deployment-controller", rules{
			rule("get list update watch", "apps extensions", "deployments"),
			rule("update", "apps extensions", "deployments/status"), rule("update", "apps extensions", "deployments/finalizers"),
			rule("create delete get list patch update watch", "apps extensions", "replicasets"),
			rule("get list update watch", "core", "pods"), events(),
		}},
		{"disruption-controller", rules{
			rule(read, "apps extensions", "deployments"), rule(read, "apps extensions", "replicasets"),
			rule(read, "core", "replicationcontrollers"), rule(read, "policy", "poddisruptionbudgets"), rule(read, "apps", "statefulsets"),
			rule("update", "policy", "poddisruptionbudgets/status"), rule("patch update", "core", "pods/status"),
			rule("get", "*", "*/scale"), events(),
		}},
		{"horizontal-pod-autoscaler", rules{
			rule(read, "autoscaling", "horizontalpodautoscalers"), rule("update", "autoscaling", "horizontalpodautoscalers/status"),
			rule("get update", "*", "*/scale"), rule("list watch", "core", "pods"), rule("list watch", "metrics.k8s.io", "pods"),
			rule(read, "custom.metrics.k8s.io", "*"), rule(read, "external.metrics.k8s.io", "*"), events(),
		}},
		{"job-controller", rules{
			rule("get list patch update watch", "batch", "jobs"),
			rule("update", "batch", "jobs/status"), rule("update", "batch", "jobs/finalizers"),
			rule(podWrites, "core", "pods"), events(),
		}},
		{"replicaset-controller", rules{
			rule("get list update watch", "apps extensions", "replicasets"),
			rule("update", "apps extensions", "replicasets/status"), rule("update", "apps extensions", "replicasets/finalizers"),
			rule(podWrites, "core", "pods"), events(),
		}},
		{"replication-controller", rules{
			rule("get list update watch", "core", "replicationcontrollers"),
			rule("update", "core", "replicationcontrollers/status"), rule("update", "core", "replicationcontrollers/finalizers"),
			rule(podWrites, "core", "pods"), events(),
		}},
		{"statefulset-controller", rules{
			rule("list watch", "core", "pods"), rule(read, "apps", "statefulsets"),
			rule("update", "apps", "statefulsets/status"), rule("update", "apps", "statefulsets/finalizers"),
			rule("create delete get patch update", "core", "pods"),
			rule("create delete get list patch update watch", "apps", "controllerrevisions"),
			rule("create get list watch", "core", "persistentvolumeclaims"), rule("delete update", "core", "persistentvolumeclaims"),
			rule("update", "core", "pods/finalizers"), events(),
		}},
		{"ttl-after-finished-controller", rules{rule("delete get list watch", "batch", "jobs"), events()}},
		{"pod-garbage-collector", rules{
			rule("delete list watch", "core", "pods"), rule(read, "core", "nodes"), rule("patch", "core", "pods/status"),
		}},
		{"resource-claim-controller", rules{
			rule(read, "core", "pods"), rule("update", "core", "pods/finalizers"),
			rule("create delete get list watch", "resource.k8s.io", "resourceclaims"),
			rule("patch update", "resource.k8s.io", "resourceclaims resourceclaims/status"),
			rule("patch update", "core", "pods/status"), events(),
			rule("patch update", "resource.k8s.io", "resourceclaims/binding"),
		}},
		{"device-taint-eviction-controller", rules{
			rule("delete get list watch", "core", "pods"), rule("patch update", "core", "pods/status"),
			rule(read, "resource.k8s.io", "resourceclaims"), rule(read, "resource.k8s.io", "resourceslices"),
			rule(read, "resource.k8s.io", "deviceclasses"), events(),
			rule("patch update", "resource.k8s.io", "devicetaintrules/status"), rule(read, "resource.k8s.io", "devicetaintrules"),
		}},
	}
}

func networkControllers() []controller {
	return []controller{
		{"endpoint-controller", rules{
			rule(read, "core", "pods services"), rule("create delete get list update watch", "core", "endpoints"),
			rule("create", "core", "endpoints/restricted"), events(),
		}},
		{"endpointslice-controller", rules{
			rule(read, "core", "nodes pods services"), rule("update", "core", "services/finalizers"),
			rule("create delete get list update watch", "discovery.k8s.io", "endpointslices"), events(),
		}},
		{"endpointslicemirroring-controller", rules{
			rule(read, "core", "endpoints services"), rule("update", "core", "services/finalizers"),
			rule("update", "core", "endpoints/finalizers"),
			rule("create delete get list update watch", "discovery.k8s.io", "endpointslices"), events(),
		}},
		{"route-controller", rules{rule("list watch", "core", "nodes"), rule("patch", "core", "nodes/status"), events()}},
		{"service-controller", rules{
			rule(read, "core", "services"), rule("patch update", "core", "services/status"), rule("list watch", "core", "nodes"), events(),
		}},
		{"service-cidrs-controller", rules{
			rule("get list patch update watch", "networking.k8s.io", "servicecidrs"),
			rule("patch update", "networking.k8s.io", "servicecidrs/finalizers"),
			rule("patch update", "networking.k8s.io", "servicecidrs/status"),
			rule(read, "networking.k8s.io", "ipaddresses"), events(),
		}},
	}
}

func storageControllers() []controller {
	return []controller{
		{"attachdetach-controller", rules{
			rule("list watch", "core", "persistentvolumeclaims persistentvolumes"), rule(read, "core", "nodes"),
			rule("patch update", "core", "nodes/status"), rule("list watch", "core", "pods"), events(),
			rule("create delete get list watch", "storage.k8s.io", "volumeattachments"),
			rule(read, "storage.k8s.io", "csidrivers"), rule(read, "storage.k8s.io", "csinodes"),
		}},
		{"ephemeral-volume-controller", rules{
			rule(read, "core", "pods"), rule("update", "core", "pods/finalizers"),
			rule("create get list watch", "core", "persistentvolumeclaims"), events(),
		}},
		{"expand-controller", rules{
			rule("get list patch update watch", "core", "persistentvolumes"),
			rule("patch update", "core", "persistentvolumeclaims/status"), rule(read, "core", "persistentvolumeclaims"), events(),
		}},
		{"persistent-volume-binder", rules{
			rule("create delete get list update watch", "core", "persistentvolumes"), rule("update", "core", "persistentvolumes/status"),
			rule("get list update watch", "core", "persistentvolumeclaims"), rule("update", "core", "persistentvolumeclaims/status"),
			rule("create delete get list watch", "core", "pods"), rule(read, "storage.k8s.io", "storageclasses"),
			rule("list watch", "core", "nodes"), events(), rule("watch", "core", "events"),
		}},
		{"pv-protection-controller", rules{rule("get list update watch", "core", "persistentvolumes"), events()}},
		{"pvc-protection-controller", rules{
			rule("get list update watch", "core", "persistentvolumeclaims"), rule("update", "core", "persistentvolumeclaims/status"),
			rule(read, "core", "pods"), events(),
		}},
		{"selinux-warning-controller", rules{
			events(), rule(read, "core", "persistentvolumes"), rule(read, "core", "persistentvolumeclaims"),
			rule(read, "core", "pods"), rule(read, "storage.k8s.io", "csidrivers"),
		}},
		{"volumeattributesclass-protection-controller", rules{
			rule(read, "core", "persistentvolumeclaims"), rule(read, "core", "persistentvolumes"),
			rule("get list update watch", "storage.k8s.io", "volumeattributesclasses"), events(),
		}},
	}
}

func clusterControllers() []controller {
	const csrs = "certificates.k8s.io"
	return []controller{
		{"certificate-controller", rules{
			rule("delete get list watch", csrs, "certificatesigningrequests"),
			rule("update", csrs, "certificatesigningrequests/approval certificatesigningrequests/status"),
			rule("approve", csrs, "signers", "kubernetes.io/kube-apiserver-client-kubelet"),
			rule("sign", csrs, "signers", "kubernetes.io/legacy-unknown", "kubernetes.io/kube-apiserver-client",
				"kubernetes.io/kube-apiserver-client-kubelet", "kubernetes.io/kubelet-serving"),
			rule("create", "authorization.k8s.io", "subjectaccessreviews"), events(),
		}},
		{"clusterrole-aggregation-controller", rules{
			rule("escalate get list patch update watch", rbacv1.GroupName, "clusterroles"),
		}},
		{"generic-garbage-collector", rules{rule("delete get list patch update watch", "*", "*"), events()}},
		{"kube-apiserver-serving-clustertrustbundle-publisher", rules{
			rule("attest", csrs, "signers", "kubernetes.io/kube-apiserver-serving"),
			rule("create delete list update watch", csrs, "clustertrustbundles"), events(),
		}},
		{"legacy-service-account-token-cleaner", rules{
			rule("get", "core", "configmaps", "kube-apiserver-legacy-service-account-token-tracking"),
			rule("delete patch", "core", "secrets"),
		}},
		{"namespace-controller", rules{
			rule("delete get list watch", "core", "namespaces"), rule("update", "core", "namespaces/finalize namespaces/status"),
			rule("delete deletecollection get list watch", "*", "*"),
		}},
		{"node-controller", rules{
			rule("delete get list patch update watch", "core", "nodes"), rule("patch update", "core", "nodes/status"),
			rule("patch update", "core", "pods/status"), rule("delete get list watch", "core", "pods"), rule(read, "coordination.k8s.io", "leases"), events(),
		}},
		{"podcertificaterequestcleaner", rules{rule("delete get list watch", csrs, "podcertificaterequests")}},
		{"resourcequota-controller", rules{
			rule("list watch", "*", "*"), rule("update", "core", "resourcequotas/status"), events(),
		}},
		{"root-ca-cert-publisher", rules{rule("create update", "core", "configmaps"), events()}},
		{"service-account-controller", rules{rule("create", "core", "serviceaccounts"), events()}},
		{"storage-version-migrator-controller", rules{
			rule("list patch", "*", "*"), rule("get", "apiextensions.k8s.io", "customresourcedefinitions"),
			rule("patch", "apiextensions.k8s.io", "customresourcedefinitions/status"),
			rule("update", "storagemigration.k8s.io", "storageversionmigrations/status"),
		}},
		{"ttl-controller", rules{rule("list patch update watch", "core", "nodes"), events()}},
		{"validatingadmissionpolicy-status-controller", rules{
			rule(read, "admissionregistration.k8s.io", "validatingadmissionpolicies"),
			rule("get patch update", "admissionregistration.k8s.io", "validatingadmissionpolicies/status"), events(),
		}},
	}
}
