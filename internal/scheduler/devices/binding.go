package devices

import (
	"fmt"
	"time"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// bindingTimeout is how long devices may take that are prepared before their pod is
// bound.
const bindingTimeout = 10 * time.Minute

// Claim returns a claim as last told of, or nil.
func (w *World) Claim(key types.NamespacedName) *resourcev1.ResourceClaim { return w.claims[key] }

// waits reports whether some device is prepared only once it is allocated, and a pod
// is not to be bound before.
func waits(a *resourcev1.AllocationResult) bool {
	if a == nil {
		return false
	}
	for i := range a.Devices.Results {
		if len(a.Devices.Results[i].BindingConditions) > 0 {
			return true
		}
	}
	return false
}

// Ready reports whether all devices of a claim are prepared as they ask for, or why
// they will not be.
func Ready(claim *resourcev1.ResourceClaim) (bool, error) {
	if claim.Status.Allocation == nil {
		return false, nil
	}
	for i := range claim.Status.Allocation.Devices.Results {
		r := &claim.Status.Allocation.Devices.Results[i]
		if len(r.BindingConditions) == 0 {
			continue
		}
		have := conditionsOf(claim, r)
		for _, kind := range r.BindingFailureConditions {
			if c := meta.FindStatusCondition(have, kind); c != nil && c.Status == metav1.ConditionTrue {
				return false, fmt.Errorf("device binding failed: claim=%s, reason=%s, message=%q", claim.Name, c.Reason, c.Message)
			}
		}
		for _, kind := range r.BindingConditions {
			if !meta.IsStatusConditionTrue(have, kind) {
				return false, nil
			}
		}
	}
	return true, nil
}

func conditionsOf(claim *resourcev1.ResourceClaim, r *resourcev1.DeviceRequestAllocationResult) []metav1.Condition {
	for i := range claim.Status.Devices {
		d := &claim.Status.Devices[i]
		same := d.ShareID == nil && r.ShareID == nil || d.ShareID != nil && r.ShareID != nil && *d.ShareID == string(*r.ShareID)
		if d.Driver == r.Driver && d.Pool == r.Pool && d.Device == r.Device && same {
			return d.Conditions
		}
	}
	return nil
}

// failed reports whether the devices that a claim has were not prepared, or not in
// time: it must get others.
func (w *World) failed(claim *resourcev1.ResourceClaim) bool {
	if !waits(claim.Status.Allocation) {
		return false
	}
	ready, err := Ready(claim)
	at := claim.Status.Allocation.AllocationTimestamp
	return err != nil || !ready && at != nil && at.Add(bindingTimeout).Before(w.now())
}
