package crd_test

import (
	"context"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
)

func widgets() *apiextensionsv1.CustomResourceDefinition {
	text := apiextensionsv1.JSONSchemaProps{Type: "string"}
	number := apiextensionsv1.JSONSchemaProps{Type: "integer"}
	part := apiextensionsv1.JSONSchemaProps{Type: "object", Required: []string{"name"}, Properties: map[string]apiextensionsv1.JSONSchemaProps{"name": text, "size": number}}
	keyed := "map"
	replicas := ".spec.replicas"
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "widgets.example.com"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "example.com",
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "widgets", Singular: "widget", Kind: "Widget", ListKind: "WidgetList", ShortNames: []string{"wd"}},
			Scope: apiextensionsv1.NamespaceScoped,
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true,
				SelectableFields: []apiextensionsv1.SelectableField{{JSONPath: ".spec.colour"}},
				Subresources: &apiextensionsv1.CustomResourceSubresources{
					Status: &apiextensionsv1.CustomResourceSubresourceStatus{},
					Scale:  &apiextensionsv1.CustomResourceSubresourceScale{SpecReplicasPath: replicas, StatusReplicasPath: ".status.replicas"},
				},
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
					Type: "object", Description: "A widget for tests.",
					Properties: map[string]apiextensionsv1.JSONSchemaProps{
						"spec": {
							Type: "object",
							XValidations: apiextensionsv1.ValidationRules{{
								Rule: "!has(self.replicas) || self.replicas < 10", Message: "too many",
							}},
							Properties: map[string]apiextensionsv1.JSONSchemaProps{
								"colour":   {Type: "string", Default: &apiextensionsv1.JSON{Raw: []byte(`"red"`)}},
								"replicas": number,
								"parts":    {Type: "array", XListType: &keyed, XListMapKeys: []string{"name"}, Items: &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &part}},
							},
						},
						"status": {Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"replicas": number}},
					},
				}},
			}},
		},
	}
}

var resource = schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"}

func widget(name string, spec map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "example.com/v1", "kind": "Widget",
		"metadata": map[string]any{"name": name, "namespace": "default"},
		"spec":     spec,
	}}
}

// define makes the definition and waits until it is served.
func define(t *testing.T, s *apitest.Server) dynamic.ResourceInterface {
	t.Helper()
	c := clientset.NewForConfigOrDie(s.Config).ApiextensionsV1().CustomResourceDefinitions()
	if _, err := c.Create(t.Context(), widgets(), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the definition is established", func(ctx context.Context) (bool, error) {
		crd, err := c.Get(ctx, "widgets.example.com", metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		for _, condition := range crd.Status.Conditions {
			if condition.Type == apiextensionsv1.Established && condition.Status == apiextensionsv1.ConditionTrue {
				return true, nil
			}
		}
		return false, nil
	})
	return dynamic.NewForConfigOrDie(s.Config).Resource(resource).Namespace("default")
}

