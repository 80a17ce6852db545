package crd_test

import (
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
)

// TestNewDefinition: what waits for a condition of a definition can read its
// conditions from the first moment.
func TestNewDefinition(t *testing.T) {
	s := apitest.Start(t)
	definitions := dynamic.NewForConfigOrDie(s.Config).Resource(apiextensionsv1.SchemeGroupVersion.WithResource("customresourcedefinitions"))
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(widgets())
	if err != nil {
		t.Fatal(err)
	}
	asked := &unstructured.Unstructured{Object: content}
	asked.SetAPIVersion(apiextensionsv1.SchemeGroupVersion.String())
	asked.SetKind("CustomResourceDefinition")
	made, err := definitions.Create(t.Context(), asked, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if conditions, found, err := unstructured.NestedSlice(made.Object, "status", "conditions"); err != nil || !found || len(conditions) != 0 {
		t.Errorf("conditions of a new definition: %v, %v, %v, want an empty list", conditions, found, err)
	}
}
