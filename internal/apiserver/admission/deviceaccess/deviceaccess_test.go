package deviceaccess

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/sinawi/sinawi/internal/apiserver/admission/lookup"
)

type namespaces struct {
	lookup.Storage
	labels map[string]string
}

func (n namespaces) Get(context.Context, string, *metav1.GetOptions) (runtime.Object, error) {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Labels: n.labels}}, nil
}

func TestValidate(t *testing.T) {
	yes, ann := true, &user.DefaultInfo{Name: "ann"}
	requests := []resourcev1.DeviceRequest{{}, {Exactly: &resourcev1.ExactDeviceRequest{AdminAccess: &yes}}}
	spec := resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: requests}}
	claim := &resourcev1.ResourceClaim{Spec: spec}
	given := &resourcev1.ResourceClaim{Status: resourcev1.ResourceClaimStatus{Allocation: &resourcev1.AllocationResult{
		Devices: resourcev1.DeviceAllocationResult{Results: []resourcev1.DeviceRequestAllocationResult{{AdminAccess: &yes}}},
	}}}
	marked := map[string]string{resourcev1.DRAAdminNamespaceLabelKey: "true"}
	for name, tc := range map[string]struct {
		obj, old    runtime.Object
		subresource string
		labels      map[string]string
		want        string
	}{
		"claim":                     {obj: claim, want: "spec.devices.requests[1].adminAccess: Forbidden: admin access to devices requires"},
		"claim where it may be":     {obj: claim, labels: marked},
		"template":                  {obj: &resourcev1.ResourceClaimTemplate{Spec: resourcev1.ResourceClaimTemplateSpec{Spec: spec}}, want: "spec.devices.requests[1].adminAccess: Forbidden"},
		"claim of nothing":          {obj: &resourcev1.ResourceClaim{}},
		"changed claim":             {obj: claim, old: claim},
		"allocation":                {obj: given, old: &resourcev1.ResourceClaim{}, subresource: "status", want: "status.allocation.devices.results[0].adminAccess: Forbidden"},
		"allocation that was there": {obj: given, old: given, subresource: "status"},
	} {
		t.Run(name, func(t *testing.T) {
			source := func(schema.GroupResource) (lookup.Storage, bool) { return namespaces{labels: tc.labels}, true }
			operation := admission.Create
			if tc.old != nil {
				operation = admission.Update
			}
			a := admission.NewAttributesRecord(tc.obj, tc.old, resourcev1.SchemeGroupVersion.WithKind("ResourceClaim"), "n", "c",
				resourcev1.SchemeGroupVersion.WithResource("resourceclaims"), tc.subresource, operation, nil, false, ann)
			err := New(source, rights{"update binding "}).Validate(request(t, "update", ann), a, nil)
			if got := err != nil; got != (tc.want != "") || got && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}
