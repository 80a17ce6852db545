package admissionregistration

import (
	"fmt"
	"slices"

	arv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"
	"k8s.io/apimachinery/pkg/util/validation/field"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
	"github.com/sinawi/sinawi/internal/apiserver/validation/rule"
)

// MutatingPolicy checks a new policy.
func MutatingPolicy(p *arv1.MutatingAdmissionPolicy) field.ErrorList {
	return mutatingPolicy(p, expressions{})
}

// MutatingPolicyUpdate checks a changed policy.
func MutatingPolicyUpdate(p, old *arv1.MutatingAdmissionPolicy) field.ErrorList {
	e := expressions{}
	e.keep(old.Spec.MatchConditions)
	for _, v := range old.Spec.Variables {
		e.add(v.Expression)
	}
	for _, m := range old.Spec.Mutations {
		if m.ApplyConfiguration != nil {
			e.add(m.ApplyConfiguration.Expression)
		}
		if m.JSONPatch != nil {
			e.add(m.JSONPatch.Expression)
		}
	}
	return rule.All(rule.MetaUpdate(&p.ObjectMeta, &old.ObjectMeta), mutatingPolicy(p, e))
}

func mutatingPolicy(p *arv1.MutatingAdmissionPolicy, stored expressions) field.ErrorList {
	l := check.List{Errors: rule.Cluster(&p.ObjectMeta, rule.Subdomain)}
	at, s := field.NewPath("spec"), &p.Spec
	common{s.FailurePolicy, s.ParamKind, s.MatchConstraints, s.MatchConditions}.check(&l, stored, at)
	mutable(&l, s.MatchConstraints, at.Child("matchConstraints"))
	code, err := newProgram(len(s.Variables) > 0, s.ParamKind != nil, stored)
	if err != nil {
		l.Add(field.InternalError(at, err))
		return l.Errors
	}
	code.variables(&l, s.Variables, at.Child("variables"))
	if len(s.Mutations) == 0 {
		l.Required(at.Child("mutations"), "mutations must contain at least one item")
	}
	for i := range s.Mutations {
		code.mutation(&l, &s.Mutations[i], at.Child("mutations").Index(i))
	}
	if r, here := s.ReinvocationPolicy, at.Child("reinvocationPolicy"); r == "" {
		l.Required(here, "")
	} else {
		check.OneOf(&l, here, r, arv1.IfNeededReinvocationPolicy, arv1.NeverReinvocationPolicy)
	}
	return l.Errors
}

func (p program) mutation(l *check.List, m *arv1.Mutation, at *field.Path) {
	apply, json := at.Child("applyConfiguration"), at.Child("jsonPatch")
	vars := plugincel.OptionalVariableDeclarations{HasParams: p.params, HasAuthorizer: true, HasPatchTypes: true}
	const only = "must be specified when patchType is %s"
	switch m.PatchType {
	case arv1.PatchTypeApplyConfiguration:
		if m.JSONPatch != nil {
			l.Invalid(json, "{jsonPatch}", "must not be specified when patchType is ApplyConfiguration")
		}
		if m.ApplyConfiguration == nil {
			l.Required(apply, fmt.Sprintf(only, m.PatchType))
			return
		}
		p.required(l, "", &patch.ApplyConfigurationCondition{Expression: m.ApplyConfiguration.Expression}, vars, apply.Child("expression"))
	case arv1.PatchTypeJSONPatch:
		if m.ApplyConfiguration != nil {
			l.Invalid(apply, "{applyConfiguration}", "must not be specified when patchType is JSONPatch")
		}
		if m.JSONPatch == nil {
			l.Required(json, fmt.Sprintf(only, m.PatchType))
			return
		}
		p.required(l, "", &patch.JSONPatchCondition{Expression: m.JSONPatch.Expression}, vars, json.Child("expression"))
	case "":
		l.Required(at.Child("patchType"), "")
	default:
		l.Add(field.NotSupported(at.Child("patchType"), m.PatchType, []arv1.PatchType{arv1.PatchTypeApplyConfiguration, arv1.PatchTypeJSONPatch}))
	}
}

