package machinery

import (
	"context"
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func deployment(name string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Spec:       appsv1.DeploymentSpec{Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: template(labels)},
	}
}

// bind makes a policy, and a binding of it to the test's own namespace: kind
// is Validating or Mutating, the texts are of what is in their specs.
func (c *cluster) bind(kind, spec, binding string) string {
	c.Helper()
	name := c.ns + ".example.com"
	what := kind + "AdmissionPolicy"
	plural := strings.ToLower(kind) + "admissionpolic"
	policies, bindings := c.dyn.Resource(registered(plural+"ies")), c.dyn.Resource(registered(plural+"ybindings"))
	try(policies.Create(c.ctx, object(`{"apiVersion":"admissionregistration.k8s.io/v1","kind":%q,"metadata":{"name":%q},"spec":{%s}}`, what, name, spec), metav1.CreateOptions{})).or(c)
	c.later(func(ctx context.Context) { _ = policies.Delete(ctx, name, metav1.DeleteOptions{}) })
	try(bindings.Create(c.ctx, object(`{"apiVersion":"admissionregistration.k8s.io/v1","kind":%q,"metadata":{"name":%q},
"spec":{"policyName":%q,%s"matchResources":{"namespaceSelector":{"matchLabels":{"test":%q}}}}}`, what+"Binding", name, name, binding, c.ns), metav1.CreateOptions{})).or(c)
	c.later(func(ctx context.Context) { _ = bindings.Delete(ctx, name, metav1.DeleteOptions{}) })
	return name
}

func matching(group, resource string) string {
	return fmt.Sprintf(`"matchConstraints":{"resourceRules":[{"apiGroups":[%q],"apiVersions":["v1"],"operations":["CREATE","UPDATE"],"resources":[%q]}]},`, group, resource)
}

const deny = `"validationActions":["Deny"],`

// deployed waits until the creation of a deployment, which is not kept, is
// answered as wanted.
func (c *cluster) deployed(what string, replicas int32, seen func(*appsv1.Deployment, error) bool) (*appsv1.Deployment, error) {
	c.Helper()
	var got *appsv1.Deployment
	var err error
	c.eventually(what, func() error {
		got, err = c.AppsV1().Deployments(c.ns).Create(c.ctx, deployment("probe", replicas), metav1.CreateOptions{DryRun: []string{"All"}})
		if seen(got, err) {
			return nil
		}
		return fmt.Errorf("answered: %v", err)
	})
	return got, err
}

func isDenied(_ *appsv1.Deployment, err error) bool {
	return err != nil && strings.Contains(err.Error(), "denied request")
}

// Conformance: [sig-api-machinery] ValidatingAdmissionPolicy [Privileged:ClusterAdmin] should validate against a Deployment
func TestPolicyOfDeployments(t *testing.T) {
	c := begin(t)
	name := c.bind("Validating", matching("apps", "deployments")+`"validations":[
{"expression":"object.spec.replicas > 1","messageExpression":"'wants replicas > 1, got ' + string(object.spec.replicas)"},
{"expression":"namespaceObject.metadata.name == '`+c.ns+`'","message":"Internal error! Other namespace should not be allowed.","reason":"Forbidden"}]`, deny)
	_, err := c.deployed("the refusal", 1, isDenied)
	c.refused(err, apierrors.IsInvalid, fmt.Sprintf(`deployments.apps "probe" is forbidden: ValidatingAdmissionPolicy '%s' with binding '%s' denied request: wants replicas > 1, got 1`, name, name))
	try(c.AppsV1().Deployments(c.ns).Create(c.ctx, deployment("two", 2), metav1.CreateOptions{})).or(c)
	try(c.AppsV1().Deployments(c.namespace(nil)).Create(c.ctx, deployment("one", 1), metav1.CreateOptions{})).or(c)
	_, err = c.AppsV1().Deployments(c.ns).Update(c.ctx, deployment("two", 1), metav1.UpdateOptions{})
	c.refused(err, apierrors.IsInvalid, "wants replicas > 1, got 1")
}

// Conformance: [sig-api-machinery] ValidatingAdmissionPolicy [Privileged:ClusterAdmin] should allow expressions to refer variables.
func TestPolicyVariables(t *testing.T) {
	c := begin(t)
	c.bind("Validating", matching("apps", "deployments")+`"variables":[{"name":"replicas","expression":"object.spec.replicas"},
{"name":"oddReplicas","expression":"variables.replicas % 2 == 1"}],
"validations":[{"expression":"variables.replicas > 1"},{"expression":"variables.oddReplicas"}]`, deny)
	_, err := c.deployed("the refusal of one", 1, isDenied)
	c.refused(err, nil, "failed expression: variables.replicas > 1")
	_, err = c.deployed("the refusal of four", 4, isDenied)
	c.refused(err, nil, "failed expression: variables.oddReplicas")
	c.deployed("three", 3, func(_ *appsv1.Deployment, err error) bool { return err == nil })
}

