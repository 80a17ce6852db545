package machinery

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

// described waits until both documents describe, or do not, a kind of a version;
// text must be in the newer one's description.
func (c *cluster) described(group, version, kind string, there bool, text string) {
	c.Helper()
	name := "com.example." + strings.TrimSuffix(group, ".example.com") + "." + version + "." + kind
	look := func(path string, in ...string) error {
		raw, err := c.get(path, asJSON)
		if err != nil {
			if !there && strings.Contains(err.Error(), "not find") {
				return nil
			}
			return err
		}
		var doc map[string]any
		if err := json.Unmarshal([]byte(raw), &doc); err != nil {
			return err
		}
		for _, field := range in {
			doc, _ = doc[field].(map[string]any)
		}
		found, ok := doc[name]
		if ok != there {
			return fmt.Errorf("%s has %s: %v", path, name, ok)
		}
		data, err := json.Marshal(found)
		if there && err == nil && len(in) > 1 && !strings.Contains(string(data), text) { // the older one says less
			return fmt.Errorf("%s in %s is %s", name, path, data)
		}
		return err
	}
	c.eventually("the document of the group", func() error {
		return look("/openapi/v3/apis/"+group+"/"+version, "components", "schemas")
	})
	c.eventually("the document of all", func() error { return look("/openapi/v2", "definitions") })
}

const kinded = `"x-kubernetes-group-version-kind"`

// Conformance: [sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for CRD with validation schema
func TestPublishSchema(t *testing.T) {
	c := begin(t)
	schema := checked()
	schema.Description = "Foo CRD for Testing"
	crd := c.define(definition(c.ns, version("v1", true, schema)))
	c.described(crd.Spec.Group, "v1", "Foo", true, `"description":"Foo CRD for Testing"`)
	c.described(crd.Spec.Group, "v1", "Foo", true, `"required":["foo"]`)
}

// Conformance: [sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for CRD without validation schema
// Conformance: [sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for CRD preserving unknown fields at the schema root
func TestPublishNoSchema(t *testing.T) {
	c := begin(t)
	crd := c.define(simple(c.ns))
	c.described(crd.Spec.Group, "v1", "Foo", true, kinded)
	c.described(crd.Spec.Group, "v1", "Foo", true, `"x-kubernetes-preserve-unknown-fields":true`)
}

// Conformance: [sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for CRD preserving unknown fields in an embedded object
func TestPublishEmbedded(t *testing.T) {
	c := begin(t)
	crd := c.define(definition(c.ns, version("v1", true, &apiextensionsv1.JSONSchemaProps{
		Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"spec": *preserving(), "status": {Type: "object", Description: "How it is"}},
	})))
	c.described(crd.Spec.Group, "v1", "Foo", true, `"spec":{"type":"object","x-kubernetes-preserve-unknown-fields":true}`)
	c.described(crd.Spec.Group, "v1", "Foo", true, `"description":"How it is"`)
}

// Conformance: [sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for multiple CRDs of different groups
// Conformance: [sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for multiple CRDs of same group but different versions
// Conformance: [sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for multiple CRDs of same group and version but different kinds
func TestPublishSeveral(t *testing.T) {
	c := begin(t)
	one := c.define(simple(c.ns))
	other := c.define(simple(c.ns + "b"))
	sibling := c.define(named(simple(c.ns), "Bar"))
	versions := c.define(named(definition(c.ns, version("v2", true, preserving()), version("v3", false, preserving())), "Baz"))
	c.described(one.Spec.Group, "v1", "Foo", true, kinded)
	c.described(sibling.Spec.Group, "v1", "Bar", true, kinded)
	c.described(other.Spec.Group, "v1", "Foo", true, kinded)
	c.described(versions.Spec.Group, "v2", "Baz", true, kinded)
	c.described(versions.Spec.Group, "v3", "Baz", true, kinded)
	c.described(versions.Spec.Group, "v1", "Baz", false, "")
}

// Conformance: [sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] updates the published spec when one version gets renamed
// Conformance: [sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] removes definition from spec when one version gets changed to not be served
func TestPublishChanges(t *testing.T) {
	c := begin(t)
	crd := c.define(definition(c.ns, version("v2", true, preserving()), version("v3", false, preserving())))
	other := c.define(simple(c.ns + "b"))
	c.described(crd.Spec.Group, "v2", "Foo", true, kinded)
	c.described(crd.Spec.Group, "v3", "Foo", true, kinded)
	c.change(crd.Name, func(crd *apiextensionsv1.CustomResourceDefinition) { crd.Spec.Versions[1].Name = "v4" })
	c.described(crd.Spec.Group, "v4", "Foo", true, kinded)
	c.described(crd.Spec.Group, "v3", "Foo", false, "")
	c.change(crd.Name, func(crd *apiextensionsv1.CustomResourceDefinition) { crd.Spec.Versions[1].Served = false })
	c.described(crd.Spec.Group, "v4", "Foo", false, "")
	c.described(crd.Spec.Group, "v2", "Foo", true, kinded)
	c.described(other.Spec.Group, "v1", "Foo", true, kinded)
}
