package warnings

import (
	"crypto/tls"
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// StatefulSet warns of a new stateful set.
func StatefulSet(s *appsv1.StatefulSet) []string {
	return append(Template(&s.Spec.Template, field.NewPath("spec", "template")), StatefulSetKeeps(s)...)
}

// StatefulSetKeeps warns of what a stateful set leaves behind, which every writer
// is told.
func StatefulSetKeeps(s *appsv1.StatefulSet) []string {
	var l list
	for i := range s.Spec.VolumeClaimTemplates {
		l.claim(&s.Spec.VolumeClaimTemplates[i].Spec, field.NewPath("spec", "volumeClaimTemplates").Index(i))
	}
	if n := s.Spec.RevisionHistoryLimit; n != nil && *n < 0 {
		l.add(field.NewPath("spec", "revisionHistoryLimit"), "a negative value retains all historical revisions; a value >= 0 is recommended")
	}
	return l
}

// How many indexes of a job can be kept account of when many fail.
const (
	manyCompletions = 100_000
	manyAtATime     = 10_000
)

// Job warns of what a job is to do.
func Job(s *batchv1.JobSpec, path *field.Path) []string {
	var l list
	indexed := s.CompletionMode != nil && *s.CompletionMode == batchv1.IndexedCompletion
	if indexed && s.Completions != nil && *s.Completions > manyCompletions && s.Parallelism != nil && *s.Parallelism > manyAtATime {
		l.add(path, "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail")
	}
	return append(l, Template(&s.Template, path.Child("template"))...)
}

// CronJobZone warns of a schedule that names its time zone itself.
func CronJobZone(c *batchv1.CronJob) []string {
	if !strings.Contains(c.Spec.Schedule, "TZ") {
		return nil
	}
	return []string{fmt.Sprintf("cannot use TZ or CRON_TZ in %s, use timeZone instead, see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details",
		field.NewPath("spec", "spec", "schedule"))}
}

// ResourceQuota warns of a quota that lets containers ask for more than they may
// use.
func ResourceQuota(q *corev1.ResourceQuota) []string {
	var l []string
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceStorage, corev1.ResourceEphemeralStorage} {
		asked := corev1.DefaultResourceRequestsPrefix + name
		request, ok := q.Spec.Hard[asked]
		if bare, has := q.Spec.Hard[name]; !ok && has && (name == corev1.ResourceCPU || name == corev1.ResourceMemory) {
			asked, request, ok = name, bare, true
		}
		if limit, has := q.Spec.Hard["limits."+name]; ok && has && request.Cmp(limit) > 0 {
			l = append(l, fmt.Sprintf("ResourceQuota %s (%s) should be less than limits.%s (%s)", asked, request.String(), name, limit.String()))
		}
	}
	return l
}

// Secret warns of a certificate that its key does not belong to.
func Secret(s *corev1.Secret) []string {
	if s.Type != corev1.SecretTypeTLS {
		return nil
	}
	if _, err := tls.X509KeyPair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey]); err != nil {
		return []string{err.Error()}
	}
	return nil
}

