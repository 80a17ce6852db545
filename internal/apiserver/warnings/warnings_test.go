package warnings

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"
)

// from reads an object from YAML.
func from[T any](t *testing.T, text string) *T {
	t.Helper()
	obj := new(T)
	if err := yaml.UnmarshalStrict([]byte(text), obj); err != nil {
		t.Fatal(err)
	}
	return obj
}

func TestResourceQuota(t *testing.T) {
	for text, want := range map[string][]string{
		`{spec: {hard: {cpu: 1, limits.cpu: 1, requests.memory: 1Gi}}}`: nil,
		`{spec: {hard: {cpu: 3, limits.cpu: 2, requests.memory: 3Gi, limits.memory: 2Gi, requests.ephemeral-storage: 1}}}`: {
			"ResourceQuota cpu (3) should be less than limits.cpu (2)",
			"ResourceQuota requests.memory (3Gi) should be less than limits.memory (2Gi)"},
	} {
		if diff := cmp.Diff(want, ResourceQuota(from[corev1.ResourceQuota](t, text))); diff != "" {
			t.Error(text, diff)
		}
	}
}

func TestPod(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		want []string
	}{
		"nothing": {`{metadata: {name: x}, spec: {containers: [{name: a}]}}`, nil},
		"name":    {`{metadata: {name: x.y}}`, []string{`metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]`}},
		"variables": {`{metadata: {name: x}, spec: {containers: [{name: a, env: [{name: A}, {name: B}, {name: A}, {name: B, value: "$(B)x"}, {name: B, value: "$(B)"}]}]}}`, []string{
			`spec.containers[0].env[2]: hides previous definition of "A", which may be dropped when using apply`,
			`spec.containers[0].env[4]: hides previous definition of "B", which may be dropped when using apply`}},
		"ports": {`{metadata: {name: x}, spec: {initContainers: [{name: i, ports: [{containerPort: 80, protocol: TCP}]}], containers: [{name: a, ports: [{containerPort: 80, protocol: UDP}, {containerPort: 80, protocol: TCP}, {containerPort: 80, hostPort: 8080, protocol: TCP}]}]}}`, []string{
			`spec.containers[0].ports[1]: duplicate port definition with spec.initContainers[0].ports[0]`,
			`spec.containers[0].ports[2]: overlapping port definition with spec.initContainers[0].ports[0]`,
			`spec.containers[0].ports[2]: overlapping port definition with spec.containers[0].ports[1]`}},
		"ambiguous host port": {`{metadata: {name: x}, spec: {containers: [{name: a, ports: [{containerPort: 80, hostPort: 1, protocol: TCP}, {containerPort: 80, hostPort: 1, hostIP: 1.2.3.4, protocol: TCP}]}]}}`, []string{
			`spec.containers[0].ports[1]: dangerously ambiguous port definition with spec.containers[0].ports[0]`}},
		"labels of old": {`{metadata: {name: x}, spec: {nodeSelector: {beta.kubernetes.io/os: linux}, affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: failure-domain.beta.kubernetes.io/zone, operator: Exists}]}]}}}}}`, []string{
			`spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead`,
			`spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].key: failure-domain.beta.kubernetes.io/zone is deprecated since v1.17; use "topology.kubernetes.io/zone" instead`}},
		"selectors of nothing": {`{metadata: {name: x}, spec: {topologySpreadConstraints: [{topologyKey: a}], affinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, podAffinityTerm: {topologyKey: a}}]}}}}`, []string{
			`spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod`,
			`spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.labelSelector: a null labelSelector results in matching no pod`}},
		"half a byte": {`{metadata: {name: x}, spec: {containers: [{name: a, resources: {limits: {memory: 100m}}}]}}`, []string{
			`spec.containers[0].resources.limits[memory]: fractional byte value "100m" is invalid, must be an integer`}},
		"secrets": {`{metadata: {name: x}, spec: {imagePullSecrets: [{name: a}, {name: a}, {}]}}`, []string{
			`spec.imagePullSecrets[1].name: duplicate name "a"`, `spec.imagePullSecrets[2].name: invalid empty name ""`}},
		"aliases":         {`{metadata: {name: x}, spec: {hostAliases: [{ip: 1.2.3.4}, {ip: 1.2.3.4}]}}`, []string{`spec.hostAliases[1].ip: duplicate ip "1.2.3.4"`}},
		"volumes of old":  {`{metadata: {name: x}, spec: {volumes: [{name: v, gitRepo: {repository: r}}]}}`, []string{`spec.volumes[0].gitRepo: deprecated in v1.11`}},
		"negative grace":  {`{metadata: {name: x}, spec: {terminationGracePeriodSeconds: -1}}`, []string{`spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1`}},
		"seccomp of old":  {`{metadata: {name: x, annotations: {seccomp.security.alpha.kubernetes.io/pod: unconfined}}}`, []string{`metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: non-functional in v1.27+; use the "seccompProfile" field instead`}},
		"files upon each": {`{metadata: {name: x}, spec: {volumes: [{name: v, configMap: {name: c, items: [{key: a, path: p}, {key: b, path: p/q}]}}]}}`, []string{`volume "v" (ConfigMap "c"): overlapping paths: "p/q" with "p"`}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, Pod(from[corev1.Pod](t, tc.text))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTemplate(t *testing.T) {
	template := from[corev1.PodTemplateSpec](t, `{metadata: {annotations: {container.apparmor.security.beta.kubernetes.io/a: unconfined}}, spec: {containers: [{name: a, env: [{name: A}, {name: A}]}]}}`)
	want := []string{
		`spec.template.metadata.annotations[container.apparmor.security.beta.kubernetes.io/a]: deprecated since v1.30; use the "appArmorProfile" field instead`,
		`spec.template.spec.containers[0].env[1]: hides previous definition of "A", which may be dropped when using apply`,
	}
	if diff := cmp.Diff(want, Template(template, field.NewPath("spec", "template"))); diff != "" {
		t.Error(diff)
	}
}

func TestKinds(t *testing.T) {
	for name, tc := range map[string]struct{ got, want []string }{
		"service": {Service(from[corev1.Service](t, `{metadata: {annotations: {service.kubernetes.io/topology-aware-hints: auto}}, spec: {type: ClusterIP, clusterIP: None, sessionAffinity: ClientIP, loadBalancerIP: 10.0.0.1, externalName: x, trafficDistribution: PreferClose}}`)), []string{
			`annotation service.kubernetes.io/topology-aware-hints is deprecated, please use service.kubernetes.io/topology-mode instead`,
			`spec.loadBalancerIP is ignored for headless services`,
			`spec.SessionAffinity is ignored for headless services`,
			`spec.externalName is ignored when spec.type is not "ExternalName"`,
			`spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"`}},
		"external addresses": {Service(from[corev1.Service](t, `{spec: {type: ClusterIP, clusterIP: 10.0.0.1, sessionAffinity: None, externalIPs: [1.2.3.4]}}`)), []string{
			`spec.externalIPs is deprecated and may no longer be implemented in some clusters`}},
		"secret": {Secret(from[corev1.Secret](t, `{type: Opaque}`)), nil},
		"certificate": {Secret(from[corev1.Secret](t, `{type: kubernetes.io/tls, data: {tls.crt: "", tls.key: ""}}`)), []string{
			`tls: failed to find any PEM data in certificate input`}},
		"volume": {PersistentVolume(from[corev1.PersistentVolume](t, `{metadata: {annotations: {volume.beta.kubernetes.io/storage-class: a}}, spec: {persistentVolumeReclaimPolicy: Recycle, rbd: {monitors: [], image: i}}}`)), []string{
			`metadata.annotations[volume.beta.kubernetes.io/storage-class]: deprecated since v1.8; use "storageClassName" attribute instead`,
			`spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.`,
			`spec.rbd: deprecated in v1.28, non-functional in v1.31+`}},
		"claim": {PersistentVolumeClaim(from[corev1.PersistentVolumeClaim](t, `{spec: {resources: {requests: {storage: 100m}}}}`)), []string{
			`spec.resources.requests[storage]: fractional byte value "100m" is invalid, must be an integer`}},
		"ingress": {Ingress(from[networkingv1.Ingress](t, `{metadata: {annotations: {kubernetes.io/ingress.class: a}}}`)), []string{
			`annotation "kubernetes.io/ingress.class" is deprecated, please use 'spec.ingressClassName' instead`}},
		"job": {Job(&from[batchv1.Job](t, `{spec: {completionMode: Indexed, completions: 100001, parallelism: 10001}}`).Spec, field.NewPath("spec")), []string{
			`spec: In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail`}},
		"zone":      {CronJobZone(from[batchv1.CronJob](t, `{spec: {schedule: "TZ=UTC 1 * * * *"}}`)), []string{`cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details`}},
		"node":      {Node(from[corev1.Node](t, `{spec: {externalID: x}}`)), []string{`spec.externalID: this field is deprecated, and is unused by Kubernetes`}},
		"pod names": {PodName("a.b"), []string{`metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]`}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, tc.got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
