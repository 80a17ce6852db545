package resources_test

import (
	"testing"

	coordinationv1beta1 "k8s.io/api/coordination/v1beta1"
	resourcev1 "k8s.io/api/resource/v1"
	resourcev1beta1 "k8s.io/api/resource/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
	"github.com/sinawi/sinawi/internal/apiserver/controlplane"
)

// Versions that are not settled are served when they are switched on, and show
// the same objects.
func TestRuntimeConfig(t *testing.T) {
	claim := &resourcev1beta1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: resourcev1beta1.ResourceClaimSpec{
		Devices: resourcev1beta1.DeviceClaim{Requests: []resourcev1beta1.DeviceRequest{{Name: "r", DeviceClassName: "c"}}}}}
	plain := apitest.Start(t).Clientset()
	if _, err := plain.ResourceV1beta1().ResourceClaims("default").Create(t.Context(), claim, metav1.CreateOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a version that is off answers: %v", err)
	}
	if _, err := plain.Discovery().ServerResourcesForGroupVersion("coordination.k8s.io/v1beta1"); !apierrors.IsNotFound(err) {
		t.Errorf("a version that is off is told of: %v", err)
	}

	c := apitest.StartWith(t, apitest.Options{Mutate: func(o *controlplane.Options) {
		o.RuntimeConfig = map[string]bool{"api/beta": true}
	}}).Clientset()
	made, err := c.ResourceV1beta1().ResourceClaims("default").Create(t.Context(), claim, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if r := made.Spec.Devices.Requests[0]; r.AllocationMode != resourcev1beta1.DeviceAllocationModeExactCount || r.Count != 1 {
		t.Errorf("defaults of an earlier version: %+v", r)
	}
	settled, err := c.ResourceV1().ResourceClaims("default").Get(t.Context(), "a", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if e := settled.Spec.Devices.Requests[0].Exactly; e == nil || e.DeviceClassName != "c" || e.AllocationMode != resourcev1.DeviceAllocationModeExactCount {
		t.Errorf("the settled version: %+v", e)
	}
	list, err := c.ResourceV1beta2().ResourceClaims("default").List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 1 || list.Items[0].Spec.Devices.Requests[0].Exactly.DeviceClassName != "c" {
		t.Errorf("a list in another version: %+v, %v", list, err)
	}
	candidate := &coordinationv1beta1.LeaseCandidate{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: coordinationv1beta1.LeaseCandidateSpec{
		LeaseName: "l", BinaryVersion: "1.37.0", EmulationVersion: "1.37.0", Strategy: "OldestEmulationVersion"}}
	if _, err := c.CoordinationV1beta1().LeaseCandidates("default").Create(t.Context(), candidate, metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
}
