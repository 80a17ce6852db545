package resources

import (
	"slices"
	"time"

	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/sinawi/sinawi/internal/apiserver/validation/dynamicresource"
	"github.com/sinawi/sinawi/internal/apiserver/warnings"
)

func deviceClassStrategy() Strategy {
	return checked(Strategy{AllowUnconditionalUpdate: true, AutoGeneration: true}, dynamicresource.DeviceClass, dynamicresource.DeviceClassUpdate)
}

func resourceClaimStrategy() Strategy {
	s := checked(mainStrategy(func(c *resourcev1.ResourceClaim) *resourcev1.ResourceClaimStatus { return &c.Status }),
		dynamicresource.ResourceClaim, dynamicresource.ResourceClaimUpdate)
	s.AutoGeneration = false
	s.PrepareForCreate = onCreate(func(c *resourcev1.ResourceClaim) {
		c.Status = resourcev1.ResourceClaimStatus{}
		dropDerived(&c.Spec, nil)
	})
	s.PrepareForUpdate = onUpdate(func(c, old *resourcev1.ResourceClaim) {
		c.Status = old.Status
		dropDerived(&c.Spec, &old.Spec)
	})
	return s
}

// dropDerived drops what is behind DRADerivedAttributes, an alpha, unless the
// stored claim has it.
func dropDerived(s, old *resourcev1.ResourceClaimSpec) {
	if old != nil && slices.ContainsFunc(old.Devices.Requests, derives) {
		return
	}
	for i := range s.Devices.Requests {
		r := &s.Devices.Requests[i]
		if r.Exactly != nil {
			r.Exactly.DerivedAttributes = nil
		}
		for j := range r.FirstAvailable {
			r.FirstAvailable[j].DerivedAttributes = nil
		}
	}
}

func derives(r resourcev1.DeviceRequest) bool {
	return r.Exactly != nil && len(r.Exactly.DerivedAttributes) > 0 ||
		slices.ContainsFunc(r.FirstAvailable, func(s resourcev1.DeviceSubRequest) bool { return len(s.DerivedAttributes) > 0 })
}

func resourceClaimStatusStrategy() *Strategy {
	return checkedUpdate(&Strategy{
		PrepareForUpdate: onUpdate(func(c, old *resourcev1.ResourceClaim) {
			c.Spec = old.Spec
			keepMeta(&c.ObjectMeta, &old.ObjectMeta)
			dropSkipped(&c.Status, &old.Status)
			dropDeallocated(&c.Status, &old.Status)
		}),
		AllowUnconditionalUpdate: true,
		ResetFields:              [][]string{{"metadata"}, {"spec"}},
	}, dynamicresource.ResourceClaimStatusUpdate)
}

// dropSkipped drops what is behind DRAOptionalNodeOperations, an alpha, unless
// the stored status has it.
func dropSkipped(s, old *resourcev1.ResourceClaimStatus) {
	skips := func(r resourcev1.DeviceRequestAllocationResult) bool { return len(r.SkipNodeOperations) > 0 }
	if s.Allocation == nil || old.Allocation != nil && slices.ContainsFunc(old.Allocation.Devices.Results, skips) {
		return
	}
	for i := range s.Allocation.Devices.Results {
		s.Allocation.Devices.Results[i].SkipNodeOperations = nil
	}
}

// dropDeallocated forgets what drivers reported of devices that the claim no
// longer has, for those who free them may not know of the reports.
func dropDeallocated(s, old *resourcev1.ResourceClaimStatus) {
	type device struct{ driver, pool, name, share string }
	share := func(id *types.UID) string { return string(deref(id, "")) }
	gone := sets.New[device]()
	if old.Allocation != nil {
		for _, r := range old.Allocation.Devices.Results {
			gone.Insert(device{r.Driver, r.Pool, r.Device, share(r.ShareID)})
		}
	}
	if s.Allocation != nil {
		for _, r := range s.Allocation.Devices.Results {
			gone.Delete(device{r.Driver, r.Pool, r.Device, share(r.ShareID)})
		}
	}
	var kept []resourcev1.AllocatedDeviceStatus
	for _, d := range s.Devices {
		if !gone.Has(device{d.Driver, d.Pool, d.Device, deref(d.ShareID, "")}) {
			kept = append(kept, d)
		}
	}
	s.Devices = kept
}

