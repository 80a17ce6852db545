package machinery

import (
	"fmt"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// stage adds to what the stage before it has left: the second works only on
// what the first has added.
func stage(n int) judge {
	return func(r *admissionv1.AdmissionRequest) (string, error) {
		data := subject(r).Data
		if n == 1 && data["mutation-start"] == "yes" && data["mutation-stage-1"] == "" {
			return `[{"op":"add","path":"/data/mutation-stage-1","value":"yes"}]`, nil
		}
		if n == 2 && data["mutation-stage-1"] == "yes" && data["mutation-stage-2"] == "" {
			return `[{"op":"add","path":"/data/mutation-stage-2","value":"yes"}]`, nil
		}
		return "", nil
	}
}

func started(name string) *corev1.ConfigMap {
	return configMap(name, map[string]string{"mutation-start": "yes"})
}

func mutated(cm *corev1.ConfigMap, err error) bool { return err == nil && len(cm.Data) == 3 }

// twoStages registers both stages in the order of their names.
func (c *cluster) twoStages(group, resource string) *admissionregistrationv1.MutatingWebhookConfiguration {
	c.Helper()
	first := c.mutating(c.serve(hook(stage(1))).client(c), rule(group, "*", resource, create, update))
	second := c.mutating(c.serveURL(hook(stage(2))).client(c), rule(group, "*", resource, create, update))
	first.Name, second.Name = "stage-1.example.com", "stage-2.example.com"
	return c.mutate(first, second)
}

// Conformance: [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should mutate configmap
func TestWebhookMutates(t *testing.T) {
	c := begin(t)
	c.twoStages("", "configmaps")
	c.effect("both stages", started("probe"), mutated)
	cm := try(c.CoreV1().ConfigMaps(c.ns).Create(c.ctx, started("one"), metav1.CreateOptions{})).or(c)
	if cm.Data["mutation-stage-1"] != "yes" || cm.Data["mutation-stage-2"] != "yes" {
		t.Errorf("made with %v", cm.Data)
	}
}

// Conformance: [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should mutate everything except 'skip-me' configmaps
func TestWebhookSkips(t *testing.T) {
	c := begin(t)
	w := c.mutating(c.serve(hook(stage(1))).client(c), rule("", "v1", "configmaps", create))
	w.MatchConditions = []admissionregistrationv1.MatchCondition{{Name: "skip-me", Expression: `object.metadata.name != "skip-me"`}}
	conf := c.mutate(w)
	c.effect("the webhook", started("probe"), func(cm *corev1.ConfigMap, err error) bool { return err == nil && len(cm.Data) == 2 })
	if cm := try(c.CoreV1().ConfigMaps(c.ns).Create(c.ctx, started("skip-me"), metav1.CreateOptions{})).or(c); len(cm.Data) != 1 {
		t.Errorf("not skipped: %v", cm.Data)
	}
	if got := conf.Webhooks[0].MatchConditions; len(got) != 1 || got[0].Name != "skip-me" {
		t.Errorf("conditions are %v", got)
	}
}

// Conformance: [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should mutate pod and apply defaults after mutation
func TestWebhookMutatesPod(t *testing.T) {
	c := begin(t)
	client := c.serve(hook(func(*admissionv1.AdmissionRequest) (string, error) {
		return `[{"op":"add","path":"/spec/initContainers","value":[{"image":"webhook-added-image","name":"webhook-added-init-container","resources":{}}]}]`, nil
	})).client(c)
	c.mutate(c.mutating(client, rule("", "v1", "pods", create)))
	var made *corev1.Pod
	c.eventually("the mutation", func() error {
		var err error
		made, err = c.CoreV1().Pods(c.ns).Create(c.ctx, pod("one", nil), metav1.CreateOptions{DryRun: []string{"All"}})
		if err == nil && len(made.Spec.InitContainers) != 1 {
			err = fmt.Errorf("not mutated")
		}
		return err
	})
	init := made.Spec.InitContainers[0]
	if init.Name != "webhook-added-init-container" || init.TerminationMessagePolicy != corev1.TerminationMessageReadFile || init.ImagePullPolicy != corev1.PullAlways {
		t.Errorf("no defaults in %+v", init)
	}
}

// customStages checks that both stages change resources of a definition.
func (c *cluster) customStages(crd *apiextensionsv1.CustomResourceDefinition, version string, want ...string) {
	c.Helper()
	foos := c.of(crd, version)
	o := with(foo(crd, version, "one"), "data", map[string]any{"mutation-start": "yes"})
	c.eventually("the mutation of a custom resource", func() error {
		made, err := foos.Create(c.ctx, o, metav1.CreateOptions{DryRun: []string{"All"}})
		if err != nil {
			return err
		}
		got, _, _ := unstructured.NestedStringMap(made.Object, "data")
		if len(got) != len(want) {
			return fmt.Errorf("data is %v", got)
		}
		for _, key := range want {
			if got[key] != "yes" {
				return fmt.Errorf("data is %v", got)
			}
		}
		return nil
	})
	try(foos.Create(c.ctx, o, metav1.CreateOptions{})).or(c)
}

// Conformance: [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should mutate custom resource
func TestWebhookMutatesCustomResource(t *testing.T) {
	c := begin(t)
	crd := c.define(simple(c.ns))
	c.twoStages(crd.Spec.Group, "foos")
	c.customStages(crd, "v1", "mutation-start", "mutation-stage-1", "mutation-stage-2")
}

// Conformance: [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should mutate custom resource with pruning
func TestWebhookMutatesAndPrunes(t *testing.T) {
	c := begin(t)
	text := apiextensionsv1.JSONSchemaProps{Type: "string"}
	crd := c.define(definition(c.ns, version("v1", true, &apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{
		"data": {Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"mutation-start": text, "mutation-stage-1": text}},
	}})))
	c.twoStages(crd.Spec.Group, "foos")
	// What the second adds is not in the schema.
	c.customStages(crd, "v1", "mutation-start", "mutation-stage-1")
}

