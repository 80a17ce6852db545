package resources

import (
	"fmt"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Networking returns the rows of the group networking.k8s.io.
func Networking() []Resource {
	return []Resource{ingresses(), ingressClasses(), networkPolicies(), ipAddresses(), serviceCIDRs()}
}

func ingresses() Resource {
	r := row[networkingv1.Ingress, networkingv1.IngressList](networkingv1.SchemeGroupVersion, "Ingress", "ingresses", "ing")
	r.StoragePrefix = "ingress"
	r.Columns = []metav1.TableColumnDefinition{
		nameColumn(),
		column("Class", "string", "The name of the IngressClass resource that should be used for additional configuration"),
		column("Hosts", "string", "Hosts that incoming requests are matched against before the ingress rule"),
		column("Address", "string", "Address is a list containing ingress points for the load-balancer"),
		column("Ports", "string", "Ports of TLS configurations that open"),
		ageColumn(),
	}
	r.Cells = cells(func(i *networkingv1.Ingress) []any {
		ports := "80"
		if len(i.Spec.TLS) > 0 {
			ports = "80, 443"
		}
		return []any{
			i.Name, deref(i.Spec.IngressClassName, "<none>"), ingressHosts(i.Spec.Rules),
			ingressAddresses(i.Status.LoadBalancer.Ingress), ports, since(i.CreationTimestamp),
		}
	})
	r.Strategy = ingressStrategy()
	r.Status = ingressStatusStrategy()
	return r
}

func ingressHosts(rules []networkingv1.IngressRule) string {
	const shown = 3
	var hosts []string
	more := false
	for _, rule := range rules {
		if len(hosts) == shown {
			more = true
			break
		}
		if rule.Host != "" {
			hosts = append(hosts, rule.Host)
		}
	}
	if len(hosts) == 0 {
		return "*"
	}
	if more {
		return fmt.Sprintf("%s + %d more...", strings.Join(hosts, ","), len(rules)-shown)
	}
	return strings.Join(hosts, ",")
}

func ingressAddresses(points []networkingv1.IngressLoadBalancerIngress) string {
	var list []string
	for _, p := range points {
		if p.IP != "" {
			list = append(list, p.IP)
		} else if p.Hostname != "" {
			list = append(list, p.Hostname)
		}
	}
	slices.Sort(list)
	return strings.Join(slices.Compact(list), ",")
}

func ingressClasses() Resource {
	r := row[networkingv1.IngressClass, networkingv1.IngressClassList](networkingv1.SchemeGroupVersion, "IngressClass", "ingressclasses")
	r.ClusterScoped = true
	r.Columns = []metav1.TableColumnDefinition{
		nameColumn(),
		column("Controller", "string", "Controller that is responsible for handling this class"),
		column("Parameters", "string", "A reference to a resource with additional parameters"),
		ageColumn(),
	}
	r.Cells = cells(func(c *networkingv1.IngressClass) []any {
		parameters := "<none>"
		if p := c.Spec.Parameters; p != nil {
			parameters = p.Kind
			if p.APIGroup != nil {
				parameters += "." + *p.APIGroup
			}
			parameters += "/" + p.Name
		}
		return []any{c.Name, c.Spec.Controller, parameters, since(c.CreationTimestamp)}
	})
	r.Strategy = ingressClassStrategy()
	return r
}

func networkPolicies() Resource {
	r := row[networkingv1.NetworkPolicy, networkingv1.NetworkPolicyList](networkingv1.SchemeGroupVersion, "NetworkPolicy", "networkpolicies", "netpol")
	r.Columns = []metav1.TableColumnDefinition{
		nameColumn(),
		docColumn("Pod-Selector", "string", networkingv1.NetworkPolicySpec{}, "podSelector"),
		ageColumn(),
	}
	r.Cells = cells(func(p *networkingv1.NetworkPolicy) []any {
		return []any{p.Name, metav1.FormatLabelSelector(&p.Spec.PodSelector), since(p.CreationTimestamp)}
	})
	r.Strategy = networkPolicyStrategy()
	return r
}

func ipAddresses() Resource {
	r := row[networkingv1.IPAddress, networkingv1.IPAddressList](networkingv1.SchemeGroupVersion, "IPAddress", "ipaddresses", "ip")
	r.ClusterScoped = true
	r.Columns = []metav1.TableColumnDefinition{
		nameColumn(),
		docColumn("ParentRef", "string", networkingv1.IPAddressSpec{}, "parentRef"),
	}
	r.Cells = cells(func(a *networkingv1.IPAddress) []any {
		parent := "<none>"
		if ref := a.Spec.ParentRef; ref != nil {
			gr := schema.GroupResource{Group: ref.Group, Resource: ref.Resource}
			parent = strings.ToLower(gr.String())
			if ref.Namespace != "" {
				parent += "/" + ref.Namespace
			}
			parent += "/" + ref.Name
		}
		return []any{a.Name, parent, since(a.CreationTimestamp)}
	})
	r.Strategy = ipAddressStrategy()
	return r
}

func serviceCIDRs() Resource {
	r := row[networkingv1.ServiceCIDR, networkingv1.ServiceCIDRList](networkingv1.SchemeGroupVersion, "ServiceCIDR", "servicecidrs")
	r.ClusterScoped = true
	r.Columns = []metav1.TableColumnDefinition{
		nameColumn(),
		docColumn("CIDRs", "string", networkingv1.ServiceCIDRSpec{}, "cidrs"),
		ageColumn(),
	}
	r.Cells = cells(func(c *networkingv1.ServiceCIDR) []any {
		return []any{c.Name, strings.Join(c.Spec.CIDRs, ","), since(c.CreationTimestamp)}
	})
	r.Strategy = serviceCIDRStrategy()
	r.Status = serviceCIDRStatusStrategy()
	return r
}
