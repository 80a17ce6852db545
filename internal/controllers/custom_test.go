package controllers_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// definitions is a client of the definitions of custom kinds.
func (e *env) definitions() client.Client {
	e.Helper()
	scheme := runtime.NewScheme()
	if err := apiextensionsv1.AddToScheme(scheme); err != nil {
		e.Fatal(err)
	}
	c, err := client.New(e.server.Config, client.Options{Scheme: scheme})
	if err != nil {
		e.Fatal(err)
	}
	return c
}

// TestCustomKindsOwnAndAreOwned defines a kind while everything runs: its
// objects take part in collection like any other.
func TestCustomKindsOwnAndAreOwned(t *testing.T) {
	e := start(t)
	definitions := e.definitions()
	definition := &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "widgets.example.com"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "example.com", Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "widgets", Singular: "widget", Kind: "Widget", ListKind: "WidgetList"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true,
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
					Type: "object", XPreserveUnknownFields: new(true),
				}},
				Subresources: &apiextensionsv1.CustomResourceSubresources{Scale: &apiextensionsv1.CustomResourceSubresourceScale{
					SpecReplicasPath: ".spec.replicas", StatusReplicasPath: ".status.replicas",
				}},
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
	// A budget in percent asks the kind for its scale.
	scaled := widget("scaled", nil, schema.GroupVersionKind{})
	if err := unstructured.SetNestedField(scaled.Object, int64(7), "spec", "replicas"); err != nil {
		t.Fatal(err)
	}
	e.create(scaled)
	half := intstr.FromString("50%")
	budget := &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "half"},
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: &half, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "scaled"}}},
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "scaled-0", Labels: map[string]string{"app": "scaled"},
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(scaled, scaled.GroupVersionKind())}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	}
	e.create(pod, budget)
	e.until("the budget knows how many pods there should be", func() bool { return get(e, budget).Status.ExpectedPods == 7 })

	e.delete(root, metav1.DeletePropagationForeground)
	e.gone(grandchild)
	e.gone(child)
	e.gone(root)
}
