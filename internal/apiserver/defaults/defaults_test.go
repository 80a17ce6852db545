package defaults_test

import (
	"encoding/json"
	"math/rand"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/randfill"
	"sigs.k8s.io/yaml"

	"github.com/sinawi/sinawi/internal/apiserver/defaults"
	"github.com/sinawi/sinawi/internal/apiserver/resources"
	"github.com/sinawi/sinawi/internal/apiserver/scheme"
)

func newScheme(t testing.TB) *runtime.Scheme {
	t.Helper()
	s, err := scheme.New(resources.Table())
	if err != nil {
		t.Fatal(err)
	}
	if err := defaults.Register(s); err != nil {
		t.Fatal(err)
	}
	return s
}

// filler makes objects with every kind of content, nil and empty included.
func filler(seed int64) *randfill.Filler {
	return randfill.New().RandSource(rand.NewSource(seed)).NilChance(0.4).NumElements(0, 2).MaxDepth(14).Funcs(
		func(q *resource.Quantity, c randfill.Continue) {
			*q = *resource.NewMilliQuantity(c.Int63n(5000), resource.DecimalSI)
		},
		func(v *intstr.IntOrString, c randfill.Continue) {
			*v = intstr.FromInt32(int32(c.Intn(100)))
			if c.Bool() {
				*v = intstr.FromString("25%")
			}
		},
		func(t *metav1.Time, _ randfill.Continue) { *t = metav1.Unix(1e9, 0) },
		func(t *metav1.MicroTime, _ randfill.Continue) { *t = metav1.NewMicroTime(metav1.Unix(1e9, 0).Time) },
		func(r *runtime.RawExtension, _ randfill.Continue) { *r = runtime.RawExtension{} },
		func(f *metav1.FieldsV1, _ randfill.Continue) { *f = metav1.FieldsV1{} },
	)
}

// Defaulting runs on every decode of every stored object: doing it twice must
// change nothing, or objects would change by being read.
func TestIdempotent(t *testing.T) {
	s := newScheme(t)
	for _, row := range resources.Table() {
		t.Run(row.Plural, func(t *testing.T) {
			for seed := range int64(40) {
				obj := row.New()
				filler(seed).Fill(obj)
				s.Default(obj)
				once := obj.DeepCopyObject()
				s.Default(obj)
				if !apiequality.Semantic.DeepEqual(once, obj) {
					t.Fatalf("seed %d: a second pass changed\n%s", seed, cmp.Diff(once, obj))
				}
			}
		})
	}
}

