package node

import (
	"fmt"
	"strings"
	"testing"
)

// TestRefused applies manifests that no cluster can take: each names the field
// and the reason.
func TestRefused(t *testing.T) {
	m := newMachine(t, "--disable=agent")
	m.Up()
	pod := func(name, body string) string {
		return "apiVersion: v1\nkind: Pod\nmetadata: {name: " + name + "}\nspec:\n" + body
	}
	const container = "  containers: [{name: c, image: example.com/c:1}]\n"
	for _, tt := range []struct {
		name, manifest string
		told           []string
	}{
		{"broken YAML", "kind: Pod\n  metadata: {", []string{"error parsing", "line 2"}},
		{"no kind", "apiVersion: v1\nmetadata: {name: x}\n", []string{"kind"}},
		{"unknown kind", "apiVersion: v1\nkind: Pot\nmetadata: {name: x}\n", []string{`no matches for kind "Pot"`}},
		{"unknown field", pod("x", container+"  restartPolicies: Never\n"), []string{`unknown field "spec.restartPolicies"`}},
		{"wrong type", pod("x", container+"  terminationGracePeriodSeconds: soon\n"), []string{"terminationGracePeriodSeconds"}},
		{"wrong name", pod("Under_Score", container), []string{"metadata.name", "RFC 1123"}},
		{"impossible quantity", pod("x", "  containers: [{name: c, image: a, resources: {requests: {cpu: much}}}]\n"), []string{"quantities must match"}},
		{"request above limit", pod("x", "  containers: [{name: c, image: a, resources: {requests: {cpu: 2}, limits: {cpu: 1}}}]\n"), []string{"spec.containers[0].resources.requests", "must be less than or equal to cpu limit"}},
		{"no containers", pod("x", "  containers: []\n"), []string{"spec.containers: Required value"}},
		{"two containers of one name", pod("x", "  containers: [{name: c, image: a}, {name: c, image: b}]\n"), []string{`spec.containers[1].name: Duplicate value: "c"`}},
		{"unknown volume", pod("x", "  containers: [{name: c, image: a, volumeMounts: [{name: data, mountPath: /d}]}]\n"), []string{"spec.containers[0].volumeMounts[0].name: Not found"}},
		{"bad port", pod("x", "  containers: [{name: c, image: a, ports: [{containerPort: 70000}]}]\n"), []string{"spec.containers[0].ports[0].containerPort", "must be between 1 and 65535"}},
		{"selector that does not match", `
apiVersion: apps/v1
kind: Deployment
metadata: {name: x}
spec:
  selector: {matchLabels: {app: a}}
  template:
    metadata: {labels: {app: b}}
    spec: {containers: [{name: c, image: a}]}
`, []string{"spec.template.metadata.labels: Invalid value", "selector"}},
		{"address outside the range", "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {clusterIP: 192.0.2.1, ports: [{port: 80}]}\n", []string{"spec.clusterIPs", "not in the valid range"}},
		{"namespace that is not there", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, namespace: nowhere}\n", []string{`namespaces "nowhere" not found`}},
		{"too large", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {k: " + strings.Repeat("x", 1<<20+1) + "}\n", []string{"Too long"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := m.on(t)
			m.Contains(m.Refused("kubectl", "create", "-f", m.File(tt.manifest)), tt.told...)
		})
	}
}

// TestStates runs what can be taken but cannot work: each pod's state says why,
// describe explains it, and the pod can be deleted.
func TestStates(t *testing.T) {
	m := newMachine(t)
	m.Up()
	m.ImportBusyBox()
	const busybox = "image: sinawi.local/busybox:1, imagePullPolicy: Never"
	tests := []struct {
		name, spec string
		reason     string // of the first container's waiting state; "" if it runs
		described  []string
	}{
		{"no-image", "containers: [{name: c, image: 127.0.0.1:1/none:1}]", "ErrImagePull|ImagePullBackOff", []string{"Failed to pull image", "127.0.0.1:1/none:1"}},
		{"never-there", "containers: [{name: c, image: sinawi.local/other:1, imagePullPolicy: Never}]", "ErrImageNeverPull", []string{"is not present with pull policy of Never"}},
		{"bad-name", "containers: [{name: c, image: 'example.com/Upper:1'}]", "InvalidImageName", []string{"InvalidImageName"}},
		{"no-command", "containers: [{name: c, " + busybox + ", command: [/no/such/program]}]", "RunContainerError|CrashLoopBackOff", []string{"/no/such/program", "no such file or directory"}},
		{"crashing", "containers: [{name: c, " + busybox + ", command: ['false']}]", "CrashLoopBackOff", []string{"Back-off restarting failed container", "Exit Code:    1"}},
		{"no-config", "containers: [{name: c, " + busybox + ", command: [sleep, '1000'], envFrom: [{configMapRef: {name: absent}}]}]", "CreateContainerConfigError", []string{`configmap "absent" not found`}},
		{"no-volume", "containers: [{name: c, " + busybox + ", command: [sleep, '1000'], volumeMounts: [{name: v, mountPath: /v}]}]\n  volumes: [{name: v, secret: {secretName: absent}}]", "ContainerCreating", []string{"FailedMount", `secret "absent" not found`}},
		{"no-path", "containers: [{name: c, " + busybox + ", command: [sleep, '1000'], volumeMounts: [{name: v, mountPath: /v}]}]\n  volumes: [{name: v, hostPath: {path: /no/such/path, type: Directory}}]", "ContainerCreating", []string{"FailedMount", "/no/such/path"}},
		{"not-ready", "containers: [{name: c, " + busybox + ", command: [sleep, '1000'], readinessProbe: {httpGet: {path: /, port: 81}, periodSeconds: 1}}]", "", []string{"Readiness probe failed", "connection refused"}},
		{"not-alive", "containers: [{name: c, " + busybox + ", command: [sleep, '1000'], livenessProbe: {exec: {command: ['false']}, periodSeconds: 1, failureThreshold: 1}}]", "", []string{"Liveness probe failed", "will be restarted"}},
		{"too-big", "containers: [{name: c, " + busybox + ", resources: {requests: {cpu: 1000}}}]", "", []string{"FailedScheduling", "Insufficient cpu"}},
	}
	for _, tt := range tests {
		m.Apply(fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s}\nspec:\n  terminationGracePeriodSeconds: 1\n  %s\n", tt.name, tt.spec))
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := m.on(t)
			m.Eventually(tt.name, func() string {
				got := m.Kubectl("get", "pod", tt.name, "-o", "jsonpath={.status.containerStatuses[0].state.waiting.reason}")
				if tt.reason != "" && (got == "" || !strings.Contains("|"+tt.reason+"|", "|"+got+"|")) {
					return fmt.Sprintf("waits for %q, want %s", got, tt.reason)
				}
				out := m.Kubectl("describe", "pod", tt.name)
				for _, part := range tt.described {
					if !strings.Contains(out, part) {
						return fmt.Sprintf("described as follows, without %q:\n%s", part, out)
					}
				}
				return ""
			})
		})
	}
	m.Contains(m.Sinawi("status"), "pod default/crashing: container c keeps ending", "pod default/too-big: fits no node")
	m.Kubectl("delete", "pods", "--all", "--timeout=60s")
}