func resourceClaimTemplateStrategy() Strategy {
	return checked(Strategy{
		PrepareForCreate:         onCreate(func(t *resourcev1.ResourceClaimTemplate) { dropDerived(&t.Spec.Spec, nil) }),
		PrepareForUpdate:         onUpdate(func(t, old *resourcev1.ResourceClaimTemplate) { dropDerived(&t.Spec.Spec, &old.Spec.Spec) }),
		AllowUnconditionalUpdate: true,
	}, dynamicresource.ResourceClaimTemplate, dynamicresource.ResourceClaimTemplateUpdate)
}

func resourceSliceStrategy() Strategy {
	return warned(checked(Strategy{
		PrepareForCreate: onCreate(func(s *resourcev1.ResourceSlice) { dropAlphas(s, &resourcev1.ResourceSlice{}) }),
		PrepareForUpdate: onUpdate(dropAlphas), AllowUnconditionalUpdate: true, AutoGeneration: true,
	}, dynamicresource.ResourceSlice, dynamicresource.ResourceSliceUpdate), warnings.ResourceSlice)
}

// dropAlphas drops what is behind features that are alphas in this release,
// each unless the stored slice has it.
func dropAlphas(s, old *resourcev1.ResourceSlice) {
	has := func(of func(d resourcev1.Device) bool) bool { return slices.ContainsFunc(old.Spec.Devices, of) }
	grouped := func(c resourcev1.DeviceCounterConsumption) bool { return len(c.CompatibilityGroups) > 0 }
	groups := has(func(d resourcev1.Device) bool { return slices.ContainsFunc(d.ConsumesCounters, grouped) })
	allocatable := has(func(d resourcev1.Device) bool { return len(d.NodeAllocatableResources) > 0 })
	lists := has(func(d resourcev1.Device) bool {
		for _, a := range d.Attributes {
			if a.BoolValues != nil || a.IntValues != nil || a.StringValues != nil || a.VersionValues != nil {
				return true
			}
		}
		return false
	})
	if old.Spec.PartitionTypeAttribute == nil {
		s.Spec.PartitionTypeAttribute = nil
	}
	if len(old.Spec.SkipNodeOperations) == 0 {
		s.Spec.SkipNodeOperations = nil
	}
	for i := range s.Spec.Devices {
		d := &s.Spec.Devices[i]
		for j := range d.ConsumesCounters {
			if !groups {
				d.ConsumesCounters[j].CompatibilityGroups = nil
			}
		}
		if !allocatable {
			d.NodeAllocatableResources = nil
		}
		for name, a := range d.Attributes {
			if !lists {
				a.BoolValues, a.IntValues, a.StringValues, a.VersionValues = nil, nil, nil, nil
				d.Attributes[name] = a
			}
		}
	}
}

func deviceTaintRuleStrategy() Strategy {
	s := mainStrategy(func(r *resourcev1.DeviceTaintRule) *resourcev1.DeviceTaintRuleStatus { return &r.Status })
	s.PrepareForUpdate = onUpdate(func(r, old *resourcev1.DeviceTaintRule) {
		r.Status = old.Status
		now, was := &r.Spec.Taint, &old.Spec.Taint
		if now.Effect != was.Effect && now.TimeAdded.Equal(was.TimeAdded) {
			// Eviction counts from when it was asked for.
			now.TimeAdded = &metav1.Time{Time: time.Now().Truncate(time.Second)}
		}
	})
	return checked(s, dynamicresource.DeviceTaintRule, dynamicresource.DeviceTaintRuleUpdate)
}

func deviceTaintRuleStatusStrategy() *Strategy {
	return checkedUpdate(&Strategy{
		PrepareForUpdate: onUpdate(func(r, old *resourcev1.DeviceTaintRule) {
			r.Spec = old.Spec
			keepMeta(&r.ObjectMeta, &old.ObjectMeta)
		}),
		AllowUnconditionalUpdate: true,
		ResetFields:              [][]string{{"metadata"}, {"spec"}},
	}, dynamicresource.DeviceTaintRuleStatusUpdate)
}