// Conformance: [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should mutate custom resource with different stored version
func TestWebhookMutatesOtherVersion(t *testing.T) {
	c := begin(t)
	crd := c.define(definition(c.ns, version("v1", true, preserving()), version("v2", false, preserving())))
	c.twoStages(crd.Spec.Group, "foos")
	c.customStages(crd, "v1", "mutation-start", "mutation-stage-1", "mutation-stage-2")
	c.change(crd.Name, func(crd *apiextensionsv1.CustomResourceDefinition) {
		crd.Spec.Versions[0].Storage, crd.Spec.Versions[1].Storage = false, true
	})
	c.eventually("storage in v2", func() error {
		o, err := c.of(crd, "v1").Patch(c.ctx, "one", types.MergePatchType, []byte(`{"data":{"touched":"yes","mutation-stage-2":null}}`), metav1.PatchOptions{})
		if err == nil && (at(o, "data.touched") != "yes" || at(o, "data.mutation-stage-2") != "yes") {
			err = fmt.Errorf("data is %v", at(o, "data"))
		}
		return err
	})
	made := try(c.definitions().ApiextensionsV1().CustomResourceDefinitions().Get(c.ctx, crd.Name, metav1.GetOptions{})).or(c)
	if got := strings.Join(made.Status.StoredVersions, " "); got != "v1 v2" {
		t.Errorf("stored versions are %s", got)
	}
}

// Conformance: [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should not be able to mutate or prevent deletion of webhook configuration objects
func TestWebhooksAreNotForWebhooks(t *testing.T) {
	c := begin(t)
	refuse := c.serveURL(hook(func(*admissionv1.AdmissionRequest) (string, error) {
		return "", fmt.Errorf("never")
	})).client(c)
	add := c.serveURL(hook(func(*admissionv1.AdmissionRequest) (string, error) {
		return `[{"op":"add","path":"/metadata/labels/mutated","value":"yes"}]`, nil
	})).client(c)
	const both = "validatingwebhookconfigurations,mutatingwebhookconfigurations"
	chosen := &metav1.LabelSelector{MatchLabels: map[string]string{"dummy": c.ns}}
	v := c.validating(refuse, append(rule("admissionregistration.k8s.io", "*", both, remove), rule("", "v1", "configmaps", create)...))
	v.NamespaceSelector, v.ObjectSelector = nil, chosen
	m := c.mutating(add, append(rule("admissionregistration.k8s.io", "*", both, create), rule("", "v1", "configmaps", create)...))
	m.NamespaceSelector, m.ObjectSelector = nil, chosen
	c.validate(v)
	c.mutate(m)
	probe := configMap("probe", nil)
	probe.Labels = chosen.MatchLabels
	c.effect("the webhook", probe, denied)

	api := c.AdmissionregistrationV1().MutatingWebhookConfigurations()
	made := try(api.Create(c.ctx, &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: c.ns + "-dummy", Labels: chosen.MatchLabels},
		Webhooks:   []admissionregistrationv1.MutatingWebhook{c.mutating(add, rule("", "v1", "nothing", create))},
	}, metav1.CreateOptions{})).or(c)
	if made.Labels["mutated"] != "" {
		t.Error("a webhook has changed a webhook")
	}
	c.ok(api.Delete(c.ctx, made.Name, metav1.DeleteOptions{}))
}

