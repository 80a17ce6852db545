package openapi_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	restful "github.com/emicklei/go-restful/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
	"github.com/sinawi/sinawi/internal/apiserver/controlplane"
	"github.com/sinawi/sinawi/internal/apiserver/openapi"
)

func webServices(t *testing.T, s *apitest.Server) []*restful.WebService {
	t.Helper()
	services, err := s.API.WebServices()
	if err != nil {
		t.Fatal(err)
	}
	return services
}

func TestServesEveryRoute(t *testing.T) {
	s := apitest.Start(t)
	paths, err := openapi.Paths()
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, p := range paths {
		documented["/"+p] = true
	}
	for _, ws := range webServices(t, s) {
		if !documented[ws.RootPath()] && !documented[ws.RootPath()+"/"] {
			t.Errorf("%s has no document: run `go generate ./internal/apiserver/openapi`", ws.RootPath())
		}
	}
	client, err := rest.HTTPClientFor(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range append([]string{"/openapi/v2", "/openapi/v3"}, prefixed(paths)...) {
		for _, accept := range []string{"application/json", "application/com.github.proto-openapi.spec.v3@v1.0+protobuf, application/com.github.proto-openapi.spec.v2@v1.0+protobuf, */*"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.Config.Host+p, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Accept", accept)
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err != nil || resp.StatusCode != http.StatusOK || len(body) < 100 {
				t.Errorf("%s as %s: %s, %d bytes, %v", p, accept, resp.Status, len(body), err)
			}
		}
	}
}

// get reads a document into out.
func get(t *testing.T, s *apitest.Server, path string, out any) {
	t.Helper()
	data, err := s.Clientset().Discovery().RESTClient().Get().AbsPath(path).SetHeader("Accept", "application/json").DoRaw(t.Context())
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if err := json.Unmarshal(data, out); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// TestVersionsThatAreSwitchedOn have documents, and are applied by schemas of
// their own; where they are not switched on nothing is said of them.
func TestVersionsThatAreSwitchedOn(t *testing.T) {
	const path = "apis/admissionregistration.k8s.io/v1beta1"
	described := func(s *apitest.Server) (v2, v3 bool) {
		t.Helper()
		var root struct{ Paths map[string]any }
		get(t, s, "/openapi/v3", &root)
		_, v3 = root.Paths[path]
		var swagger struct{ Paths, Definitions map[string]any }
		get(t, s, "/openapi/v2", &swagger)
		_, v2 = swagger.Paths["/"+path+"/mutatingadmissionpolicies"]
		if swagger.Definitions["io.k8s.api.core.v1.Pod"] == nil {
			t.Error("the v2 document lacks pods")
		}
		return v2, v3
	}
	if v2, v3 := described(apitest.Start(t)); v2 || v3 {
		t.Errorf("%s is described although it is not served: in v2 %v, in v3 %v", path, v2, v3)
	}
	s := apitest.StartWith(t, apitest.Options{Mutate: func(o *controlplane.Options) { o.RuntimeConfig = map[string]bool{"api/all": true} }})
	if v2, v3 := described(s); !v2 || !v3 {
		t.Errorf("%s is served and not described: in v2 %v, in v3 %v", path, v2, v3)
	}
	var root struct{ Paths map[string]any }
	get(t, s, "/openapi/v3", &root)
	for _, ws := range webServices(t, s) {
		if _, ok := root.Paths[strings.Trim(ws.RootPath(), "/")]; !ok {
			t.Errorf("%s has no document: run `go generate ./internal/apiserver/openapi`", ws.RootPath())
		}
	}
	var doc struct {
		Paths      map[string]any
		Components struct{ Schemas map[string]any }
	}
	get(t, s, "/openapi/v3/"+path, &doc)
	if doc.Paths["/"+path+"/mutatingadmissionpolicies/{name}"] == nil || doc.Components.Schemas["io.k8s.api.admissionregistration.v1beta1.MutatingAdmissionPolicy"] == nil {
		t.Errorf("the document of %s has %d paths and %d schemas", path, len(doc.Paths), len(doc.Components.Schemas))
	}

	// Two owners of one list, of which each has its own items.
	policies := dynamic.NewForConfigOrDie(s.Config).Resource(schema.GroupVersionResource{
		Group: "admissionregistration.k8s.io", Version: "v1beta1", Resource: "mutatingadmissionpolicies",
	})
	condition := func(name string) []any { return []any{map[string]any{"name": name, "expression": "true"}} }
	var applied *unstructured.Unstructured
	for owner, spec := range []map[string]any{
		{
			"failurePolicy": "Ignore", "reinvocationPolicy": "Never", "matchConditions": condition("a"),
			"matchConstraints": map[string]any{"resourceRules": []any{map[string]any{
				"apiGroups": []any{""}, "apiVersions": []any{"v1"}, "operations": []any{"CREATE"}, "resources": []any{"pods"},
			}}},
			"mutations": []any{map[string]any{"patchType": "ApplyConfiguration", "applyConfiguration": map[string]any{"expression": "Object{}"}}},
		},
		{"matchConditions": condition("b")},
	} {
		var err error
		applied, err = policies.Apply(t.Context(), "p", &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "admissionregistration.k8s.io/v1beta1", "kind": "MutatingAdmissionPolicy",
			"metadata": map[string]any{"name": "p"}, "spec": spec,
		}}, metav1.ApplyOptions{FieldManager: strconv.Itoa(owner)})
		if err != nil {
			t.Fatalf("apply as %d: %v", owner, err)
		}
	}
	if list, _, _ := unstructured.NestedSlice(applied.Object, "spec", "matchConditions"); len(list) != 2 {
		t.Errorf("two owners have made the conditions %v", list)
	}
}

func prefixed(paths []string) []string {
	out := make([]string, len(paths))
	for i, p := range paths {
		out[i] = "/openapi/v3/" + p
	}
	return out
}