// Service warns of a service.
func Service(s *corev1.Service) []string {
	var l list
	if _, ok := s.Annotations[corev1.DeprecatedAnnotationTopologyAwareHints]; ok {
		l = append(l, fmt.Sprintf("annotation %s is deprecated, please use %s instead", corev1.DeprecatedAnnotationTopologyAwareHints, corev1.AnnotationTopologyMode))
	}
	spec := field.NewPath("spec")
	if s.Spec.ClusterIP != "" && s.Spec.ClusterIP != corev1.ClusterIPNone {
		for i, ip := range s.Spec.ClusterIPs {
			l = append(l, validation.GetWarningsForIP(spec.Child("clusterIPs").Index(i), ip)...)
		}
	}
	external := s.Spec.Type == corev1.ServiceTypeExternalName
	headless := s.Spec.Type == corev1.ServiceTypeClusterIP && s.Spec.ClusterIP == corev1.ClusterIPNone
	if headless {
		l = append(l, headlessService(s)...)
	}
	for i, ip := range s.Spec.ExternalIPs {
		l = append(l, validation.GetWarningsForIP(spec.Child("externalIPs").Index(i), ip)...)
	}
	if len(s.Spec.ExternalIPs) > 0 && !headless && !external {
		l = append(l, "spec.externalIPs is deprecated and may no longer be implemented in some clusters")
	}
	if ip := s.Spec.LoadBalancerIP; ip != "" {
		l = append(l, validation.GetWarningsForIP(spec.Child("loadBalancerIP"), ip)...)
	}
	for i, cidr := range s.Spec.LoadBalancerSourceRanges {
		l = append(l, validation.GetWarningsForCIDR(spec.Child("loadBalancerSourceRanges").Index(i), cidr)...)
	}
	if external && len(s.Spec.ExternalIPs) > 0 {
		l = append(l, fmt.Sprintf("spec.externalIPs is ignored when spec.type is %q", corev1.ServiceTypeExternalName))
	}
	if !external && s.Spec.ExternalName != "" {
		l = append(l, fmt.Sprintf("spec.externalName is ignored when spec.type is not %q", corev1.ServiceTypeExternalName))
	}
	if d := s.Spec.TrafficDistribution; d != nil && *d == corev1.ServiceTrafficDistributionPreferClose {
		l = append(l, fmt.Sprintf("spec.trafficDistribution: %q is deprecated; use %q",
			corev1.ServiceTrafficDistributionPreferClose, corev1.ServiceTrafficDistributionPreferSameZone))
	}
	return l
}

func headlessService(s *corev1.Service) []string {
	var l list
	if s.Spec.LoadBalancerIP != "" {
		l = append(l, "spec.loadBalancerIP is ignored for headless services")
	}
	if len(s.Spec.ExternalIPs) > 0 {
		l = append(l, "spec.externalIPs is ignored for headless services")
	}
	if s.Spec.SessionAffinity != corev1.ServiceAffinityNone {
		l = append(l, "spec.SessionAffinity is ignored for headless services")
	}
	return l
}

// Node warns of a node.
func Node(n *corev1.Node) []string {
	var l list
	if n.Spec.ConfigSource != nil {
		l.add(field.NewPath("spec", "configSource"), "the feature is removed")
	}
	if n.Spec.DoNotUseExternalID != "" {
		l.add(field.NewPath("spec", "externalID"), "this field is deprecated, and is unused by Kubernetes")
	}
	for i, cidr := range n.Spec.PodCIDRs {
		l = append(l, validation.GetWarningsForCIDR(field.NewPath("spec", "podCIDRs").Index(i), cidr)...)
	}
	return l
}

const ingressClass = "kubernetes.io/ingress.class"

// Ingress warns of a new ingress.
func Ingress(i *networkingv1.Ingress) []string {
	if _, ok := i.Annotations[ingressClass]; ok && i.Spec.IngressClassName == nil {
		return []string{fmt.Sprintf("annotation %q is deprecated, please use 'spec.ingressClassName' instead", ingressClass)}
	}
	return nil
}

// NetworkPolicy warns of networks that say more than they mean.
func NetworkPolicy(p *networkingv1.NetworkPolicy) []string {
	var l list
	peers := func(peers []networkingv1.NetworkPolicyPeer, at *field.Path) {
		for i, peer := range peers {
			if b, here := peer.IPBlock, at.Index(i).Child("ipBlock"); b != nil {
				l = append(l, validation.GetWarningsForCIDR(here.Child("cidr"), b.CIDR)...)
				for j, cidr := range b.Except {
					l = append(l, validation.GetWarningsForCIDR(here.Child("except").Index(j), cidr)...)
				}
			}
		}
	}
	for i, r := range p.Spec.Ingress {
		peers(r.From, field.NewPath("spec", "ingress").Index(i).Child("from"))
	}
	for i, r := range p.Spec.Egress {
		peers(r.To, field.NewPath("spec", "egress").Index(i).Child("to"))
	}
	return l
}

