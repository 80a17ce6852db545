package resources

// The strategies of the smaller groups, which have a rule or two each.

import (
	"context"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	svmv1 "k8s.io/api/storagemigration/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/sinawi/sinawi/internal/apiserver/validation/autoscaling"
	"github.com/sinawi/sinawi/internal/apiserver/validation/coordination"
	"github.com/sinawi/sinawi/internal/apiserver/validation/discovery"
	"github.com/sinawi/sinawi/internal/apiserver/validation/networking"
	"github.com/sinawi/sinawi/internal/apiserver/validation/policy"
	"github.com/sinawi/sinawi/internal/apiserver/validation/rbac"
	"github.com/sinawi/sinawi/internal/apiserver/validation/scheduling"
	"github.com/sinawi/sinawi/internal/apiserver/validation/storagemigration"
	"github.com/sinawi/sinawi/internal/apiserver/warnings"
)

func hpaStrategy() Strategy {
	return checked(mainStrategy(func(h *autoscalingv2.HorizontalPodAutoscaler) *autoscalingv2.HorizontalPodAutoscalerStatus {
		return &h.Status
	}), autoscaling.HorizontalPodAutoscaler, autoscaling.HorizontalPodAutoscalerUpdate)
}

func hpaStatusStrategy() *Strategy {
	return checkedUpdate(statusStrategy(func(h *autoscalingv2.HorizontalPodAutoscaler) *autoscalingv2.HorizontalPodAutoscalerSpec {
		return &h.Spec
	}), autoscaling.HorizontalPodAutoscalerStatusUpdate)
}

func pdbStrategy() Strategy {
	s := checked(mainStrategy(func(p *policyv1.PodDisruptionBudget) *policyv1.PodDisruptionBudgetStatus { return &p.Status }),
		policy.PodDisruptionBudget, policy.PodDisruptionBudgetUpdate)
	s.AllowUnconditionalUpdate = false
	return s
}

func pdbStatusStrategy() *Strategy {
	s := checkedUpdate(statusStrategy(func(p *policyv1.PodDisruptionBudget) *policyv1.PodDisruptionBudgetSpec { return &p.Spec }),
		policy.PodDisruptionBudgetStatusUpdate)
	s.AllowUnconditionalUpdate = false
	return s
}

func ingressStrategy() Strategy {
	s := checked(mainStrategy(func(i *networkingv1.Ingress) *networkingv1.IngressStatus { return &i.Status }), networking.Ingress, networking.IngressUpdate)
	s.Warnings = onWarn(warnings.Ingress)
	return s
}

func ingressStatusStrategy() *Strategy {
	s := checkedUpdate(statusStrategy(func(i *networkingv1.Ingress) *networkingv1.IngressSpec { return &i.Spec }), networking.IngressStatusUpdate)
	s.UpdateWarnings = func(_ context.Context, obj, _ runtime.Object) []string {
		return warnings.IngressStatus(obj.(*networkingv1.Ingress))
	}
	return s
}

func ingressClassStrategy() Strategy {
	return checked(Strategy{AllowUnconditionalUpdate: true, AutoGeneration: true}, networking.IngressClass, networking.IngressClassUpdate)
}

func networkPolicyStrategy() Strategy {
	return warned(checked(Strategy{AllowUnconditionalUpdate: true, AutoGeneration: true}, networking.NetworkPolicy, networking.NetworkPolicyUpdate), warnings.NetworkPolicy)
}

func ipAddressStrategy() Strategy {
	return checked(Strategy{AllowUnconditionalUpdate: true}, networking.IPAddress, networking.IPAddressUpdate)
}

func serviceCIDRStrategy() Strategy {
	s := checked(mainStrategy(func(c *networkingv1.ServiceCIDR) *networkingv1.ServiceCIDRStatus { return &c.Status }),
		networking.ServiceCIDR, networking.ServiceCIDRUpdate)
	s.AutoGeneration = false
	return s
}

func serviceCIDRStatusStrategy() *Strategy {
	return checkedUpdate(statusStrategy(func(c *networkingv1.ServiceCIDR) *networkingv1.ServiceCIDRSpec { return &c.Spec }),
		networking.ServiceCIDRStatusUpdate)
}

