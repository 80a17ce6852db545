package crd_test

import (
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/util/retry"

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

// TestSelectableFieldsWithoutSchema: they are refused with the reason, where the
// check of the fields alone would not survive.
func TestSelectableFieldsWithoutSchema(t *testing.T) {
	s := apitest.Start(t)
	definitions := clientset.NewForConfigOrDie(s.Config).ApiextensionsV1().CustomResourceDefinitions()
	if _, err := definitions.Create(t.Context(), widgets(), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	unstructured := false
	for _, tt := range []struct {
		name   string
		schema *apiextensionsv1.CustomResourceValidation
		says   string
	}{
		{"none", nil, "openAPIV3Schema: Required value"},
		{"empty", &apiextensionsv1.CustomResourceValidation{}, "openAPIV3Schema: Required value"},
		{
			"not structural",
			&apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: &unstructured}},
			"x-kubernetes-preserve-unknown-fields",
		},
	} {
		change := func(d *apiextensionsv1.CustomResourceDefinition) *apiextensionsv1.CustomResourceDefinition {
			for i := range d.Spec.Versions {
				v := &d.Spec.Versions[i]
				v.Schema, v.SelectableFields = tt.schema, []apiextensionsv1.SelectableField{{JSONPath: ".spec.color"}}
			}
			return d
		}
		for _, operation := range []struct {
			name string
			do   func() error
		}{
			{"create", func() error {
				d := change(widgets())
				_, err := definitions.Create(t.Context(), d, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
				return err
			}},
			{"update", func() error {
				// Its conditions are written meanwhile.
				return retry.RetryOnConflict(retry.DefaultRetry, func() error {
					stored, err := definitions.Get(t.Context(), widgets().Name, metav1.GetOptions{})
					if err != nil {
						return err
					}
					_, err = definitions.Update(t.Context(), change(stored), metav1.UpdateOptions{DryRun: []string{metav1.DryRunAll}})
					return err
				})
			}},
		} {
			t.Run(operation.name+" with "+tt.name, func(t *testing.T) {
				if err := operation.do(); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), tt.says) {
					t.Errorf("got %v, want it refused for %s", err, tt.says)
				}
			})
		}
	}
}
