package resources

import resourcev1 "k8s.io/api/resource/v1"

func deviceClassStrategy() Strategy {
	return Strategy{AllowUnconditionalUpdate: true, AutoGeneration: true}
}

func resourceClaimStrategy() Strategy {
	s := mainStrategy(func(c *resourcev1.ResourceClaim) *resourcev1.ResourceClaimStatus { return &c.Status })
	s.AutoGeneration = false
	return s
}

func resourceClaimStatusStrategy() *Strategy {
	return statusStrategy(func(c *resourcev1.ResourceClaim) *resourcev1.ResourceClaimSpec { return &c.Spec })
}

func resourceClaimTemplateStrategy() Strategy {
	return Strategy{AllowUnconditionalUpdate: true}
}

func resourceSliceStrategy() Strategy {
	return Strategy{AllowUnconditionalUpdate: true, AutoGeneration: true}
}

func deviceTaintRuleStrategy() Strategy {
	return mainStrategy(func(r *resourcev1.DeviceTaintRule) *resourcev1.DeviceTaintRuleStatus { return &r.Status })
}

func deviceTaintRuleStatusStrategy() *Strategy {
	return &Strategy{
		PrepareForUpdate: onUpdate(func(r, old *resourcev1.DeviceTaintRule) {
			r.Spec = old.Spec
			keepMeta(&r.ObjectMeta, &old.ObjectMeta)
		}),
		AllowUnconditionalUpdate: true,
		ResetFields:              [][]string{{"metadata"}, {"spec"}},
	}
}
