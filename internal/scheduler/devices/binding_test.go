package devices

import (
	"testing"
	"time"

	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestDevicesThatArePreparedFirst(t *testing.T) {
	condition := func(kind string) []metav1.Condition {
		return []metav1.Condition{{Type: kind, Status: metav1.ConditionTrue, Reason: "Because"}}
	}
	for _, tt := range []struct {
		name          string
		have          []metav1.Condition
		age           time.Duration
		plain         bool
		ready, failed bool
		wrong         bool
	}{
		{name: "nothing is asked for", plain: true, ready: true},
		{name: "nothing is told yet"},
		{name: "it is there", have: condition("Attached"), ready: true},
		{name: "it failed", have: condition("Broken"), wrong: true, failed: true},
		{name: "it takes too long", age: bindingTimeout + time.Second, failed: true},
		{name: "it took long", have: condition("Attached"), age: bindingTimeout + time.Second, ready: true},
	} {
		w := New()
		now := time.Unix(100_000, 0)
		w.now = func() time.Time { return now }
		at := metav1.NewTime(now.Add(-tt.age))
		result := resourcev1.DeviceRequestAllocationResult{Driver: "d", Pool: "p", Device: "x"}
		if !tt.plain {
			result.BindingConditions, result.BindingFailureConditions = []string{"Attached"}, []string{"Broken"}
		}
		claim := &resourcev1.ResourceClaim{Status: resourcev1.ResourceClaimStatus{
			Allocation: &resourcev1.AllocationResult{AllocationTimestamp: &at, Devices: resourcev1.DeviceAllocationResult{
				Results: []resourcev1.DeviceRequestAllocationResult{result}}},
			Devices: []resourcev1.AllocatedDeviceStatus{{Driver: "d", Pool: "p", Device: "x", Conditions: tt.have}},
		}}
		ready, err := Ready(claim)
		if ready != tt.ready || (err != nil) != tt.wrong || w.failed(claim) != tt.failed || waits(claim.Status.Allocation) == tt.plain {
			t.Errorf("%s: ready %v, %v, failed %v, waits %v", tt.name, ready, err, w.failed(claim), waits(claim.Status.Allocation))
		}
	}
}
