package admission

import (
	"io"
	"slices"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/admission"
	mutatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/mutating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/predicates/rules"
	validatingwebhook "k8s.io/apiserver/pkg/admission/plugin/webhook/validating"
	listers "k8s.io/client-go/listers/admissionregistration/v1"

	"github.com/sinawi/sinawi/internal/apiserver/plug"
)

// asked knows what users' webhooks and policies look at.
type asked struct {
	configured bool // webhooks may come from a file
	mutating   listers.MutatingWebhookConfigurationLister
	validating listers.ValidatingWebhookConfigurationLister
	policies   *policies
}

func newAsked(h *plug.Host, p *policies, settings func(string) (io.Reader, error)) (asked, error) {
	registered := h.Informers.Admissionregistration().V1()
	out := asked{
		mutating: registered.MutatingWebhookConfigurations().Lister(), validating: registered.ValidatingWebhookConfigurations().Lister(),
		policies: p,
	}
	for _, name := range []string{mutatingwebhook.PluginName, validatingwebhook.PluginName} {
		config, err := settings(name)
		if err != nil {
			return asked{}, err
		}
		out.configured = out.configured || config != nil
	}
	return out, nil
}

// Asks reports whether a webhook or a policy may be asked about a request. Of one that
// is left out for its namespace or its labels it says so too.
func (c *Chain) Asks(a admission.Attributes) bool {
	return c.asked.configured || c.asked.any(func(r rule) bool {
		m := rules.Matcher{Rule: r, Attr: a}
		return m.Matches()
	})
}

type rule = admissionregistrationv1.RuleWithOperations

// any reports whether a rule of a webhook or a policy matches.
func (k asked) any(matches func(rule) bool) bool {
	return slices.ContainsFunc(all(k.mutating.List), func(c *admissionregistrationv1.MutatingWebhookConfiguration) bool {
		return slices.ContainsFunc(c.Webhooks, func(w admissionregistrationv1.MutatingWebhook) bool {
			return slices.ContainsFunc(w.Rules, matches)
		})
	}) || slices.ContainsFunc(all(k.validating.List), func(c *admissionregistrationv1.ValidatingWebhookConfiguration) bool {
		return slices.ContainsFunc(c.Webhooks, func(w admissionregistrationv1.ValidatingWebhook) bool {
			return slices.ContainsFunc(w.Rules, matches)
		})
	}) || slices.ContainsFunc(all(k.policies.mutators.List), func(p *admissionregistrationv1.MutatingAdmissionPolicy) bool {
		return constrained(p.Spec.MatchConstraints, matches)
	}) || slices.ContainsFunc(all(k.policies.validators.List), func(p *admissionregistrationv1.ValidatingAdmissionPolicy) bool {
		return constrained(p.Spec.MatchConstraints, matches)
	})
}

// constrained reports whether a rule of a policy matches, whatever names it is for.
func constrained(m *admissionregistrationv1.MatchResources, matches func(rule) bool) bool {
	return m != nil && slices.ContainsFunc(m.ResourceRules, func(r admissionregistrationv1.NamedRuleWithOperations) bool {
		return matches(r.RuleWithOperations)
	})
}

func all[T any](list func(labels.Selector) ([]T, error)) []T {
	items, _ := list(labels.Everything()) // from memory, which cannot fail
	return items
}
