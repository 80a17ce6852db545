package defaults

import (
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourcev1 "k8s.io/api/resource/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	storagev1 "k8s.io/api/storage/v1"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
)

// Networking adds the defaulting functions of networking.k8s.io to scheme.
func Networking(scheme *runtime.Scheme) error {
	add(scheme, networkPolicy)
	add(scheme, func(c *networkingv1.IngressClass) {
		if p := c.Spec.Parameters; p != nil {
			orNew(&p.Scope, networkingv1.IngressClassParametersReferenceScopeCluster)
		}
	})
	return nil
}

func networkPolicy(p *networkingv1.NetworkPolicy) {
	ports := func(list []networkingv1.NetworkPolicyPort) {
		for i := range list {
			orNew(&list[i].Protocol, corev1.ProtocolTCP)
		}
	}
	for i := range p.Spec.Ingress {
		ports(p.Spec.Ingress[i].Ports)
	}
	for i := range p.Spec.Egress {
		ports(p.Spec.Egress[i].Ports)
	}
	if len(p.Spec.PolicyTypes) > 0 {
		return
	}
	// Any policy is one for ingress; only one that speaks of egress is for it.
	p.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
	if len(p.Spec.Egress) > 0 {
		p.Spec.PolicyTypes = append(p.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
	}
}

// Discovery adds the defaulting functions of discovery.k8s.io to scheme.
func Discovery(scheme *runtime.Scheme) error {
	add(scheme, func(s *discoveryv1.EndpointSlice) {
		for i := range s.Ports {
			orNew(&s.Ports[i].Name, "")
			orNew(&s.Ports[i].Protocol, corev1.ProtocolTCP)
		}
	})
	return nil
}

// RBAC adds the defaulting functions of rbac.authorization.k8s.io to scheme.
func RBAC(scheme *runtime.Scheme) error {
	binding := func(ref *rbacv1.RoleRef, subjects []rbacv1.Subject) {
		orElse(&ref.APIGroup, rbacv1.GroupName)
		for i := range subjects {
			if s := &subjects[i]; s.Kind == rbacv1.UserKind || s.Kind == rbacv1.GroupKind {
				orElse(&s.APIGroup, rbacv1.GroupName)
			}
		}
	}
	add(scheme, func(b *rbacv1.RoleBinding) { binding(&b.RoleRef, b.Subjects) })
	add(scheme, func(b *rbacv1.ClusterRoleBinding) { binding(&b.RoleRef, b.Subjects) })
	return nil
}

// Storage adds the defaulting functions of storage.k8s.io to scheme.
func Storage(scheme *runtime.Scheme) error {
	add(scheme, func(c *storagev1.StorageClass) {
		orNew(&c.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete)
		orNew(&c.VolumeBindingMode, storagev1.VolumeBindingImmediate)
	})
	add(scheme, func(a *storagev1.VolumeAttachment) {
		if spec := a.Spec.Source.InlineVolumeSpec; spec != nil {
			PersistentVolumeSpec(spec)
		}
	})
	add(scheme, func(d *storagev1.CSIDriver) {
		orNew(&d.Spec.AttachRequired, true)
		orNew(&d.Spec.PodInfoOnMount, false)
		orNew(&d.Spec.StorageCapacity, false)
		orNew(&d.Spec.FSGroupPolicy, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy)
		if len(d.Spec.VolumeLifecycleModes) == 0 {
			d.Spec.VolumeLifecycleModes = []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent}
		}
		orNew(&d.Spec.RequiresRepublish, false)
		orNew(&d.Spec.SELinuxMount, false)
		orNew(&d.Spec.PreventPodSchedulingIfMissing, false)
	})
	return nil
}

// Scheduling adds the defaulting functions of scheduling.k8s.io to scheme.
func Scheduling(scheme *runtime.Scheme) error {
	add(scheme, func(c *schedulingv1.PriorityClass) { orNew(&c.PreemptionPolicy, corev1.PreemptLowerPriority) })
	add(scheme, func(g *schedulingv1beta1.PodGroup) {
		if g.Spec.DisruptionMode == nil {
			g.Spec.DisruptionMode = &schedulingv1beta1.DisruptionMode{Single: &schedulingv1beta1.SingleDisruptionMode{}}
		}
	})
	return nil
}