func endpointSliceStrategy() Strategy {
	s := checked(Strategy{AllowUnconditionalUpdate: true}, discovery.EndpointSlice, discovery.EndpointSliceUpdate)
	s.PrepareForCreate = onCreate(func(e *discoveryv1.EndpointSlice) {
		e.Generation = 1
		dropTopology(e, nil)
	})
	s.PrepareForUpdate = onUpdate(func(e, old *discoveryv1.EndpointSlice) {
		// Of metadata, labels alone say what the slice is for.
		now, before := *e, *old
		now.ObjectMeta, before.ObjectMeta = metav1.ObjectMeta{Labels: e.Labels}, metav1.ObjectMeta{Labels: old.Labels}
		if !apiequality.Semantic.DeepEqual(now, before) {
			e.Generation = old.Generation + 1
		}
		dropTopology(e, old)
	})
	s.Warnings = onWarn(warnings.EndpointSlice)
	s.UpdateWarnings = func(_ context.Context, obj, _ runtime.Object) []string {
		return warnings.EndpointAddresses(obj.(*discoveryv1.EndpointSlice))
	}
	return s
}

// dropTopology keeps what version 1 of the API has no field for from being
// written, and the names of nodes that were once kept there.
func dropTopology(e, old *discoveryv1.EndpointSlice) {
	nodes := sets.New[string]()
	if old != nil {
		if apiequality.Semantic.DeepEqual(e.Endpoints, old.Endpoints) {
			return
		}
		for i := range old.Endpoints {
			nodes.Insert(old.Endpoints[i].DeprecatedTopology[corev1.LabelHostname])
		}
	}
	for i := range e.Endpoints {
		endpoint := &e.Endpoints[i]
		node := endpoint.DeprecatedTopology[corev1.LabelHostname]
		if endpoint.NodeName == nil && nodes.Has(node) && len(validation.IsDNS1123Subdomain(node)) == 0 {
			endpoint.NodeName = &node
		}
		endpoint.DeprecatedTopology = nil
	}
}

func leaseStrategy() Strategy {
	return checked(Strategy{
		// Elections are coordinated behind CoordinatedLeaderElection, a beta that
		// is off, so that what is stored alone stays.
		PrepareForCreate: onCreate(func(l *coordinationv1.Lease) { l.Spec.Strategy, l.Spec.PreferredHolder = nil, nil }),
		PrepareForUpdate: onUpdate(func(l, old *coordinationv1.Lease) {
			if old.Spec.Strategy == nil {
				l.Spec.Strategy = nil
			}
			if old.Spec.PreferredHolder == nil {
				l.Spec.PreferredHolder = nil
			}
		}),
		AllowCreateOnUpdate: true,
	}, coordination.Lease, coordination.LeaseUpdate)
}

func rbacStrategy[T runtime.Object](create func(T) field.ErrorList, update func(o, old T) field.ErrorList) Strategy {
	return checked(Strategy{AllowCreateOnUpdate: true, AllowUnconditionalUpdate: true}, create, update)
}

func roleStrategy() Strategy        { return rbacStrategy(rbac.Role, rbac.RoleUpdate) }
func clusterRoleStrategy() Strategy { return rbacStrategy(rbac.ClusterRole, rbac.ClusterRoleUpdate) }
func roleBindingStrategy() Strategy { return rbacStrategy(rbac.RoleBinding, rbac.RoleBindingUpdate) }

func clusterRoleBindingStrategy() Strategy {
	return rbacStrategy(rbac.ClusterRoleBinding, rbac.ClusterRoleBindingUpdate)
}

func priorityClassStrategy() Strategy {
	return checked(Strategy{
		// Nothing of a class changes that would make another generation.
		PrepareForCreate:         onCreate(func(c *schedulingv1.PriorityClass) { c.Generation = 1 }),
		PrepareForUpdate:         onUpdate(func(c, old *schedulingv1.PriorityClass) { c.Generation = old.Generation }),
		AllowUnconditionalUpdate: true,
	}, scheduling.PriorityClass, scheduling.PriorityClassUpdate)
}

func runtimeClassStrategy() Strategy {
	return warned(checked(Strategy{}, scheduling.RuntimeClass, scheduling.RuntimeClassUpdate), warnings.RuntimeClass)
}

func storageVersionMigrationStrategy() Strategy {
	s := checked(mainStrategy(func(m *svmv1.StorageVersionMigration) *svmv1.StorageVersionMigrationStatus { return &m.Status }),
		storagemigration.Migration, storagemigration.MigrationUpdate)
	s.AllowUnconditionalUpdate, s.AutoGeneration = false, false
	return s
}

func storageVersionMigrationStatusStrategy() *Strategy {
	s := checkedUpdate(statusStrategy(func(m *svmv1.StorageVersionMigration) *svmv1.StorageVersionMigrationSpec { return &m.Spec }),
		storagemigration.MigrationStatusUpdate)
	s.AllowUnconditionalUpdate = false
	return s
}
