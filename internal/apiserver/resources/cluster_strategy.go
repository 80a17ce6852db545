package resources

// The strategies of the smaller groups, which have a rule or two each.

import (
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	svmv1 "k8s.io/api/storagemigration/v1"
)

func hpaStrategy() Strategy {
	s := mainStrategy(func(h *autoscalingv2.HorizontalPodAutoscaler) *autoscalingv2.HorizontalPodAutoscalerStatus {
		return &h.Status
	})
	s.AutoGeneration = false
	return s
}

func hpaStatusStrategy() *Strategy {
	return statusStrategy(func(h *autoscalingv2.HorizontalPodAutoscaler) *autoscalingv2.HorizontalPodAutoscalerSpec {
		return &h.Spec
	})
}

func pdbStrategy() Strategy {
	s := mainStrategy(func(p *policyv1.PodDisruptionBudget) *policyv1.PodDisruptionBudgetStatus { return &p.Status })
	s.AllowUnconditionalUpdate = false
	return s
}

func pdbStatusStrategy() *Strategy {
	s := statusStrategy(func(p *policyv1.PodDisruptionBudget) *policyv1.PodDisruptionBudgetSpec { return &p.Spec })
	s.AllowUnconditionalUpdate = false
	return s
}

func ingressStrategy() Strategy {
	return mainStrategy(func(i *networkingv1.Ingress) *networkingv1.IngressStatus { return &i.Status })
}

func ingressStatusStrategy() *Strategy {
	return statusStrategy(func(i *networkingv1.Ingress) *networkingv1.IngressSpec { return &i.Spec })
}

func ingressClassStrategy() Strategy {
	return Strategy{AllowUnconditionalUpdate: true, AutoGeneration: true}
}

func networkPolicyStrategy() Strategy {
	return Strategy{AllowUnconditionalUpdate: true, AutoGeneration: true}
}

func ipAddressStrategy() Strategy {
	return Strategy{AllowUnconditionalUpdate: true}
}

func serviceCIDRStrategy() Strategy {
	s := mainStrategy(func(c *networkingv1.ServiceCIDR) *networkingv1.ServiceCIDRStatus { return &c.Status })
	s.AutoGeneration = false
	return s
}

func serviceCIDRStatusStrategy() *Strategy {
	return statusStrategy(func(c *networkingv1.ServiceCIDR) *networkingv1.ServiceCIDRSpec { return &c.Spec })
}

func endpointSliceStrategy() Strategy {
	return Strategy{AllowUnconditionalUpdate: true}
}

func leaseStrategy() Strategy {
	return Strategy{AllowCreateOnUpdate: true}
}

func rbacStrategy() Strategy {
	return Strategy{AllowCreateOnUpdate: true, AllowUnconditionalUpdate: true}
}

func roleStrategy() Strategy               { return rbacStrategy() }
func clusterRoleStrategy() Strategy        { return rbacStrategy() }
func roleBindingStrategy() Strategy        { return rbacStrategy() }
func clusterRoleBindingStrategy() Strategy { return rbacStrategy() }

func priorityClassStrategy() Strategy {
	return Strategy{AllowUnconditionalUpdate: true}
}

func runtimeClassStrategy() Strategy { return Strategy{} }

func storageVersionMigrationStrategy() Strategy {
	s := mainStrategy(func(m *svmv1.StorageVersionMigration) *svmv1.StorageVersionMigrationStatus { return &m.Status })
	s.AllowUnconditionalUpdate, s.AutoGeneration = false, false
	return s
}

func storageVersionMigrationStatusStrategy() *Strategy {
	s := statusStrategy(func(m *svmv1.StorageVersionMigration) *svmv1.StorageVersionMigrationSpec { return &m.Spec })
	s.AllowUnconditionalUpdate = false
	return s
}
