package resources

import (
	arv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// AdmissionRegistration returns the rows of the group admissionregistration.k8s.io.
func AdmissionRegistration() []Resource {
	return []Resource{
		validatingWebhooks(), mutatingWebhooks(),
		validatingPolicies(), validatingPolicyBindings(),
		mutatingPolicies(), mutatingPolicyBindings(),
	}
}

func webhookColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		nameColumn(),
		column("Webhooks", "integer", "Webhooks indicates the number of webhooks registered in this configuration"),
		ageColumn(),
	}
}

func validatingWebhooks() Resource {
	r := row[arv1.ValidatingWebhookConfiguration, arv1.ValidatingWebhookConfigurationList](
		arv1.SchemeGroupVersion, "ValidatingWebhookConfiguration", "validatingwebhookconfigurations")
	r.ClusterScoped, r.Categories = true, []string{"api-extensions"}
	r.Columns = webhookColumns()
	r.Cells = cells(func(c *arv1.ValidatingWebhookConfiguration) []any {
		return []any{c.Name, int64(len(c.Webhooks)), since(c.CreationTimestamp)}
	})
	r.Strategy = validatingWebhookStrategy()
	return r
}

func mutatingWebhooks() Resource {
	r := row[arv1.MutatingWebhookConfiguration, arv1.MutatingWebhookConfigurationList](
		arv1.SchemeGroupVersion, "MutatingWebhookConfiguration", "mutatingwebhookconfigurations")
	r.ClusterScoped, r.Categories = true, []string{"api-extensions"}
	r.Columns = webhookColumns()
	r.Cells = cells(func(c *arv1.MutatingWebhookConfiguration) []any {
		return []any{c.Name, int64(len(c.Webhooks)), since(c.CreationTimestamp)}
	})
	r.Strategy = mutatingWebhookStrategy()
	return r
}

const paramKindDoc = "ParamKind specifies the kind of resources used to parameterize this policy"

func paramKind(k *arv1.ParamKind) string {
	if k == nil {
		return "<unset>"
	}
	return k.APIVersion + "/" + k.Kind
}

// paramRef renders a reference; whether the parameter is namespaced cannot be
// told from it, so a missing namespace shows as any.
func paramRef(ref *arv1.ParamRef) string {
	switch {
	case ref == nil:
		return "<unset>"
	case ref.Name != "" && ref.Namespace != "":
		return ref.Namespace + "/" + ref.Name
	case ref.Name != "":
		return "*/" + ref.Name
	case ref.Selector != nil:
		return ref.Selector.String()
	}
	return "<unset>"
}

func policyBindingColumns() []metav1.TableColumnDefinition {
	return []metav1.TableColumnDefinition{
		nameColumn(),
		column("PolicyName", "string", "PolicyName indicates the policy definition which the policy binding binded to"),
		column("ParamRef", "string", "ParamRef indicates the param resource which sets the configuration param"),
		ageColumn(),
	}
}

func validatingPolicies() Resource {
	r := row[arv1.ValidatingAdmissionPolicy, arv1.ValidatingAdmissionPolicyList](
		arv1.SchemeGroupVersion, "ValidatingAdmissionPolicy", "validatingadmissionpolicies")
	r.ClusterScoped, r.Categories = true, []string{"api-extensions"}
	r.Columns = []metav1.TableColumnDefinition{
		nameColumn(),
		column("Validations", "integer", "Validations indicates the number of validation rules defined in this configuration"),
		column("ParamKind", "string", paramKindDoc),
		ageColumn(),
	}
	r.Cells = cells(func(p *arv1.ValidatingAdmissionPolicy) []any {
		return []any{p.Name, int64(len(p.Spec.Validations)), paramKind(p.Spec.ParamKind), since(p.CreationTimestamp)}
	})
	r.Strategy = validatingPolicyStrategy()
	r.Status = validatingPolicyStatusStrategy()
	return r
}

func validatingPolicyBindings() Resource {
	r := row[arv1.ValidatingAdmissionPolicyBinding, arv1.ValidatingAdmissionPolicyBindingList](
		arv1.SchemeGroupVersion, "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings")
	r.ClusterScoped = true
	r.Categories = []string{"api-extensions"}
	r.Columns = policyBindingColumns()
	r.Cells = cells(func(b *arv1.ValidatingAdmissionPolicyBinding) []any {
		return []any{b.Name, b.Spec.PolicyName, paramRef(b.Spec.ParamRef), since(b.CreationTimestamp)}
	})
	r.Strategy = validatingPolicyBindingStrategy()
	return r
}

func mutatingPolicies() Resource {
	r := row[arv1.MutatingAdmissionPolicy, arv1.MutatingAdmissionPolicyList](
		arv1.SchemeGroupVersion, "MutatingAdmissionPolicy", "mutatingadmissionpolicies")
	r.ClusterScoped, r.Categories = true, []string{"api-extensions"}
	r.Columns = []metav1.TableColumnDefinition{
		nameColumn(),
		column("Mutations", "integer", "Mutation indicates the number of mutations rules defined in this configuration"),
		column("ParamKind", "string", paramKindDoc),
		ageColumn(),
	}
	r.Cells = cells(func(p *arv1.MutatingAdmissionPolicy) []any {
		return []any{p.Name, int64(len(p.Spec.Mutations)), paramKind(p.Spec.ParamKind), since(p.CreationTimestamp)}
	})
	r.Previews = previews(arv1.GroupName, "v1beta1", "v1alpha1")
	r.Strategy = mutatingPolicyStrategy()
	return r
}

func mutatingPolicyBindings() Resource {
	r := row[arv1.MutatingAdmissionPolicyBinding, arv1.MutatingAdmissionPolicyBindingList](
		arv1.SchemeGroupVersion, "MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings")
	r.ClusterScoped = true
	r.Categories = []string{"api-extensions"}
	r.Columns = policyBindingColumns()
	r.Cells = cells(func(b *arv1.MutatingAdmissionPolicyBinding) []any {
		return []any{b.Name, b.Spec.PolicyName, paramRef(b.Spec.ParamRef), since(b.CreationTimestamp)}
	})
	r.Previews = previews(arv1.GroupName, "v1beta1", "v1alpha1")
	r.Strategy = mutatingPolicyBindingStrategy()
	return r
}
