// Package networking decides whether objects of the group networking.k8s.io are
// valid, in the field paths and words that Kubernetes uses. Its functions are
// pure.
package networking

import (
	"fmt"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	segment "k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
	"github.com/sinawi/sinawi/internal/apiserver/validation/rule"
)

const classAnnotation = "kubernetes.io/ingress.class"

// Ingress checks a new ingress.
func Ingress(i *networkingv1.Ingress) field.ErrorList {
	l := check.List{Errors: rule.Namespaced(&i.ObjectMeta, rule.Subdomain)}
	if class, ok := i.Annotations[classAnnotation]; ok && i.Spec.IngressClassName != nil && class != *i.Spec.IngressClassName {
		l.Invalid(field.NewPath("annotations").Child(classAnnotation), class, "must match `ingressClassName` when both are specified")
	}
	tolerance{}.spec(&l, &i.Spec, field.NewPath("spec"))
	return l.Errors
}

// tolerance is what an ingress may keep that no new one may have.
type tolerance struct{ secretNames, wildcardRules bool }

// toleranceOf old ingresses is for what they have.
func toleranceOf(old *networkingv1.Ingress) tolerance {
	var t tolerance
	for _, tls := range old.Spec.TLS {
		t.secretNames = t.secretNames || tls.SecretName != "" && len(rule.Subdomain(tls.SecretName, false)) > 0
	}
	for i := range old.Spec.Rules {
		var l check.List
		if r := &old.Spec.Rules[i]; strings.Contains(r.Host, "*") {
			httpPaths(&l, r.HTTP, nil)
		}
		t.wildcardRules = t.wildcardRules || len(l.Errors) > 0
	}
	return t
}

// IngressUpdate checks a changed ingress.
func IngressUpdate(i, old *networkingv1.Ingress) field.ErrorList {
	l := check.List{Errors: rule.MetaUpdate(&i.ObjectMeta, &old.ObjectMeta)}
	toleranceOf(old).spec(&l, &i.Spec, field.NewPath("spec"))
	return l.Errors
}

func (t tolerance) spec(l *check.List, s *networkingv1.IngressSpec, path *field.Path) {
	if len(s.Rules) == 0 && s.DefaultBackend == nil {
		l.Invalid(path, s.Rules, fmt.Sprintf("either `%s` or `rules` must be specified", "defaultBackend"))
	}
	if s.DefaultBackend != nil {
		backend(l, s.DefaultBackend, path.Child("defaultBackend"))
	}
	for i := range s.Rules {
		r, at := &s.Rules[i], path.Child("rules").Index(i)
		host(l, r.Host, at.Child("host"))
		if !t.wildcardRules || !strings.Contains(r.Host, "*") {
			httpPaths(l, r.HTTP, at.Child("http"))
		}
	}
	for i, tls := range s.TLS {
		at := path.Child("tls").Index(i)
		for j, h := range tls.Hosts {
			hostName(l, h, at.Child("hosts").Index(j))
		}
		if tls.SecretName != "" && !t.secretNames {
			l.Subdomain(at.Child("secretName"), tls.SecretName)
		}
	}
	if class := s.IngressClassName; class != nil {
		l.Subdomain(path.Child("ingressClassName"), *class)
	}
}

// host checks the name that a rule is for, if it is for one.
func host(l *check.List, name string, path *field.Path) {
	if name == "" {
		return
	}
	if netutils.ParseIPSloppy(name) != nil {
		l.Invalid(path, name, "must be a DNS name, not an IP address")
	}
	hostName(l, name, path)
}

// hostName checks the name of a host, which may begin with a wildcard.
func hostName(l *check.List, name string, path *field.Path) {
	if strings.Contains(name, "*") {
		l.Messages(path, name, validation.IsWildcardDNS1123Subdomain(name))
		return
	}
	l.Subdomain(path, name)
}

func httpPaths(l *check.List, r *networkingv1.HTTPIngressRuleValue, path *field.Path) {
	if r == nil {
		return
	}
	paths := path.Child("paths")
	if len(r.Paths) == 0 {
		l.Required(paths, "")
	}
	for i := range r.Paths {
		httpPath(l, &r.Paths[i], paths.Index(i))
	}
}

func httpPath(l *check.List, p *networkingv1.HTTPIngressPath, path *field.Path) {
	at := path.Child("path")
	switch kind := p.PathType; {
	case kind == nil:
		l.Required(path.Child("pathType"), "pathType must be specified")
		return
	case *kind == networkingv1.PathTypeExact || *kind == networkingv1.PathTypePrefix:
		if !strings.HasPrefix(p.Path, "/") {
			l.Invalid(at, p.Path, "must be an absolute path")
		}
		for _, bad := range []string{"//", "/./", "/../", "%2f", "%2F"} {
			if p.Path != "" && strings.Contains(p.Path, bad) {
				l.Invalid(at, p.Path, fmt.Sprintf("must not contain '%s'", bad))
			}
		}
		for _, bad := range []string{"/..", "/."} {
			if strings.HasSuffix(p.Path, bad) {
				l.Invalid(at, p.Path, fmt.Sprintf("cannot end with '%s'", bad))
			}
		}
	case *kind == networkingv1.PathTypeImplementationSpecific:
		if p.Path != "" && !strings.HasPrefix(p.Path, "/") {
			l.Invalid(at, p.Path, "must be an absolute path")
		}
	default:
		l.Add(field.NotSupported(path.Child("pathType"), *kind,
			[]networkingv1.PathType{networkingv1.PathTypeExact, networkingv1.PathTypeImplementationSpecific, networkingv1.PathTypePrefix}))
	}
	backend(l, &p.Backend, path.Child("backend"))
}

