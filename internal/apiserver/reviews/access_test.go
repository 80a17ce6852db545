package reviews

import (
	"slices"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestTarget(t *testing.T) {
	both := "spec: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified"
	of := func(requirements ...metav1.LabelSelectorRequirement) *authorizationv1.ResourceAttributes {
		return &authorizationv1.ResourceAttributes{LabelSelector: &authorizationv1.LabelSelectorAttributes{Requirements: requirements}}
	}
	const at = "spec.resourceAttributes.labelSelector.requirements"
	for name, tc := range map[string]struct {
		r    *authorizationv1.ResourceAttributes
		want []string
	}{
		"nothing":             {nil, []string{both}},
		"empty selector":      {of(), []string{at + ": Required value: when spec.resourceAttributes.labelSelector is specified, requirements or rawSelector is required"}},
		"operator of later":   {of(metav1.LabelSelectorRequirement{Key: "a", Operator: "Later"}), nil},
		"values of existence": {of(metav1.LabelSelectorRequirement{Key: "a", Operator: "Exists", Values: []string{"b"}}), []string{at + "[0].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'"}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, e := range validateTarget(tc.r, nil) {
				got = append(got, e.Error())
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
