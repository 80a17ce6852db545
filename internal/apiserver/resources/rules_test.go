package resources_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"

	"github.com/sinawi/sinawi/internal/apiserver/resources"
)

// rules runs objects written as YAML through defaults and the rules of their row.
type rules struct {
	t      *testing.T
	scheme *runtime.Scheme
	rows   map[schema.GroupVersionKind]resources.Resource
}

func newRules(t *testing.T) rules {
	r := rules{t: t, scheme: newScheme(t), rows: map[schema.GroupVersionKind]resources.Resource{}}
	for _, row := range resources.Table() {
		r.rows[row.GroupVersion.WithKind(row.Kind)] = row
	}
	return r
}

// read makes the object of a YAML text; what every object needs is added.
func (r rules) read(t *testing.T, text string) (runtime.Object, resources.Resource) {
	t.Helper()
	var kind metav1.TypeMeta
	if err := yaml.Unmarshal([]byte(text), &kind); err != nil {
		t.Fatal(err)
	}
	gvk := schema.FromAPIVersionAndKind(kind.APIVersion, kind.Kind)
	row, ok := r.rows[gvk]
	if !ok {
		t.Fatalf("no row for %s", gvk)
	}
	obj := row.New()
	if err := yaml.UnmarshalStrict([]byte(text), obj); err != nil {
		t.Fatal(err)
	}
	r.scheme.Default(obj)
	m := obj.(metav1.Object)
	if m.GetName() == "" {
		m.SetName("x")
	}
	if m.GetNamespace() == "" && !row.ClusterScoped {
		m.SetNamespace("default")
	}
	m.SetUID("uid")
	return obj, row
}

func texts(errs field.ErrorList) []string {
	var out []string
	for _, e := range errs {
		// The comparison of two specs is for people and changes with its library.
		text, _, _ := strings.Cut(e.Error(), "\n")
		out = append(out, text)
	}
	slices.Sort(out)
	return out
}

func (r rules) create(t *testing.T, text string) []string {
	t.Helper()
	obj, row := r.read(t, text)
	if row.Strategy.PrepareForCreate != nil {
		row.Strategy.PrepareForCreate(context.Background(), obj)
	}
	return texts(row.Strategy.Validate(context.Background(), obj))
}

func (r rules) update(t *testing.T, old, text string) []string {
	t.Helper()
	before, row := r.read(t, old)
	if row.Strategy.PrepareForCreate != nil {
		row.Strategy.PrepareForCreate(context.Background(), before)
	}
	obj, _ := r.read(t, text)
	before.(metav1.Object).SetResourceVersion("1")
	obj.(metav1.Object).SetResourceVersion("1")
	if row.Strategy.PrepareForUpdate != nil {
		row.Strategy.PrepareForUpdate(context.Background(), obj, before)
	}
	return texts(row.Strategy.ValidateUpdate(context.Background(), obj, before))
}

const (
	pod      = "apiVersion: v1\nkind: Pod\nspec: "
	deploy   = "apiVersion: apps/v1\nkind: Deployment\nspec: "
	svc      = "apiVersion: v1\nkind: Service\nspec: "
	jobText  = "apiVersion: batch/v1\nkind: Job\nspec: "
	revision = "apiVersion: apps/v1\nkind: ControllerRevision\nrevision: 1\n"
	labels   = "metadata: {labels: {a: b}}, spec: {containers: [{name: a, image: i}]}"
)

