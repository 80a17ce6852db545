package machinery

import (
	"context"
	"fmt"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
)

// preserving is a schema that knows nothing and keeps everything.
func preserving() *apiextensionsv1.JSONSchemaProps {
	return &apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: ptr(true)}
}

// version is one version with the schema, kept with its status apart.
func version(name string, stored bool, s *apiextensionsv1.JSONSchemaProps) apiextensionsv1.CustomResourceDefinitionVersion {
	return apiextensionsv1.CustomResourceDefinitionVersion{
		Name: name, Served: true, Storage: stored,
		Schema:       &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: s},
		Subresources: &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}},
	}
}

// definition defines a namespaced kind Foo of a group of its own.
func definition(group string, versions ...apiextensionsv1.CustomResourceDefinitionVersion) *apiextensionsv1.CustomResourceDefinition {
	group += ".example.com"
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "foos." + group, Labels: map[string]string{"group": group}},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group:    group,
			Names:    apiextensionsv1.CustomResourceDefinitionNames{Plural: "foos", Singular: "foo", Kind: "Foo", ListKind: "FooList"},
			Scope:    apiextensionsv1.NamespaceScoped,
			Versions: versions,
		},
	}
}

// named changes the definition's kind.
func named(crd *apiextensionsv1.CustomResourceDefinition, kind string) *apiextensionsv1.CustomResourceDefinition {
	singular := strings.ToLower(kind)
	crd.Spec.Names = apiextensionsv1.CustomResourceDefinitionNames{Plural: singular + "s", Singular: singular, Kind: kind, ListKind: kind + "List"}
	crd.Name = singular + "s." + crd.Spec.Group
	return crd
}

// simple defines a kind without a schema to speak of.
func simple(group string) *apiextensionsv1.CustomResourceDefinition {
	return definition(group, version("v1", true, preserving()))
}

func (c *cluster) definitions() clientset.Interface {
	return clientset.NewForConfigOrDie(c.server.Config)
}

// define makes a definition and waits until it is established; it goes with the test.
func (c *cluster) define(crd *apiextensionsv1.CustomResourceDefinition) *apiextensionsv1.CustomResourceDefinition {
	c.Helper()
	api := c.definitions().ApiextensionsV1().CustomResourceDefinitions()
	_, err := api.Create(c.ctx, crd, metav1.CreateOptions{})
	c.ok(err)
	// Wait for its end, which may still need the test's webhook.
	c.later(func(ctx context.Context) {
		c.eventually("removal of "+crd.Name, func() error {
			err := api.Delete(ctx, crd.Name, metav1.DeleteOptions{})
			if apierrors.IsNotFound(err) {
				return nil
			}
			return fmt.Errorf("there: %v", err)
		})
	})
	var made *apiextensionsv1.CustomResourceDefinition
	c.eventually("establishment of "+crd.Name, func() error {
		if made, err = api.Get(c.ctx, crd.Name, metav1.GetOptions{}); err != nil {
			return err
		}
		for _, condition := range made.Status.Conditions {
			if condition.Type == apiextensionsv1.Established && condition.Status == apiextensionsv1.ConditionTrue {
				return nil
			}
		}
		return fmt.Errorf("%v", made.Status.Conditions)
	})
	return made
}

// change reads, changes and writes a definition, again if somebody was quicker.
func (c *cluster) change(name string, f func(*apiextensionsv1.CustomResourceDefinition)) {
	c.Helper()
	api := c.definitions().ApiextensionsV1().CustomResourceDefinitions()
	c.eventually("change of "+name, func() error {
		crd, err := api.Get(c.ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		f(crd)
		_, err = api.Update(c.ctx, crd, metav1.UpdateOptions{})
		return err
	})
}

// of is the client of a definition's resources in the test's namespace.
func (c *cluster) of(crd *apiextensionsv1.CustomResourceDefinition, version string) dynamic.ResourceInterface {
	gvr := schema.GroupVersionResource{Group: crd.Spec.Group, Version: version, Resource: crd.Spec.Names.Plural}
	if crd.Spec.Scope == apiextensionsv1.ClusterScoped {
		return c.dyn.Resource(gvr)
	}
	return c.dyn.Resource(gvr).Namespace(c.ns)
}

// contains checks that a path's answer contains a text.
func contains(c *cluster, path, accept, text string) error {
	got, err := c.get(path, accept)
	if err != nil {
		return err
	}
	if !strings.Contains(got, text) {
		return fmt.Errorf("%s does not contain %s", path, text)
	}
	return nil
}
