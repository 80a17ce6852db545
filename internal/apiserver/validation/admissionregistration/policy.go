package admissionregistration

import (
	"fmt"
	"slices"
	"strings"

	arv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/validation/path"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/client-go/util/jsonpath"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
	"github.com/sinawi/sinawi/internal/apiserver/validation/rule"
)

// ValidatingPolicy checks a new policy.
func ValidatingPolicy(p *arv1.ValidatingAdmissionPolicy) field.ErrorList {
	return validatingPolicy(p, expressions{})
}

// ValidatingPolicyUpdate checks a changed policy.
func ValidatingPolicyUpdate(p, old *arv1.ValidatingAdmissionPolicy) field.ErrorList {
	e := expressions{}
	e.keep(old.Spec.MatchConditions)
	for _, v := range old.Spec.Validations {
		e.add(v.Expression)
		e.add(v.MessageExpression)
	}
	for _, a := range old.Spec.AuditAnnotations {
		e.add(a.ValueExpression)
	}
	for _, v := range old.Spec.Variables {
		e.add(v.Expression)
	}
	return rule.All(rule.MetaUpdate(&p.ObjectMeta, &old.ObjectMeta), validatingPolicy(p, e))
}

func validatingPolicy(p *arv1.ValidatingAdmissionPolicy, stored expressions) field.ErrorList {
	l := check.List{Errors: rule.Cluster(&p.ObjectMeta, rule.Subdomain)}
	at, s := field.NewPath("spec"), &p.Spec
	common{s.FailurePolicy, s.ParamKind, s.MatchConstraints, s.MatchConditions}.check(&l, stored, at)
	code, err := newProgram(len(s.Variables) > 0, s.ParamKind != nil, stored)
	if err != nil {
		l.Add(field.InternalError(at, err))
		return l.Errors
	}
	code.variables(&l, s.Variables, at.Child("variables"))
	if len(s.Validations) == 0 && len(s.AuditAnnotations) == 0 {
		const none = "validations or auditAnnotations must contain at least one item"
		l.Required(at.Child("validations"), none)
		l.Required(at.Child("auditAnnotations"), none)
		return l.Errors
	}
	for i := range s.Validations {
		code.validation(&l, &s.Validations[i], at.Child("validations").Index(i))
	}
	code.auditAnnotations(&l, p.Name, s.AuditAnnotations, at.Child("auditAnnotations"))
	return l.Errors
}

// common is what both kinds of policy have.
type common struct {
	failure     *arv1.FailurePolicyType
	params      *arv1.ParamKind
	constraints *arv1.MatchResources
	conditions  []arv1.MatchCondition
}

func (c common) check(l *check.List, stored expressions, at *field.Path) {
	if c.failure == nil {
		l.Required(at.Child("failurePolicy"), "")
	} else {
		check.OneOf(l, at.Child("failurePolicy"), *c.failure, arv1.Fail, arv1.Ignore)
	}
	if c.params != nil {
		paramKind(l, c.params, at.Child("paramKind"))
	}
	if here := at.Child("matchConstraints"); c.constraints == nil {
		l.Required(here, "")
	} else {
		matchResources(l, c.constraints, here)
		if len(c.constraints.ResourceRules) == 0 {
			l.Required(here.Child("resourceRules"), "")
		}
	}
	conditions(l, c.conditions, stored, c.params != nil, at.Child("matchConditions"))
}

func paramKind(l *check.List, k *arv1.ParamKind, at *field.Path) {
	group, version, divided := strings.Cut(k.APIVersion, "/")
	if !divided {
		group, version = "", k.APIVersion
	}
	here := at.Child("apiVersion")
	switch {
	case k.APIVersion == "":
		l.Required(here, "")
	case strings.Contains(version, "/"):
		l.Invalid(here, k.APIVersion, "unexpected GroupVersion string: "+k.APIVersion)
	default:
		if messages := validation.IsDNS1123Subdomain(group); group != "" && len(messages) > 0 {
			l.Invalid(here, group, strings.Join(messages, ","))
		}
		if version == "" {
			l.Invalid(here, k.APIVersion, "version must be specified")
		} else if messages := validation.IsDNS1035Label(version); len(messages) > 0 {
			l.Invalid(here, version, strings.Join(messages, ","))
		}
	}
	if k.Kind == "" {
		l.Required(at.Child("kind"), "")
	} else if messages := validation.IsDNS1035Label(strings.ToLower(k.Kind)); len(messages) > 0 {
		l.Invalid(at.Child("kind"), k.Kind, "may have mixed case, but should otherwise match: "+strings.Join(messages, ","))
	}
}

