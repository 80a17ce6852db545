package resources

import (
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sinawi/sinawi/internal/apiserver/validation/dynamicresource"
)

func deviceClassStrategy() Strategy {
	return checked(Strategy{AllowUnconditionalUpdate: true, AutoGeneration: true}, dynamicresource.DeviceClass, dynamicresource.DeviceClassUpdate)
}

func resourceClaimStrategy() Strategy {
	s := checked(mainStrategy(func(c *resourcev1.ResourceClaim) *resourcev1.ResourceClaimStatus { return &c.Status }),
		dynamicresource.ResourceClaim, dynamicresource.ResourceClaimUpdate)
	s.AutoGeneration = false
	return s
}

func resourceClaimStatusStrategy() *Strategy {
	return checkedUpdate(statusStrategy(func(c *resourcev1.ResourceClaim) *resourcev1.ResourceClaimSpec { return &c.Spec }),
		dynamicresource.ResourceClaimStatusUpdate)
}

func resourceClaimTemplateStrategy() Strategy {
	return checked(Strategy{AllowUnconditionalUpdate: true}, dynamicresource.ResourceClaimTemplate, dynamicresource.ResourceClaimTemplateUpdate)
}

func resourceSliceStrategy() Strategy {
	stamp := func(s *resourcev1.ResourceSlice) {
		for i := range s.Spec.Devices {
			for j := range s.Spec.Devices[i].Taints {
				stampTaint(&s.Spec.Devices[i].Taints[j])
			}
		}
	}
	return checked(Strategy{
		PrepareForCreate: onCreate(stamp), PrepareForUpdate: onUpdate(func(s, _ *resourcev1.ResourceSlice) { stamp(s) }),
		AllowUnconditionalUpdate: true, AutoGeneration: true,
	}, dynamicresource.ResourceSlice, dynamicresource.ResourceSliceUpdate)
}

// stampTaint notes when a taint was put on, from which tolerations count.
func stampTaint(t *resourcev1.DeviceTaint) {
	if t.TimeAdded == nil {
		now := metav1.Now().Rfc3339Copy()
		t.TimeAdded = &now
	}
}

func deviceTaintRuleStrategy() Strategy {
	s := mainStrategy(func(r *resourcev1.DeviceTaintRule) *resourcev1.DeviceTaintRuleStatus { return &r.Status })
	s.PrepareForCreate = onCreate(func(r *resourcev1.DeviceTaintRule) {
		r.Status = resourcev1.DeviceTaintRuleStatus{}
		stampTaint(&r.Spec.Taint)
	})
	s.PrepareForUpdate = onUpdate(func(r, old *resourcev1.DeviceTaintRule) {
		r.Status = old.Status
		now, was := &r.Spec.Taint, &old.Spec.Taint
		if now.Effect != was.Effect && now.TimeAdded.Equal(was.TimeAdded) {
			now.TimeAdded = nil // eviction counts from when it was asked for
		}
		stampTaint(now)
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
