package machinery

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"
)

const (
	asJSON       = "application/json"
	asAggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
)

// Conformance: [sig-api-machinery] server version should find the server version
func TestServerVersion(t *testing.T) {
	c := begin(t)
	v := try(c.Discovery().ServerVersion()).or(c)
	if v.Major != "1" || v.Minor != "37" || !strings.HasPrefix(v.GitVersion, "v1.37.") || v.Platform == "" || v.GoVersion == "" {
		t.Errorf("version is %+v", v)
	}
}

// Conformance: [sig-api-machinery] Discovery should validate PreferredVersion for each APIGroup
func TestPreferredVersions(t *testing.T) {
	c := begin(t)
	var groups metav1.APIGroupList
	c.ok(json.Unmarshal([]byte(try(c.get("/apis", asJSON)).or(c)), &groups))
	if len(groups.Groups) < 15 {
		t.Errorf("only %d groups", len(groups.Groups))
	}
	for _, listed := range groups.Groups {
		text, err := c.get("/apis/"+listed.Name, asJSON)
		if err != nil {
			continue // of a custom resource of another test, gone by now
		}
		var g metav1.APIGroup
		c.ok(json.Unmarshal([]byte(text), &g))
		if g.PreferredVersion.GroupVersion == "" || !slices.Contains(g.Versions, g.PreferredVersion) {
			t.Errorf("%s prefers %+v of %+v", g.Name, g.PreferredVersion, g.Versions)
		}
	}
}

// Conformance: [sig-api-machinery] Discovery should locate the groupVersion and a resource within each APIGroup
func TestResourcesOfGroups(t *testing.T) {
	c := begin(t)
	for path, resource := range map[string]string{
		"/api/v1": "namespaces", "/apis/admissionregistration.k8s.io/v1": "validatingwebhookconfigurations",
		"/apis/apiextensions.k8s.io/v1": "customresourcedefinitions", "/apis/apiregistration.k8s.io/v1": "apiservices",
		"/apis/apps/v1": "deployments", "/apis/authentication.k8s.io/v1": "tokenreviews",
		"/apis/authorization.k8s.io/v1": "selfsubjectaccessreviews", "/apis/autoscaling/v1": "horizontalpodautoscalers",
		"/apis/autoscaling/v2": "horizontalpodautoscalers", "/apis/batch/v1": "jobs",
		"/apis/certificates.k8s.io/v1": "certificatesigningrequests", "/apis/coordination.k8s.io/v1": "leases",
		"/apis/discovery.k8s.io/v1": "endpointslices", "/apis/events.k8s.io/v1": "events",
		"/apis/flowcontrol.apiserver.k8s.io/v1": "flowschemas",
		"/apis/networking.k8s.io/v1":            "ingresses", "/apis/node.k8s.io/v1": "runtimeclasses", "/apis/policy/v1": "poddisruptionbudgets",
		"/apis/rbac.authorization.k8s.io/v1": "clusterroles", "/apis/scheduling.k8s.io/v1": "priorityclasses",
		"/apis/storage.k8s.io/v1": "storageclasses", "/apis/resource.k8s.io/v1": "resourceclaims",
	} {
		var list metav1.APIResourceList
		c.ok(json.Unmarshal([]byte(try(c.get(path, asJSON)).or(c)), &list))
		if list.GroupVersion != strings.TrimPrefix(strings.TrimPrefix(path, "/apis/"), "/api/") {
			t.Errorf("%s says it is %s", path, list.GroupVersion)
		}
		if !slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == resource }) {
			t.Errorf("%s has no %s", path, resource)
		}
	}
}

// Conformance: [sig-api-machinery] AggregatedDiscovery should support aggregated discovery interface
func TestAggregatedDiscovery(t *testing.T) {
	c := begin(t)
	agg, ok := c.Discovery().(discovery.AggregatedDiscoveryInterface)
	if !ok {
		t.Fatal("the client knows no aggregated discovery")
	}
	groups, resources, failed, err := agg.GroupsAndMaybeResources()
	c.ok(err)
	if groups == nil || len(resources) == 0 || len(failed) != 0 {
		t.Fatalf("%d resource lists, failed: %v", len(resources), failed)
	}
	for gv, resource := range map[string]string{
		"v1": "namespaces", "apps/v1": "deployments", "batch/v1": "jobs", "apiregistration.k8s.io/v1": "apiservices",
		"apiextensions.k8s.io/v1": "customresourcedefinitions", "admissionregistration.k8s.io/v1": "validatingadmissionpolicies",
	} {
		parsed, _ := schema.ParseGroupVersion(gv)
		list := resources[parsed]
		if list == nil || !slices.ContainsFunc(list.APIResources, func(r metav1.APIResource) bool { return r.Name == resource }) {
			t.Errorf("%s is not in %s", resource, gv)
		}
	}
}

