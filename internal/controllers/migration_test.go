package controllers_test

import (
	"errors"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	svmv1 "k8s.io/api/storagemigration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func migrationOf(name, group, resource string) *svmv1.StorageVersionMigration {
	m := &svmv1.StorageVersionMigration{ObjectMeta: metav1.ObjectMeta{Name: name}}
	m.Spec.Resource = metav1.GroupResource{Group: group, Resource: resource}
	return m
}

// TestMigratesStoredVersions has the objects of a custom kind stored in its new
// version, after which its definition names that alone.
func TestMigratesStoredVersions(t *testing.T) {
	e := start(t)
	definitions := e.definitions()
	version := func(name string, storage bool) apiextensionsv1.CustomResourceDefinitionVersion {
		return apiextensionsv1.CustomResourceDefinitionVersion{Name: name, Served: true, Storage: storage,
			Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object"}}}
	}
	definition := &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "gadgets.example.com"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "example.com", Scope: apiextensionsv1.NamespaceScoped,
			Names:    apiextensionsv1.CustomResourceDefinitionNames{Plural: "gadgets", Singular: "gadget", Kind: "Gadget", ListKind: "GadgetList"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{version("v1", true), version("v2", false)},
		},
	}
	if err := definitions.Create(e.ctx, definition); err != nil {
		t.Fatal(err)
	}
	gadget := &metav1.PartialObjectMetadata{}
	e.eventually("the kind", func() error {
		return e.Create(e.ctx, object(schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Gadget"}, "one"))
	})
	e.eventually("the new version", func() error {
		if err := definitions.Get(e.ctx, keyOf(definition), definition); err != nil {
			return err
		}
		definition.Spec.Versions[0].Storage, definition.Spec.Versions[1].Storage = false, true
		return definitions.Update(e.ctx, definition)
	})
	e.eventually("both versions are stored", func() error {
		if err := definitions.Get(e.ctx, keyOf(definition), definition); err != nil {
			return err
		}
		if len(definition.Status.StoredVersions) != 2 {
			return errors.New("not yet")
		}
		return nil
	})
	gadget.SetGroupVersionKind(schema.GroupVersionKind{Group: "example.com", Version: "v2", Kind: "Gadget"})
	if err := e.Get(e.ctx, client.ObjectKey{Namespace: "default", Name: "one"}, gadget); err != nil {
		t.Fatal(err)
	}
	before := gadget.ResourceVersion
	first, second := migrationOf("first", "example.com", "gadgets"), migrationOf("second", "example.com", "gadgets")
	e.create(first, second)
	for _, m := range []*svmv1.StorageVersionMigration{first, second} {
		e.until("migrated", func() bool {
			c := get(e, m).Status.Conditions
			return apimeta.IsStatusConditionTrue(c, string(svmv1.MigrationSucceeded)) && apimeta.IsStatusConditionFalse(c, string(svmv1.MigrationRunning))
		})
	}
	if err := e.Get(e.ctx, keyOf(gadget), gadget); err != nil || gadget.ResourceVersion == before {
		t.Errorf("not written anew: %v", err)
	}
	if err := definitions.Get(e.ctx, keyOf(definition), definition); err != nil {
		t.Fatal(err)
	}
	if got := definition.Status.StoredVersions; !slices.Equal(got, []string{"v2"}) {
		t.Errorf("stored versions %v", got)
	}
}

func TestMigrationOfWhatCannotBe(t *testing.T) {
	e := start(t)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "there"}}
	good, bad := migrationOf("good", "", "secrets"), migrationOf("bad", "", "bindings")
	e.create(secret, good, bad)
	e.until("secrets are migrated", func() bool {
		return apimeta.IsStatusConditionTrue(get(e, good).Status.Conditions, string(svmv1.MigrationSucceeded))
	})
	e.until("bindings are not", func() bool {
		c := apimeta.FindStatusCondition(get(e, bad).Status.Conditions, string(svmv1.MigrationFailed))
		return c != nil && c.Message == `resource "/v1, Resource=bindings" does not support discovery operations: [update patch list]`
	})
}

func object(kind schema.GroupVersionKind, name string) client.Object {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(kind)
	u.SetNamespace("default")
	u.SetName(name)
	return u
}
