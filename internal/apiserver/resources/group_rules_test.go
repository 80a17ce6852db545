package resources_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	storageClass = "apiVersion: storage.k8s.io/v1\nkind: StorageClass\n"
	attributes   = "apiVersion: storage.k8s.io/v1\nkind: VolumeAttributesClass\n"
	attachment   = "apiVersion: storage.k8s.io/v1\nkind: VolumeAttachment\nspec: "
	csiDriver    = "apiVersion: storage.k8s.io/v1\nkind: CSIDriver\nspec: "
	csiNode      = "apiVersion: storage.k8s.io/v1\nkind: CSINode\nspec: "
	runtimeClass = "apiVersion: node.k8s.io/v1\nkind: RuntimeClass\n"
	clusterRole  = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\n"
	roleBinding  = "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\n"
	clusterBound = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\n"
	ingress      = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nspec: "
	netPolicy    = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nspec: "
	autoscaler   = "apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nspec: "
	endpoints    = "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n"
	lease        = "apiVersion: coordination.k8s.io/v1\nkind: Lease\nspec: "
	template     = "apiVersion: resource.k8s.io/v1\nkind: ResourceClaimTemplate\nspec: "
	podCert      = "apiVersion: certificates.k8s.io/v1\nkind: PodCertificateRequest\n"
	mutBinding   = "apiVersion: admissionregistration.k8s.io/v1\nkind: MutatingAdmissionPolicyBinding\nspec: "

	scales  = `scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: d}`
	drivers = `{drivers: [{name: a.b, nodeID: x, topologyKeys: [a]}]}`
	label   = `a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')`
)