// A policy may take what it allows from another object, warn instead of refuse,
// and leave notes for the audit.
func TestPolicyParameters(t *testing.T) {
	c := begin(t)
	name := c.bind("Validating", matching("apps", "deployments")+`"paramKind":{"apiVersion":"v1","kind":"ConfigMap"},
"matchConditions":[{"name":"not-exempt","expression":"!('exempt' in object.metadata.labels)"}],
"auditAnnotations":[{"key":"replicas","valueExpression":"'many'"}],
"validations":[{"expression":"object.spec.replicas <= int(params.data.max)","messageExpression":"'at most ' + params.data.max"}]`,
		`"validationActions":["Warn","Audit"],"paramRef":{"namespace":"`+c.ns+`","name":"limits","parameterNotFoundAction":"Deny"},`)
	c.deployed("the refusal without parameters", 1, func(_ *appsv1.Deployment, err error) bool {
		return err != nil && strings.Contains(err.Error(), "no params found for policy binding with `Deny` parameterNotFoundAction")
	})
	try(c.CoreV1().ConfigMaps(c.ns).Create(c.ctx, configMap("limits", map[string]string{"max": "3"}), metav1.CreateOptions{})).or(c)
	c.deployed("no refusal with parameters", 1, func(_ *appsv1.Deployment, err error) bool { return err == nil })
	typed, heard := c.warned()
	_, err := typed.AppsV1().Deployments(c.ns).Create(c.ctx, deployment("four", 4), metav1.CreateOptions{})
	c.ok(err)
	want := fmt.Sprintf("Validation failed for ValidatingAdmissionPolicy '%s' with binding '%s': at most 3", name, name)
	if len(heard.text) != 1 || heard.text[0] != want {
		t.Errorf("warnings are %q, want %q", heard.text, want)
	}
	exempt := deployment("exempt", 9)
	exempt.Labels["exempt"] = "yes"
	typed, heard = c.warned()
	if _, err = typed.AppsV1().Deployments(c.ns).Create(c.ctx, exempt, metav1.CreateOptions{}); err != nil || len(heard.text) != 0 {
		t.Errorf("exempt: %v, %q", err, heard.text)
	}
}

// An expression that names a field that there is not is found out by checking
// types, and the status says so.
func TestPolicyTypes(t *testing.T) {
	c := begin(t)
	name := c.bind("Validating", matching("apps", "deployments")+`"failurePolicy":"Ignore","validations":[{"expression":"object.spec.nothing > 1"}]`, deny)
	policies := c.AdmissionregistrationV1().ValidatingAdmissionPolicies()
	c.eventually("the warning", func() error {
		p := try(policies.Get(c.ctx, name, metav1.GetOptions{})).or(c)
		checking := p.Status.TypeChecking
		if p.Status.ObservedGeneration != p.Generation || checking == nil || len(checking.ExpressionWarnings) != 1 {
			return fmt.Errorf("status is %+v", p.Status)
		}
		w := checking.ExpressionWarnings[0]
		if w.FieldRef != "spec.validations[0].expression" || !strings.Contains(w.Warning, "apps/v1, Kind=Deployment: ERROR: <input>:1:12: undefined field 'nothing'") {
			t.Errorf("warning is %+v", w)
		}
		return nil
	})
}

// Conformance: [sig-api-machinery] MutatingAdmissionPolicy [Privileged:ClusterAdmin] should mutate a Deployment
func TestPolicyMutates(t *testing.T) {
	c := begin(t)
	c.bind("Mutating", matching("apps", "deployments")+`"reinvocationPolicy":"Never","mutations":[{"patchType":"ApplyConfiguration",
"applyConfiguration":{"expression":"Object{spec: Object.spec{replicas: 2}}"}}]`, "")
	got, _ := c.deployed("the mutation", 1, func(d *appsv1.Deployment, err error) bool { return err == nil && *d.Spec.Replicas == 2 })
	if got.Labels["app"] != "probe" {
		t.Errorf("labels are %v", got.Labels)
	}
	if d := try(c.AppsV1().Deployments(c.namespace(nil)).Create(c.ctx, deployment("one", 1), metav1.CreateOptions{})).or(c); *d.Spec.Replicas != 1 {
		t.Error("mutated elsewhere")
	}
}

// Conformance: [sig-api-machinery] MutatingAdmissionPolicy [Privileged:ClusterAdmin] should mutate a Deployment with annotations
func TestPolicyMutatesAnnotations(t *testing.T) {
	c := begin(t)
	c.bind("Mutating", matching("apps", "deployments")+`"reinvocationPolicy":"IfNeeded","variables":[{"name":"n","expression":"object.spec.replicas"}],"mutations":[
{"patchType":"ApplyConfiguration","applyConfiguration":{"expression":"Object{metadata: Object.metadata{annotations: {'my-annotation': 'value ' + string(variables.n)}}}"}},
{"patchType":"JSONPatch","jsonPatch":{"expression":"[JSONPatch{op: 'add', path: '/metadata/labels/' + jsonpatch.escapeKey('example.com/by'), value: 'policy'}]"}}]`, "")
	got, _ := c.deployed("the mutation", 1, func(d *appsv1.Deployment, err error) bool {
		return err == nil && d.Annotations["my-annotation"] == "value 1"
	})
	if got.Labels["example.com/by"] != "policy" {
		t.Errorf("labels are %v", got.Labels)
	}
}