// FlowControl adds the defaulting functions of flowcontrol.apiserver.k8s.io to
// scheme.
func FlowControl(scheme *runtime.Scheme) error {
	add(scheme, func(f *flowcontrolv1.FlowSchema) { orElse(&f.Spec.MatchingPrecedence, 1000) })
	add(scheme, func(p *flowcontrolv1.PriorityLevelConfiguration) {
		if e := p.Spec.Exempt; e != nil {
			orNew(&e.NominalConcurrencyShares, 0)
			orNew(&e.LendablePercent, 0)
		}
		l := p.Spec.Limited
		if l == nil {
			return
		}
		orNew(&l.NominalConcurrencyShares, 30)
		orNew(&l.LendablePercent, 0)
		if q := l.LimitResponse.Queuing; q != nil {
			orElse(&q.HandSize, 8)
			orElse(&q.Queues, 64)
			orElse(&q.QueueLengthLimit, 50)
		}
	})
	return nil
}

// DynamicResource adds the defaulting functions of resource.k8s.io to scheme.
func DynamicResource(scheme *runtime.Scheme) error {
	add(scheme, func(c *resourcev1.ResourceClaim) { deviceClaim(&c.Spec.Devices) })
	add(scheme, func(t *resourcev1.ResourceClaimTemplate) { deviceClaim(&t.Spec.Spec.Devices) })
	// Tolerations count from when a taint was put on.
	stamp := func(t *resourcev1.DeviceTaint) {
		if t.TimeAdded == nil {
			t.TimeAdded = &metav1.Time{Time: time.Now().Truncate(time.Second)}
		}
	}
	add(scheme, func(r *resourcev1.DeviceTaintRule) { stamp(&r.Spec.Taint) })
	add(scheme, func(s *resourcev1.ResourceSlice) {
		for i := range s.Spec.Devices {
			for j := range s.Spec.Devices[i].Taints {
				stamp(&s.Spec.Devices[i].Taints[j])
			}
		}
	})
	return nil
}

func deviceClaim(c *resourcev1.DeviceClaim) {
	count := func(mode *resourcev1.DeviceAllocationMode, n *int64) {
		orElse(mode, resourcev1.DeviceAllocationModeExactCount)
		if *mode == resourcev1.DeviceAllocationModeExactCount {
			orElse(n, 1)
		}
	}
	tolerations := func(list []resourcev1.DeviceToleration) {
		for i := range list {
			orElse(&list[i].Operator, resourcev1.DeviceTolerationOpEqual)
		}
	}
	for i := range c.Requests {
		if e := c.Requests[i].Exactly; e != nil {
			count(&e.AllocationMode, &e.Count)
			tolerations(e.Tolerations)
		}
		for j := range c.Requests[i].FirstAvailable {
			sub := &c.Requests[i].FirstAvailable[j]
			count(&sub.AllocationMode, &sub.Count)
			tolerations(sub.Tolerations)
		}
	}
}

// Certificates adds the defaulting functions of certificates.k8s.io to scheme.
func Certificates(scheme *runtime.Scheme) error {
	add(scheme, func(r *certificatesv1.PodCertificateRequest) { orNew(&r.Spec.MaxExpirationSeconds, 24*3600) })
	return nil
}

// Authentication adds the defaulting functions of authentication.k8s.io to scheme.
func Authentication(scheme *runtime.Scheme) error {
	add(scheme, func(r *authenticationv1.TokenRequest) { orNew(&r.Spec.ExpirationSeconds, 3600) })
	return nil
}

// APIRegistration adds the defaulting functions of apiregistration.k8s.io to
// scheme.
func APIRegistration(scheme *runtime.Scheme) error {
	add(scheme, func(s *apiregistrationv1.APIService) {
		if s.Spec.Service != nil {
			orNew(&s.Spec.Service.Port, 443)
		}
	})
	return nil
}
