package machinery

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

// foo is an object of a definition.
func foo(crd *apiextensionsv1.CustomResourceDefinition, version, name string) *unstructured.Unstructured {
	return object(`{"apiVersion": "%s/%s", "kind": %q, "metadata": {"name": %q}}`, crd.Spec.Group, version, crd.Spec.Names.Kind, name)
}

func with(o *unstructured.Unstructured, field string, value any) *unstructured.Unstructured {
	o.Object[field] = value
	return o
}

// Conformance: [sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] Simple CustomResourceDefinition creating/deleting custom resource definition objects works
func TestDefinitionLife(t *testing.T) {
	c := begin(t)
	crd := c.define(simple(c.ns))
	foos := c.of(crd, "v1")
	try(foos.Create(c.ctx, foo(crd, "v1", "one"), metav1.CreateOptions{})).or(c)
	api := c.definitions().ApiextensionsV1().CustomResourceDefinitions()
	c.ok(api.Delete(c.ctx, crd.Name, metav1.DeleteOptions{}))
	c.eventually("removal of the definition", func() error {
		_, err := api.Get(c.ctx, crd.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("there: %v", err)
	})
	c.eventually("the resource goes too", func() error {
		_, err := foos.Get(c.ctx, "one", metav1.GetOptions{})
		if apierrors.IsNotFound(err) && strings.Contains(err.Error(), "the server could not find the requested resource") {
			return nil
		}
		return fmt.Errorf("answered: %v", err)
	})
	// A new one starts with none of the old one's objects.
	crd = c.define(simple(c.ns))
	c.eventually("the new definition is served", func() error {
		list, err := foos.List(c.ctx, metav1.ListOptions{})
		if err == nil && len(list.Items) != 0 {
			t.Errorf("%d objects of the old definition", len(list.Items))
		}
		return err
	})
}

// Conformance: [sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] Simple CustomResourceDefinition listing custom resource definition objects works
func TestDefinitionList(t *testing.T) {
	c := begin(t)
	api := c.definitions().ApiextensionsV1().CustomResourceDefinitions()
	for i := range 4 {
		crd := named(definition(c.ns, version("v1", true, preserving())), fmt.Sprint("Kind", i))
		crd.Labels["list"] = c.ns
		c.define(crd)
	}
	list := try(api.List(c.ctx, metav1.ListOptions{LabelSelector: "list=" + c.ns})).or(c)
	if len(list.Items) != 4 {
		t.Errorf("%d definitions", len(list.Items))
	}
	c.ok(api.DeleteCollection(c.ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "list=" + c.ns}))
	c.eventually("removal of all", func() error {
		if list := try(api.List(c.ctx, metav1.ListOptions{LabelSelector: "list=" + c.ns})).or(c); len(list.Items) != 0 {
			return fmt.Errorf("%d left", len(list.Items))
		}
		return nil
	})
}

// Conformance: [sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] Simple CustomResourceDefinition getting/updating/patching custom resource definition status sub-resource works
func TestDefinitionStatus(t *testing.T) {
	c := begin(t)
	crd := c.define(simple(c.ns))
	api := c.definitions().ApiextensionsV1().CustomResourceDefinitions()
	dyn := c.dyn.Resource(apiextensionsv1.SchemeGroupVersion.WithResource("customresourcedefinitions"))
	got := try(dyn.Get(c.ctx, crd.Name, metav1.GetOptions{}, "status")).or(c)
	if got.GetName() != crd.Name || at(got, "status.acceptedNames.kind") != "Foo" {
		t.Errorf("status says %v", at(got, "status.acceptedNames"))
	}
	condition := apiextensionsv1.CustomResourceDefinitionCondition{Type: "StatusUpdate", Status: apiextensionsv1.ConditionTrue, Reason: "E2E", Message: "Set from a test"}
	c.eventually("update of the status", func() error {
		crd = try(api.Get(c.ctx, crd.Name, metav1.GetOptions{})).or(c)
		crd.Status.Conditions = append(crd.Status.Conditions, condition)
		_, err := api.UpdateStatus(c.ctx, crd, metav1.UpdateOptions{})
		return err
	})
	patched := try(api.Patch(c.ctx, crd.Name, types.StrategicMergePatchType, []byte(`{"status":{"storedVersions":["v1"]},"spec":{"scope":"Cluster"}}`), metav1.PatchOptions{}, "status"))
	if patched.err != nil { // definitions have no strategic patch upstream either
		patched = try(api.Patch(c.ctx, crd.Name, types.MergePatchType, []byte(`{"status":{"storedVersions":["v1"]},"spec":{"scope":"Cluster"}}`), metav1.PatchOptions{}, "status"))
	}
	crd = patched.or(c)
	last := crd.Status.Conditions[len(crd.Status.Conditions)-1]
	if last.Type != "StatusUpdate" || crd.Spec.Scope != apiextensionsv1.NamespaceScoped {
		t.Errorf("condition %+v, scope %s", last, crd.Spec.Scope)
	}
}

