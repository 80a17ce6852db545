package podpriority

import (
	"testing"

	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/admission"
)

func TestSystemClassesStay(t *testing.T) {
	for name, stays := range map[string]bool{"system-node-critical": true, "system-cluster-critical": true, "mine": false} {
		a := admission.NewAttributesRecord(nil, nil, schedulingv1.SchemeGroupVersion.WithKind("PriorityClass"), "", name,
			schedulingv1.SchemeGroupVersion.WithResource("priorityclasses"), "", admission.Delete, nil, false, nil)
		if err := New(nil).Validate(t.Context(), a, nil); apierrors.IsForbidden(err) != stays {
			t.Errorf("delete %s: %v", name, err)
		}
	}
}