func eventually(t *testing.T, what string, f func(context.Context) (bool, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := wait.PollUntilContextCancel(ctx, 5*time.Millisecond, true, f); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func TestCustomResources(t *testing.T) {
	s := apitest.Start(t)
	api := define(t, s)
	ctx := t.Context()
	made, err := api.Create(ctx, widget("a", map[string]any{"replicas": int64(1), "junk": "x"}), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, found, _ := unstructured.NestedString(made.Object, "spec", "junk"); found {
		t.Error("an unknown field was kept")
	}
	if _, err := api.Create(ctx, widget("b", map[string]any{"replicas": int64(10)}), metav1.CreateOptions{}); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "too many") {
		t.Errorf("a rule in CEL did not refuse: %v", err)
	}
	if _, err := api.Create(ctx, widget("b", map[string]any{"junk": "x"}), metav1.CreateOptions{FieldValidation: "Strict"}); err == nil {
		t.Error("strict validation took an unknown field")
	}

	apply := func(manager, part string, size int64) error {
		obj := widget("a", map[string]any{"parts": []any{map[string]any{"name": part, "size": size}}})
		_, err := api.Apply(ctx, "a", obj, metav1.ApplyOptions{FieldManager: manager})
		return err
	}
	if err := apply("one", "p1", 1); err != nil {
		t.Fatal(err)
	}
	if err := apply("two", "p2", 2); err != nil {
		t.Fatalf("the list is no map: %v", err)
	}
	if err := apply("two", "p1", 5); !apierrors.IsConflict(err) && err != nil {
		t.Fatal(err)
	}
	got, err := api.Get(ctx, "a", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if parts, _, _ := unstructured.NestedSlice(got.Object, "spec", "parts"); len(parts) != 2 {
		t.Errorf("parts are %v, want those of both managers", parts)
	}

	status := []byte(`{"status":{"replicas":7},"spec":{"replicas":3}}`)
	got, err = api.Patch(ctx, "a", types.MergePatchType, status, metav1.PatchOptions{}, "status")
	if err != nil {
		t.Fatal(err)
	}
	if n, _, _ := unstructured.NestedInt64(got.Object, "status", "replicas"); n != 7 {
		t.Errorf("status is %d, want 7", n)
	}
	if n, _, _ := unstructured.NestedInt64(got.Object, "spec", "replicas"); n != 1 {
		t.Errorf("a write of the status changed the spec to %d", n)
	}
	scaled, err := api.Patch(ctx, "a", types.MergePatchType, []byte(`{"spec":{"replicas":4}}`), metav1.PatchOptions{}, "scale")
	if err != nil || scaled.GetKind() != "Scale" {
		t.Errorf("scale: %v, %v", scaled, err)
	}
}

// Nobody but the server knows of the watch caches that the handler of custom
// resources opens: they end with it.
func TestWatchCachesEndWithTheServer(t *testing.T) {
	t.Run("serve", func(t *testing.T) {
		if _, err := define(t, apitest.Start(t)).List(t.Context(), metav1.ListOptions{}); err != nil {
			t.Fatal(err)
		}
	})
	eventually(t, "no watch cache runs", func(context.Context) (bool, error) {
		stacks := make([]byte, 16<<20)
		return !strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), "cacher.(*Cacher)"), nil
	})
}

func TestDiscoveryAndDocuments(t *testing.T) {
	s := apitest.Start(t)
	define(t, s)
	client, err := rest.HTTPClientFor(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	get := func(path, accept string) string {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.Config.Host+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", accept)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(body)
	}
	const asJSON = "application/json"
	for _, want := range []struct{ path, accept, text string }{
		{"/apis", asJSON, `"example.com/v1"`},
		{"/apis", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", `"example.com"`},
		{"/apis/example.com", asJSON, `"APIGroup"`},
		{"/apis/example.com/v1", asJSON, `"widgets/scale"`},
		{"/openapi/v3", asJSON, `"apis/example.com/v1"`},
		{"/openapi/v3/apis/example.com/v1", asJSON, "A widget for tests."},
		{"/openapi/v3/apis/example.com/v1", asJSON, `"x-kubernetes-selectable-fields":[{"fieldPath":"spec.colour"}]`},
		{"/openapi/v2", asJSON, "A widget for tests."},
		{"/openapi/v2", asJSON, `"x-kubernetes-selectable-fields":[{"fieldPath":"spec.colour"}]`},
		{"/openapi/v2", asJSON, `"colour":{"type":"string"}`},
		{"/openapi/v3/apis/example.com/v1", asJSON, `"colour":{"type":"string","default":"red"}`},
	} {
		eventually(t, want.path, func(context.Context) (bool, error) {
			return strings.Contains(get(want.path, want.accept), want.text), nil
		})
	}
	for _, twice := range []string{"v1.Status_v2", "v1.Scale_v2"} {
		if strings.Contains(get("/openapi/v2", asJSON), twice) {
			t.Errorf("/openapi/v2 defines %s", twice)
		}
	}

	c := clientset.NewForConfigOrDie(s.Config).ApiextensionsV1().CustomResourceDefinitions()
	if err := c.Delete(t.Context(), "widgets.example.com", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the group goes with its definition", func(context.Context) (bool, error) {
		return !strings.Contains(get("/apis", asJSON), "example.com") &&
			!strings.Contains(get("/apis/example.com/v1", asJSON), "widgets") &&
			!strings.Contains(get("/openapi/v3", asJSON), "example.com"), nil
	})
}

func TestServedAgainAfterRestart(t *testing.T) {
	s := apitest.Start(t)
	api := define(t, s)
	if _, err := api.Create(t.Context(), widget("a", nil), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	s = apitest.StartWith(t, apitest.Options{Dir: s.Dir})
	// At once: ready means that custom resources are served.
	_, err := dynamic.NewForConfigOrDie(s.Config).Resource(resource).Namespace("default").Get(t.Context(), "a", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
}
