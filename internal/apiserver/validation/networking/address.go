package networking

import (
	networkingv1 "k8s.io/api/networking/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
	"github.com/sinawi/sinawi/internal/apiserver/validation/rule"
)

// IPAddress checks a new address: its name is the address.
func IPAddress(a *networkingv1.IPAddress) field.ErrorList {
	l := check.List{Errors: rule.Cluster(&a.ObjectMeta, addressName)}
	at, ref := field.NewPath("spec", "parentRef"), a.Spec.ParentRef
	if ref == nil {
		l.Required(at, "")
		return l.Errors
	}
	if ref.Group != "" { // that of services is empty
		l.Subdomain(at.Child("group"), ref.Group)
	}
	for _, part := range []struct {
		name, value string
		required    bool
	}{{"resource", ref.Resource, true}, {"name", ref.Name, true}, {"namespace", ref.Namespace, false}} {
		switch {
		case part.value != "":
			l.Messages(at.Child(part.name), part.value, path.IsValidPathSegmentName(part.value))
		case part.required:
			l.Required(at.Child(part.name), "")
		}
	}
	return l.Errors
}

func addressName(name string, _ bool) []string {
	var messages []string
	for _, e := range validation.IsValidIP(nil, name) {
		messages = append(messages, e.Detail)
	}
	return messages
}

// IPAddressUpdate checks a changed address: it stays with whom it is given to.
func IPAddressUpdate(a, old *networkingv1.IPAddress) field.ErrorList {
	l := check.List{Errors: rule.MetaUpdate(&a.ObjectMeta, &old.ObjectMeta)}
	path := field.NewPath("spec", "parentRef")
	if a.Spec.ParentRef == nil && old.Spec.ParentRef != nil {
		l.Required(path, "")
	}
	l.Add(rule.Immutable(a.Spec.ParentRef, old.Spec.ParentRef, path)...)
	return l.Errors
}

// ServiceCIDR checks a new range of service addresses.
func ServiceCIDR(c *networkingv1.ServiceCIDR) field.ErrorList {
	return rule.All(rule.Cluster(&c.ObjectMeta, rule.Subdomain), networks(&c.Spec, field.NewPath("spec", "cidrs")))
}

func networks(s *networkingv1.ServiceCIDRSpec, at *field.Path) field.ErrorList {
	var l check.List
	switch n := len(s.CIDRs); {
	case n == 0:
		l.Required(at, "at least one CIDR required")
		return l.Errors
	case n > 2:
		l.Invalid(at, s, "may only hold up to 2 values")
		return l.Errors
	}
	for i, cidr := range s.CIDRs {
		l.Add(validation.IsValidCIDR(at.Index(i), cidr)...)
	}
	if len(s.CIDRs) == 2 {
		first, second := netutils.IPFamilyOfCIDRString(s.CIDRs[0]), netutils.IPFamilyOfCIDRString(s.CIDRs[1])
		if first == second && first != netutils.IPFamilyUnknown {
			l.Invalid(at, s.CIDRs, "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64")
		}
	}
	return l.Errors
}

// ServiceCIDRUpdate checks a changed range: a second family may be added,
// nothing else changes.
func ServiceCIDRUpdate(c, old *networkingv1.ServiceCIDR) field.ErrorList {
	l := check.List{Errors: rule.MetaUpdate(&c.ObjectMeta, &old.ObjectMeta)}
	at, now, before := field.NewPath("spec", "cidrs"), c.Spec.CIDRs, old.Spec.CIDRs
	grown := len(before) == 1 && len(now) == 2
	if len(now) != len(before) && !grown {
		l.Invalid(at, now, apivalidation.FieldImmutableErrorMsg)
		return l.Errors
	}
	for i := range before {
		if now[i] != before[i] {
			l.Invalid(at.Index(i), now[i], apivalidation.FieldImmutableErrorMsg)
		}
	}
	if grown {
		l.Add(networks(&c.Spec, at)...)
	}
	return l.Errors
}

// ServiceCIDRStatusUpdate checks what is reported of a range.
func ServiceCIDRStatusUpdate(c, old *networkingv1.ServiceCIDR) field.ErrorList {
	return rule.MetaUpdate(&c.ObjectMeta, &old.ObjectMeta)
}