func matchResources(l *check.List, m *arv1.MatchResources, at *field.Path) {
	if m.MatchPolicy == nil {
		l.Required(at.Child("matchPolicy"), "")
	} else {
		check.OneOf(l, at.Child("matchPolicy"), *m.MatchPolicy, arv1.Equivalent, arv1.Exact)
	}
	for _, s := range []struct {
		name     string
		selector *metav1.LabelSelector
	}{{"namespaceSelector", m.NamespaceSelector}, {"objectSelector", m.ObjectSelector}} {
		if s.selector == nil {
			l.Required(at.Child(s.name), "")
		} else {
			l.Add(rule.Selector(s.selector, at.Child(s.name))...)
		}
	}
	for _, list := range []struct {
		name  string
		rules []arv1.NamedRuleWithOperations
	}{{"resourceRules", m.ResourceRules}, {"excludeResourceRules", m.ExcludeResourceRules}} {
		for i := range list.rules {
			r, here := &list.rules[i], at.Child(list.name).Index(i)
			for j, name := range r.ResourceNames {
				l.Messages(here.Child("resourceNames").Index(j), name, path.ValidatePathSegmentName(name, false))
				if slices.Contains(r.ResourceNames[:j], name) {
					l.Duplicate(here.Child("resourceNames").Index(j), name)
				}
			}
			operations(l, &r.RuleWithOperations, here)
		}
	}
}

// mutable refuses operations that leave nothing to change.
func mutable(l *check.List, m *arv1.MatchResources, at *field.Path) {
	if m == nil {
		return
	}
	for i := range m.ResourceRules {
		for _, o := range m.ResourceRules[i].Operations {
			check.OneOf(l, at.Child("resourceRules", "operations"), o, arv1.OperationAll, arv1.Connect, arv1.Create, arv1.Update)
		}
	}
}

func (p program) validation(l *check.List, v *arv1.Validation, at *field.Path) {
	vars := plugincel.OptionalVariableDeclarations{HasParams: p.params, HasAuthorizer: true}
	p.required(l, "expression is not specified", &validating.ValidationCondition{Expression: v.Expression}, vars, at.Child("expression"))
	if here := at.Child("messageExpression"); v.MessageExpression != "" {
		if strings.TrimSpace(v.MessageExpression) == "" {
			l.Invalid(here, v.MessageExpression, "must be non-empty if specified")
		} else {
			vars.HasAuthorizer = false
			compile(l, p, &validating.MessageExpressionCondition{MessageExpression: v.MessageExpression}, vars, p.stored, here)
		}
	}
	if here := at.Child("message"); v.Message != "" {
		switch text := strings.TrimSpace(v.Message); {
		case text == "":
			l.Invalid(here, v.Message, "message must be non-empty if specified")
		case strings.ContainsAny(text, "\n\r"):
			l.Invalid(here, v.Message, "message must not contain line breaks")
		}
	}
	if v.Reason != nil {
		check.OneOf(l, at.Child("reason"), *v.Reason, metav1.StatusReasonForbidden, metav1.StatusReasonInvalid,
			metav1.StatusReasonRequestEntityTooLarge)
	}
}

func (p program) auditAnnotations(l *check.List, policy string, list []arv1.AuditAnnotation, at *field.Path) {
	const most, longest = 20, 5 * 1024
	if len(list) > most {
		l.Invalid(at, list, fmt.Sprintf("must not have more than %d auditAnnotations", most))
	}
	keys := sets.New[string]()
	for i, a := range list {
		key, here := at.Index(i).Child("key"), at.Index(i).Child("valueExpression")
		if policy == "" {
			l.Invalid(key, a.Key, "requires metadata.name be non-empty")
		} else {
			l.QualifiedName(key, policy+"/"+a.Key)
		}
		switch text := strings.TrimSpace(a.ValueExpression); {
		case text == "":
			l.Required(here, "valueExpression is not specified")
		case len(text) > longest:
			l.Required(here, fmt.Sprintf("must not exceed %d bytes in length", longest))
		default:
			compile(l, p, &validating.AuditAnnotationCondition{ValueExpression: text},
				plugincel.OptionalVariableDeclarations{HasParams: p.params, HasAuthorizer: true}, p.stored, here)
		}
		if keys.Has(a.Key) {
			l.Duplicate(key, a.Key)
		}
		keys.Insert(a.Key)
	}
}

// ValidatingPolicyStatusUpdate checks what is reported of a policy's types.
func ValidatingPolicyStatusUpdate(p, old *arv1.ValidatingAdmissionPolicy) field.ErrorList {
	l := check.List{Errors: rule.MetaUpdate(&p.ObjectMeta, &old.ObjectMeta)}
	at := field.NewPath("status")
	l.Add(metav1validation.ValidateConditions(p.Status.Conditions, at.Child("conditions"))...)
	if p.Status.TypeChecking == nil {
		return l.Errors
	}
	for i, w := range p.Status.TypeChecking.ExpressionWarnings {
		here := at.Child("typeChecking", "expressionWarnings").Index(i)
		if w.Warning == "" {
			l.Required(here.Child("warning"), "")
		}
		ref := strings.TrimSpace(w.FieldRef)
		if ref == "" {
			l.Required(here.Child("fieldRef"), "")
		} else if err := jsonpath.New("spec").Parse("{" + ref + "}"); err != nil {
			l.Invalid(here.Child("fieldRef"), ref, fmt.Sprintf("invalid JSONPath: %v", err))
		}
	}
	return l.Errors
}
