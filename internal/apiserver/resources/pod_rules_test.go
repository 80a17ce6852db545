package resources_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// TestPodRules holds the finer points of what a pod may say.
func TestPodRules(t *testing.T) {
	r := newRules(t)
	with := func(spec string) string { return pod + `{` + spec + `, containers: [{name: a, image: i}]}` }
	of := func(container string) string { return pod + `{containers: [{name: a, image: i, ` + container + `}]}` }
	const label = `a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')`
	for name, tc := range map[string]struct {
		text string
		want []string
	}{
		"unknown protocol": {of(`ports: [{containerPort: 1, protocol: ICMP}]`), []string{`spec.containers[0].ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"`}},
		"name and name of the host": {with(`hostNetwork: true, setHostnameAsFQDN: true, hostnameOverride: h`), []string{
			`spec.hostnameOverride: Forbidden: may not be specified when hostNetwork is true`,
			`spec.hostnameOverride: Forbidden: may not be specified when setHostnameAsFQDN is true`}},
		"processes of two kinds": {with(`hostPID: true, shareProcessNamespace: true`), []string{`spec.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled`}},
		"no system":              {with(`os: {name: ''}`), []string{`spec.os.name: Required value`}},
		"of Linux on Windows": {with(`os: {name: windows}, resources: {limits: {cpu: 1}}, securityContext: {fsGroup: 1, seLinuxOptions: {level: l}}`), []string{
			`spec.resources: Forbidden: may not be set for a windows pod`,
			`spec.securityContext.fsGroup: Forbidden: cannot be set for a windows pod`,
			`spec.securityContext.seLinuxOptions: Forbidden: cannot be set for a windows pod`}},
		"comparison of taints": {with(`tolerations: [{key: a, operator: Lt, value: '1'}]`), []string{`spec.tolerations[0].operator: Unsupported value: "Lt": supported values: "Equal", "Exists", "Lt", "Gt"`}},
		"device of users of its own": {with(`hostUsers: false, volumes: [{name: v, persistentVolumeClaim: {claimName: c}}], initContainers: [{name: b, image: i, volumeDevices: [{name: v, devicePath: /d}]}]`), []string{
			"spec.initContainers[0].volumeDevices: Forbidden: when `hostUsers` is false"}},
		"variable of a file": {pod + `{volumes: [{name: v, emptyDir: {}}, {name: w, configMap: {name: c}}], containers: [{name: a, image: i, env: [` +
			`{name: X, valueFrom: {fileKeyRef: {volumeName: v, path: /p, key: k}}}, {name: Y, valueFrom: {fileKeyRef: {volumeName: w, path: p, key: k}}}, {name: Z, valueFrom: {fileKeyRef: {volumeName: V, path: ../p, key: k}}}]}]}`, []string{
			`spec.containers[0].env[1].valueFrom.fileKeyRef.volumeName: Invalid value: "w": referenced volume must be of type emptyDir`,
			`spec.containers[0].env[2].valueFrom.fileKeyRef.path: Invalid value: "../p": must not contain '..'`,
			`spec.containers[0].env[2].valueFrom.fileKeyRef.volumeName: Invalid value: "V": ` + label,
			`spec.containers[0].env[2].valueFrom.fileKeyRef.volumeName: Not found: "V"`}},
		"resize of an init container": {with(`initContainers: [{name: b, image: i, resizePolicy: [{resourceName: cpu, restartPolicy: NotRequired}, {resourceName: memory, restartPolicy: RestartContainer}]}]`), []string{
			`spec.initContainers[0].resizePolicy[1].restartPolicy: Invalid value: "RestartContainer": must not be set to 'RestartContainer' for non-sidecar initContainers`}},
		"restart of what never restarts": {pod + `{restartPolicy: Never, containers: [{name: a, image: i, resizePolicy: [{resourceName: cpu, restartPolicy: RestartContainer}]}]}`, []string{
			"spec.containers[0].resizePolicy: Invalid value: \"RestartContainer\": must be 'NotRequired' when pod `restartPolicy` is 'Never'"}},
		"the first volume counts": {with(`volumes: [{name: v, secret: {secretName: s}, nfs: {server: s, path: /p}, projected: {}}]`), []string{
			`spec.volumes[0].nfs: Forbidden: may not specify more than 1 volume type`, `spec.volumes[0].projected: Forbidden: may not specify more than 1 volume type`}},
		"no image in a volume": {with(`volumes: [{name: v, image: {}}]`), []string{`spec.volumes[0].image.reference: Required value`}},
		"certificate for a day": {with(`serviceAccountName: s, volumes: [{name: v, projected: {sources: [{podCertificate: {signerName: kubernetes.io/x, keyType: X, maxExpirationSeconds: 86401, keyPath: k, userAnnotations: {a: b}}}]}}]`), []string{
			`spec.volumes[0].projected.sources[0].podCertificate.keyType: Unsupported value: "X": supported values: "RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"`,
			`spec.volumes[0].projected.sources[0].podCertificate.maxExpirationSeconds: Invalid value: 86401: if provided, maxExpirationSeconds must be <= 86400`,
			`spec.volumes[0].projected.sources[0].podCertificate.userAnnotations: Invalid value: "a": must be a domain-prefixed key (such as "acme.io/foo")`}},
		"claims of a pod as a whole": {with(`resources: {claims: [{name: c}]}, resourceClaims: [{name: c, resourceClaimName: n}]`), []string{`spec.resources.claims: Forbidden: claims may not be set for Resources at pod-level`}},
		"members of no group":        {with(`schedulingGroup: {}`), []string{"spec.schedulingGroup.podGroupName: Invalid value: null: must specify one of: `podGroupName`"}},
		"what is not switched on":    {pod + `{evictionResponders: [{name: A_}], volumes: [{name: v, emptyDir: {mode: -1}}], containers: [{name: a, image: i, lifecycle: {stopSignal: SIGX}, volumeMounts: [{name: v, mountPath: /v, bindMountOptions: [x]}]}]}`, nil},

		"template of a set": {"apiVersion: apps/v1\nkind: StatefulSet\nspec: {selector: {matchLabels: {a: b}}, serviceName: a.b, template: {metadata: {labels: {a: b}}, spec: {hostname: A_, containers: [{name: a, volumeMounts: [{name: data, mountPath: /d}]}]}}, volumeClaimTemplates: [{metadata: {name: data}, spec: {}}]}", []string{
			`spec.serviceName: Invalid value: "a.b": must not contain dots`,
			`spec.template.spec.containers[0].image: Required value`,
			`spec.volumeClaimTemplates[0].spec.accessModes: Required value: at least 1 access mode is required`,
			`spec.volumeClaimTemplates[0].spec.resources[storage]: Required value`}},
		"rules of a job": {jobText + `{completionMode: Indexed, completions: 5, template: {spec: {restartPolicy: Never, containers: [{name: a, image: i}]}}, podFailurePolicy: {rules: [{onExitCodes: {values: [1]}}]}, successPolicy: {rules: [{succeededIndexes: 'x', succeededCount: 9}]}}`, []string{
			`spec.podFailurePolicy.rules[0].action: Required value: valid values: ["Count" "FailIndex" "FailJob" "Ignore"]`,
			`spec.podFailurePolicy.rules[0].onExitCodes.operator: Required value: valid values: ["In" "NotIn"]`,
			`spec.successPolicy.rules[0].succeededCount: Invalid value: 9: must be less than or equal to 0 (the number of indexes in the specified succeededIndexes field)`,
			`spec.successPolicy.rules[0].succeededCount: Invalid value: 9: must be less than or equal to 5 (the number of specified completions)`,
			`spec.successPolicy.rules[0].succeededIndexes: Invalid value: "x": error parsing succeededIndexes: cannot convert string to integer for index: "x"`}},
		"cron job that looks at conditions": {"apiVersion: batch/v1\nkind: CronJob\nspec: {schedule: '* * * * *', jobTemplate: {spec: {podFailurePolicy: {rules: [{action: Ignore, onPodConditions: [{type: Ready}]}]}, template: {spec: {restartPolicy: Never, containers: [{name: a, image: i}]}}}}}", nil},
		"service named by a number":         {"apiVersion: v1\nkind: Service\nmetadata: {name: 1a}\nspec: {ports: [{port: 80}]}", nil},
		"volume of two kinds": {"apiVersion: v1\nkind: PersistentVolume\nspec: {accessModes: [ReadWriteOnce], capacity: {storage: -1}, csi: {driver: '', volumeHandle: h, nodePublishSecretRef: {name: A_, namespace: ns}}, nfs: {server: s, path: /p}}", []string{
			`spec.capacity[storage]: Invalid value: "-1": must be greater than zero`,
			`spec.capacity[storage]: Invalid value: -1: must be a valid resource quantity`,
			`spec.csi: Forbidden: may not specify more than 1 volume type`}},
		"volume of a driver without a name": {"apiVersion: v1\nkind: PersistentVolume\nspec: {accessModes: [ReadWriteOnce], capacity: {storage: 1}, csi: {volumeHandle: h, nodePublishSecretRef: {name: a, namespace: n.n}}}", []string{
			`spec.csi.driver: Required value`, `spec.csi.nodePublishSecretRef.namespace: Invalid value: "n.n": must not contain dots`}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, r.create(t, tc.text)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestPodAddressRules: what the node says of a pod agrees with itself.
func TestPodAddressRules(t *testing.T) {
	r := newRules(t)
	const spec = pod + `{nodeName: n, containers: [{name: a, image: i}], resourceClaims: [{name: c, resourceClaimTemplateName: n}]}`
	for name, tc := range map[string]struct {
		status string
		want   []string
	}{
		"list without the address": {`{podIPs: [{ip: ''}]}`, []string{
			`status.podIPs: Invalid value: [{"ip":""}]: podIP and podIPs must either both be set or both be unset`,
			`status.podIPs[0]: Invalid value: "": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)`}},
		"condition of no name": {`{conditions: [{type: a b, observedGeneration: -1}]}`, []string{
			`status.conditions[0].Type: Invalid value: "a b": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')`,
			`status.conditions[0].observedGeneration: Invalid value: -1: must be a non-negative integer`}},
		"nominated though bound": {`{nominatedNodeName: m}`, []string{`status.nominatedNodeName: Forbidden: may not be set on pods that are already bound to a node`}},
		"claim of no name": {`{resourceClaimStatuses: [{name: c, resourceClaimName: ''}]}`, []string{
			`status.resourceClaimStatuses[0].resourceClaimName: Invalid value: "": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`}},
		"claim of another's need": {`{extendedResourceClaimStatus: {resourceClaimName: '', requestMappings: [{containerName: a, resourceName: x, requestName: r}, {containerName: b, resourceName: x, requestName: r}]}}`, []string{
			`status.extendedResourceClaimStatus.requestMappings[0].resourceName: Invalid value: "x": must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests`,
			`status.extendedResourceClaimStatus.requestMappings[1].containerName: Invalid value: "b": must match the name of an entry in spec.initContainers.name or spec.containers.name`,
			`status.extendedResourceClaimStatus.resourceClaimName: Required value`}},
		"what is not switched on": {`{volumeHealth: [{name: v}], nodeAllocatableResourceClaimStatuses: [{resourceClaimName: x}]}`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, r.status(t, spec, spec+"\nstatus: "+tc.status)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestWorkloadUpdates: what of a workload may change later.
func TestWorkloadUpdates(t *testing.T) {
	r := newRules(t)
	const (
		set       = "apiVersion: apps/v1\nkind: StatefulSet\nspec: {selector: {matchLabels: {a: b}}, template: {" + labels + "}, "
		suspended = jobText + `{suspend: true, manualSelector: true, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {restartPolicy: Never, containers: [{name: a, image: `
	)
	for name, tc := range map[string]struct {
		old, text string
		want      []string
	}{
		"service of a set":              {set + `serviceName: a}`, set + `serviceName: b}`, []string{`spec.serviceName: Invalid value: "b": field is immutable`}},
		"resources of a suspended job":  {suspended + `i}]}}}`, suspended + `i, resources: {requests: {cpu: 1}}}]}}}`, nil},
		"image of a suspended job":      {suspended + `i}]}}}`, suspended + `j}]}}}`, []string{`spec.template.spec: Invalid value: `}},
		"families of a service":         {svc + `{ports: [{port: 80}], ipFamilies: [IPv4]}`, svc + `{ports: [{port: 80}], ipFamilies: [IPv6]}`, []string{`spec.ipFamilies[0]: Invalid value: ["IPv6"]: may not change once set`}},
		"address that was taken before": {svc + `{ports: [{port: 80}], externalIPs: [010.0.0.1]}`, svc + `{ports: [{port: 80}], externalIPs: [010.0.0.1]}`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := r.update(t, tc.old, tc.text)
			for i := range got {
				if i < len(tc.want) && tc.want[i] != got[i] && len(tc.want[i]) < len(got[i]) {
					got[i] = got[i][:len(tc.want[i])] // long specs are not spelt out
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestTemplateNumber: the server counts the templates of a daemon set.
func TestTemplateNumber(t *testing.T) {
	r := newRules(t)
	const text = "apiVersion: apps/v1\nkind: DaemonSet\nspec: {selector: {matchLabels: {a: b}}, template: {" + labels + "}}"
	obj, row := r.read(t, text)
	old := obj.(*appsv1.DaemonSet)
	row.Strategy.PrepareForCreate(context.Background(), old)
	for _, tc := range []struct {
		name   string
		change func(*appsv1.DaemonSet)
		want   string
	}{
		{"as it was", func(*appsv1.DaemonSet) {}, "1"},
		{"another number", func(d *appsv1.DaemonSet) { d.Annotations = map[string]string{appsv1.DeprecatedTemplateGeneration: "7"} }, "1"},
		{"another template", func(d *appsv1.DaemonSet) { d.Annotations, d.Spec.Template.Spec.HostIPC = nil, true }, "2"},
	} {
		d := old.DeepCopy()
		tc.change(d)
		row.Strategy.PrepareForUpdate(context.Background(), d, old)
		if got := d.Annotations[appsv1.DeprecatedTemplateGeneration]; got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.name, got, tc.want)
		}
	}
}

// TestPodLevelResources: what a pod gets as a whole is completed when it is
// written, and a client that does not know of it does not take it away.
func TestPodLevelResources(t *testing.T) {
	r := newRules(t)
	obj, row := r.read(t, pod+`{resources: {requests: {cpu: 3}}, containers: [{name: a, image: i, resources: {limits: {cpu: 1, memory: 1Gi}}}]}`)
	p := obj.(*corev1.Pod)
	if len(p.Spec.Resources.Limits) != 0 || len(p.Spec.Resources.Requests) != 1 {
		t.Errorf("completed as it is read: %v", p.Spec.Resources)
	}
	row.Strategy.PrepareForCreate(context.Background(), p)
	got := map[string]string{}
	for name, q := range p.Spec.Resources.Requests {
		got["requests "+string(name)] = q.String()
	}
	for name, q := range p.Spec.Resources.Limits {
		got["limits "+string(name)] = q.String()
	}
	if diff := cmp.Diff(map[string]string{"requests cpu": "3", "requests memory": "1Gi", "limits cpu": "3", "limits memory": "1Gi"}, got); diff != "" {
		t.Error(diff)
	}
	now := p.DeepCopy()
	now.Spec.Resources = nil
	row.Strategy.PrepareForUpdate(context.Background(), now, p)
	if diff := cmp.Diff(p.Spec.Resources, now.Spec.Resources); diff != "" {
		t.Error(diff)
	}
}
