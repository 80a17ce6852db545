package defaults

import (
	arv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// AdmissionRegistration adds the defaulting functions of
// admissionregistration.k8s.io to scheme.
func AdmissionRegistration(scheme *runtime.Scheme) error {
	add(scheme, func(c *arv1.ValidatingWebhookConfiguration) {
		for i := range c.Webhooks {
			w := &c.Webhooks[i]
			webhook(&w.FailurePolicy, &w.MatchPolicy, &w.NamespaceSelector, &w.ObjectSelector, &w.TimeoutSeconds)
			rules(w.Rules)
			webhookPort(&w.ClientConfig)
		}
	})
	add(scheme, func(c *arv1.MutatingWebhookConfiguration) {
		for i := range c.Webhooks {
			w := &c.Webhooks[i]
			webhook(&w.FailurePolicy, &w.MatchPolicy, &w.NamespaceSelector, &w.ObjectSelector, &w.TimeoutSeconds)
			orNew(&w.ReinvocationPolicy, arv1.NeverReinvocationPolicy)
			rules(w.Rules)
			webhookPort(&w.ClientConfig)
		}
	})
	add(scheme, func(p *arv1.ValidatingAdmissionPolicy) {
		orNew(&p.Spec.FailurePolicy, arv1.Fail)
		matchResources(p.Spec.MatchConstraints)
	})
	add(scheme, func(b *arv1.ValidatingAdmissionPolicyBinding) { matchResources(b.Spec.MatchResources) })
	add(scheme, func(p *arv1.MutatingAdmissionPolicy) {
		orNew(&p.Spec.FailurePolicy, arv1.Fail)
		matchResources(p.Spec.MatchConstraints)
	})
	add(scheme, func(b *arv1.MutatingAdmissionPolicyBinding) { matchResources(b.Spec.MatchResources) })
	return nil
}

func webhook(failure **arv1.FailurePolicyType, match **arv1.MatchPolicyType, namespaces, objects **metav1.LabelSelector, timeout **int32) {
	orNew(failure, arv1.Fail)
	orNew(match, arv1.Equivalent)
	orNew(namespaces, metav1.LabelSelector{})
	orNew(objects, metav1.LabelSelector{})
	orNew(timeout, 10)
}

func webhookPort(c *arv1.WebhookClientConfig) {
	if c.Service != nil {
		orNew(&c.Service.Port, 443)
	}
}

func rules(list []arv1.RuleWithOperations) {
	for i := range list {
		orNew(&list[i].Scope, arv1.AllScopes)
	}
}

// matchResources completes what a policy applies to: a selector that is not
// set selects everything.
func matchResources(m *arv1.MatchResources) {
	if m == nil {
		return
	}
	orNew(&m.MatchPolicy, arv1.Equivalent)
	orNew(&m.NamespaceSelector, metav1.LabelSelector{})
	orNew(&m.ObjectSelector, metav1.LabelSelector{})
	for _, list := range [][]arv1.NamedRuleWithOperations{m.ResourceRules, m.ExcludeResourceRules} {
		for i := range list {
			orNew(&list[i].Scope, arv1.AllScopes)
		}
	}
}
