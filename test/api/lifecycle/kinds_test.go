package lifecycle

// kinds are objects of all kinds that have nothing special about them.
var kinds = []kind{
	{
		// Conformance: [sig-node] ConfigMap should run through a ConfigMap lifecycle
		resource: "v1/configmaps",
		object:   "{apiVersion: v1, kind: ConfigMap, metadata: {namespace: default}, data: {a: b}}",
		patch:    "{data: {a: c}}",
	},
	{
		// Conformance: [sig-node] Secrets should patch a secret
		resource: "v1/secrets",
		object:   "{apiVersion: v1, kind: Secret, metadata: {namespace: default}, stringData: {a: b}}",
		patch:    "{data: {a: Yw==}}",
	},
	{
		// Conformance: [sig-auth] ServiceAccounts should run through the lifecycle of a ServiceAccount
		// Conformance: [sig-auth] ServiceAccounts should update a ServiceAccount
		resource: "v1/serviceaccounts",
		object:   "{apiVersion: v1, kind: ServiceAccount, metadata: {namespace: default}}",
		patch:    "{automountServiceAccountToken: false}",
	},
	{
		// Conformance: [sig-node] PodTemplates should run the lifecycle of PodTemplates
		// Conformance: [sig-node] PodTemplates should delete a collection of pod templates
		// Conformance: [sig-node] PodTemplates should replace a pod template
		resource: "v1/podtemplates",
		object:   "{apiVersion: v1, kind: PodTemplate, metadata: {namespace: default}, template: {spec: {containers: [{name: c, image: i}]}}}",
	},
	{
		// Conformance: [sig-node] Pods should delete a collection of pods
		// Conformance: [sig-node] Pods should patch a pod status
		resource: "v1/pods",
		object:   "{apiVersion: v1, kind: Pod, metadata: {namespace: default}, spec: {containers: [{name: c, image: i}]}}",
		patch:    "{spec: {activeDeadlineSeconds: 100}}",
		status:   "{message: patched}",
	},
	{
		// Conformance: [sig-network] Services should delete a collection of services
		// Conformance: [sig-network] Services should complete a service status lifecycle
		resource: "v1/services",
		object:   "{apiVersion: v1, kind: Service, metadata: {namespace: default}, spec: {type: LoadBalancer, ports: [{port: 80}], selector: {app: x}}}",
		patch:    "{spec: {sessionAffinity: ClientIP}}",
		status:   "{loadBalancer: {ingress: [{ip: 203.0.113.1}]}}",
	},
	{
		// Conformance: [sig-network] Endpoints should test the lifecycle of an Endpoint
		resource: "v1/endpoints",
		object:   "{apiVersion: v1, kind: Endpoints, metadata: {namespace: default}, subsets: [{addresses: [{ip: 10.0.0.1}], ports: [{port: 80}]}]}",
		patch:    "{subsets: [{addresses: [{ip: 10.0.0.2}], ports: [{port: 80}]}]}",
	},
	{
		// Conformance: [sig-network] EndpointSlice should support creating EndpointSlice API operations
		resource: "discovery.k8s.io/v1/endpointslices",
		object:   "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {namespace: default}, addressType: IPv4, endpoints: [{addresses: [10.0.0.1]}]}",
		patch:    "{endpoints: [{addresses: [10.0.0.3]}]}",
	},
	{
		// Conformance: [sig-network] Ingress API should support creating Ingress API operations
		resource: "networking.k8s.io/v1/ingresses",
		object:   "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {namespace: default}, spec: {defaultBackend: {service: {name: s, port: {number: 80}}}}}",
		patch:    "{spec: {defaultBackend: {service: {name: other}}}}",
		status:   "{loadBalancer: {ingress: [{ip: 203.0.113.1}]}}",
	},
	{
		// Conformance: [sig-network] IngressClass API should support creating IngressClass API operations
		resource: "networking.k8s.io/v1/ingressclasses",
		object:   "{apiVersion: networking.k8s.io/v1, kind: IngressClass, spec: {controller: example.com/c}}",
		patch:    "{metadata: {labels: {more: yes-it-is}}}",
	},
	{
		resource: "networking.k8s.io/v1/networkpolicies",
		object:   "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {namespace: default}, spec: {podSelector: {}}}",
		patch:    "{spec: {podSelector: {matchLabels: {app: web}}}}",
	},
	{
		// Conformance: [sig-node] Lease lease API should be available
		resource: "coordination.k8s.io/v1/leases",
		object:   "{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {namespace: default}, spec: {holderIdentity: me, leaseDurationSeconds: 30}}",
		patch:    "{spec: {holderIdentity: you, leaseTransitions: 1}}",
	},
	{
		// Conformance: [sig-node] RuntimeClass should support RuntimeClasses API operations
		resource: "node.k8s.io/v1/runtimeclasses",
		object:   "{apiVersion: node.k8s.io/v1, kind: RuntimeClass, handler: slow}",
		patch:    "{metadata: {labels: {more: yes-it-is}}}",
	},
	{
		// Conformance: [sig-scheduling] SchedulerPreemption [Serial] PriorityClass endpoints verify PriorityClass endpoints can be operated with different HTTP methods
		resource: "scheduling.k8s.io/v1/priorityclasses",
		object:   "{apiVersion: scheduling.k8s.io/v1, kind: PriorityClass, value: 10}",
		patch:    "{description: matters}",
	},
	{
		// Conformance: [sig-scheduling] LimitRange should list, patch and delete a LimitRange by collection
		resource: "v1/limitranges",
		object:   "{apiVersion: v1, kind: LimitRange, metadata: {namespace: default}, spec: {limits: [{type: PersistentVolumeClaim, min: {storage: 1Mi}}]}}",
		patch:    "{spec: {limits: [{type: PersistentVolumeClaim, min: {storage: 2Mi}}]}}",
	},
	{
		resource: "v1/resourcequotas",
		object:   "{apiVersion: v1, kind: ResourceQuota, metadata: {namespace: default}, spec: {hard: {services: '500'}}}",
		patch:    "{spec: {hard: {services: '600'}}}",
		status:   "{hard: {services: '5'}}",
	},
	{
		// Conformance: [sig-node] Node Lifecycle should run through the lifecycle of a node
		resource: "v1/nodes",
		object:   "{apiVersion: v1, kind: Node}",
		patch:    "{spec: {unschedulable: true}}",
		status:   "{phase: Running}",
	},
	{
		// Conformance: [sig-storage] StorageClasses CSI Conformance should run through the lifecycle of a StorageClass
		resource: "storage.k8s.io/v1/storageclasses",
		object:   "{apiVersion: storage.k8s.io/v1, kind: StorageClass, provisioner: example.com/p}",
		patch:    "{allowVolumeExpansion: true}",
	},
	{
		// Conformance: [sig-storage] CSIInlineVolumes should run through the lifecycle of a CSIDriver
		resource: "storage.k8s.io/v1/csidrivers",
		object:   "{apiVersion: storage.k8s.io/v1, kind: CSIDriver, spec: {attachRequired: false}}",
		patch:    "{spec: {storageCapacity: true}}",
	},
	{
		// Conformance: [sig-storage] CSINodes CSI Conformance should run through the lifecycle of a csinode
		resource: "storage.k8s.io/v1/csinodes",
		object:   "{apiVersion: storage.k8s.io/v1, kind: CSINode, spec: {drivers: []}}",
		patch:    "{spec: {drivers: [{name: d.example.com, nodeID: n1, topologyKeys: []}]}}",
	},
	{
		// Conformance: [sig-storage] CSIStorageCapacity should support CSIStorageCapacities API operations
		resource: "storage.k8s.io/v1/csistoragecapacities",
		object:   "{apiVersion: storage.k8s.io/v1, kind: CSIStorageCapacity, metadata: {namespace: default}, storageClassName: fast, capacity: 1Gi}",
		patch:    "{capacity: 2Gi}",
	},
	{
		// Conformance: [sig-storage] VolumeAttachment Conformance should apply changes to a volumeattachment status
		// Conformance: [sig-storage] VolumeAttachment Conformance should run through the lifecycle of a VolumeAttachment
		resource: "storage.k8s.io/v1/volumeattachments",
		object:   "{apiVersion: storage.k8s.io/v1, kind: VolumeAttachment, spec: {attacher: d, nodeName: n1, source: {persistentVolumeName: v}}}",
		status:   "{attached: true}",
	},
	{
		// Conformance: [sig-storage] VolumeAttributesClass [FeatureGate:VolumeAttributesClass] should run through the lifecycle of a VolumeAttributesClass
		resource: "storage.k8s.io/v1/volumeattributesclasses",
		object:   "{apiVersion: storage.k8s.io/v1, kind: VolumeAttributesClass, driverName: d.example.com, parameters: {iops: '100'}}",
		patch:    "{metadata: {labels: {more: yes-it-is}}}",
		lasting:  true,
	},
	{
		// Conformance: [sig-storage] PersistentVolumes CSI Conformance should run through the lifecycle of a PV and a PVC
		// Conformance: [sig-storage] PersistentVolumes CSI Conformance should apply changes to a pv/pvc status
		resource: "v1/persistentvolumes",
		object: "{apiVersion: v1, kind: PersistentVolume, spec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], " +
			"persistentVolumeReclaimPolicy: Retain, csi: {driver: d.example.com, volumeHandle: h}}}",
		patch:   "{spec: {persistentVolumeReclaimPolicy: Delete}}",
		status:  "{phase: Failed, message: patched, reason: E2E}",
		lasting: true,
	},
	{
		resource: "v1/persistentvolumeclaims",
		object: "{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {namespace: default}, " +
			"spec: {storageClassName: none, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}",
		patch:   "{metadata: {labels: {more: yes-it-is}}}",
		status:  "{phase: Pending, conditions: [{type: StatusUpdate, status: 'True', reason: E2E, message: patched}]}",
		lasting: true,
	},
	{
		resource: "policy/v1/poddisruptionbudgets",
		object:   "{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {namespace: default}, spec: {minAvailable: 1, selector: {matchLabels: {a: b}}}}",
		patch:    "{spec: {minAvailable: 50%}}",
		status:   "{observedGeneration: 1, disruptionsAllowed: 0, currentHealthy: 0, desiredHealthy: 1, expectedPods: 2}",
	},
	{
		resource: "autoscaling/v2/horizontalpodautoscalers",
		object: "{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {namespace: default}, spec: {maxReplicas: 3, " +
			"scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}}",
		patch:  "{spec: {maxReplicas: 5}}",
		status: "{currentReplicas: 1, desiredReplicas: 2}",
	},
	{
		resource: "rbac.authorization.k8s.io/v1/roles",
		object:   "{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {namespace: default}, rules: [{apiGroups: [''], resources: [pods], verbs: [get]}]}",
		patch:    "{rules: [{apiGroups: [''], resources: [pods], verbs: [list]}]}",
	},
	{
		resource: "rbac.authorization.k8s.io/v1/clusterrolebindings",
		object: "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}, " +
			"subjects: [{kind: User, name: eve, apiGroup: rbac.authorization.k8s.io}]}",
		patch: "{subjects: []}",
	},
	{
		resource: "events.k8s.io/v1/events",
		object: "{apiVersion: events.k8s.io/v1, kind: Event, metadata: {namespace: default}, eventTime: '2026-01-02T03:04:05.000000Z', type: Normal, " +
			"reason: Tested, action: Test, reportingController: example.com/t, reportingInstance: t-1, regarding: {kind: Pod, name: p, namespace: default}, note: hello}",
		patch: "{series: {count: 2, lastObservedTime: '2026-01-02T03:04:06.000000Z'}}",
	},
}
