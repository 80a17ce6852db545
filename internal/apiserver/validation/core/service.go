package core

import (
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
)

const onlyLoadBalancer = "may only be used when `type` is 'LoadBalancer'"

func headless(s *corev1.Service) bool {
	return len(s.Spec.ClusterIPs) == 1 && s.Spec.ClusterIPs[0] == corev1.ClusterIPNone
}

func balanced(s *corev1.Service) bool { return s.Spec.Type == corev1.ServiceTypeLoadBalancer }

func needsHealthCheck(s *corev1.Service) bool {
	return balanced(s) && s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

// Service checks a new service, addresses already given.
func Service(s *corev1.Service) field.ErrorList {
	l := check.List{Errors: check.ObjectMeta(&s.ObjectMeta, true, apivalidation.NameIsDNSLabel)}
	serviceSpec(&l, s, &corev1.Service{})
	return l.Errors
}

// serviceSpec checks what holds for a service at any time; what old already had
// may be such as is not accepted any more.
func serviceSpec(l *check.List, s, old *corev1.Service) {
	hints, hinted := s.Annotations[corev1.DeprecatedAnnotationTopologyAwareHints]
	if mode, ok := s.Annotations[corev1.AnnotationTopologyMode]; ok && hinted && mode != hints {
		l.Invalid(field.NewPath("metadata", "annotations").Key(corev1.AnnotationTopologyMode), mode,
			fmt.Sprintf("must match annotations[%s] when both are specified", corev1.DeprecatedAnnotationTopologyAwareHints))
	}
	path := field.NewPath("spec")
	external := s.Spec.Type == corev1.ServiceTypeExternalName
	if len(s.Spec.Ports) == 0 && !headless(s) && !external {
		l.Required(path.Child("ports"), "")
	}
	switch s.Spec.Type {
	case corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort:
		if headless(s) {
			l.Invalid(path.Child("clusterIPs").Index(0), s.Spec.ClusterIPs[0], fmt.Sprintf("may not be set to 'None' for %s services", s.Spec.Type))
		}
	case corev1.ServiceTypeExternalName:
		externalName(l, s, path)
	}
	servicePorts(l, s, path.Child("ports"))
	if s.Spec.Selector != nil {
		l.Add(check.Labels(s.Spec.Selector, path.Child("selector"))...)
	}
	sessionAffinity(l, s, path)
	if !external {
		clusterIPs(l, s, old, path)
	}
	for i, ip := range s.Spec.ExternalIPs {
		at := path.Child("externalIPs").Index(i)
		before := len(l.Errors)
		l.Add(validation.IsValidIPForLegacyField(at, ip, true, old.Spec.ExternalIPs)...)
		if len(l.Errors) == before {
			l.EndpointIP(at, ip)
		}
	}
	check.RequiredOneOf(l, path.Child("type"), s.Spec.Type,
		corev1.ServiceTypeClusterIP, corev1.ServiceTypeExternalName, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort)
	loadBalancer(l, s, old, path)
	trafficPolicies(l, s, path)
}

func externalName(l *check.List, s *corev1.Service, path *field.Path) {
	const refused = "may not be set for ExternalName services"
	if len(s.Spec.ClusterIPs) > 0 {
		l.Forbidden(path.Child("clusterIPs"), refused)
	}
	if len(s.Spec.IPFamilies) > 0 {
		l.Forbidden(path.Child("ipFamilies"), refused)
	}
	if s.Spec.IPFamilyPolicy != nil {
		l.Forbidden(path.Child("ipFamilyPolicy"), refused)
	}
	if name := strings.TrimSuffix(s.Spec.ExternalName, "."); name == "" {
		l.Required(path.Child("externalName"), "")
	} else {
		l.Subdomain(path.Child("externalName"), name)
	}
}

func servicePorts(l *check.List, s *corev1.Service, path *field.Path) {
	names, ports, nodePorts := sets.New[string](), sets.New[corev1.ServicePort](), sets.New[corev1.ServicePort]()
	for i := range s.Spec.Ports {
		p, at := &s.Spec.Ports[i], path.Index(i)
		if p.Name == "" && len(s.Spec.Ports) > 1 {
			l.Required(at.Child("name"), "")
		} else if p.Name != "" {
			l.Label(at.Child("name"), p.Name)
			if names.Has(p.Name) {
				l.Duplicate(at.Child("name"), p.Name)
			}
			names.Insert(p.Name)
		}
		l.Messages(at.Child("port"), p.Port, validation.IsValidPortNum(int(p.Port)))
		l.Protocol(at.Child("protocol"), p.Protocol)
		l.PortOrName(at.Child("targetPort"), p.TargetPort)
		if p.AppProtocol != nil {
			l.QualifiedName(at.Child("appProtocol"), *p.AppProtocol)
		}
		key := corev1.ServicePort{Protocol: p.Protocol, Port: p.Port}
		if ports.Has(key) {
			l.Duplicate(at, key)
		}
		ports.Insert(key)
		if p.NodePort == 0 {
			continue
		}
		if s.Spec.Type == corev1.ServiceTypeClusterIP {
			l.Forbidden(at.Child("nodePort"), "may not be used when `type` is 'ClusterIP'")
		}
		key = corev1.ServicePort{Protocol: p.Protocol, NodePort: p.NodePort}
		if nodePorts.Has(key) {
			l.Duplicate(at.Child("nodePort"), p.NodePort)
		}
		nodePorts.Insert(key)
	}
}

func sessionAffinity(l *check.List, s *corev1.Service, path *field.Path) {
	check.RequiredOneOf(l, path.Child("sessionAffinity"), s.Spec.SessionAffinity, corev1.ServiceAffinityClientIP, corev1.ServiceAffinityNone)
	at, config := path.Child("sessionAffinityConfig"), s.Spec.SessionAffinityConfig
	switch s.Spec.SessionAffinity {
	case corev1.ServiceAffinityNone:
		if config != nil {
			l.Forbidden(at, fmt.Sprintf("must not be set when session affinity is %s", corev1.ServiceAffinityNone))
		}
	case corev1.ServiceAffinityClientIP:
		needed := fmt.Sprintf("when session affinity type is %s", corev1.ServiceAffinityClientIP)
		const most = 24 * 60 * 60
		switch {
		case config == nil:
			l.Required(at, needed)
		case config.ClientIP == nil:
			l.Required(at.Child("clientIP"), needed)
		case config.ClientIP.TimeoutSeconds == nil:
			l.Required(at.Child("clientIP", "timeoutSeconds"), needed)
		default:
			if n := *config.ClientIP.TimeoutSeconds; n <= 0 || n > most {
				l.Invalid(at.Child("clientIP", "timeoutSeconds"), n, fmt.Sprintf("must be greater than 0 and less than %d", most))
			}
		}
	}
}

// ServiceAddresses checks what a service says about its addresses and families
// alone: addresses are given out before the rest of it is checked. old may be
// nil.
func ServiceAddresses(s, old *corev1.Service) field.ErrorList {
	l := check.List{}
	if old == nil {
		old = &corev1.Service{}
	}
	if s.Spec.Type != corev1.ServiceTypeExternalName {
		clusterIPs(&l, s, old, field.NewPath("spec"))
	}
	return l.Errors
}

// clusterIPs checks that addresses and families fit each other.
func clusterIPs(l *check.List, s, old *corev1.Service, path *field.Path) {
	at, ips := path.Child("clusterIPs"), s.Spec.ClusterIPs
	switch {
	case s.Spec.ClusterIP != "" && len(ips) == 0:
		l.Required(at, "")
	case s.Spec.ClusterIP != "" && ips[0] != s.Spec.ClusterIP:
		l.Invalid(at, ips, "first value must match `clusterIP`")
	case s.Spec.ClusterIP == "" && len(ips) != 0:
		l.Invalid(at, ips, "must be empty when `clusterIP` is not specified")
	}
	families := sets.New[corev1.IPFamily]()
	for i, f := range s.Spec.IPFamilies {
		check.OneOf(l, path.Child("ipFamilies").Index(i), f, corev1.IPv4Protocol, corev1.IPv6Protocol)
		if families.Has(f) {
			l.Duplicate(path.Child("ipFamilies").Index(i), f)
		}
		families.Insert(f)
	}
	if p := s.Spec.IPFamilyPolicy; p != nil {
		check.OneOf(l, path.Child("ipFamilyPolicy"), *p, corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack, corev1.IPFamilyPolicySingleStack)
	}
	before := len(l.Errors)
	for i, ip := range ips {
		if i == 0 && ip == corev1.ClusterIPNone {
			if len(ips) > 1 {
				l.Invalid(at, ips, "'None' must be the first and only value")
			}
			continue
		}
		l.Add(validation.IsValidIPForLegacyField(at.Index(i), ip, true, old.Spec.ClusterIPs)...)
	}
	broken := len(l.Errors) > before
	if len(ips) > 2 {
		l.Invalid(at, ips, "may only hold up to 2 values")
	}
	if broken {
		return
	}
	if dual, err := netutils.IsDualStackIPStrings(ips); len(ips) > 1 && (err != nil || !dual) {
		l.Invalid(at, ips, "may specify no more than one IP for each IP family")
	}
	if headless(s) {
		return
	}
	for i, ip := range ips {
		if i >= len(s.Spec.IPFamilies) {
			break
		}
		addr, err := netip.ParseAddr(ip)
		if err == nil && addr.Is6() != (s.Spec.IPFamilies[i] == corev1.IPv6Protocol) {
			l.Invalid(at.Index(i), ip, fmt.Sprintf("expected an %s value as indicated by `ipFamilies[%v]`", s.Spec.IPFamilies[i], i))
		}
	}
}

func loadBalancer(l *check.List, s, old *corev1.Service, path *field.Path) {
	if ranges := s.Spec.LoadBalancerSourceRanges; len(ranges) > 0 {
		at := path.Child("LoadBalancerSourceRanges")
		if !balanced(s) {
			l.Forbidden(at, onlyLoadBalancer)
		}
		var before []string
		for _, r := range old.Spec.LoadBalancerSourceRanges {
			before = append(before, strings.TrimSpace(r))
		}
		for i, r := range ranges {
			l.Add(validation.IsValidCIDRForLegacyField(at.Index(i), strings.TrimSpace(r), true, before)...)
		}
	} else if value, ok := s.Annotations[corev1.AnnotationLoadBalancerSourceRangesKey]; ok {
		at := field.NewPath("metadata", "annotations").Key(corev1.AnnotationLoadBalancerSourceRangesKey)
		if !balanced(s) {
			l.Forbidden(at, onlyLoadBalancer)
		}
		before, was := old.Annotations[corev1.AnnotationLoadBalancerSourceRangesKey]
		same := was && before == value
		if value = strings.TrimSpace(value); value != "" && !same {
			for r := range strings.SplitSeq(value, ",") {
				l.CIDR(at, strings.TrimSpace(r))
			}
		}
	}
	if s.Spec.AllocateLoadBalancerNodePorts != nil && !balanced(s) {
		l.Forbidden(path.Child("allocateLoadBalancerNodePorts"), onlyLoadBalancer)
	}
	if balanced(s) && s.Spec.AllocateLoadBalancerNodePorts == nil {
		l.Required(field.NewPath("allocateLoadBalancerNodePorts"), "")
	}
	loadBalancerClass(l, s, path.Child("loadBalancerClass"))
}

func loadBalancerClass(l *check.List, s *corev1.Service, path *field.Path) {
	switch class := s.Spec.LoadBalancerClass; {
	case class == nil:
	case balanced(s):
		l.QualifiedName(path, *class)
	default:
		l.Forbidden(path, onlyLoadBalancer)
	}
}

func trafficPolicies(l *check.List, s *corev1.Service, path *field.Path) {
	reachable := balanced(s) || s.Spec.Type == corev1.ServiceTypeNodePort || s.Spec.Type == corev1.ServiceTypeClusterIP && len(s.Spec.ExternalIPs) > 0
	if at := path.Child("externalTrafficPolicy"); reachable {
		check.RequiredOneOf(l, at, s.Spec.ExternalTrafficPolicy, corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal)
	} else if s.Spec.ExternalTrafficPolicy != "" {
		l.Invalid(at, s.Spec.ExternalTrafficPolicy, "may only be set for externally-accessible services")
	}
	at, port := path.Child("healthCheckNodePort"), s.Spec.HealthCheckNodePort
	switch needed := needsHealthCheck(s); {
	case !needed && port != 0:
		l.Invalid(at, port, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'")
	case needed && port == 0:
		l.Required(at, "")
	case needed:
		l.Messages(at, port, validation.IsValidPortNum(int(port)))
	}
	at = path.Child("internalTrafficPolicy")
	if p := s.Spec.InternalTrafficPolicy; p != nil {
		check.OneOf(l, at, *p, corev1.ServiceInternalTrafficPolicyCluster, corev1.ServiceInternalTrafficPolicyLocal)
	} else if balanced(s) || s.Spec.Type == corev1.ServiceTypeNodePort || s.Spec.Type == corev1.ServiceTypeClusterIP {
		l.Required(at, "")
	}
	if d := s.Spec.TrafficDistribution; d != nil {
		check.OneOf(l, path.Child("trafficDistribution"), *d,
			corev1.ServiceTrafficDistributionPreferClose, corev1.ServiceTrafficDistributionPreferSameZone, corev1.ServiceTrafficDistributionPreferSameNode)
	}
}

// ServiceUpdate checks a changed service: its first address stays.
func ServiceUpdate(s, old *corev1.Service) field.ErrorList {
	l := check.List{Errors: check.ObjectMetaUpdate(&s.ObjectMeta, &old.ObjectMeta)}
	named := s.Spec.Type != corev1.ServiceTypeExternalName && old.Spec.Type != corev1.ServiceTypeExternalName
	if named && (!headless(s) || !headless(old)) {
		addressesStay(&l, s, old)
	}
	if named && !headless(s) && !headless(old) {
		familiesStay(&l, s, old)
	}
	if balanced(s) && balanced(old) && !apiequality.Semantic.DeepEqual(s.Spec.LoadBalancerClass, old.Spec.LoadBalancerClass) {
		l.Invalid(field.NewPath("spec", "loadBalancerClass"), s.Spec.LoadBalancerClass, "may not change once set")
	}
	if needsHealthCheck(s) && needsHealthCheck(old) && s.Spec.HealthCheckNodePort != old.Spec.HealthCheckNodePort {
		l.Forbidden(field.NewPath("spec", "healthCheckNodePort"), "field is immutable")
	}
	loadBalancerClass(&l, s, field.NewPath("spec", "loadBalancerClass"))
	serviceSpec(&l, s, old)
	return l.Errors
}

// addressesStay checks that of a service's addresses only a second one comes and
// goes, and goes only when the service says that it wants one.
func addressesStay(l *check.List, s, old *corev1.Service) {
	path, now, was := field.NewPath("spec", "clusterIPs"), s.Spec.ClusterIPs, old.Spec.ClusterIPs
	for _, i := range differing(now, was) {
		l.Invalid(path.Index(i), now, "may not change once set")
	}
	if len(now) < len(was) {
		if len(now) == 0 {
			l.Invalid(path.Index(0), now, "primary clusterIP can not be unset")
		}
		releasesSecond(l, s, len(now), "clusterIP")
	}
}

// familiesStay is addressesStay for the families of addresses; what is wrong
// with them is said of the first.
func familiesStay(l *check.List, s, old *corev1.Service) {
	path, now, was := field.NewPath("spec", "ipFamilies"), s.Spec.IPFamilies, old.Spec.IPFamilies
	for range differing(now, was) {
		l.Invalid(path.Index(0), now, "may not change once set")
	}
	if len(now) < len(was) {
		if len(s.Spec.ClusterIPs) == 0 {
			l.Invalid(path.Index(0), now, "primary ipFamily can not be unset")
		}
		releasesSecond(l, s, len(now), "ipFamily")
	}
}

// differing returns where two lists differ that both have something: of lists of
// different lengths the first place alone counts, since the second came or went.
func differing[T comparable](now, was []T) (places []int) {
	both := min(len(now), len(was))
	if len(now) != len(was) {
		both = min(both, 1)
	}
	for i := range both {
		if now[i] != was[i] {
			places = append(places, i)
		}
	}
	return places
}

func releasesSecond(l *check.List, s *corev1.Service, left int, what string) {
	if p := s.Spec.IPFamilyPolicy; left == 1 && (p == nil || *p != corev1.IPFamilyPolicySingleStack) {
		l.Invalid(field.NewPath("spec", "ipFamilyPolicy"), p, "must be set to 'SingleStack' when releasing the secondary "+what)
	}
}

// ServiceStatusUpdate checks a changed status.
func ServiceStatusUpdate(s, old *corev1.Service) field.ErrorList {
	l := check.List{Errors: check.ObjectMetaUpdate(&s.ObjectMeta, &old.ObjectMeta)}
	path := field.NewPath("status", "loadBalancer", "ingress")
	if !balanced(s) && len(s.Status.LoadBalancer.Ingress) > 0 {
		l.Forbidden(path, "may only be used when `spec.type` is 'LoadBalancer'")
		return l.Errors
	}
	for i, ingress := range s.Status.LoadBalancer.Ingress {
		at := path.Index(i)
		if ingress.IP != "" {
			l.IP(at.Child("ip"), ingress.IP)
		}
		switch mode := ingress.IPMode; {
		case mode == nil && ingress.IP != "":
			l.Required(at.Child("ipMode"), "must be specified when `ip` is set")
		case mode != nil && ingress.IP == "":
			l.Forbidden(at.Child("ipMode"), "may not be specified when `ip` is not set")
		case mode != nil:
			check.OneOf(&l, at.Child("ipMode"), *mode, corev1.LoadBalancerIPModeProxy, corev1.LoadBalancerIPModeVIP)
		}
		if ingress.Hostname != "" {
			l.Subdomain(at.Child("hostname"), ingress.Hostname)
			if netutils.ParseIPSloppy(ingress.Hostname) != nil {
				l.Invalid(at.Child("hostname"), ingress.Hostname, "must be a DNS name, not an IP address")
			}
		}
	}
	return l.Errors
}