func backend(l *check.List, b *networkingv1.IngressBackend, path *field.Path) {
	switch {
	case b.Resource != nil && b.Service != nil:
		l.Invalid(path, "", "cannot set both resource and service backends")
	case b.Resource != nil:
		reference(l, b.Resource.APIGroup, b.Resource.Kind, b.Resource.Name, path.Child("resource"))
	case b.Service == nil:
		l.Invalid(path, "", "resource or service backend is required")
	default:
		serviceBackend(l, b.Service, path)
	}
}

// reference checks what names an object of any kind.
func reference(l *check.List, group *string, kind, name string, path *field.Path) {
	if group != nil {
		l.Subdomain(path.Child("apiGroup"), *group)
	}
	for _, f := range []struct{ name, value string }{{"kind", kind}, {"name", name}} {
		if f.value == "" {
			l.Required(path.Child(f.name), "")
		} else {
			l.Messages(path.Child(f.name), f.value, segment.IsValidPathSegmentName(f.value))
		}
	}
}

func serviceBackend(l *check.List, s *networkingv1.IngressServiceBackend, path *field.Path) {
	name, port := path.Child("service", "name"), path.Child("service", "port")
	if s.Name == "" {
		l.Required(name, "")
	} else {
		l.Messages(name, s.Name, apivalidation.NameIsDNSLabel(s.Name, false))
	}
	switch hasName, hasNumber := s.Port.Name != "", s.Port.Number != 0; {
	case hasName && hasNumber:
		l.Invalid(path, "", "cannot set both port name & port number")
	case hasName:
		l.Messages(port.Child("name"), s.Port.Name, validation.IsValidPortName(s.Port.Name))
	case hasNumber:
		l.Messages(port.Child("number"), s.Port.Number, validation.IsValidPortNum(int(s.Port.Number)))
	default:
		l.Required(path, "port name or number is required")
	}
}

// IngressStatusUpdate checks a changed status.
func IngressStatusUpdate(i, old *networkingv1.Ingress) field.ErrorList {
	l := check.List{Errors: rule.MetaUpdate(&i.ObjectMeta, &old.ObjectMeta)}
	before := make([]string, 0, len(old.Status.LoadBalancer.Ingress))
	for _, ingress := range old.Status.LoadBalancer.Ingress {
		before = append(before, ingress.IP)
	}
	for k, ingress := range i.Status.LoadBalancer.Ingress {
		at := field.NewPath("status", "loadBalancer", "ingress").Index(k)
		if ingress.IP != "" {
			l.Add(validation.IsValidIPForLegacyField(at.Child("ip"), ingress.IP, true, before)...)
		}
		if name := ingress.Hostname; name != "" {
			l.Subdomain(at.Child("hostname"), name)
			if netutils.ParseIPSloppy(name) != nil {
				l.Invalid(at.Child("hostname"), name, "must be a DNS name, not an IP address")
			}
		}
	}
	return l.Errors
}

// IngressClass checks a new ingress class.
func IngressClass(c *networkingv1.IngressClass) field.ErrorList {
	l := check.List{Errors: rule.Cluster(&c.ObjectMeta, rule.Subdomain)}
	path := field.NewPath("spec")
	if len(c.Spec.Controller) > 250 {
		l.Add(field.TooLong(path.Child("controller"), "", 250))
	}
	l.Add(validation.IsDomainPrefixedPath(path.Child("controller"), c.Spec.Controller)...)
	parameters(&l, c.Spec.Parameters, path.Child("parameters"))
	return l.Errors
}

func parameters(l *check.List, p *networkingv1.IngressClassParametersReference, path *field.Path) {
	if p == nil {
		return
	}
	reference(l, p.APIGroup, p.Kind, p.Name, path)
	if p.Scope == nil {
		l.Required(path.Child("scope"), "")
		return
	}
	scope := *p.Scope
	check.OneOf(l, path.Child("scope"), scope, networkingv1.IngressClassParametersReferenceScopeCluster, networkingv1.IngressClassParametersReferenceScopeNamespace)
	at := path.Child("namespace")
	switch namespace := check.Deref(p.Namespace, ""); {
	case scope == networkingv1.IngressClassParametersReferenceScopeNamespace && p.Namespace == nil:
		l.Required(at, "`parameters.scope` is set to 'Namespace'")
	case scope == networkingv1.IngressClassParametersReferenceScopeNamespace:
		l.Messages(at, namespace, apivalidation.ValidateNamespaceName(namespace, false))
	case scope == networkingv1.IngressClassParametersReferenceScopeCluster && p.Namespace != nil:
		l.Forbidden(at, "`parameters.scope` is set to 'Cluster'")
	}
}

// IngressClassUpdate checks a changed ingress class: who serves it stays.
func IngressClassUpdate(c, old *networkingv1.IngressClass) field.ErrorList {
	return rule.All(rule.MetaUpdate(&c.ObjectMeta, &old.ObjectMeta),
		rule.Immutable(c.Spec.Controller, old.Spec.Controller, field.NewPath("spec", "controller")), IngressClass(c))
}