// Conformance: [sig-api-machinery] AggregatedDiscovery should support raw aggregated discovery endpoint Accept headers
func TestAggregatedDiscoveryHeaders(t *testing.T) {
	c := begin(t)
	client, err := rest.HTTPClientFor(c.server.Config)
	c.ok(err)
	for _, path := range []string{"/api", "/apis"} {
		for _, want := range []struct{ accept, kind, contentType string }{
			{asAggregated, "APIGroupDiscoveryList", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"},
			{asAggregated + "," + asJSON, "APIGroupDiscoveryList", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"},
			{asJSON, "", "application/json"},
			{"application/json;g=apidiscovery.k8s.io;v=v9;as=APIGroupDiscoveryList,application/json", "", "application/json"},
		} {
			req, err := http.NewRequestWithContext(c.ctx, http.MethodGet, c.server.Config.Host+path, nil)
			c.ok(err)
			req.Header.Set("Accept", want.accept)
			resp, err := client.Do(req)
			c.ok(err)
			var list apidiscoveryv2.APIGroupDiscoveryList
			c.ok(json.NewDecoder(resp.Body).Decode(&list))
			c.ok(resp.Body.Close())
			if got := resp.Header.Get("Content-Type"); got != want.contentType {
				t.Errorf("%s as %s is %q", path, want.accept, got)
			}
			if (list.Kind == "APIGroupDiscoveryList") != (want.kind != "") {
				t.Errorf("%s as %s has kind %q", path, want.accept, list.Kind)
			}
			if etag := resp.Header.Get("ETag"); want.kind != "" && etag == "" {
				t.Errorf("%s has no ETag", path)
			}
		}
	}
}

// Conformance: [sig-api-machinery] AggregatedDiscovery should support aggregated discovery interface for CRDs
// Conformance: [sig-api-machinery] AggregatedDiscovery should support raw aggregated discovery request for CRDs
// Conformance: [sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] should include custom resource definition resources in discovery documents
func TestDiscoveryOfCustomResources(t *testing.T) {
	c := begin(t)
	crd := c.define(simple(c.ns))
	group, plural := crd.Spec.Group, crd.Spec.Names.Plural
	c.eventually("the old form has the group", func() error { return contains(c, "/apis", asJSON, `"`+group+`"`) })
	c.eventually("the new form has the resource", func() error { return contains(c, "/apis", asAggregated, plural+`"`) })
	for path, text := range map[string]string{
		"/apis/" + group:                                `"kind":"APIGroup"`,
		"/apis/" + group + "/v1":                        `"` + plural + `/status"`,
		"/apis/apiextensions.k8s.io":                    `"apiextensions.k8s.io/v1"`,
		"/apis/apiextensions.k8s.io/v1":                 `"customresourcedefinitions/status"`,
		"/apis/" + group + "/v1/" + plural + "?limit=1": `"kind":"` + crd.Spec.Names.ListKind + `"`,
	} {
		c.ok(contains(c, path, asJSON, text))
	}
	groups, resources, _, err := c.Discovery().(discovery.AggregatedDiscoveryInterface).GroupsAndMaybeResources()
	c.ok(err)
	if !slices.ContainsFunc(groups.Groups, func(g metav1.APIGroup) bool { return g.Name == group }) {
		t.Error("the client does not see the group")
	}
	if list := resources[schema.GroupVersion{Group: group, Version: "v1"}]; list == nil || list.APIResources[0].Kind != crd.Spec.Names.Kind {
		t.Errorf("the client sees %v", list)
	}
}

func TestHealth(t *testing.T) {
	c := begin(t)
	for _, path := range []string{"/healthz", "/livez", "/readyz"} {
		if text := try(c.get(path, "*/*")).or(c); text != "ok" {
			t.Errorf("%s says %q", path, text)
		}
		text := try(c.get(path+"?verbose", "*/*")).or(c)
		for _, want := range []string{"[+]ping ok\n", "[+]etcd ok\n", path[1:] + " check passed\n"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s does not say %q but %q", path, want, text)
			}
		}
		if text := try(c.get(path+"/etcd", "*/*")).or(c); text != "ok" {
			t.Errorf("%s/etcd says %q", path, text)
		}
	}
}
