package networking

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
	"github.com/sinawi/sinawi/internal/apiserver/validation/rule"
)

// NetworkPolicy checks a new network policy.
func NetworkPolicy(p *networkingv1.NetworkPolicy) field.ErrorList {
	l := check.List{Errors: rule.Namespaced(&p.ObjectMeta, rule.Subdomain)}
	policySpec{}.check(&l, p)
	return l.Errors
}

// NetworkPolicyUpdate checks a changed network policy. What the old one has stays
// acceptable, wherever it has gone.
func NetworkPolicyUpdate(p, old *networkingv1.NetworkPolicy) field.ErrorList {
	l := check.List{Errors: rule.MetaUpdate(&p.ObjectMeta, &old.ObjectMeta)}
	s := policySpec{invalidValues: len(rule.Selector(&old.Spec.PodSelector, nil)) > 0}
	for i := range old.Spec.Ingress {
		s.keep(old.Spec.Ingress[i].From)
	}
	for i := range old.Spec.Egress {
		s.keep(old.Spec.Egress[i].To)
	}
	s.check(&l, p)
	return l.Errors
}

// policySpec checks the spec of a policy; its fields are what it tolerates.
type policySpec struct {
	invalidValues bool
	networks      []string
}

func (s *policySpec) keep(peers []networkingv1.NetworkPolicyPeer) {
	for _, p := range peers {
		if p.IPBlock != nil {
			s.networks = append(append(s.networks, p.IPBlock.CIDR), p.IPBlock.Except...)
		}
	}
}

func (s policySpec) selector(l *check.List, selector *metav1.LabelSelector, path *field.Path) {
	l.Add(check.Selector(selector, s.invalidValues, path)...)
}

func (s policySpec) network(l *check.List, network string, path *field.Path) {
	l.Add(validation.IsValidCIDRForLegacyField(path, network, true, s.networks)...)
}

func (s policySpec) check(l *check.List, p *networkingv1.NetworkPolicy) {
	path := field.NewPath("spec")
	s.selector(l, &p.Spec.PodSelector, path.Child("podSelector"))
	for i := range p.Spec.Ingress {
		at := path.Child("ingress").Index(i)
		policyPorts(l, p.Spec.Ingress[i].Ports, at.Child("ports"))
		s.peers(l, p.Spec.Ingress[i].From, at.Child("from"))
	}
	for i := range p.Spec.Egress {
		at := path.Child("egress").Index(i)
		policyPorts(l, p.Spec.Egress[i].Ports, at.Child("ports"))
		s.peers(l, p.Spec.Egress[i].To, at.Child("to"))
	}
	if n := len(p.Spec.PolicyTypes); n > 2 {
		l.Invalid(path.Child("policyTypes"), &p.Spec.PolicyTypes, "may not specify more than two policyTypes")
	} else {
		for i, t := range p.Spec.PolicyTypes {
			check.OneOf(l, path.Child("policyTypes").Index(i), t, networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress)
		}
	}
}

func policyPorts(l *check.List, ports []networkingv1.NetworkPolicyPort, path *field.Path) {
	for i := range ports {
		p, at := &ports[i], path.Index(i)
		if p.Protocol != nil {
			check.OneOf(l, at.Child("protocol"), *p.Protocol, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)
		}
		switch {
		case p.Port == nil && p.EndPort != nil:
			l.Invalid(at.Child("endPort"), *p.EndPort, "may not be specified when `port` is not specified")
		case p.Port == nil:
		case p.Port.Type == intstr.String:
			if p.EndPort != nil {
				l.Invalid(at.Child("endPort"), *p.EndPort, "may not be specified when `port` is non-numeric")
			}
			l.Messages(at.Child("port"), p.Port.StrVal, validation.IsValidPortName(p.Port.StrVal))
		default:
			l.Messages(at.Child("port"), p.Port.IntVal, validation.IsValidPortNum(int(p.Port.IntVal)))
			if end := p.EndPort; end != nil {
				if *end < p.Port.IntVal {
					l.Invalid(at.Child("endPort"), *end, "must be greater than or equal to `port`")
				}
				l.Messages(at.Child("endPort"), *end, validation.IsValidPortNum(int(*end)))
			}
		}
	}
}

func (s policySpec) peers(l *check.List, list []networkingv1.NetworkPolicyPeer, path *field.Path) {
	for i := range list {
		p, at := &list[i], path.Index(i)
		kinds := 0
		if p.PodSelector != nil {
			kinds++
			s.selector(l, p.PodSelector, at.Child("podSelector"))
		}
		if p.NamespaceSelector != nil {
			kinds++
			s.selector(l, p.NamespaceSelector, at.Child("namespaceSelector"))
		}
		if p.IPBlock != nil {
			s.ipBlock(l, p.IPBlock, at.Child("ipBlock"))
			if kinds > 0 {
				l.Forbidden(at, "may not specify both ipBlock and another peer")
			}
			kinds++
		}
		if kinds == 0 {
			l.Required(at, "must specify a peer")
		}
	}
}

func (s policySpec) ipBlock(l *check.List, b *networkingv1.IPBlock, path *field.Path) {
	if b.CIDR == "" {
		l.Required(path.Child("cidr"), "")
		return
	}
	s.network(l, b.CIDR, path.Child("cidr"))
	_, whole, err := netutils.ParseCIDRSloppy(b.CIDR)
	if err != nil {
		return
	}
	for i, except := range b.Except {
		at := path.Child("except").Index(i)
		s.network(l, except, at)
		_, part, err := netutils.ParseCIDRSloppy(except)
		if err != nil {
			continue
		}
		wide, _ := whole.Mask.Size()
		narrow, _ := part.Mask.Size()
		if !whole.Contains(part.IP) || wide >= narrow {
			l.Invalid(at, except, "must be a strict subset of `cidr`")
		}
	}
}