// Conformance: [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] listing validating webhooks should work
// Conformance: [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] patching/updating a validating webhook should work
func TestValidatingWebhooksLife(t *testing.T) {
	c := begin(t)
	client := c.serve(hook(disallow)).client(c)
	api := c.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	conf := c.validate(c.validating(client, rule("", "v1", "configmaps", create)))
	c.validate()
	if list := try(api.List(c.ctx, metav1.ListOptions{LabelSelector: "test=" + c.ns})).or(c); len(list.Items) != 2 {
		t.Errorf("%d listed", len(list.Items))
	}
	c.effect("the webhook", unwanted("probe"), denied)
	conf.Webhooks[0].Rules[0].Operations = operations{update}
	try(api.Update(c.ctx, conf, metav1.UpdateOptions{})).or(c)
	c.effect("no webhook for creation", unwanted("probe"), admitted)
	try(api.Patch(c.ctx, conf.Name, types.JSONPatchType, []byte(`[{"op":"replace","path":"/webhooks/0/rules/0/operations","value":["CREATE"]}]`), metav1.PatchOptions{})).or(c)
	c.effect("the webhook again", unwanted("probe"), denied)
	c.ok(api.DeleteCollection(c.ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "test=" + c.ns}))
	c.effect("no webhook", unwanted("probe"), admitted)
}

// Conformance: [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] listing mutating webhooks should work
// Conformance: [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] patching/updating a mutating webhook should work
func TestMutatingWebhooksLife(t *testing.T) {
	c := begin(t)
	api := c.AdmissionregistrationV1().MutatingWebhookConfigurations()
	conf := c.twoStages("", "configmaps")
	if list := try(api.List(c.ctx, metav1.ListOptions{LabelSelector: "test=" + c.ns})).or(c); len(list.Items) != 1 || len(list.Items[0].Webhooks) != 2 {
		t.Errorf("%d listed", len(list.Items))
	}
	c.effect("the webhooks", started("probe"), mutated)
	plain := func(cm *corev1.ConfigMap, err error) bool { return err == nil && len(cm.Data) == 1 }
	for i := range conf.Webhooks {
		conf.Webhooks[i].Rules[0].Operations = operations{update}
	}
	try(api.Update(c.ctx, conf, metav1.UpdateOptions{})).or(c)
	c.effect("no webhook for creation", started("probe"), plain)
	try(api.Patch(c.ctx, conf.Name, types.JSONPatchType, []byte(`[{"op":"replace","path":"/webhooks/0/rules/0/operations","value":["CREATE"]},
		{"op":"replace","path":"/webhooks/1/rules/0/operations","value":["CREATE"]}]`), metav1.PatchOptions{})).or(c)
	c.effect("the webhooks again", started("probe"), mutated)
	c.ok(api.DeleteCollection(c.ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "test=" + c.ns}))
	c.effect("no webhooks", started("probe"), plain)
}

