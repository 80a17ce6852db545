package resources_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	vap     = "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\nspec: "
	vapb    = "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicyBinding\nspec: "
	mutates = "apiVersion: admissionregistration.k8s.io/v1\nkind: MutatingAdmissionPolicy\nspec: "
	hooks   = "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\nwebhooks: "
	flow    = "apiVersion: flowcontrol.apiserver.k8s.io/v1\nkind: FlowSchema\nspec: "
	level   = "apiVersion: flowcontrol.apiserver.k8s.io/v1\nkind: PriorityLevelConfiguration\nspec: "
	claim   = "apiVersion: resource.k8s.io/v1\nkind: ResourceClaim\nspec: "
	slice   = "apiVersion: resource.k8s.io/v1\nkind: ResourceSlice\nspec: "
	class   = "apiVersion: resource.k8s.io/v1\nkind: DeviceClass\nspec: "
	cidr    = "apiVersion: networking.k8s.io/v1\nkind: ServiceCIDR\nspec: "
	address = "apiVersion: networking.k8s.io/v1\nkind: IPAddress\nmetadata: {name: %s}\nspec: "
	migrate = "apiVersion: storagemigration.k8s.io/v1\nkind: StorageVersionMigration\nspec: "
	bundle  = "apiVersion: certificates.k8s.io/v1\nkind: ClusterTrustBundle\n"

	podsRule = `matchConstraints: {resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]}`
)

type ruleCase struct {
	text string
	want []string
}

