package resources

import (
	resourcev1 "k8s.io/api/resource/v1"

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
	return checked(Strategy{AllowUnconditionalUpdate: true, AutoGeneration: true}, dynamicresource.ResourceSlice, dynamicresource.ResourceSliceUpdate)
}

func deviceTaintRuleStrategy() Strategy {
	return checked(mainStrategy(func(r *resourcev1.DeviceTaintRule) *resourcev1.DeviceTaintRuleStatus { return &r.Status }),
		dynamicresource.DeviceTaintRule, dynamicresource.DeviceTaintRuleUpdate)
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
