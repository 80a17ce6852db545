package services

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// network is what families are chosen by: those that the cluster has.
type network struct {
	main corev1.IPFamily
	has  map[corev1.IPFamily]bool
}

func familyOf(ip netip.Addr) corev1.IPFamily {
	if ip.Is6() {
		return corev1.IPv6Protocol
	}
	return corev1.IPv4Protocol
}

func otherFamily(f corev1.IPFamily) corev1.IPFamily {
	if f == corev1.IPv4Protocol {
		return corev1.IPv6Protocol
	}
	return corev1.IPv4Protocol
}

func policyIs(s *corev1.Service, p corev1.IPFamilyPolicy) bool {
	return s.Spec.IPFamilyPolicy != nil && *s.Spec.IPFamilyPolicy == p
}

func headless(s *corev1.Service) bool {
	return s.Spec.ClusterIP == corev1.ClusterIPNone || len(s.Spec.ClusterIPs) > 0 && s.Spec.ClusterIPs[0] == corev1.ClusterIPNone
}

// settled tells whether a service that prefers two families stays as it is:
// it is not moved when the cluster gains or loses a family.
func settled(s, old *corev1.Service) bool {
	return old != nil && old.Spec.Type != corev1.ServiceTypeExternalName &&
		policyIs(s, corev1.IPFamilyPolicyPreferDualStack) && policyIs(old, corev1.IPFamilyPolicyPreferDualStack) &&
		slices.Equal(s.Spec.ClusterIPs, old.Spec.ClusterIPs) && slices.Equal(s.Spec.IPFamilies, old.Spec.IPFamilies)
}

// setFamilies fills ipFamilyPolicy and ipFamilies from what the service says
// about addresses and from what the cluster has.
func (n network) setFamilies(s, old *corev1.Service) field.ErrorList {
	if s.Spec.Type == corev1.ServiceTypeExternalName || settled(s, old) {
		return nil
	}
	selectorless := headless(s) && len(s.Spec.Selector) == 0
	if s.Spec.IPFamilyPolicy == nil {
		policy := corev1.IPFamilyPolicySingleStack
		switch {
		case old != nil && old.Spec.IPFamilyPolicy != nil:
			policy = *old.Spec.IPFamilyPolicy
		case selectorless:
			policy = corev1.IPFamilyPolicyRequireDualStack
		}
		s.Spec.IPFamilyPolicy = &policy
	}
	errs := shrink(s, old)
	errs = append(errs, n.inferFamilies(s)...)
	if len(errs) > 0 {
		return errs
	}
	if len(s.Spec.IPFamilies) == 0 {
		s.Spec.IPFamilies = []corev1.IPFamily{n.main}
	}
	if !selectorless {
		if errs := n.supported(s); len(errs) > 0 {
			return errs
		}
	}
	second := otherFamily(s.Spec.IPFamilies[0])
	if len(s.Spec.IPFamilies) == 1 && !policyIs(s, corev1.IPFamilyPolicySingleStack) && (selectorless || n.has[second]) {
		s.Spec.IPFamilies = append(s.Spec.IPFamilies, second)
	}
	return nil
}

// shrink drops the second family where one is asked for, and refuses to guess
// where a client dropped it without saying so.
func shrink(s, old *corev1.Service) field.ErrorList {
	var errs field.ErrorList
	policy := field.NewPath("spec", "ipFamilyPolicy")
	refuse := func(detail string) { errs = append(errs, field.Invalid(policy, s.Spec.IPFamilyPolicy, detail)) }
	single := policyIs(s, corev1.IPFamilyPolicySingleStack)
	if old != nil {
		switch {
		case single:
			if slices.Equal(s.Spec.ClusterIPs, old.Spec.ClusterIPs) && len(s.Spec.ClusterIPs) > 1 {
				s.Spec.ClusterIPs = s.Spec.ClusterIPs[:1:1]
			}
			if slices.Equal(s.Spec.IPFamilies, old.Spec.IPFamilies) && len(s.Spec.IPFamilies) > 1 {
				s.Spec.IPFamilies = s.Spec.IPFamilies[:1:1]
			}
		default:
			if reduced(s.Spec.ClusterIPs, old.Spec.ClusterIPs) {
				refuse("must be 'SingleStack' to release the secondary cluster IP")
			}
			if reduced(s.Spec.IPFamilies, old.Spec.IPFamilies) {
				refuse("must be 'SingleStack' to release the secondary IP family")
			}
		}
	}
	if single && len(s.Spec.ClusterIPs) == 2 {
		refuse("must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified")
	}
	if single && len(s.Spec.IPFamilies) == 2 {
		refuse("must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified")
	}
	return errs
}

// reduced tells whether only the first of two is left.
func reduced[T comparable](now, before []T) bool {
	return len(before) == 2 && len(now) == 1 && now[0] == before[0]
}

// inferFamilies adds the families of the addresses that are asked for.
func (n network) inferFamilies(s *corev1.Service) field.ErrorList {
	var errs field.ErrorList
	for i, ip := range s.Spec.ClusterIPs {
		if ip == corev1.ClusterIPNone {
			break
		}
		addr, err := netip.ParseAddr(ip)
		if err != nil || i < len(s.Spec.IPFamilies) {
			continue // validation speaks about what is no address
		}
		family := familyOf(addr)
		if !n.has[family] {
			errs = append(errs, field.Invalid(field.NewPath("spec", "clusterIPs").Index(i), s.Spec.ClusterIPs,
				fmt.Sprintf("%s is not configured on this cluster", family)))
			continue
		}
		s.Spec.IPFamilies = append(s.Spec.IPFamilies, family)
	}
	return errs
}

// supported refuses families that the cluster has not.
func (n network) supported(s *corev1.Service) field.ErrorList {
	var errs field.ErrorList
	if policyIs(s, corev1.IPFamilyPolicyRequireDualStack) && len(n.has) < 2 {
		errs = append(errs, field.Invalid(field.NewPath("spec", "ipFamilyPolicy"), s.Spec.IPFamilyPolicy,
			"this cluster is not configured for dual-stack services"))
	}
	for i, family := range s.Spec.IPFamilies {
		if !n.has[family] {
			errs = append(errs, field.Invalid(field.NewPath("spec", "ipFamilies").Index(i), family, "not configured on this cluster"))
		}
	}
	return errs
}