func TestGroupCreateRules(t *testing.T) {
	r := newRules(t)
	for name, tc := range map[string]ruleCase{
		"provisioner in capitals":   {storageClass + "provisioner: Example.com/P", nil},
		"topology of nothing":       {storageClass + "provisioner: a\nallowedTopologies: [{}]", []string{`allowedTopologies[0].matchLabelExpressions: Duplicate value: ""`}},
		"topology twice":            {storageClass + "provisioner: a\nallowedTopologies: [{matchLabelExpressions: [{key: a, values: [b]}]}, {matchLabelExpressions: [{key: a, values: [b]}]}]", []string{`allowedTopologies[1].matchLabelExpressions: Duplicate value: ""`}},
		"driver with a path":        {attributes + "driverName: example.com/driver\nparameters: {a: b}", nil},
		"attacher in capitals":      {attachment + `{attacher: A.B, nodeName: n, source: {persistentVolumeName: p}}`, nil},
		"no attacher":               {attachment + `{nodeName: n, source: {persistentVolumeName: p}}`, []string{`spec.attacher: Required value`}},
		"tokens for nobody":         {csiDriver + `{serviceAccountTokenInSecrets: true}`, []string{`spec.serviceAccountTokenInSecrets: Invalid value: true: serviceAccountTokenInSecrets is set but no tokenRequests are specified`}},
		"limits asked for often":    {csiDriver + `{nodeAllocatableUpdatePeriodSeconds: 9}`, []string{`spec.nodeAllocatableUpdatePeriodSeconds: Invalid value: 9: must be greater than or equal to 10 seconds`}},
		"lifecycle of its own":      {csiDriver + `{volumeLifecycleModes: [X]}`, []string{`spec.volumeLifecycleModes: Unsupported value: "X": supported values: "Persistent", "Ephemeral"`}},
		"topology key twice":        {csiNode + `{drivers: [{name: a.b, nodeID: x, topologyKeys: [a, a]}]}`, []string{`spec.drivers[0]: Duplicate value: "a"`}},
		"no handler":                {runtimeClass + "handler: ''", []string{`handler: Required value`}},
		"overhead of what is not":   {runtimeClass + "handler: h\noverhead: {podFixed: {gpu: 1}}", []string{`overhead.limits[gpu]: Invalid value: "gpu": must be a standard resource for containers`, `overhead.limits[gpu]: Invalid value: "gpu": must be a standard resource type or fully qualified`}},
		"toleration twice":          {runtimeClass + "handler: h\nscheduling: {tolerations: [{operator: Exists}, {operator: Exists}]}", []string{`scheduling.tolerations[1]: Duplicate value: {"operator":"Exists"}`}},
		"rule without verbs":        {clusterRole + "rules: [{apiGroups: [''], resources: [pods]}]", []string{`rules[0].verbs: Required value`}},
		"account without namespace": {roleBinding + "roleRef: {kind: Role, name: r}\nsubjects: [{kind: ServiceAccount, name: s}]", nil},
		"account of no namespace":   {clusterBound + "roleRef: {kind: ClusterRole, name: r}\nsubjects: [{kind: ServiceAccount, name: s}]", []string{`subjects[0].namespace: Required value`}},
		"role of no kind":           {roleBinding + "roleRef: {kind: X, name: r}", []string{`roleRef.kind: Unsupported value: "X": supported values: "Role", "ClusterRole"`}},
		"exempt and limited": {level + `{type: Exempt, limited: {limitResponse: {}}}`, []string{
			`spec.limited.limitResponse.type: Required value`, `spec.limited: Forbidden`, "spec.type: Invalid value: \"Exempt\": must be 'Exempt' if and only if `name` is 'exempt'"}},
		"queues of who rejects":            {level + `{type: Limited, limited: {limitResponse: {type: Reject, queuing: {}}}}`, []string{`spec.limited.limitResponse.queuing: Forbidden`}},
		"level of no type":                 {level + `{}`, []string{`spec.type: Required value`}},
		"service that begins with a digit": {ingress + `{defaultBackend: {service: {name: 1a, port: {number: 80}}}}`, nil},
		"path of no type":                  {ingress + `{rules: [{http: {paths: [{path: /x}]}}]}`, []string{`spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified`}},
		"scales to nothing":                {autoscaler + `{minReplicas: 0, maxReplicas: 2, ` + scales + `, metrics: [{type: External, external: {metric: {name: m}, target: {type: Value, value: 1}}}]}`, nil},
		"scales to nothing by CPU": {autoscaler + `{minReplicas: 0, maxReplicas: 2, ` + scales + `}`, []string{
			`spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to zero replicas`}},
		"scales to what":            {autoscaler + `{` + scales + `}`, []string{"spec.maxReplicas: Invalid value: 0: must be greater than or equal to `minReplicas`", `spec.maxReplicas: Required value`}},
		"object with both targets":  {autoscaler + `{maxReplicas: 2, ` + scales + `, metrics: [{type: Object, object: {describedObject: {kind: K, name: n}, metric: {name: m}, target: {type: Value, value: 1, averageValue: 1}}}]}`, nil},
		"port out of range":         {endpoints + "addressType: IPv4\nports: [{port: 99999}]\nendpoints: []", nil},
		"no address":                {endpoints + "addressType: IPv4\nendpoints: [{addresses: []}]", []string{`endpoints[0].addresses: Required value`}},
		"address of the other kind": {endpoints + "addressType: IPv6\nendpoints: [{addresses: [1.2.3.4]}]", []string{`endpoints[0].addresses: Invalid value: "1.2.3.4": must be an IPv6 address`}},
		"coordinated lease":         {lease + `{preferredHolder: x, strategy: nonsense}`, nil},
		"migration of a kind":       {migrate + `{resource: {resource: Deployment}}`, []string{`spec.resource.resource: Invalid value: "Deployment": a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')`}},
		"binding that misses": {mutBinding + `{policyName: p, matchResources: {matchPolicy: X, resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [DELETE], resources: [pods]}]}}`, []string{
			`spec.matchResources.matchPolicy: Unsupported value: "X": supported values: "Equivalent", "Exact"`,
			`spec.matchResources.resourceRules.operations: Unsupported value: "DELETE": supported values: "*", "CONNECT", "CREATE", "UPDATE"`}},
		"derived attributes": {claim + `{devices: {requests: [{name: r, exactly: {deviceClassName: c, derivedAttributes: [{name: x, expression: "?"}]}}]}}`, nil},
		"partition type": {slice + `{nodeName: n, driver: d.example.com, partitionTypeAttribute: x, skipNodeOperations: [X], pool: {name: p, resourceSliceCount: 1}, devices: [{name: a, attributes: {v: {strings: []}, w: {string: x}}}]}`, []string{
			"spec.devices[0].attributes[v]: Invalid value: \"\": must specify one of: `int`, `bool`, `string`, `version`, `ints`, `bools`, `strings`, `versions`"}},
		"certificate of the cluster's for long": {podCert + "spec: {signerName: x.kubernetes.io/c, podName: p, podUID: u, serviceAccountName: s, serviceAccountUID: u, nodeName: n, nodeUID: u, maxExpirationSeconds: 90000}", []string{
			`spec.maxExpirationSeconds: Invalid value: 90000: must be in the range [3600, 86400]`,
			`spec: Invalid value: exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set`}},
		"certificate for no key": {podCert + "spec: {signerName: a.b/c, podName: p, podUID: u, serviceAccountName: s, serviceAccountUID: u, nodeName: n, nodeUID: u, maxExpirationSeconds: 1, unverifiedUserAnnotations: {A: b}}", []string{
			`spec.maxExpirationSeconds: Invalid value: 1: must be in the range [3600, 7862400]`,
			`spec.unverifiedUserAnnotations: Invalid value: "a": must be a domain-prefixed key (such as "acme.io/foo")`,
			`spec: Invalid value: exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set`}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, r.create(t, tc.text)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestGroupUpdateRules(t *testing.T) {
	r := newRules(t)
	for name, tc := range map[string]struct {
		old, text string
		want      []string
	}{
		"another provisioner": {storageClass + "provisioner: a", storageClass + "provisioner: b\nallowedTopologies: [{matchLabelExpressions: [{key: a}]}]", []string{
			`allowedTopologies[0].matchLabelExpressions[0].values: Required value`, `provisioner: Invalid value: "b": field is immutable`}},
		"other attributes": {attributes + "driverName: a\nparameters: {a: b}", attributes + "driverName: b\nparameters: {a: c}", []string{
			`driverName: Forbidden: updates to driverName are forbidden.`, `parameters: Forbidden: updates to parameters are forbidden.`}},
		"attached elsewhere": {attachment + `{attacher: a, nodeName: n, source: {persistentVolumeName: p}}`, attachment + `{attacher: a, nodeName: m, source: {}}`, []string{
			`spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName`,
			`spec: Invalid value: {"attacher":"a","source":{},"nodeName":"m"}: field is immutable`}},
		"driver of another node": {csiNode + drivers, csiNode + `{drivers: [{name: a.b, nodeID: z, topologyKeys: [a]}]}`, []string{
			`spec.drivers: Invalid value: {"name":"a.b","nodeID":"z","topologyKeys":["a"]}: field is immutable`}},
		"driver with room": {csiNode + drivers, csiNode + `{drivers: [{name: a.b, nodeID: x, topologyKeys: [a], allocatable: {count: 5}}, {name: c, nodeID: z}]}`, nil},
		"handler that is no label": {runtimeClass + "handler: h", runtimeClass + "handler: 0%", []string{
			`handler: Invalid value: "0%": ` + label, `handler: Invalid value: "0%": field is immutable`}},
		"another role":     {roleBinding + "roleRef: {kind: Role, name: r}", roleBinding + "roleRef: {kind: Role, name: s}", []string{`roleRef: Invalid value: {"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"s"}: field is immutable`}},
		"network that was": {netPolicy + `{ingress: [{from: [{ipBlock: {cidr: 010.0.0.0/8}}]}]}`, netPolicy + `{egress: [{to: [{ipBlock: {cidr: 010.0.0.0/8}}]}]}`, nil},
		"address let go": {"apiVersion: networking.k8s.io/v1\nkind: IPAddress\nmetadata: {name: 10.0.0.1}\nspec: {parentRef: {resource: services, name: s}}", "apiVersion: networking.k8s.io/v1\nkind: IPAddress\nmetadata: {name: 10.0.0.1}\nspec: {}", []string{
			`spec.parentRef: Invalid value: null: field is immutable`, `spec.parentRef: Required value`}},
		"version of before": {autoscaler + `{maxReplicas: 2, scaleTargetRef: {apiVersion: v1, kind: K, name: d}}`, autoscaler + `{maxReplicas: 3, scaleTargetRef: {apiVersion: v1, kind: K, name: d}}`, nil},
		"another migration": {migrate + `{resource: {resource: pods}}`, migrate + `{resource: {resource: nodes}}`, []string{`spec: Invalid value: {"resource":{"group":"","resource":"nodes"}}: field is immutable`}},
		"another template": {template + `{spec: {devices: {requests: [{name: r, exactly: {deviceClassName: c}}]}}}`, template + `{spec: {devices: {requests: [{name: r, exactly: {}}]}}}`, []string{
			`spec.spec.devices.requests[0].exactly.deviceClassName: Required value`,
			`spec: Invalid value: {"metadata":{},"spec":{"devices":{"requests":[{"name":"r","exactly":{"deviceClassName":"","allocationMode":"ExactCount","count":1}}]}}}: field is immutable`}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, r.update(t, tc.old, tc.text)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestGroupStatusRules(t *testing.T) {
	r := newRules(t)
	const (
		attached = attachment + `{attacher: a, nodeName: n, source: {persistentVolumeName: p}}`
		pending  = podCert + "spec: {}"
		moving   = migrate + `{resource: {resource: pods}}`
	)
	for name, tc := range map[string]struct {
		old, text string
		want      []string
	}{
		"error code below zero": {attached, attached + "\nstatus: {attachError: {errorCode: -1}}", []string{`status.attachError.errorCode: Invalid value: -1: must be between 0 and 2147483647, inclusive`}},
		"health is an alpha":    {csiNode + drivers, csiNode + drivers + "\nstatus: {storageHealth: [{name: '-'}]}", nil},
		"health that was there": {csiNode + drivers + "\nstatus: {storageHealth: [{name: a.b}]}", csiNode + drivers + "\nstatus: {storageHealth: [{name: a.b, healthConditions: [{status: X}]}]}", []string{
			`status.storageHealth[0].healthConditions[0].reason: Required value`,
			`status.storageHealth[0].healthConditions[0].status: Unsupported value: "X": supported values: "StorageDegraded", "StorageUnreachable"`}},
		"certificate of nobody": {pending, pending + "\nstatus: {certificateChain: x}", []string{`status: Invalid value: status is immutable unless transitioning to "Issued", "Denied", or "Failed"`}},
		"refusal with a certificate": {pending, pending + "\nstatus: {certificateChain: x, conditions: [{type: Denied, status: 'True', reason: R, lastTransitionTime: 2020-01-01T00:00:00Z}]}", []string{
			`status: Invalid value: non-condition status fields must be empty when denying or failing the PodCertificateRequest`}},
		"condition of no type": {pending, pending + "\nstatus: {conditions: [{type: X, status: 'True', reason: R, lastTransitionTime: 2020-01-01T00:00:00Z}]}", []string{
			`status.conditions.[0].type: Unsupported value: "X": supported values: "Issued", "Denied", "Failed"`}},
		"version that is none": {moving, moving + "\nstatus: {resourceVersion: \"0\"}", []string{`status.resourceVersion: Invalid value: "0": resource version is not well formed: 0`}},
		"conditions at will":   {moving, moving + "\nstatus: {conditions: [{type: Running, status: 'True', reason: R, lastTransitionTime: 2020-01-01T00:00:00Z}, {type: Failed, status: 'True', reason: R, lastTransitionTime: 2020-01-01T00:00:00Z}]}", nil},
	} {
		t.Run(name, func(t *testing.T) {
			_, row := r.read(t, tc.old)
			if diff := cmp.Diff(tc.want, r.through(t, *row.Status, tc.old, tc.text)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What a deletion answers with.
func TestReturnsDeleted(t *testing.T) {
	r := newRules(t)
	for _, text := range []string{storageClass, attributes, attachment + "{}", csiDriver + "{}", csiNode + "{}", class + "{}", claim + "{}", template + "{}", slice + "{}"} {
		if obj, row := r.read(t, text); !row.ReturnsDeleted {
			t.Errorf("the deletion of a %T answers with a status", obj)
		}
	}
}

// Labels are the only metadata that makes another generation of a slice.
func TestEndpointSliceGeneration(t *testing.T) {
	r := newRules(t)
	const text = "addressType: IPv4\nendpoints: [{addresses: [1.2.3.4], deprecatedTopology: {a: b}}]\n"
	for name, tc := range map[string]struct {
		meta string
		want int64
	}{
		"annotated": {"metadata: {generation: 1, annotations: {a: b}}\n", 1},
		"labelled":  {"metadata: {generation: 1, labels: {a: b}}\n", 2},
	} {
		t.Run(name, func(t *testing.T) {
			old, row := r.read(t, endpoints+text+"metadata: {generation: 1}\n")
			obj, _ := r.read(t, endpoints+text+tc.meta)
			row.Strategy.PrepareForUpdate(context.Background(), obj, old)
			if got := obj.(metav1.Object).GetGeneration(); got != tc.want {
				t.Errorf("got generation %d, want %d", got, tc.want)
			}
		})
	}
}