// RuntimeClass warns of a runtime class.
func RuntimeClass(c *nodev1.RuntimeClass) []string {
	var l list
	if c.Scheduling == nil {
		return nil
	}
	for _, key := range slices.Sorted(maps.Keys(c.Scheduling.NodeSelector)) {
		if message, old := oldLabel(key); old {
			l.add(field.NewPath("scheduling", "nodeSelector"), "%s", message)
		}
	}
	return l
}

// StorageClass warns of a storage class.
func StorageClass(c *storagev1.StorageClass) []string {
	var l list
	for i, t := range c.AllowedTopologies {
		for j, e := range t.MatchLabelExpressions {
			if message, old := oldLabel(e.Key); old {
				l.add(field.NewPath("allowedTopologies").Index(i).Child("matchLabelExpressions").Index(j).Child("key"), "%s", message)
			}
		}
	}
	return l
}

// CSIDriver warns of a driver that gets its pods' tokens where they may be
// logged.
func CSIDriver(d *storagev1.CSIDriver) []string {
	if len(d.Spec.TokenRequests) == 0 || d.Spec.ServiceAccountTokenInSecrets != nil {
		return nil
	}
	return []string{"spec.serviceAccountTokenInSecrets is unset; if supported by this CSI driver, set to true to prevent possible logging of tokens in volume attributes"}
}

// CSIStorageCapacity warns of labels that nodes no longer have.
func CSIStorageCapacity(c *storagev1.CSIStorageCapacity) []string {
	var l list
	if c.NodeTopology == nil {
		return nil
	}
	at := field.NewPath("nodeTopology")
	for i, e := range c.NodeTopology.MatchExpressions {
		if message, old := oldLabel(e.Key); old {
			l.add(at.Child("matchExpressions").Index(i).Child("key"), "%s is %s", e.Key, message)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(c.NodeTopology.MatchLabels)) {
		if message, old := oldLabel(key); old {
			l.add(at.Child("matchLabels").Child(key), "%s", message)
		}
	}
	return l
}

// IngressStatus warns of addresses that are not written the usual way.
func IngressStatus(i *networkingv1.Ingress) []string {
	var l []string
	for k, ingress := range i.Status.LoadBalancer.Ingress {
		if ingress.IP != "" {
			l = append(l, validation.GetWarningsForIP(field.NewPath("status", "loadBalancer", "ingress").Index(k), ingress.IP)...)
		}
	}
	return l
}

// EndpointSlice warns of a new slice.
func EndpointSlice(s *discoveryv1.EndpointSlice) []string {
	var l list
	if s.AddressType == discoveryv1.AddressTypeFQDN {
		l.add(field.NewPath("spec", "addressType"), "FQDN endpoints are deprecated")
	}
	return append(l, EndpointAddresses(s)...)
}

// EndpointAddresses warns of addresses that are not written the usual way.
// Controllers write theirs so and need not be heard.
func EndpointAddresses(s *discoveryv1.EndpointSlice) []string {
	switch s.Labels[discoveryv1.LabelManagedBy] {
	case "endpointslice-controller.k8s.io", "endpointslicemirroring-controller.k8s.io":
		return nil
	}
	var l []string
	for i := range s.Endpoints {
		for j, a := range s.Endpoints[i].Addresses {
			l = append(l, validation.GetWarningsForIP(field.NewPath("endpoints").Index(i).Child("addresses").Index(j), a)...)
		}
	}
	return l
}

// ResourceSlice warns of a driver's name in capitals.
func ResourceSlice(s *resourcev1.ResourceSlice) []string {
	if s.Spec.Driver == strings.ToLower(s.Spec.Driver) {
		return nil
	}
	return []string{fmt.Sprintf("spec.driver: driver names should be lowercase; %q contains uppercase characters", s.Spec.Driver)}
}
