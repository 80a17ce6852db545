package controllers_test

import (
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestCustomKindsOwnAndAreOwned defines a kind while everything runs: its
// objects take part in collection like any other.
func TestCustomKindsOwnAndAreOwned(t *testing.T) {
	e := start(t)
	scheme := runtime.NewScheme()
	if err := apiextensionsv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	definitions, err := client.New(e.server.Config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	definition := &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "widgets.example.com"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "example.com", Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "widgets", Singular: "widget", Kind: "Widget", ListKind: "WidgetList"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true,
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object"}},
			}},
		},
	}
	if err := definitions.Create(e.ctx, definition); err != nil {
		if apimeta.IsNoMatchError(err) {
			t.Skip("this server serves no custom kinds")
		}
		t.Fatal(err)
	}
	widget := func(name string, owner client.Object, kind schema.GroupVersionKind) *unstructured.Unstructured {
		w := &unstructured.Unstructured{}
		w.SetGroupVersionKind(schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Widget"})
		w.SetNamespace("default")
		w.SetName(name)
		if owner != nil {
			w.SetOwnerReferences([]metav1.OwnerReference{{
				APIVersion: kind.GroupVersion().String(), Kind: kind.Kind, Name: owner.GetName(), UID: owner.GetUID(),
			}})
		}
		return w
	}
	root := widget("root", nil, schema.GroupVersionKind{})
	e.eventually("the kind", func() error { return e.Create(e.ctx, root) })
	child := configMap("child", root)
	child.OwnerReferences[0].APIVersion, child.OwnerReferences[0].Kind = "example.com/v1", "Widget"
	e.create(child)
	grandchild := widget("grandchild", child, schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"})
	e.create(grandchild)
	e.delete(root, metav1.DeletePropagationForeground)
	e.gone(grandchild)
	e.gone(child)
	e.gone(root)
}