// Conformance: [sig-api-machinery] CustomResourceDefinition Watch [Privileged:ClusterAdmin] CustomResourceDefinition Watch watch on custom resource definition objects
func TestDefinitionWatch(t *testing.T) {
	c := begin(t)
	crd := c.define(simple(c.ns))
	foos := c.of(crd, "v1")
	w := try(foos.Watch(c.ctx, metav1.ListOptions{})).or(c)
	defer w.Stop()
	event := func(want watch.EventType, name string) {
		t.Helper()
		e := c.await("an event", w, func(watch.Event) bool { return true })
		if o := e.Object.(*unstructured.Unstructured); e.Type != want || o.GetName() != name || o.GetKind() != "Foo" {
			t.Errorf("saw %s %s %s, want %s %s", e.Type, o.GetKind(), o.GetName(), want, name)
		}
	}
	try(foos.Create(c.ctx, foo(crd, "v1", "a"), metav1.CreateOptions{})).or(c)
	event(watch.Added, "a")
	try(foos.Create(c.ctx, foo(crd, "v1", "b"), metav1.CreateOptions{})).or(c)
	event(watch.Added, "b")
	try(foos.Patch(c.ctx, "a", types.MergePatchType, []byte(`{"num":1}`), metav1.PatchOptions{})).or(c)
	event(watch.Modified, "a")
	c.ok(foos.Delete(c.ctx, "a", metav1.DeleteOptions{}))
	event(watch.Deleted, "a")
	c.ok(foos.DeleteCollection(c.ctx, metav1.DeleteOptions{}, metav1.ListOptions{}))
	event(watch.Deleted, "b")
}

// Conformance: [sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] custom resource defaulting for requests and from storage works
func TestCustomDefaults(t *testing.T) {
	c := begin(t)
	schema := preserving()
	schema.Properties = map[string]apiextensionsv1.JSONSchemaProps{
		"a": {Type: "string", Default: &apiextensionsv1.JSON{Raw: []byte(`"A"`)}},
		"b": {Type: "string"},
	}
	crd := c.define(definition(c.ns, version("v1", true, schema)))
	foos := c.of(crd, "v1")
	if o := try(foos.Create(c.ctx, foo(crd, "v1", "one"), metav1.CreateOptions{})).or(c); at(o, "a") != "A" || at(o, "b") != nil {
		t.Errorf("made with a=%v b=%v", at(o, "a"), at(o, "b"))
	}
	c.change(crd.Name, func(crd *apiextensionsv1.CustomResourceDefinition) {
		props := crd.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties
		b := props["b"]
		b.Default = &apiextensionsv1.JSON{Raw: []byte(`"B"`)}
		props["b"] = b
		a := props["a"]
		a.Default = nil
		props["a"] = a
	})
	c.eventually("the new default in what is stored", func() error {
		o, err := foos.Get(c.ctx, "one", metav1.GetOptions{})
		if err == nil && (at(o, "b") != "B" || at(o, "a") != "A") {
			err = fmt.Errorf("a=%v b=%v", at(o, "a"), at(o, "b"))
		}
		return err
	})
	if o := try(foos.Create(c.ctx, foo(crd, "v1", "two"), metav1.CreateOptions{})).or(c); at(o, "a") != nil || at(o, "b") != "B" {
		t.Errorf("made with a=%v b=%v", at(o, "a"), at(o, "b"))
	}
}

// Conformance: [sig-api-machinery] CustomResourceFieldSelectors [Privileged:ClusterAdmin] CustomResourceFieldSelectors MUST list and watch custom resources matching the field selector
func TestCustomFieldSelectors(t *testing.T) {
	c := begin(t)
	text := apiextensionsv1.JSONSchemaProps{Type: "string"}
	v1 := version("v1", true, &apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"hostPort": text}})
	v2 := version("v2", false, &apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"host": text, "port": text}})
	v1.SelectableFields = []apiextensionsv1.SelectableField{{JSONPath: ".hostPort"}}
	v2.SelectableFields = []apiextensionsv1.SelectableField{{JSONPath: ".host"}, {JSONPath: ".port"}}
	crd := definition(c.ns, v1, v2)
	crd.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{
		Strategy: apiextensionsv1.WebhookConverter,
		Webhook: &apiextensionsv1.WebhookConversion{
			ClientConfig: c.converter(), ConversionReviewVersions: []string{"v1"},
		},
	}
	crd = c.define(crd)
	first, second := c.of(crd, "v1"), c.of(crd, "v2")
	w := try(second.Watch(c.ctx, metav1.ListOptions{FieldSelector: "host=host1,port=80"})).or(c)
	defer w.Stop()
	for i, hostPort := range []string{"host1:80", "host1:8080", "host2:80"} {
		try(first.Create(c.ctx, with(foo(crd, "v1", fmt.Sprint("f", i)), "hostPort", hostPort), metav1.CreateOptions{})).or(c)
	}
	for _, want := range []struct {
		in       string
		selector string
		n        int
	}{
		{"v1", "hostPort=host1:80", 1}, {"v1", "hostPort!=host1:80", 2}, {"v2", "host=host1", 2}, {"v2", "host=host1,port=80", 1},
		{"v2", "metadata.name=f1,host=host1", 1}, {"v2", "host=host9", 0},
	} {
		list := try(c.of(crd, want.in).List(c.ctx, metav1.ListOptions{FieldSelector: want.selector})).or(c)
		if len(list.Items) != want.n {
			t.Errorf("%s selects %d, want %d", want.selector, len(list.Items), want.n)
		}
	}
	if e := c.await("the object", w, func(watch.Event) bool { return true }); e.Object.(*unstructured.Unstructured).GetName() != "f0" {
		t.Errorf("watched %v", e)
	}
	c.ok(second.DeleteCollection(c.ctx, metav1.DeleteOptions{}, metav1.ListOptions{FieldSelector: "host=host2"}))
	if list := try(first.List(c.ctx, metav1.ListOptions{})).or(c); len(list.Items) != 2 {
		t.Errorf("%d left, want 2", len(list.Items))
	}
	_, err := first.List(c.ctx, metav1.ListOptions{FieldSelector: "host=host1"})
	c.refused(err, apierrors.IsBadRequest, `field label not supported: host`)
}

