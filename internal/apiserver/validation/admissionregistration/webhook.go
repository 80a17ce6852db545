// Package admissionregistration decides whether admission webhooks and policies
// are valid, in the field paths and words that Kubernetes uses, including whether their
// expressions compile; expressions that are stored already are compiled as they
// were then. Its functions are pure.
package admissionregistration

import (
	"slices"
	"strings"

	arv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/util/webhook"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
	"github.com/sinawi/sinawi/internal/apiserver/validation/rule"
)

// ValidatingWebhooks checks a new configuration.
func ValidatingWebhooks(c *arv1.ValidatingWebhookConfiguration) field.ErrorList {
	return validatingWebhooks(c, expressions{})
}

func validatingWebhooks(c *arv1.ValidatingWebhookConfiguration, e expressions) field.ErrorList {
	l := check.List{Errors: rule.Cluster(&c.ObjectMeta, rule.Subdomain)}
	names := sets.New[string]()
	for i := range c.Webhooks {
		w, at := &c.Webhooks[i], field.NewPath("webhooks").Index(i)
		hook{w.Name, w.Rules, w.FailurePolicy, w.MatchPolicy, w.SideEffects, w.TimeoutSeconds, w.NamespaceSelector, w.ObjectSelector,
			w.ClientConfig, w.AdmissionReviewVersions, w.MatchConditions}.check(&l, names, e, at)
	}
	return l.Errors
}

// ValidatingWebhooksUpdate checks a changed configuration.
func ValidatingWebhooksUpdate(c, old *arv1.ValidatingWebhookConfiguration) field.ErrorList {
	e := expressions{}
	for i := range old.Webhooks {
		e.keep(old.Webhooks[i].MatchConditions)
	}
	return rule.All(rule.MetaUpdate(&c.ObjectMeta, &old.ObjectMeta), validatingWebhooks(c, e))
}

// MutatingWebhooks checks a new configuration.
func MutatingWebhooks(c *arv1.MutatingWebhookConfiguration) field.ErrorList {
	return mutatingWebhooks(c, expressions{})
}

func mutatingWebhooks(c *arv1.MutatingWebhookConfiguration, e expressions) field.ErrorList {
	l := check.List{Errors: rule.Cluster(&c.ObjectMeta, rule.Subdomain)}
	names := sets.New[string]()
	for i := range c.Webhooks {
		w, at := &c.Webhooks[i], field.NewPath("webhooks").Index(i)
		hook{w.Name, w.Rules, w.FailurePolicy, w.MatchPolicy, w.SideEffects, w.TimeoutSeconds, w.NamespaceSelector, w.ObjectSelector,
			w.ClientConfig, w.AdmissionReviewVersions, w.MatchConditions}.check(&l, names, e, at)
		if p := w.ReinvocationPolicy; p != nil {
			check.OneOf(&l, at.Child("reinvocationPolicy"), *p, arv1.IfNeededReinvocationPolicy, arv1.NeverReinvocationPolicy)
		}
	}
	return l.Errors
}

// MutatingWebhooksUpdate checks a changed configuration.
func MutatingWebhooksUpdate(c, old *arv1.MutatingWebhookConfiguration) field.ErrorList {
	e := expressions{}
	for i := range old.Webhooks {
		e.keep(old.Webhooks[i].MatchConditions)
	}
	return rule.All(rule.MetaUpdate(&c.ObjectMeta, &old.ObjectMeta), mutatingWebhooks(c, e))
}

// hook is what both kinds of webhook have in common.
type hook struct {
	name                string
	rules               []arv1.RuleWithOperations
	failure             *arv1.FailurePolicyType
	match               *arv1.MatchPolicyType
	sideEffects         *arv1.SideEffectClass
	timeout             *int32
	namespaces, objects *metav1.LabelSelector
	client              arv1.WebhookClientConfig
	versions            []string
	conditions          []arv1.MatchCondition
}

func (h hook) check(l *check.List, names sets.Set[string], e expressions, path *field.Path) {
	if names.Has(h.name) {
		l.Duplicate(path.Child("name"), h.name)
	}
	names.Insert(h.name)
	l.Add(validation.IsFullyQualifiedName(path.Child("name"), h.name)...)
	for i := range h.rules {
		operations(l, &h.rules[i], path.Child("rules").Index(i))
	}
	if h.failure != nil {
		check.OneOf(l, path.Child("failurePolicy"), *h.failure, arv1.Fail, arv1.Ignore)
	}
	if h.match != nil {
		check.OneOf(l, path.Child("matchPolicy"), *h.match, arv1.Equivalent, arv1.Exact)
	}
	if h.sideEffects == nil {
		l.Required(path.Child("sideEffects"), "must specify one of None, NoneOnDryRun")
	} else {
		check.OneOf(l, path.Child("sideEffects"), *h.sideEffects, arv1.SideEffectClassNone, arv1.SideEffectClassNoneOnDryRun)
	}
	if n := h.timeout; n != nil && (*n > 30 || *n < 1) {
		l.Invalid(path.Child("timeoutSeconds"), *n, "the timeout value must be between 1 and 30 seconds")
	}
	l.Add(rule.Selector(h.namespaces, path.Child("namespaceSelector"))...)
	l.Add(rule.Selector(h.objects, path.Child("objectSelector"))...)
	client(l, h.client, path.Child("clientConfig"))
	reviewVersions(l, h.versions, path.Child("admissionReviewVersions"))
	conditions(l, h.conditions, e, false, path.Child("matchConditions"))
}