func TestAdmissionRegistrationRules(t *testing.T) {
	r := newRules(t)
	for name, tc := range map[string]ruleCase{
		"good policy": {vap + `{` + podsRule + `, variables: [{name: name, expression: "object.metadata.name"}],
			validations: [{expression: "variables.name != 'x'", messageExpression: "'not ' + variables.name"}], auditAnnotations: [{key: k, valueExpression: "'v'"}]}`, nil},
		"nothing to say": {vap + `{` + podsRule + `}`, []string{
			`spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item`,
			`spec.validations: Required value: validations or auditAnnotations must contain at least one item`}},
		"applies to nothing": {vap + `{validations: [{expression: "true"}]}`, []string{`spec.matchConstraints: Required value`}},
		"no boolean":         {vap + `{` + podsRule + `, validations: [{expression: "'a'"}]}`, []string{`spec.validations[0].expression: Invalid value: "'a'": must evaluate to bool but got string`}},
		"unknown variable": {vap + `{` + podsRule + `, validations: [{expression: "variables.x == 1"}]}`, []string{
			`spec.validations[0].expression: Invalid value: "variables.x == 1": compilation failed: ERROR: <input>:1:1: undeclared reference to 'variables' (in container '')`}},
		"reserved variable": {vap + `{` + podsRule + `, variables: [{name: "if", expression: "1"}], validations: [{expression: "true"}]}`, []string{
			`spec.variables[0].name: Invalid value: "if": must be a valid CEL identifier`}},
		"params without kind": {vap + `{` + podsRule + `, validations: [{expression: "params.x == 1"}]}`, []string{
			`spec.validations[0].expression: Invalid value: "params.x == 1": compilation failed: ERROR: <input>:1:1: undeclared reference to 'params' (in container '')`}},
		"bad param kind":  {vap + `{` + podsRule + `, paramKind: {apiVersion: v1}, validations: [{expression: "true"}]}`, []string{`spec.paramKind.kind: Required value`}},
		"broken message":  {vap + `{` + podsRule + `, validations: [{expression: "true", message: "a\nb"}]}`, []string{`spec.validations[0].message: Invalid value: "a\nb": message must not contain line breaks`}},
		"unknown reason":  {vap + `{` + podsRule + `, validations: [{expression: "true", reason: Conflict}]}`, []string{`spec.validations[0].reason: Unsupported value: "Conflict": supported values: "Forbidden", "Invalid", "RequestEntityTooLarge"`}},
		"good binding":    {vapb + `{policyName: p, validationActions: [Deny]}`, nil},
		"binding to none": {vapb + `{validationActions: [Deny]}`, []string{`spec.policyName: Required value`}},
		"deny and warn": {vapb + `{policyName: p, validationActions: [Deny, Warn]}`, []string{
			`spec.validationActions: Invalid value: ["Deny","Warn"]: must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)`}},
		"params by nothing": {vapb + `{policyName: p, validationActions: [Deny], paramRef: {}}`, []string{
			`spec.paramRef.parameterNotFoundAction: Required value`, `spec.paramRef: Required value: one of name or selector must be specified`}},
		"good mutation": {mutates + `{reinvocationPolicy: Never, ` + podsRule + `, mutations: [{patchType: JSONPatch, jsonPatch: {expression: "[JSONPatch{op: 'test', path: '/a'}]"}}]}`, nil},
		"good apply":    {mutates + `{reinvocationPolicy: Never, ` + podsRule + `, mutations: [{patchType: ApplyConfiguration, applyConfiguration: {expression: "Object{}"}}]}`, nil},
		"no mutation":   {mutates + `{reinvocationPolicy: Never, ` + podsRule + `}`, []string{`spec.mutations: Required value: mutations must contain at least one item`}},
		"patch of another type": {mutates + `{reinvocationPolicy: Never, ` + podsRule + `, mutations: [{patchType: JSONPatch, applyConfiguration: {expression: "Object{}"}}]}`, []string{
			`spec.mutations[0].applyConfiguration: Invalid value: "{applyConfiguration}": must not be specified when patchType is JSONPatch`,
			`spec.mutations[0].jsonPatch: Required value: must be specified when patchType is JSONPatch`}},
		"webhook condition": {hooks + `[{name: a.b.c, clientConfig: {url: "https://a"}, sideEffects: None, admissionReviewVersions: [v1], matchConditions: [{name: x, expression: "1"}]}]`, []string{
			`webhooks[0].matchConditions[0].expression: Invalid value: "1": must evaluate to bool but got int`}},
		"webhook of two words": {hooks + `[{name: a.b, clientConfig: {url: "https://a"}, sideEffects: None, admissionReviewVersions: [v1]}]`, []string{
			`webhooks[0].name: Invalid value: "a.b": should be a domain with at least three segments separated by dots`}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, r.create(t, tc.text)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestClusterGroupRules(t *testing.T) {
	r := newRules(t)
	const subject = `subjects: [{kind: User, user: {name: a}}], nonResourceRules: [{verbs: [get], nonResourceURLs: ["/x"]}]`
	for name, tc := range map[string]ruleCase{
		"good flow":       {flow + `{priorityLevelConfiguration: {name: l}, rules: [{` + subject + `}]}`, nil},
		"flow to nowhere": {flow + `{}`, []string{`spec.priorityLevelConfiguration.name: Required value: must reference a priority level`}},
		"before exempt":   {flow + `{matchingPrecedence: 1, priorityLevelConfiguration: {name: l}}`, []string{`spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1`}},
		"group of a user": {flow + `{priorityLevelConfiguration: {name: l}, rules: [{subjects: [{kind: User, group: {name: a}}], nonResourceRules: [{verbs: ["*"], nonResourceURLs: ["*"]}]}]}`, []string{
			`spec.rules[0].subjects[0].group: Forbidden: group is forbidden when subject kind is not 'Group'`,
			`spec.rules[0].subjects[0].user: Required value: user is required when subject kind is 'User'`}},
		"path without slash": {flow + `{priorityLevelConfiguration: {name: l}, rules: [{subjects: [{kind: User, user: {name: a}}], nonResourceRules: [{verbs: [get], nonResourceURLs: [x]}]}]}`, []string{
			`spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: "x": must start with slash`}},
		"good level":    {level + `{type: Limited, limited: {limitResponse: {type: Reject}}}`, nil},
		"exempt level":  {level + `{type: Exempt, exempt: {}}`, []string{"spec.type: Invalid value: \"Exempt\": must be 'Exempt' if and only if `name` is 'exempt'"}},
		"no queue":      {level + `{type: Limited, limited: {limitResponse: {type: Queue}}}`, []string{`spec.limited.limitResponse.queuing: Required value`}},
		"hands too big": {level + `{type: Limited, limited: {limitResponse: {type: Queue, queuing: {queues: 4, handSize: 5}}}}`, []string{`spec.limited.limitResponse.queuing.handSize: Invalid value: 5: should not be greater than queues (4)`}},

		"good network":     {cidr + `{cidrs: [10.1.0.0/16, "fd00::/64"]}`, nil},
		"no network":       {cidr + `{}`, []string{`spec.cidrs: Required value: at least one CIDR required`}},
		"one family twice": {cidr + `{cidrs: [10.1.0.0/16, 10.2.0.0/16]}`, []string{`spec.cidrs: Invalid value: ["10.1.0.0/16","10.2.0.0/16"]: may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64`}},
		"good migration":   {migrate + `{resource: {group: apps, resource: deployments}}`, nil},
		"migrates nothing": {migrate + `{}`, []string{`spec.resource.resource: Required value: resource is required to be set`}},
		"empty bundle":     {bundle + "spec: {}", []string{`spec.trustBundle: Invalid value: "<value omitted>": at least one trust anchor must be provided`}},
		"bundle of no signer": {bundle + "metadata: {name: 'a:b'}\nspec: {trustBundle: ''}", []string{
			`metadata.name: Invalid value: "a:b": ClusterTrustBundle without signer name must not have ":" in its name`,
			`spec.trustBundle: Invalid value: "<value omitted>": at least one trust anchor must be provided`}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, r.create(t, tc.text)); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("second family", func(t *testing.T) {
		if got := r.update(t, cidr+`{cidrs: [10.1.0.0/16]}`, cidr+`{cidrs: [10.1.0.0/16, "fd00::/64"]}`); got != nil {
			t.Error(got)
		}
	})
	t.Run("another network", func(t *testing.T) {
		want := []string{`spec.cidrs[0]: Invalid value: "10.2.0.0/16": field is immutable`}
		if diff := cmp.Diff(want, r.update(t, cidr+`{cidrs: [10.1.0.0/16]}`, cidr+`{cidrs: [10.2.0.0/16]}`)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestDeviceRules(t *testing.T) {
	r := newRules(t)
	const one = `{nodeName: n, driver: d.example.com, pool: {name: p, resourceSliceCount: 1}, devices: `
	for name, tc := range map[string]ruleCase{
		"good claim":        {claim + `{devices: {requests: [{name: r, exactly: {deviceClassName: c, selectors: [{cel: {expression: "device.driver == 'x'"}}]}}]}}`, nil},
		"request of nought": {claim + `{devices: {requests: [{name: r}]}}`, []string{"spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required"}},
		"no class":          {claim + `{devices: {requests: [{name: r, exactly: {}}]}}`, []string{`spec.devices.requests[0].exactly.deviceClassName: Required value`}},
		"request twice": {claim + `{devices: {requests: [{name: r, exactly: {deviceClassName: c}}, {name: r, exactly: {deviceClassName: c}}]}}`, []string{
			`spec.devices.requests[1]: Duplicate value: {"name":"r","exactly":{"deviceClassName":"c","allocationMode":"ExactCount","count":1}}`}},
		"count of all":     {claim + `{devices: {requests: [{name: r, exactly: {deviceClassName: c, allocationMode: All, count: 2}}]}}`, []string{`spec.devices.requests[0].exactly.count: Invalid value: 2: must not be specified when allocationMode is 'All'`}},
		"selects a string": {claim + `{devices: {requests: [{name: r, exactly: {deviceClassName: c, selectors: [{cel: {expression: "'a'"}}]}}]}}`, []string{`spec.devices.requests[0].exactly.selectors[0].cel.expression: Invalid value: "'a'": must evaluate to bool or the unknown type, not string`}},
		"constraint on another": {claim + `{devices: {requests: [{name: r, exactly: {deviceClassName: c}}], constraints: [{requests: [x], matchAttribute: d/a}]}}`, []string{
			`spec.devices.constraints[0].requests[0]: Invalid value: "x": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'`}},
		"good class":      {class + `{selectors: [{cel: {expression: "true"}}], config: [{opaque: {driver: d, parameters: {a: b}}}]}`, nil},
		"text parameters": {class + `{config: [{opaque: {driver: d, parameters: "a"}}]}`, []string{`spec.config[0].opaque.parameters: Invalid value: "<value omitted>": must be a valid JSON object`}},
		"good slice":      {slice + one + `[{name: a, attributes: {model: {string: x}}, capacity: {memory: {value: 1Gi}}}]}`, nil},
		"nowhere":         {slice + `{driver: d, pool: {name: p, resourceSliceCount: 1}}`, []string{"spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"}},
		"no version":      {slice + one + `[{name: a, attributes: {v: {version: "1"}}}]}`, []string{`spec.devices[0].attributes[v].version: Invalid value: "1": must be a string compatible with semver.org spec 2.0.0`}},
		"device twice":    {slice + one + `[{name: a}, {name: a}]}`, []string{`spec.devices[1]: Duplicate value: "a"`}},
		"policy unshared": {slice + one + `[{name: a, capacity: {m: {value: 1, requestPolicy: {}}}}]}`, []string{`spec.devices[0].capacity[m].requestPolicy: Forbidden: allowMultipleAllocations must be true`}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, r.create(t, tc.text)); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("claims stay", func(t *testing.T) {
		before := claim + `{devices: {requests: [{name: r, exactly: {deviceClassName: c}}]}}`
		if got := r.update(t, before, claim+`{devices: {requests: [{name: r, exactly: {deviceClassName: d}}]}}`); len(got) != 1 {
			t.Errorf("got %q, want one error", got)
		}
	})
}

func TestIPAddressRules(t *testing.T) {
	r := newRules(t)
	for name, tc := range map[string]ruleCase{
		"10.0.0.1":  {"{parentRef: {resource: services, namespace: default, name: s}}", nil},
		"010.0.0.1": {"{parentRef: {resource: services, name: s}}", []string{`metadata.name: Invalid value: "010.0.0.1": must not have leading 0s`}},
		"10.0.0.2":  {"{}", []string{`spec.parentRef: Required value`}},
		"10.0.0.3":  {"{parentRef: {}}", []string{`spec.parentRef.name: Required value`, `spec.parentRef.resource: Required value`}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, r.create(t, fmt.Sprintf(address, name)+tc.text)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