// Rules in CEL see the old object too, and say upstream's words.
func TestCustomRules(t *testing.T) {
	c := begin(t)
	schema := &apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{
		"spec": {
			Type: "object", Required: []string{"x"},
			Properties: map[string]apiextensionsv1.JSONSchemaProps{"x": {Type: "integer"}, "y": {Type: "integer"}},
			XValidations: apiextensionsv1.ValidationRules{
				{Rule: "!has(self.y) || self.x <= self.y", MessageExpression: "self.x > 3 ? 'x is large' : 'x is small'"},
				{Rule: "self.x >= oldSelf.x", Message: "x only grows", Reason: ptr(apiextensionsv1.FieldValueForbidden), FieldPath: ".x"},
			},
		},
	}}
	crd := c.define(definition(c.ns, version("v1", true, schema)))
	foos := c.of(crd, "v1")
	_, err := foos.Create(c.ctx, foo(crd, "v1", "one"), metav1.CreateOptions{})
	c.ok(err)
	spec := func(x, y int64) *unstructured.Unstructured {
		return with(foo(crd, "v1", "two"), "spec", map[string]any{"x": x, "y": y})
	}
	_, err = foos.Create(c.ctx, spec(5, 1), metav1.CreateOptions{})
	c.refused(err, apierrors.IsInvalid, `Foo.`+crd.Spec.Group+` "two" is invalid: spec: Invalid value: x is large`)
	try(foos.Create(c.ctx, spec(5, 9), metav1.CreateOptions{})).or(c)
	_, err = foos.Patch(c.ctx, "two", types.MergePatchType, []byte(`{"spec":{"x":4}}`), metav1.PatchOptions{})
	c.refused(err, apierrors.IsInvalid, "spec.x: Forbidden: x only grows")
	_, err = foos.Patch(c.ctx, "two", types.MergePatchType, []byte(`{"spec":{"x":"many"}}`), metav1.PatchOptions{})
	c.refused(err, apierrors.IsInvalid, `spec.x: Invalid value: "string": spec.x in body must be of type integer: "string"`)

	bad := definition(c.ns, version("v1", true, &apiextensionsv1.JSONSchemaProps{Type: "object", XValidations: apiextensionsv1.ValidationRules{{Rule: "self.nothing"}}}))
	bad.Name, bad.Spec.Names.Plural = "bars."+bad.Spec.Group, "bars"
	_, err = c.definitions().ApiextensionsV1().CustomResourceDefinitions().Create(c.ctx, bad, metav1.CreateOptions{})
	c.refused(err, apierrors.IsInvalid, "compilation failed: ERROR: <input>:1:5: undefined field 'nothing'")
}

// Two definitions cannot have the same names, and the second says why.
func TestNamesConflict(t *testing.T) {
	c := begin(t)
	c.define(simple(c.ns))
	second := named(simple(c.ns), "Bar")
	second.Spec.Names.Kind = "Foo"
	api := c.definitions().ApiextensionsV1().CustomResourceDefinitions()
	try(api.Create(c.ctx, second, metav1.CreateOptions{})).or(c)
	c.Cleanup(func() { _ = api.Delete(c.Context(), second.Name, metav1.DeleteOptions{}) })
	c.eventually("the refusal of the names", func() error {
		crd := try(api.Get(c.ctx, second.Name, metav1.GetOptions{})).or(c)
		text, _ := json.Marshal(crd.Status.Conditions)
		for _, condition := range crd.Status.Conditions {
			if condition.Type == apiextensionsv1.NamesAccepted && condition.Reason == "KindConflict" && condition.Message == `"Foo" is already in use` {
				return nil
			}
		}
		return fmt.Errorf("%s", text)
	})
}