// ValidatingPolicyBinding checks a new binding.
func ValidatingPolicyBinding(b *arv1.ValidatingAdmissionPolicyBinding) field.ErrorList {
	l := check.List{Errors: rule.Cluster(&b.ObjectMeta, rule.Subdomain)}
	at := field.NewPath("spec")
	binding(&l, b.Spec.PolicyName, b.Spec.ParamRef, b.Spec.MatchResources, at)
	actions(&l, b.Spec.ValidationActions, at.Child("validationActions"))
	return l.Errors
}

// ValidatingPolicyBindingUpdate checks a changed binding.
func ValidatingPolicyBindingUpdate(b, old *arv1.ValidatingAdmissionPolicyBinding) field.ErrorList {
	return rule.All(rule.MetaUpdate(&b.ObjectMeta, &old.ObjectMeta), ValidatingPolicyBinding(b))
}

// MutatingPolicyBinding checks a new binding.
func MutatingPolicyBinding(b *arv1.MutatingAdmissionPolicyBinding) field.ErrorList {
	l := check.List{Errors: rule.Cluster(&b.ObjectMeta, rule.Subdomain)}
	at := field.NewPath("spec")
	binding(&l, b.Spec.PolicyName, b.Spec.ParamRef, b.Spec.MatchResources, at)
	mutable(&l, b.Spec.MatchResources, at.Child("matchResources"))
	return l.Errors
}

// MutatingPolicyBindingUpdate checks a changed binding.
func MutatingPolicyBindingUpdate(b, old *arv1.MutatingAdmissionPolicyBinding) field.ErrorList {
	return rule.All(rule.MetaUpdate(&b.ObjectMeta, &old.ObjectMeta), MutatingPolicyBinding(b))
}

func binding(l *check.List, policy string, ref *arv1.ParamRef, match *arv1.MatchResources, at *field.Path) {
	if here := at.Child("policyName"); policy == "" {
		l.Required(here, "")
	} else {
		l.Subdomain(here, policy)
	}
	if ref != nil {
		paramRef(l, ref, at.Child("paramRef"))
	}
	if match != nil {
		matchResources(l, match, at.Child("matchResources"))
	}
}

func paramRef(l *check.List, r *arv1.ParamRef, at *field.Path) {
	const both = "name and selector are mutually exclusive"
	if r.Name != "" {
		l.Messages(at.Child("name"), r.Name, path.ValidatePathSegmentName(r.Name, false))
		if r.Selector != nil {
			l.Forbidden(at.Child("name"), both)
		}
	}
	if r.Selector != nil {
		l.Add(rule.Selector(r.Selector, at.Child("selector"))...)
		if r.Name != "" {
			l.Forbidden(at.Child("selector"), both)
		}
	}
	if r.Name == "" && r.Selector == nil {
		l.Required(at, "one of name or selector must be specified")
	}
	if here, a := at.Child("parameterNotFoundAction"), r.ParameterNotFoundAction; a == nil || *a == "" {
		l.Required(here, "")
	} else {
		check.OneOf(l, here, *a, arv1.DenyAction, arv1.AllowAction)
	}
}

func actions(l *check.List, list []arv1.ValidationAction, at *field.Path) {
	for i, a := range list {
		check.OneOf(l, at.Index(i), a, arv1.Audit, arv1.Deny, arv1.Warn)
		if slices.Contains(list[:i], a) {
			l.Duplicate(at.Index(i), a)
		}
	}
	if slices.Contains(list, arv1.Deny) && slices.Contains(list, arv1.Warn) {
		l.Invalid(at, list, "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)")
	}
	if len(list) == 0 {
		l.Required(at, "")
	}
}