// Conformance: [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should be able to create and update validating webhook configurations with match conditions
// Conformance: [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should be able to create and update mutating webhook configurations with match conditions
// Conformance: [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should reject validating webhook configurations with invalid match conditions
// Conformance: [sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should reject mutating webhook configurations with invalid match conditions
func TestWebhookConditions(t *testing.T) {
	c := begin(t)
	client := c.serve(hook(disallow)).client(c)
	conditions := []admissionregistrationv1.MatchCondition{{Name: "expression-1", Expression: `object.metadata.namespace == "production"`}}
	two := append(conditions, admissionregistrationv1.MatchCondition{Name: "expression-2", Expression: `!("skip" in request.userInfo.groups)`})
	invalid := []admissionregistrationv1.MatchCondition{{Name: "invalid-expression-1", Expression: "... [] bad expression"}}
	const refusal = "webhooks[0].matchConditions[0].expression: Invalid value: \"... [] bad expression\": compilation failed: ERROR: <input>:1:2: Syntax error"

	v := c.validating(client, rule("", "v1", "configmaps", create))
	v.MatchConditions = conditions
	vapi := c.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	vc := c.validate(v)
	vc.Webhooks[0].MatchConditions = two
	if vc = try(vapi.Update(c.ctx, vc, metav1.UpdateOptions{})).or(c); len(vc.Webhooks[0].MatchConditions) != 2 {
		t.Error("conditions are lost")
	}
	vc.Webhooks[0].MatchConditions = invalid
	_, err := vapi.Update(c.ctx, vc, metav1.UpdateOptions{})
	c.refused(err, apierrors.IsInvalid, refusal)
	vc.ResourceVersion, vc.Name = "", ""
	_, err = vapi.Create(c.ctx, vc, metav1.CreateOptions{})
	c.refused(err, apierrors.IsInvalid, refusal)

	m := c.mutating(client, rule("", "v1", "configmaps", create))
	m.MatchConditions = conditions
	mapi := c.AdmissionregistrationV1().MutatingWebhookConfigurations()
	mc := c.mutate(m)
	mc.Webhooks[0].MatchConditions = two
	if mc = try(mapi.Update(c.ctx, mc, metav1.UpdateOptions{})).or(c); len(mc.Webhooks[0].MatchConditions) != 2 {
		t.Error("conditions are lost")
	}
	mc.ResourceVersion, mc.Name, mc.Webhooks[0].MatchConditions = "", "", invalid
	_, err = mapi.Create(c.ctx, mc, metav1.CreateOptions{})
	c.refused(err, apierrors.IsInvalid, refusal)
}

// A webhook that others come after may be asked again about what they changed.
func TestWebhookReinvocation(t *testing.T) {
	c := begin(t)
	again := c.mutating(c.serveURL(hook(stage(2))).client(c), rule("", "v1", "configmaps", create))
	again.Name, again.ReinvocationPolicy = "a-second.example.com", ptr(admissionregistrationv1.IfNeededReinvocationPolicy)
	first := c.mutating(c.serveURL(hook(stage(1))).client(c), rule("", "v1", "configmaps", create))
	first.Name = "b-first.example.com"
	c.mutate(again, first)
	c.effect("both stages, in the wrong order", started("probe"), mutated)
}

// Dry runs reach only webhooks that promise to do nothing else, and a webhook's
// warnings and audit annotations do not disturb.
func TestWebhookSideEffects(t *testing.T) {
	c := begin(t)
	client := c.serveURL(answering(func(review *admissionv1.AdmissionReview) {
		review.Response = &admissionv1.AdmissionResponse{
			UID: review.Request.UID, Allowed: review.Request.DryRun == nil || !*review.Request.DryRun,
			Warnings: []string{"be careful"}, AuditAnnotations: map[string]string{"seen": "yes"},
		}
		review.Request = nil
	})).client(c)
	w := c.validating(client, rule("", "v1", "configmaps", create))
	w.SideEffects = ptr(admissionregistrationv1.SideEffectClassNoneOnDryRun)
	c.validate(w)
	c.effect("the webhook", configMap("probe", nil), func(_ *corev1.ConfigMap, err error) bool {
		return err != nil && strings.Contains(err.Error(), `admission webhook "deny.example.com" denied the request without explanation`)
	})
	typed, heard := c.warned()
	_, err := typed.CoreV1().ConfigMaps(c.ns).Create(c.ctx, configMap("one", nil), metav1.CreateOptions{})
	c.ok(err)
	if len(heard.text) != 1 || heard.text[0] != "be careful" {
		t.Errorf("warnings are %q", heard.text)
	}
	w.SideEffects = ptr(admissionregistrationv1.SideEffectClassSome)
	_, err = c.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(c.ctx, &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: c.ns + "-some"}, Webhooks: []admissionregistrationv1.ValidatingWebhook{w},
	}, metav1.CreateOptions{})
	c.refused(err, apierrors.IsInvalid, `webhooks[0].sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun"`)
}