func client(l *check.List, c arv1.WebhookClientConfig, path *field.Path) {
	switch {
	case (c.URL == nil) == (c.Service == nil):
		l.Required(path, "exactly one of url or service is required")
	case c.URL != nil:
		l.Add(webhook.ValidateWebhookURL(path.Child("url"), *c.URL, true)...)
	default:
		l.Add(webhook.ValidateWebhookService(path.Child("service"), c.Service.Name, c.Service.Namespace, c.Service.Path, check.Deref(c.Service.Port, 443))...)
	}
}

func reviewVersions(l *check.List, versions []string, path *field.Path) {
	accepted := []string{"v1", "v1beta1"}
	if len(versions) == 0 {
		l.Required(path, "must specify one of "+strings.Join(accepted, ", "))
		return
	}
	known := false
	for i, v := range versions {
		if slices.Contains(versions[:i], v) {
			l.Invalid(path.Index(i), v, "duplicate version")
			continue
		}
		l.Messages(path.Index(i), v, validation.IsDNS1035Label(v))
		known = known || slices.Contains(accepted, v)
	}
	if !known {
		l.Invalid(path, versions, "must include at least one of "+strings.Join(accepted, ", "))
	}
}

// operations checks what requests a rule matches.
func operations(l *check.List, r *arv1.RuleWithOperations, path *field.Path) {
	ops := path.Child("operations")
	if len(r.Operations) == 0 {
		l.Required(ops, "")
	}
	if len(r.Operations) > 1 && slices.Contains(r.Operations, arv1.OperationAll) {
		l.Invalid(ops, r.Operations, "if '*' is present, must not specify other operations")
	}
	for i, o := range r.Operations {
		check.OneOf(l, ops.Index(i), o, arv1.OperationAll, arv1.Connect, arv1.Create, arv1.Delete, arv1.Update)
	}
	for _, list := range []struct {
		name   string
		values []string
		what   string
	}{{"apiGroups", r.APIGroups, "groups"}, {"apiVersions", r.APIVersions, "versions"}} {
		at := path.Child(list.name)
		if len(list.values) == 0 {
			l.Required(at, "")
		}
		if len(list.values) > 1 && slices.Contains(list.values, "*") {
			l.Invalid(at, list.values, "if '*' is present, must not specify other API "+list.what)
		}
		for i, v := range list.values {
			if v == "" && list.name == "apiVersions" {
				l.Required(at.Index(i), "")
			}
		}
	}
	if r.Scope != nil {
		check.OneOf(l, path.Child("scope"), *r.Scope, arv1.AllScopes, arv1.ClusterScope, arv1.NamespacedScope)
	}
	resources(l, r.Resources, path.Child("resources"))
}

// resources checks that no resource is named that another entry covers.
func resources(l *check.List, list []string, path *field.Path) {
	if len(list) == 0 {
		l.Required(path, "")
	}
	if slices.Contains(list, "*/*") && len(list) > 1 {
		l.Invalid(path, list, "if '*/*' is present, must not specify other resources")
		return
	}
	all, names := sets.New[string](), sets.New[string]()
	for _, r := range list {
		if name, ok := strings.CutSuffix(r, "/*"); ok {
			all.Insert(name)
		}
		if name, ok := strings.CutPrefix(r, "*/"); ok {
			names.Insert(name)
		}
	}
	for i, r := range list {
		at := path.Index(i)
		name, sub, divided := strings.Cut(r, "/")
		switch {
		case r == "":
			l.Required(at, "")
		case r == "*" && slices.ContainsFunc(list, func(o string) bool { return o != r && !strings.Contains(o, "/") }):
			l.Invalid(path, list, "if '*' is present, must not specify other resources without subresources")
		case divided && sub == "*" || !divided:
		case all.Has(name):
			l.Invalid(at, r, "if '"+name+"/*' is present, must not specify "+r)
		case name != "*" && names.Has(sub):
			l.Invalid(at, r, "if '*/"+sub+"' is present, must not specify "+r)
		}
	}
}
