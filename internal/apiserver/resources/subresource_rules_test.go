package resources_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sinawi/sinawi/internal/apiserver/resources"
)

// through updates old to text by a subresource.
func (r rules) through(t *testing.T, s resources.Strategy, old, text string) []string {
	t.Helper()
	before, _ := r.read(t, old)
	obj, _ := r.read(t, text)
	before.(metav1.Object).SetResourceVersion("1")
	obj.(metav1.Object).SetResourceVersion("1")
	s.PrepareForUpdate(context.Background(), obj, before)
	return texts(s.ValidateUpdate(context.Background(), obj, before))
}

func TestEphemeralContainerRules(t *testing.T) {
	r := newRules(t)
	with := func(list string) string {
		return pod + `{containers: [{name: a, image: i}], ephemeralContainers: [` + list + `]}`
	}
	const mirror = "apiVersion: v1\nkind: Pod\nmetadata: {annotations: {kubernetes.io/config.mirror: x}}\nspec: {nodeName: n, containers: [{name: a, image: i}]}"
	const at = `spec.ephemeralContainers[0]`
	for name, tc := range map[string]struct {
		old, text string
		want      []string
	}{
		"one more":          {with(``), with(`{name: d, image: i, targetContainerName: a}`), nil},
		"one less":          {with(`{name: d, image: i}`), with(``), []string{`spec.ephemeralContainers: Forbidden: existing ephemeral containers "d" may not be removed`}},
		"changed":           {with(`{name: d, image: i}`), with(`{name: d, image: j}`), []string{`spec.ephemeralContainers: Forbidden: existing ephemeral containers "d" may not be changed`}},
		"name of another":   {with(``), with(`{name: a, image: i}`), []string{at + `.name: Duplicate value: "a"`}},
		"target is nowhere": {with(``), with(`{name: d, image: i, targetContainerName: b}`), []string{at + `.targetContainerName: Not found: "b"`}},
		"with a port":       {with(``), with(`{name: d, image: i, ports: [{containerPort: 80}]}`), []string{at + `.ports: Forbidden: cannot be set for an Ephemeral Container`}},
		"static pod":        {mirror, mirror, []string{`[]: Forbidden: static pods do not support ephemeral containers`}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, r.through(t, resources.PodEphemeralContainers(), tc.old, tc.text)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestEndedContainerRules(t *testing.T) {
	r := newRules(t)
	with := func(policy, container, state string) string {
		return pod + `{restartPolicy: ` + policy + `, containers: [{name: a, image: i` + container + `}]}` +
			"\nstatus: {containerStatuses: [{name: a, state: " + state + "}]}"
	}
	const rule = `, restartPolicy: Never, restartPolicyRules: [{action: %, exitCodes: {operator: In, values: [3]}}]`
	again, all := strings.Replace(rule, "%", "Restart", 1), strings.Replace(rule, "%", "RestartAllContainers", 1)
	for name, tc := range map[string]struct {
		policy, container string
		exit              string
		stays             bool
	}{
		"always":                 {"Always", "", "0", false},
		"on failure":             {"OnFailure", "", "1", false},
		"on failure, without":    {"OnFailure", "", "0", true},
		"never":                  {"Never", "", "1", true},
		"its own policy":         {"Always", ", restartPolicy: Never", "0", true},
		"a rule for its code":    {"Never", again, "3", false},
		"a rule for other codes": {"Always", again, "0", true},
		"a rule for all":         {"Never", all, "0", false},
	} {
		t.Run(name, func(t *testing.T) {
			got := r.status(t, with(tc.policy, tc.container, "{terminated: {exitCode: "+tc.exit+"}}"), with(tc.policy, tc.container, "{running: {}}"))
			var want []string
			if tc.stays {
				want = []string{`status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state`}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestVerdictRules(t *testing.T) {
	r := newRules(t)
	with := func(conditions string) string {
		return "apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\nmetadata: {name: x}\nstatus: {conditions: [" + conditions + "]}"
	}
	const since = `, status: "True", lastUpdateTime: "2030-01-01T00:00:00Z", lastTransitionTime: "2030-01-01T00:00:00Z"`
	const approved, denied, failed = `{type: Approved` + since + `}`, `{type: Denied` + since + `}`, `{type: Failed` + since + `}`
	const reworded = `{type: Approved` + since + `, message: x}`
	const at = `status.conditions: `
	const both = at + "Invalid value: \"{conditions[{\\\"type\\\": \\\"Approved\\\"}], conditions[{\\\"type\\\": \\\"Denied\\\"}]}\": must specify at most one of: `conditions[{\"type\": \"Approved\"}]`, `conditions[{\"type\": \"Denied\"}]`"
	for name, tc := range map[string]struct {
		old, text    string
		signer, boss []string
	}{
		"approve":        {"", approved, []string{at + `Forbidden: updates may not add a condition of type "Approved"`}, nil},
		"fail":           {"", failed, nil, nil},
		"fail again":     {failed, `{type: Failed, status: "True", message: x}`, nil, nil},
		"take back":      {failed, "", []string{at + `Forbidden: updates may not remove a condition of type "Failed"`}, []string{at + `Forbidden: updates may not remove a condition of type "Failed"`}},
		"in other words": {approved, reworded, nil, nil}, // the signer's are forgotten
		"deny as well":   {approved, approved + "," + denied, []string{at + `Forbidden: updates may not add a condition of type "Denied"`, both}, []string{both}},
		"both as before": {approved + "," + denied, approved + "," + denied, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.signer, r.status(t, with(tc.old), with(tc.text))); diff != "" {
				t.Error("signer", diff)
			}
			if diff := cmp.Diff(tc.boss, r.through(t, resources.CertificateApproval(), with(tc.old), with(tc.text))); diff != "" {
				t.Error("approver", diff)
			}
		})
	}
}

func TestResizeRules(t *testing.T) {
	r := newRules(t)
	with := func(resources string) string {
		return pod + `{containers: [{name: a, image: i, resources: ` + resources + `}]}`
	}
	const two = `{requests: {cpu: 1, memory: 1Gi}, limits: {cpu: 2}}`
	const running = "\nstatus: {containerStatuses: [{name: a, state: {running: {}}}]}"
	for name, tc := range map[string]struct {
		old, text string
		want      []string
	}{
		"more":            {with(two), with(`{requests: {cpu: 2, memory: 2Gi}, limits: {cpu: 3}}`), nil},
		"no request":      {with(two), with(`{requests: {memory: 1Gi}, limits: {}}`), []string{`spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed`, `spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed`}},
		"another class":   {with(two), with(`{requests: {cpu: 2, memory: 1Gi}, limits: {cpu: 2, memory: 1Gi}}`), []string{`spec: Invalid value: "": Pod QOS Class may not change as a result of resizing`}},
		"disk":            {with(two), with(`{requests: {cpu: 1, memory: 1Gi, ephemeral-storage: 1Gi}, limits: {cpu: 2}}`), []string{`spec: Forbidden: only cpu and memory resources are mutable`}},
		"node without it": {with(two) + running, with(`{requests: {cpu: 2, memory: 1Gi}, limits: {cpu: 2}}`), []string{`spec: Forbidden: Pod running on node without support for resize`}},
		"pod of Windows":  {pod + `{os: {name: windows}, containers: [{name: a, image: i}]}`, pod + `{os: {name: windows}, containers: [{name: a, image: i}]}`, []string{`[]: Forbidden: windows pods cannot be resized`}},
		"init container":  {pod + `{initContainers: [{name: b, image: i}], containers: [{name: a, image: i, resources: {requests: {cpu: 1}}}]}`, pod + `{initContainers: [{name: b, image: i, resources: {requests: {cpu: 1}}}], containers: [{name: a, image: i, resources: {requests: {cpu: 1}}}]}`, nil},
		"init container begins anew": {pod + `{initContainers: [{name: b, image: i, restartPolicy: Always, resizePolicy: [{resourceName: cpu, restartPolicy: RestartContainer}]}], containers: [{name: a, image: i, resources: {requests: {cpu: 1}}}]}`, pod + `{initContainers: [{name: c, image: i}], containers: [{name: a, image: i, resources: {requests: {cpu: 1}}}]}`,
			[]string{`spec.initContainers[0].name: Forbidden: initContainers may not be renamed or reordered on resize`}},
		"another policy":   {with(two), pod + `{containers: [{name: a, image: i, resizePolicy: [{resourceName: cpu, restartPolicy: RestartContainer}], resources: ` + two + `}]}`, []string{`spec: Forbidden: only cpu and memory resources are mutable`}},
		"renamed":          {with(two), pod + `{containers: [{name: b, image: i, resources: ` + two + `}]}`, []string{`spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize`}},
		"init image":       {pod + `{initContainers: [{name: b, image: i}], containers: [{name: a, image: i}]}`, pod + `{initContainers: [{name: b, image: j}], containers: [{name: a, image: i}]}`, nil}, // forgotten, not refused
		"one container up": {with(two), pod + `{containers: [{name: a, image: i, resources: ` + two + `}, {name: b, image: i}]}`, []string{`spec.containers: Forbidden: containers may not be added or removed on resize`}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, r.through(t, resources.PodResize(), tc.old, tc.text)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