func TestDefaults(t *testing.T) {
	s := newScheme(t)
	tests := map[string]struct{ in, want string }{
		"deployment": {
			in: `{apiVersion: apps/v1, kind: Deployment, spec: {template: {spec: {containers: [{name: a, image: nginx, ports: [{containerPort: 80}]}]}}}}`,
			want: `{apiVersion: apps/v1, kind: Deployment, metadata: {}, status: {}, spec: {replicas: 1, revisionHistoryLimit: 10, progressDeadlineSeconds: 600, selector: null,
				strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 25%, maxUnavailable: 25%}},
				template: {metadata: {}, spec: {containers: [{name: a, image: nginx, imagePullPolicy: Always, resources: {}, terminationMessagePath: /dev/termination-log,
				terminationMessagePolicy: File, ports: [{containerPort: 80, protocol: TCP}]}], dnsPolicy: ClusterFirst, restartPolicy: Always, schedulerName: default-scheduler,
				securityContext: {}, terminationGracePeriodSeconds: 30}}}}`,
		},
		"grace of a pod below zero": {
			in: `{apiVersion: v1, kind: Pod, spec: {containers: [], terminationGracePeriodSeconds: -3}}`,
			want: `{apiVersion: v1, kind: Pod, metadata: {}, status: {}, spec: {containers: [], enableServiceLinks: true,
				dnsPolicy: ClusterFirst, restartPolicy: Always, schedulerName: default-scheduler, securityContext: {}, terminationGracePeriodSeconds: 1}}`,
		},
		"token that says nothing lives an hour": {
			in:   `{apiVersion: authentication.k8s.io/v1, kind: TokenRequest}`,
			want: `{apiVersion: authentication.k8s.io/v1, kind: TokenRequest, metadata: {}, spec: {audiences: null, boundObjectRef: null, expirationSeconds: 3600}, status: {expirationTimestamp: null, token: ""}}`,
		},
		"job that says nothing runs once": {
			in: `{apiVersion: batch/v1, kind: Job, spec: {template: {spec: {restartPolicy: Never, containers: []}}}}`,
			want: `{apiVersion: batch/v1, kind: Job, metadata: {}, status: {}, spec: {completions: 1, parallelism: 1, backoffLimit: 6, completionMode: NonIndexed,
				suspend: false, manualSelector: false, podReplacementPolicy: TerminatingOrFailed, template: {metadata: {}, spec: {containers: [], dnsPolicy: ClusterFirst,
				restartPolicy: Never, schedulerName: default-scheduler, securityContext: {}, terminationGracePeriodSeconds: 30}}}}`,
		},
		"job with parallelism has no completions": {
			in: `{apiVersion: batch/v1, kind: Job, spec: {parallelism: 3, backoffLimitPerIndex: 1, podFailurePolicy: {rules: [{action: Ignore, onPodConditions: [{type: DisruptionTarget}]}]}, template: {spec: {restartPolicy: Never, containers: []}}}}`,
			want: `{apiVersion: batch/v1, kind: Job, metadata: {}, status: {}, spec: {parallelism: 3, backoffLimit: 2147483647, backoffLimitPerIndex: 1, completionMode: NonIndexed,
				podFailurePolicy: {rules: [{action: Ignore, onPodConditions: [{type: DisruptionTarget, status: "True"}]}]},
				suspend: false, manualSelector: false, podReplacementPolicy: Failed, template: {metadata: {}, spec: {containers: [], dnsPolicy: ClusterFirst,
				restartPolicy: Never, schedulerName: default-scheduler, securityContext: {}, terminationGracePeriodSeconds: 30}}}}`,
		},
		"service": {
			in: `{apiVersion: v1, kind: Service, spec: {ports: [{port: 80}]}}`,
			want: `{apiVersion: v1, kind: Service, metadata: {}, status: {loadBalancer: {}}, spec: {type: ClusterIP, sessionAffinity: None, internalTrafficPolicy: Cluster,
				ports: [{port: 80, protocol: TCP, targetPort: 80}]}}`,
		},
		"network policy": {
			in:   `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, spec: {podSelector: {}, egress: [{ports: [{port: 53}]}]}}`,
			want: `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {}, spec: {podSelector: {}, policyTypes: [Ingress, Egress], egress: [{ports: [{port: 53, protocol: TCP}]}]}}`,
		},
		"role binding": {
			in: `{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, roleRef: {kind: Role, name: r}, subjects: [{kind: User, name: u}, {kind: ServiceAccount, name: s}]}`,
			want: `{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: r},
				subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: u}, {kind: ServiceAccount, name: s}]}`,
		},
		"autoscaler": {
			in: `{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, spec: {maxReplicas: 3, scaleTargetRef: {kind: Deployment, name: d}, behavior: {scaleUp: {stabilizationWindowSeconds: 5}}}}`,
			want: `{apiVersion: autoscaling/v2, kind: HorizontalPodAutoscaler, metadata: {}, status: {currentMetrics: null, desiredReplicas: 0}, spec: {minReplicas: 1, maxReplicas: 3, scaleTargetRef: {kind: Deployment, name: d},
				metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 80}}}],
				behavior: {scaleUp: {stabilizationWindowSeconds: 5, selectPolicy: Max, policies: [{type: Pods, value: 4, periodSeconds: 15}, {type: Percent, value: 100, periodSeconds: 15}]},
				scaleDown: {selectPolicy: Max, policies: [{type: Percent, value: 100, periodSeconds: 15}]}}}}`,
		},
		"namespace is labelled with its name": {
			in:   `{apiVersion: v1, kind: Namespace, metadata: {name: x}}`,
			want: `{apiVersion: v1, kind: Namespace, metadata: {name: x, labels: {kubernetes.io/metadata.name: x}}, spec: {}, status: {phase: Active}}`,
		},
		"requests follow limits in a pod": {
			in: `{apiVersion: v1, kind: Pod, spec: {containers: [{name: a, image: "nginx:1", resources: {limits: {cpu: 1, memory: 1Gi}, requests: {cpu: 500m}}}]}}`,
			want: `{apiVersion: v1, kind: Pod, metadata: {}, status: {}, spec: {enableServiceLinks: true, containers: [{name: a, image: "nginx:1", imagePullPolicy: IfNotPresent,
				resources: {limits: {cpu: "1", memory: 1Gi}, requests: {cpu: 500m, memory: 1Gi}}, terminationMessagePath: /dev/termination-log, terminationMessagePolicy: File}],
				dnsPolicy: ClusterFirst, restartPolicy: Always, schedulerName: default-scheduler, securityContext: {}, terminationGracePeriodSeconds: 30}}`,
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			kind := struct{ APIVersion, Kind string }{}
			if err := yaml.Unmarshal([]byte(tc.in), &kind); err != nil {
				t.Fatal(err)
			}
			obj, err := s.New(schema.FromAPIVersionAndKind(kind.APIVersion, kind.Kind))
			if err != nil {
				t.Fatal(err)
			}
			if err := yaml.UnmarshalStrict([]byte(tc.in), obj); err != nil {
				t.Fatal(err)
			}
			s.Default(obj)
			got, err := json.Marshal(obj)
			if err != nil {
				t.Fatal(err)
			}
			want, err := yaml.YAMLToJSON([]byte(strings.ReplaceAll(tc.want, "\t", " ")))
			if err != nil {
				t.Fatal(err)
			}
			var g, w any
			if err := json.Unmarshal(got, &g); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(want, &w); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(w, g); diff != "" {
				t.Error(diff)
			}
		})
	}
}