func TestCreateRules(t *testing.T) {
	r := newRules(t)
	for name, tc := range map[string]struct {
		text string
		want []string
	}{
		"good pod":            {pod + `{containers: [{name: a, image: i}]}`, nil},
		"pod without content": {pod + `{}`, []string{`spec.containers: Required value`}},
		"two containers of one name": {pod + `{containers: [{name: a, image: i}, {name: a, image: i}]}`,
			[]string{`spec.containers[1].name: Duplicate value: "a"`}},
		"container that is no label": {pod + `{containers: [{name: A_, image: i}]}`, []string{
			`spec.containers[0].name: Invalid value: "A_": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')`}},
		"no image":               {pod + `{containers: [{name: a}]}`, []string{`spec.containers[0].image: Required value`}},
		"image with spaces":      {pod + `{containers: [{name: a, image: " i"}]}`, []string{`spec.containers[0].image: Invalid value: " i": must not have leading or trailing whitespace`}},
		"unknown restart policy": {pod + `{restartPolicy: Sometimes, containers: [{name: a, image: i}]}`, []string{`spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"`}},
		"port out of range":      {pod + `{containers: [{name: a, image: i, ports: [{containerPort: 70000}]}]}`, []string{`spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive`}},
		"host port twice": {pod + `{containers: [{name: a, image: i, ports: [{containerPort: 1, hostPort: 80}]}, {name: b, image: i, ports: [{containerPort: 2, hostPort: 80}]}]}`,
			[]string{`spec.containers[1].ports[0].hostPort: Duplicate value: "TCP//80"`}},
		"request over limit": {pod + `{containers: [{name: a, image: i, resources: {requests: {cpu: 2}, limits: {cpu: 1}}}]}`,
			[]string{`spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1`}},
		"negative request": {pod + `{containers: [{name: a, image: i, resources: {requests: {cpu: -1}}}]}`,
			[]string{`spec.containers[0].resources.requests[cpu]: Invalid value: "-1": must be greater than or equal to 0`}},
		"unknown resource": {pod + `{containers: [{name: a, image: i, resources: {requests: {gpu: 1}}}]}`, []string{
			`spec.containers[0].resources.requests[gpu]: Invalid value: "gpu": must be a standard resource for containers`,
			`spec.containers[0].resources.requests[gpu]: Invalid value: "gpu": must be a standard resource type or fully qualified`}},
		"extended resource without a limit": {pod + `{containers: [{name: a, image: i, resources: {requests: {example.com/gpu: 1}}}]}`,
			[]string{`spec.containers[0].resources.limits: Required value: Limit must be set for non overcommitable resources`}},
		"mount of nothing": {pod + `{containers: [{name: a, image: i, volumeMounts: [{name: v, mountPath: /v}]}]}`, []string{`spec.containers[0].volumeMounts[0].name: Not found: "v"`}},
		"mounts on one path": {pod + `{volumes: [{name: v, emptyDir: {}}], containers: [{name: a, image: i, volumeMounts: [{name: v, mountPath: /v}, {name: v, mountPath: /v}]}]}`,
			[]string{`spec.containers[0].volumeMounts[1].mountPath: Invalid value: "/v": must be unique`}},
		"volume with two sources": {pod + `{volumes: [{name: v, emptyDir: {}, hostPath: {path: /x}}], containers: [{name: a, image: i}]}`,
			[]string{`spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type`}},
		"host path upwards":         {pod + `{volumes: [{name: v, hostPath: {path: /x/../y}}], containers: [{name: a, image: i}]}`, []string{`spec.volumes[0].hostPath.path: Invalid value: "/x/../y": must not contain '..'`}},
		"config map without a name": {pod + `{volumes: [{name: v, configMap: {}}], containers: [{name: a, image: i}]}`, []string{`spec.volumes[0].configMap.name: Required value`}},
		"two handlers": {pod + `{containers: [{name: a, image: i, livenessProbe: {httpGet: {port: 80}, tcpSocket: {port: 80}}}]}`,
			[]string{`spec.containers[0].livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type`}},
		"no handler": {pod + `{containers: [{name: a, image: i, readinessProbe: {}}]}`, []string{`spec.containers[0].readinessProbe: Required value: must specify a handler type`}},
		"liveness after two successes": {pod + `{containers: [{name: a, image: i, livenessProbe: {successThreshold: 2, tcpSocket: {port: 80}}}]}`,
			[]string{`spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1`}},
		"probe of an init container": {pod + `{initContainers: [{name: b, image: i, startupProbe: {tcpSocket: {port: 80}}}], containers: [{name: a, image: i}]}`,
			[]string{`spec.initContainers[0].startupProbe: Forbidden: may not be set for init containers without restartPolicy=Always`}},
		"sidecar with a probe": {pod + `{initContainers: [{name: b, image: i, restartPolicy: Always, startupProbe: {tcpSocket: {port: 80}}}], containers: [{name: a, image: i}]}`, nil},
		"variable from nowhere": {pod + `{containers: [{name: a, image: i, env: [{name: X, valueFrom: {}}]}]}`,
			[]string{"spec.containers[0].env[0].valueFrom: Invalid value: \"\": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"}},
		"variable from an unknown field": {pod + `{containers: [{name: a, image: i, env: [{name: X, valueFrom: {fieldRef: {fieldPath: spec.foo}}}]}]}`,
			[]string{`spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: "spec.foo": error converting fieldPath: field label not supported: spec.foo`}},
		"toleration without a key": {pod + `{tolerations: [{operator: Equal}], containers: [{name: a, image: i}]}`,
			[]string{"spec.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when `key` is empty, which means \"match all values and all keys\""}},
		"affinity without a topology": {pod + `{affinity: {podAntiAffinity: {requiredDuringSchedulingIgnoredDuringExecution: [{labelSelector: {}}]}}, containers: [{name: a, image: i}]}`, []string{
			`spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Invalid value: "": name part must be non-empty`,
			`spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Invalid value: "": name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')`,
			`spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Required value: can not be empty`}},
		"skew of zero": {pod + `{topologySpreadConstraints: [{maxSkew: 0, topologyKey: z, whenUnsatisfiable: DoNotSchedule}], containers: [{name: a, image: i}]}`,
			[]string{`spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero`}},
		"privileged that may not escalate": {pod + `{hostNetwork: true, containers: [{name: a, image: i, ports: [{containerPort: 80, hostPort: 81}], securityContext: {procMount: Unmasked}}]}`, []string{
			"spec.containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true",
			"spec.containers[0].securityContext.procMount: Invalid value: \"Unmasked\": `hostUsers` must be false to use `Unmasked`"}},
		"debugging container at once": {pod + `{ephemeralContainers: [{name: d, image: i}], containers: [{name: a, image: i}]}`, []string{`spec.ephemeralContainers: Forbidden: cannot be set on create`}},
		"bound and gated": {pod + `{nodeName: n, schedulingGates: [{name: example.com/g}], containers: [{name: a, image: i}]}`,
			[]string{`spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared`}},
		"dns of its own without servers": {pod + `{dnsPolicy: None, containers: [{name: a, image: i}]}`, []string{"spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"}},

		"good deployment": {deploy + `{selector: {matchLabels: {a: b}}, template: {` + labels + `}}`, nil},
		"deployment without a selector": {deploy + `{template: {` + labels + `}}`, []string{
			`spec.selector: Required value`,
			"spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`"}},
		"selector that misses the template": {deploy + `{selector: {matchLabels: {a: c}}, template: {` + labels + `}}`,
			[]string{"spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`"}},
		"negative replicas": {deploy + `{replicas: -1, selector: {matchLabels: {a: b}}, template: {` + labels + `}}`, []string{`spec.replicas: Invalid value: -1: must be greater than or equal to 0`}},
		"rolling nothing": {deploy + `{strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 0}}, selector: {matchLabels: {a: b}}, template: {` + labels + `}}`,
			[]string{"spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"}},
		"bad template": {deploy + `{selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {restartPolicy: Never, containers: [{name: a}]}}}`, []string{
			`spec.template.spec.containers[0].image: Required value`,
			`spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"`}},

		"good job": {jobText + `{template: {spec: {restartPolicy: Never, containers: [{name: a, image: i}]}}}`, nil},
		"job that restarts for ever": {jobText + `{template: {spec: {containers: [{name: a, image: i}]}}}`,
			[]string{`spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"`}},
		"indexed without a count": {jobText + `{completionMode: Indexed, parallelism: 2, template: {spec: {restartPolicy: Never, containers: [{name: a, image: i}]}}}`,
			[]string{`spec.completions: Required value: when completion mode is Indexed`}},
		"cron job without sense": {"apiVersion: batch/v1\nkind: CronJob\nspec: {schedule: '61 * * * *', timeZone: Nowhere/Land, jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: a, image: i}]}}}}}", []string{
			`spec.schedule: Invalid value: "61 * * * *": end of range (61) above maximum (59): 61`,
			`spec.timeZone: Invalid value: "Nowhere/Land": unknown time zone Nowhere/Land`}},

		"good service":           {svc + `{ports: [{port: 80}], clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1]}`, nil},
		"service without ports":  {svc + `{}`, []string{`spec.ports: Required value`}},
		"ports without names":    {svc + `{ports: [{port: 80}, {port: 81, name: b}]}`, []string{`spec.ports[0].name: Required value`}},
		"external name missing":  {svc + `{type: ExternalName}`, []string{`spec.externalName: Required value`}},
		"node port without type": {svc + `{ports: [{port: 80, nodePort: 30000}]}`, []string{"spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"}},

		"secret of a type": {"apiVersion: v1\nkind: Secret\ntype: kubernetes.io/tls\ndata: {tls.crt: ''}", []string{`data[tls.key]: Required value`}},
		"key that is none": {"apiVersion: v1\nkind: ConfigMap\ndata: {'a b': c}", []string{
			`data[a b]: Invalid value: "a b": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')`}},
		"role that allows nothing": {"apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nrules: [{}]", []string{
			`rules[0].apiGroups: Required value: resource rules must supply at least one api group`,
			`rules[0].resources: Required value: resource rules must supply at least one resource`,
			`rules[0].verbs: Required value`}},
		"binding to no role": {"apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nroleRef: {kind: Cup, name: r}\nsubjects: [{kind: ServiceAccount, name: s}]", []string{
			`roleRef.kind: Unsupported value: "Cup": supported values: "Role", "ClusterRole"`}},
		"budget both ways": {"apiVersion: policy/v1\nkind: PodDisruptionBudget\nspec: {minAvailable: 1, maxUnavailable: 101%}", []string{
			`spec.maxUnavailable: Invalid value: "101%": must not be greater than 100%`,
			`spec: Invalid value: {"minAvailable":1,"maxUnavailable":"101%"}: minAvailable and maxUnavailable cannot be both set`}},
		"autoscaler upside down": {"apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nspec: {minReplicas: 3, maxReplicas: 2, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: d}}",
			[]string{"spec.maxReplicas: Invalid value: 2: must be greater than or equal to `minReplicas`"}},
		"ingress to nowhere": {"apiVersion: networking.k8s.io/v1\nkind: Ingress\nspec: {rules: [{host: 1.2.3.4, http: {paths: [{path: x, pathType: Prefix, backend: {}}]}}]}", []string{
			`spec.rules[0].host: Invalid value: "1.2.3.4": must be a DNS name, not an IP address`,
			`spec.rules[0].http.paths[0].backend: Invalid value: "": resource or service backend is required`,
			`spec.rules[0].http.paths[0].path: Invalid value: "x": must be an absolute path`}},
		"claim of nothing": {"apiVersion: v1\nkind: PersistentVolumeClaim\nspec: {}", []string{
			`spec.accessModes: Required value: at least 1 access mode is required`, `spec.resources[storage]: Required value`}},
		"quota of what nobody counts": {"apiVersion: v1\nkind: ResourceQuota\nspec: {hard: {wishes: 3}}", []string{
			`spec.hard[wishes]: Invalid value: "wishes": must be a standard resource for quota`,
			`spec.hard[wishes]: Invalid value: "wishes": must be a standard resource type or fully qualified`}},
		"limits upside down": {"apiVersion: v1\nkind: LimitRange\nspec: {limits: [{type: Pod, min: {cpu: 2}, max: {cpu: 1}}]}",
			[]string{`spec.limits[0].min[cpu]: Invalid value: "2": min value 2 is greater than max value 1`}},
		"slice with a local address": {"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\nendpoints: [{addresses: [127.0.0.1]}, {addresses: [fd00::1]}]", []string{
			`endpoints[0].addresses[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)`,
			`endpoints[1].addresses: Invalid value: "fd00::1": must be an IPv4 address`}},
		"namespace that is no label": {"apiVersion: v1\nkind: Namespace\nmetadata: {name: a.b}", []string{
			`metadata.name: Invalid value: "a.b": must not contain dots`}},
		"stateful set named like a domain": {"apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: a.b}\nspec: {selector: {matchLabels: {a: b}}, template: {" + labels + "}}", []string{
			`metadata.name: Invalid value: "a.b": must not contain dots`}},
		"autoscaler of what has no group": {"apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nspec: {maxReplicas: 2, scaleTargetRef: {kind: Deployment, name: d}}",
			[]string{`spec.scaleTargetRef.apiVersion: Invalid value: "": apiVersion must specify API group`}},
		"autoscaler of replication controllers": {"apiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nspec: {maxReplicas: 2, scaleTargetRef: {apiVersion: v1, kind: ReplicationController, name: d}}", nil},
		"ingress to a port of two kinds": {"apiVersion: networking.k8s.io/v1\nkind: Ingress\nspec: {defaultBackend: {service: {name: S, port: {name: a, number: 1}}}}", []string{
			`spec.defaultBackend.service.name: Invalid value: "S": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')`,
			`spec.defaultBackend: Invalid value: "": cannot set both port name & port number`}},
		"ingress to an object of any kind": {"apiVersion: networking.k8s.io/v1\nkind: Ingress\nspec: {defaultBackend: {resource: {apiGroup: A_, kind: a/b, name: ''}}}", []string{
			`spec.defaultBackend.resource.apiGroup: Invalid value: "A_": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')`,
			`spec.defaultBackend.resource.kind: Invalid value: "a/b": may not contain '/'`,
			`spec.defaultBackend.resource.name: Required value`}},
		"policy of ports that end and do not begin": {"apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nspec: {podSelector: {}, ingress: [{ports: [{endPort: 80}, {port: 80, endPort: 79}, {protocol: ICMP}]}]}", []string{
			"spec.ingress[0].ports[0].endPort: Invalid value: 80: may not be specified when `port` is not specified",
			"spec.ingress[0].ports[1].endPort: Invalid value: 79: must be greater than or equal to `port`",
			`spec.ingress[0].ports[2].protocol: Unsupported value: "ICMP": supported values: "TCP", "UDP", "SCTP"`}},
		"class of parameters without scope": {"apiVersion: networking.k8s.io/v1\nkind: IngressClass\nspec: {controller: example.com/c, parameters: {kind: k, name: n, scope: Namespace}}",
			[]string{"spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"}},
		"service of two minds": {"apiVersion: v1\nkind: Service\nmetadata: {annotations: {service.kubernetes.io/topology-aware-hints: auto, service.kubernetes.io/topology-mode: disabled}}\nspec: {ports: [{port: 80}]}",
			[]string{`metadata.annotations[service.kubernetes.io/topology-mode]: Invalid value: "disabled": must match annotations[service.kubernetes.io/topology-aware-hints] when both are specified`}},
		"profile that is none": {"apiVersion: v1\nkind: Pod\nmetadata: {annotations: {container.apparmor.security.beta.kubernetes.io/a: x, container.apparmor.security.beta.kubernetes.io/b: unconfined, seccomp.security.alpha.kubernetes.io/pod: q}}\nspec: {containers: [{name: a, image: i}]}", []string{
			`metadata.annotations.seccomp.security.alpha.kubernetes.io/pod: Invalid value: "q": must be a valid seccomp profile`,
			`metadata.annotations[container.apparmor.security.beta.kubernetes.io/a]: Invalid value: "x": invalid AppArmor profile name: "x"`,
			`metadata.annotations[container.apparmor.security.beta.kubernetes.io/b]: Invalid value: "b": container not found`}},
		"profiles that differ": {"apiVersion: v1\nkind: Pod\nmetadata: {annotations: {container.apparmor.security.beta.kubernetes.io/a: unconfined, seccomp.security.alpha.kubernetes.io/pod: localhost/q}}\nspec: {securityContext: {seccompProfile: {type: Localhost, localhostProfile: p}}, containers: [{name: a, image: i, securityContext: {appArmorProfile: {type: RuntimeDefault}}}]}", []string{
			`spec.containers[0].securityContext.appArmorProfile.type: Forbidden: apparmor type in annotation and field must match`,
			`spec.securityContext.seccompProfile.localhostProfile: Forbidden: seccomp profile in annotation and field must match`}},
		"budget by any name": {"apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: A_b}\nspec: {minAvailable: 1}", nil},
		"endless history":    {"apiVersion: apps/v1\nkind: StatefulSet\nspec: {revisionHistoryLimit: -1, selector: {matchLabels: {a: b}}, template: {" + labels + "}}", nil},
		"failed indexes without indexes": {jobText + `{maxFailedIndexes: 1, backoffLimitPerIndex: 1, template: {spec: {restartPolicy: Never, containers: [{name: a, image: i}]}}}`, []string{
			`spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode`,
			`spec.maxFailedIndexes: Invalid value: 1: requires indexed completion mode`}},
		"too many to keep account of": {jobText + `{completionMode: Indexed, completions: 100001, parallelism: 10001, backoffLimitPerIndex: 1, template: {spec: {restartPolicy: Never, containers: [{name: a, image: i}]}}}`, []string{
			`spec.maxFailedIndexes: Required value: must be specified when completions is above 100000`,
			`spec.parallelism: Invalid value: 10001: must be less than or equal to 10000 when completions are above 100000 and used with backoff limit per index`}},
		"cron job with a selector": {"apiVersion: batch/v1\nkind: CronJob\nspec: {schedule: '* * * * *', timeZone: ../etc, jobTemplate: {spec: {selector: {matchLabels: {a: b}}, template: {spec: {restartPolicy: Never, containers: [{name: a, image: i}]}}}}}", []string{
			"spec.jobTemplate.spec.selector: Invalid value: {\"matchLabels\":{\"a\":\"b\"}}: `selector` will be auto-generated",
			`spec.timeZone: Invalid value: "../etc": unknown time zone ../etc`}},
		"revision of nothing": {revision + "data: null", []string{`data: Required value: data is mandatory`}},
		"revision of a list":  {revision + "data: [a]", []string{`data: Required value: data must be a valid JSON object`}},
		"daemon set without a selector": {"apiVersion: apps/v1\nkind: DaemonSet\nspec: {template: {" + labels + "}}", []string{
			"spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`"}},
		"replica set of everything": {"apiVersion: apps/v1\nkind: ReplicaSet\nspec: {selector: {}, template: {" + labels + "}}", []string{
			`spec.selector: Invalid value: {}: empty selector is invalid for deployment`}},
		"manual job without a selector": {jobText + `{manualSelector: true, template: {` + strings.Replace(labels, "{containers", "{restartPolicy: Never, containers", 1) + `}}`, []string{
			`spec.selector: Required value`,
			"spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`"}},
		"webhook by any authority": {"apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nwebhooks: [{name: a.b.c, admissionReviewVersions: [v1], sideEffects: None, clientConfig: {caBundle: eA==, service: {name: s, namespace: t}}}]", nil},
		"class of the system": {"apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nvalue: 2000000000", []string{
			`value: Forbidden: maximum allowed value of a user defined priority is 1000000000`}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, r.create(t, tc.text)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestUpdateRules(t *testing.T) {
	r := newRules(t)
	const bound = "apiVersion: v1\nkind: PersistentVolumeClaim\nspec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}, storageClassName: a, volumeName: v}\n"
	for name, tc := range map[string]struct {
		old, text string
		want      []string
	}{
		"image of a pod":         {pod + `{containers: [{name: a, image: i}]}`, pod + `{containers: [{name: a, image: j}]}`, nil},
		"container of a pod":     {pod + `{containers: [{name: a, image: i}]}`, pod + `{containers: [{name: a, image: i}, {name: b, image: i}]}`, []string{`spec.containers: Forbidden: pod updates may not add or remove containers`}},
		"command of a pod":       {pod + `{containers: [{name: a, image: i}]}`, pod + `{containers: [{name: a, image: i, command: [x]}]}`, []string{"spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"}},
		"one more toleration":    {pod + `{containers: [{name: a, image: i}]}`, pod + `{tolerations: [{key: a, operator: Exists}], containers: [{name: a, image: i}]}`, nil},
		"one toleration less":    {pod + `{tolerations: [{key: a, operator: Exists}], containers: [{name: a, image: i}]}`, pod + `{containers: [{name: a, image: i}]}`, []string{`spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds`}},
		"gate goes":              {pod + `{schedulingGates: [{name: g}], containers: [{name: a, image: i}]}`, pod + `{nodeSelector: {a: b}, containers: [{name: a, image: i}]}`, nil},
		"gate comes":             {pod + `{containers: [{name: a, image: i}]}`, pod + `{schedulingGates: [{name: g}], containers: [{name: a, image: i}]}`, []string{`spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'g'`}},
		"selector of deployment": {deploy + `{selector: {matchLabels: {a: b}}, template: {` + labels + `}}`, deploy + `{selector: {matchExpressions: [{key: a, operator: Exists}]}, template: {` + labels + `}}`, []string{`spec.selector: Invalid value: {"matchExpressions":[{"key":"a","operator":"Exists"}]}: field is immutable`}},
		"template of a job": {jobText + `{template: {metadata: {labels: {a: b}}, spec: {restartPolicy: Never, containers: [{name: a, image: i}]}}, manualSelector: true, selector: {matchLabels: {a: b}}}`,
			jobText + `{parallelism: 2, completions: 1, template: {metadata: {labels: {a: b}}, spec: {restartPolicy: Never, containers: [{name: a, image: i}]}}, manualSelector: true, selector: {matchLabels: {a: b}}}`, nil},
		"affinity of a suspended job": {jobText + `{suspend: true, manualSelector: true, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {restartPolicy: Never, containers: [{name: a, image: i}]}}}`,
			jobText + `{suspend: true, manualSelector: true, selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {nodeSelector: {a: b}, affinity: {nodeAffinity: {}}, restartPolicy: Never, containers: [{name: a, image: i}]}}}`, nil},
		"frozen config map":    {"apiVersion: v1\nkind: ConfigMap\nimmutable: true\ndata: {a: b}", "apiVersion: v1\nkind: ConfigMap\nimmutable: true\ndata: {a: c}", []string{"data: Forbidden: field is immutable when `immutable` is set"}},
		"type of a secret":     {"apiVersion: v1\nkind: Secret", "apiVersion: v1\nkind: Secret\ntype: x", []string{`type: Invalid value: "x": field is immutable`}},
		"role of a binding":    {"apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nroleRef: {kind: Role, name: a}", "apiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nroleRef: {kind: Role, name: b}", []string{`roleRef: Invalid value: {"apiGroup":"rbac.authorization.k8s.io","kind":"Role","name":"b"}: field is immutable`}},
		"address of a service": {svc + `{ports: [{port: 80}], clusterIP: 10.0.0.1, clusterIPs: [10.0.0.1]}`, svc + `{ports: [{port: 80}], clusterIP: 10.0.0.2, clusterIPs: [10.0.0.2]}`, []string{`spec.clusterIPs[0]: Invalid value: ["10.0.0.2"]: may not change once set`}},
		"claim to another class": {bound, strings.Replace(bound, "storageClassName: a", "storageClassName: b", 1),
			[]string{`spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims`}},
		"pod network of a node": {"apiVersion: v1\nkind: Node\nspec: {podCIDR: 10.0.0.0/24}", "apiVersion: v1\nkind: Node\nspec: {podCIDR: 10.0.1.0/24}", []string{`spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid`}},
		"revision without data": {revision + "data: null", revision + "data: null", nil},
		"value of a priority":   {"apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nvalue: 1", "apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nvalue: 2", []string{`value: Forbidden: may not be changed in an update.`}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, r.update(t, tc.old, tc.text)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
