package runtimeclass

import (
	"context"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apiserver/pkg/admission"
)

func TestOverheadWithoutClass(t *testing.T) {
	for name, tc := range map[string]struct {
		overhead corev1.ResourceList
		refused  bool
	}{
		"none":  {nil, false},
		"empty": {corev1.ResourceList{}, true},
		"some":  {corev1.ResourceList{"cpu": resource.MustParse("1")}, true},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{Spec: corev1.PodSpec{Overhead: tc.overhead}}
			attributes := admission.NewAttributesRecord(pod, nil, corev1.SchemeGroupVersion.WithKind("Pod"), "default", "x",
				corev1.SchemeGroupVersion.WithResource("pods"), "", admission.Create, nil, false, nil)
			if err := (&Plugin{}).Validate(context.Background(), attributes, nil); (err != nil) != tc.refused {
				t.Errorf("got %v, want refused %v", err, tc.refused)
			}
		})
	}
}
