package networking

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
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
	path := field.NewPath("spec")
	l.Add(rule.Selector(&p.Spec.PodSelector, path.Child("podSelector"))...)
	for i := range p.Spec.Ingress {
		at := path.Child("ingress").Index(i)
		policyPorts(&l, p.Spec.Ingress[i].Ports, at.Child("ports"))
		peers(&l, p.Spec.Ingress[i].From, at.Child("from"))
	}
	for i := range p.Spec.Egress {
		at := path.Child("egress").Index(i)
		policyPorts(&l, p.Spec.Egress[i].Ports, at.Child("ports"))
		peers(&l, p.Spec.Egress[i].To, at.Child("to"))
	}
	if n := len(p.Spec.PolicyTypes); n > 2 {
		l.Invalid(path.Child("policyTypes"), &p.Spec.PolicyTypes, "may not specify more than two policyTypes")
	} else {
		for i, t := range p.Spec.PolicyTypes {
			check.OneOf(&l, path.Child("policyTypes").Index(i), t, networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress)
		}
	}
	return l.Errors
}

// NetworkPolicyUpdate checks a changed network policy.
func NetworkPolicyUpdate(p, old *networkingv1.NetworkPolicy) field.ErrorList {
	return rule.All(rule.MetaUpdate(&p.ObjectMeta, &old.ObjectMeta), NetworkPolicy(p))
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

func peers(l *check.List, list []networkingv1.NetworkPolicyPeer, path *field.Path) {
	for i := range list {
		p, at := &list[i], path.Index(i)
		kinds := 0
		if p.PodSelector != nil {
			kinds++
			l.Add(rule.Selector(p.PodSelector, at.Child("podSelector"))...)
		}
		if p.NamespaceSelector != nil {
			kinds++
			l.Add(rule.Selector(p.NamespaceSelector, at.Child("namespaceSelector"))...)
		}
		if p.IPBlock != nil {
			ipBlock(l, p.IPBlock, at.Child("ipBlock"))
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

func ipBlock(l *check.List, b *networkingv1.IPBlock, path *field.Path) {
	if b.CIDR == "" {
		l.Required(path.Child("cidr"), "")
		return
	}
	l.CIDR(path.Child("cidr"), b.CIDR)
	_, whole, err := netutils.ParseCIDRSloppy(b.CIDR)
	if err != nil {
		return
	}
	for i, except := range b.Except {
		at := path.Child("except").Index(i)
		l.CIDR(at, except)
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
