package resources_test

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// status updates the status of old to what text has.
func (r rules) status(t *testing.T, old, text string) []string {
	t.Helper()
	before, row := r.read(t, old)
	obj, _ := r.read(t, text)
	before.(metav1.Object).SetResourceVersion("1")
	obj.(metav1.Object).SetResourceVersion("1")
	row.Status.PrepareForUpdate(context.Background(), obj, before)
	return texts(row.Status.ValidateUpdate(context.Background(), obj, before))
}

func TestWindowsRules(t *testing.T) {
	r := newRules(t)
	user := func(name string) string {
		return pod + `{containers: [{name: a, image: i, securityContext: {windowsOptions: {runAsUserName: ` + name + `}}}]}`
	}
	const at = `spec.containers[0].securityContext.windowsOptions.runAsUserName: Invalid value: `
	long := func(n int) string { return strings.Repeat("a", n) }
	for name, tc := range map[string]struct {
		text string
		want []string
	}{
		"user":                  {user(`"NT AUTHORITY\\SYSTEM"`), nil},
		"user of a DNS domain":  {user(`'example.com\ann'`), nil},
		"nobody":                {user(`""`), []string{at + `"": runAsUserName cannot be an empty string`}},
		"control characters":    {user(`"a\tb"`), []string{at + `"a\tb": runAsUserName cannot contain control characters`}},
		"two backslashes":       {user(`'a\b\c'`), []string{at + `"a\\b\\c": runAsUserName cannot contain more than one backslash`}},
		"domain alone":          {user(`'a\'`), []string{at + `"a\\": runAsUserName's User cannot be empty`}},
		"no domain":             {user(`'\a'`), []string{at + `"\\a": runAsUserName's Domain doesn't match the NetBios nor the DNS format`}},
		"domain with a star":    {user(`'a*b\c'`), []string{at + `"a*b\\c": runAsUserName's Domain doesn't match the NetBios nor the DNS format`}},
		"dots":                  {user(`'. .'`), []string{at + `". .": runAsUserName's User cannot contain only periods or spaces`}},
		"letters no user has":   {user(`'a@b'`), []string{at + `"a@b": runAsUserName's User cannot contain the following characters: "/\:;|=,+*?<>@[]`}},
		"long user":             {user(long(105)), []string{at + `"` + long(105) + `": runAsUserName's User length must not be longer than 104 characters`}},
		"long domain":           {user(`'` + strings.Repeat("a.", 128) + `a\b'`), []string{at + `"` + strings.Repeat("a.", 128) + `a\\b": runAsUserName's Domain length must be under 256 characters`}},
		"no credential spec":    {pod + `{securityContext: {windowsOptions: {gmsaCredentialSpec: ""}}, containers: [{name: a, image: i}]}`, []string{`spec.securityContext.windowsOptions.gmsaCredentialSpec: Invalid value: "": gmsaCredentialSpec cannot be an empty string`}},
		"processes of the host": {pod + `{hostNetwork: true, securityContext: {windowsOptions: {hostProcess: true}}, containers: [{name: a, image: i}]}`, nil},
		"not of its network":    {pod + `{securityContext: {windowsOptions: {hostProcess: true}}, containers: [{name: a, image: i}]}`, []string{`spec.hostNetwork: Invalid value: false: hostNetwork must be true if pod contains any hostProcess containers`}},
		"one of the host": {pod + `{hostNetwork: true, containers: [{name: a, image: i, securityContext: {windowsOptions: {hostProcess: true}}}, {name: b, image: i}]}`, []string{
			`spec: Invalid value: "": If pod contains any hostProcess containers then all containers must be HostProcess containers`}},
		"two opinions": {pod + `{hostNetwork: true, securityContext: {windowsOptions: {hostProcess: false}}, containers: [{name: a, image: i, securityContext: {windowsOptions: {hostProcess: true}}}]}`, []string{
			`spec.containers[0].securityContext.windowsOptions.hostProcess: Invalid value: true: pod hostProcess value must be identical if both are specified, was false`}},
		"for Linux": {pod + `{os: {name: linux}, containers: [{name: a, image: i, securityContext: {windowsOptions: {runAsUserName: a}}}]}`, []string{
			`spec.containers[0].securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod`}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, r.create(t, tc.text)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPodStatusRules(t *testing.T) {
	r := newRules(t)
	const (
		spec    = pod + `{containers: [{name: a, image: i, resources: {requests: {example.com/gpu: 1}, limits: {example.com/gpu: 1}, claims: [{name: c, request: one}]}}], resourceClaims: [{name: c, resourceClaimName: n}]}`
		windows = pod + `{os: {name: windows}, containers: [{name: a, image: i}]}`
	)
	with := func(spec, status string) [2]string { return [2]string{spec, spec + "\nstatus: " + status} }
	devices := func(list string) [2]string {
		return with(spec, `{containerStatuses: [{name: a, allocatedResourcesStatus: [`+list+`]}]}`)
	}
	const at = `status.containerStatuses[0].allocatedResourcesStatus[0]`
	for name, tc := range map[string]struct {
		update [2]string
		want   []string
	}{
		"user":            {with(spec, `{containerStatuses: [{name: a, user: {linux: {uid: 0, gid: 0, supplementalGroups: [1]}}}]}`), nil},
		"user of Windows": {with(windows, `{containerStatuses: [{name: a, user: {linux: {uid: 0, gid: 0}}}]}`), []string{`status.containerStatuses[0].user.linux: Forbidden: cannot be set for a windows pod`}},
		"negative user": {with(spec, `{initContainerStatuses: [{name: a, user: {linux: {uid: -1, gid: -2, supplementalGroups: [-3]}}}]}`), []string{
			`status.initContainerStatuses[0].user.linux.gid: Invalid value: -2: must be between 0 and 2147483647, inclusive`,
			`status.initContainerStatuses[0].user.linux.supplementalGroups[0]: Invalid value: -3: must be between 0 and 2147483647, inclusive`,
			`status.initContainerStatuses[0].user.linux.uid: Invalid value: -1: must be between 0 and 4294967295, inclusive`}},
		"device":             {devices(`{name: example.com/gpu, resources: [{resourceID: "1", health: Healthy}, {resourceID: "2", health: Unknown}]}`), nil},
		"device of a claim":  {devices(`{name: "claim:c/one", resources: [{resourceID: "1", health: Unhealthy}]}`), nil},
		"nobody's device":    {devices(`{name: example.com/fpga}`), []string{at + `.name: Invalid value: "example.com/fpga": must match one of the container's resource requests`}},
		"nobody's claim":     {devices(`{name: "claim:c"}`), []string{at + `.name: Invalid value: "claim:c": must match one of the container's resource claims as 'claim:<claimName>/<requestName>' when container.resources.claims[*].request is set or 'claim:<claimName>' when it is empty`}},
		"device twice":       {devices(`{name: example.com/gpu, resources: [{resourceID: "1", health: Healthy}, {resourceID: "1", health: Healthy}]}`), []string{at + `.resources[1].resourceID: Duplicate value: "1"`}},
		"half healthy":       {devices(`{name: example.com/gpu, resources: [{resourceID: "1", health: Half}]}`), []string{at + `.resources[0].health: Unsupported value: "Half": supported values: "Healthy", "Unhealthy", "Unknown"`}},
		"unknown container":  {with(spec, `{containerStatuses: [{name: b, allocatedResourcesStatus: [{name: example.com/fpga}]}]}`), nil},
		"debugger's devices": {with(spec, `{ephemeralContainerStatuses: [{name: b, allocatedResourcesStatus: [{name: example.com/gpu}]}]}`), []string{`status.ephemeralContainerStatuses[0].allocatedResourcesStatus: Forbidden: must not be specified in container status`}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, r.status(t, tc.update[0], tc.update[1])); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestNodeRules(t *testing.T) {
	r := newRules(t)
	const node = "apiVersion: v1\nkind: Node\n"
	annotated := func(key, value string) string {
		return node + "metadata: {annotations: {scheduler.alpha.kubernetes.io/" + key + ": '" + value + "'}}"
	}
	for name, tc := range map[string]struct {
		text string
		want []string
	}{
		"taint without effect": {node + "spec: {taints: [{key: a}]}", []string{`metadata.taints[0].effect: Required value`}},
		"old taint":            {annotated("taints", `[{"key": "a", "effect": "NoSchedule"}]`), nil},
		"old taint is bad":     {annotated("taints", `[{"key": "a"}]`), []string{`metadata.annotations.scheduler.alpha.kubernetes.io/taints[0].effect: Required value`}},
		"old taint is none":    {annotated("taints", `x`), []string{`metadata.annotations: Invalid value: "scheduler.alpha.kubernetes.io/taints": invalid character 'x' looking for beginning of value`}},
		"features of a node": {node + "status: {declaredFeatures: [B, A, A, a/b]}", []string{
			`status.declaredFeatures[1]: Invalid value: "A": list must be sorted alphabetically`,
			`status.declaredFeatures[2]: Duplicate value: "A"`,
			`status.declaredFeatures[3]: Invalid value: "a/b": invalid feature name "a/b": must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters and slashes`}},
		"three networks": {node + "spec: {podCIDR: 10.0.0.0/24, podCIDRs: [10.0.0.0/24, 10.0.1.0/24, 'fd00::/64']}", []string{`spec.podCIDRs: Invalid value: ["10.0.0.0/24","10.0.1.0/24","fd00::/64"]: may specify no more than one CIDR for each IP family`}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, r.create(t, tc.text)); diff != "" {
				t.Error(diff)
			}
		})
	}
	const avoid = "metadata: {annotations: {scheduler.alpha.kubernetes.io/preferAvoidPods: '{\"preferAvoidPods\": [{\"podSignature\": "
	for name, tc := range map[string]struct {
		old, text string
		want      []string
	}{
		"avoids nobody":  {node, node + avoid + "{}}]}'}}", []string{`metadata.annotations.scheduler.alpha.kubernetes.io/preferAvoidPods[0].PodSignature: Required value`, `metadata.annotations.scheduler.alpha.kubernetes.io/preferAvoidPods[0].PodSignature: Required value`}},
		"avoids an heir": {node, node + avoid + "{\"podController\": {\"controller\": false}}}]}'}}", []string{`metadata.annotations.scheduler.alpha.kubernetes.io/preferAvoidPods[0].PodSignature.PodController.Controller: Invalid value: false: must point to a controller`, `metadata.annotations.scheduler.alpha.kubernetes.io/preferAvoidPods[0].PodSignature.PodController.Controller: Invalid value: false: must point to a controller`}},
		"another network": {node + "spec: {podCIDR: 10.0.0.0/24}", node + "spec: {}",
			[]string{`spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid`}},
		"another provider":          {node + "spec: {providerID: a}", node + "spec: {providerID: b}", []string{`spec.providerID: Invalid value: null: field cannot be modified once set`}},
		"no provider any more":      {node + "spec: {providerID: a}", node + "spec: {}", []string{`spec.providerID: Invalid value: null: field cannot be cleared once set`}},
		"taint of no effect, later": {node, node + "spec: {taints: [{key: a}]}", []string{`metadata.taints[0].effect: Required value`, `metadata.taints[0].effect: Required value`}},
		"networks that are none, later": {node, node + "spec: {podCIDR: x, podCIDRs: [x]}", []string{
			`spec.podCIDRs[0]: Invalid value: "x": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)`}},
		"policy of preemption": {node, node + "spec: {podPreemptionPolicy: {disableResizePreemption: [x]}}", nil}, // dropped
		"configuration":        {node, node + "spec: {configSource: {}}", nil},                                    // dropped
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, r.update(t, tc.old, tc.text)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestNodeConfiguration: only nodes from long ago have one.
func TestNodeConfiguration(t *testing.T) {
	r := newRules(t)
	source := &corev1.NodeConfigSource{ConfigMap: &corev1.ConfigMapNodeConfigSource{
		Namespace: "ns", Name: "n", KubeletConfigKey: "k", UID: "1", ResourceVersion: "2",
	}}
	old, row := r.read(t, "apiVersion: v1\nkind: Node\n")
	before := old.(*corev1.Node)
	before.ResourceVersion = "1"
	before.Spec.ConfigSource, before.Status.Config = source, &corev1.NodeConfigStatus{Active: source}
	changed := before.DeepCopy()
	changed.Spec.ConfigSource.ConfigMap.Namespace = ""
	row.Strategy.PrepareForUpdate(context.Background(), changed, before)
	want := []string{
		`spec.configSource.configMap.namespace: Required value: namespace must be set`,
		`spec.configSource.configMap.resourceVersion: Forbidden: resourceVersion must not be set in spec`,
		`spec.configSource.configMap.uid: Forbidden: uid must not be set in spec`,
	}
	if diff := cmp.Diff(want, texts(row.Strategy.ValidateUpdate(context.Background(), changed, before))); diff != "" {
		t.Error(diff)
	}
	before.Spec.ConfigSource = nil
	changed = before.DeepCopy()
	changed.Status.Config = &corev1.NodeConfigStatus{Assigned: &corev1.NodeConfigSource{}, Active: &corev1.NodeConfigSource{ConfigMap: &corev1.ConfigMapNodeConfigSource{
		Namespace: "ns", Name: "N", KubeletConfigKey: "a/b", UID: "1",
	}}}
	got := texts(row.Status.ValidateUpdate(context.Background(), changed, before))
	want = []string{"status.config.active.configMap.kubeletConfigKey: Invalid value", "status.config.active.configMap.name: Invalid value",
		"status.config.active.configMap.resourceVersion: Required value", "status.config.assigned: Invalid value"}
	if len(got) != len(want) {
		t.Fatalf("got %q", got)
	}
	for i := range want {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("got %s, want %s", got[i], want[i])
		}
	}
}
