// Package flowcontrol decides whether flow schemas and priority levels are
// valid, in the field paths and words that Kubernetes uses. Its functions are
// pure.
package flowcontrol

import (
	"fmt"
	"slices"
	"strings"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"

	"github.com/sinawi/sinawi/internal/apiserver/validation/check"
	"github.com/sinawi/sinawi/internal/apiserver/validation/rule"
)

const all = "*"

// FlowSchema checks a new schema.
func FlowSchema(f *flowcontrolv1.FlowSchema) field.ErrorList {
	l := check.List{Errors: rule.Cluster(&f.ObjectMeta, rule.Subdomain)}
	path := field.NewPath("spec")
	schemaSpec(&l, f.Name, &f.Spec, path)
	for _, fixed := range bootstrap.MandatoryFlowSchemas {
		if fixed.Name == f.Name && !apiequality.Semantic.DeepEqual(f.Spec, fixed.Spec) {
			l.Invalid(path, f.Spec, fmt.Sprintf("spec of '%s' must equal the fixed value", f.Name))
		}
	}
	schemaStatus(&l, f)
	return l.Errors
}

// FlowSchemaUpdate checks a changed schema.
func FlowSchemaUpdate(f, old *flowcontrolv1.FlowSchema) field.ErrorList {
	return rule.All(rule.MetaUpdate(&f.ObjectMeta, &old.ObjectMeta), FlowSchema(f))
}

// FlowSchemaStatusUpdate checks what is reported of a schema.
func FlowSchemaStatusUpdate(f, _ *flowcontrolv1.FlowSchema) field.ErrorList {
	var l check.List
	schemaStatus(&l, f)
	return l.Errors
}

func schemaStatus(l *check.List, f *flowcontrolv1.FlowSchema) {
	var types []string
	for _, c := range f.Status.Conditions {
		types = append(types, string(c.Type))
	}
	conditions(l, types)
}

// conditions checks that each is named, once.
func conditions(l *check.List, types []string) {
	path := field.NewPath("status", "conditions")
	for i, t := range types {
		at := path.Index(i).Child("type")
		if slices.Contains(types[:i], t) {
			l.Duplicate(at, t)
		}
		if t == "" {
			l.Required(at, "")
		}
	}
}

func schemaSpec(l *check.List, name string, s *flowcontrolv1.FlowSchemaSpec, path *field.Path) {
	precedence := path.Child("matchingPrecedence")
	if s.MatchingPrecedence <= 0 {
		l.Invalid(precedence, s.MatchingPrecedence, "must be a positive value")
	}
	if s.MatchingPrecedence > flowcontrolv1.FlowSchemaMaxMatchingPrecedence {
		l.Invalid(precedence, s.MatchingPrecedence, fmt.Sprintf("must not be greater than %v", flowcontrolv1.FlowSchemaMaxMatchingPrecedence))
	}
	if s.MatchingPrecedence == 1 && name != flowcontrolv1.FlowSchemaNameExempt {
		l.Invalid(precedence, s.MatchingPrecedence, "only the schema named 'exempt' may have matchingPrecedence 1")
	}
	if m := s.DistinguisherMethod; m != nil && m.Type != flowcontrolv1.FlowDistinguisherMethodByNamespaceType && m.Type != flowcontrolv1.FlowDistinguisherMethodByUserType {
		l.Add(field.NotSupported(path.Child("distinguisherMethod", "type"), m, []string{
			string(flowcontrolv1.FlowDistinguisherMethodByNamespaceType), string(flowcontrolv1.FlowDistinguisherMethodByUserType)}))
	}
	level := path.Child("priorityLevelConfiguration", "name")
	if n := s.PriorityLevelConfiguration.Name; n == "" {
		l.Required(level, "must reference a priority level")
	} else {
		l.Subdomain(level, n)
	}
	for i := range s.Rules {
		rules(l, &s.Rules[i], path.Child("rules").Index(i))
	}
}

func rules(l *check.List, r *flowcontrolv1.PolicyRulesWithSubjects, path *field.Path) {
	if len(r.Subjects) == 0 {
		l.Required(path.Child("subjects"), "subjects must contain at least one value")
	}
	for i := range r.Subjects {
		subject(l, &r.Subjects[i], path.Child("subjects").Index(i))
	}
	if len(r.ResourceRules) == 0 && len(r.NonResourceRules) == 0 {
		l.Required(path, "at least one of resourceRules and nonResourceRules has to be non-empty")
	}
	for i := range r.ResourceRules {
		resourceRule(l, &r.ResourceRules[i], path.Child("resourceRules").Index(i))
	}
	for i := range r.NonResourceRules {
		nonResourceRule(l, &r.NonResourceRules[i], path.Child("nonResourceRules").Index(i))
	}
}

func subject(l *check.List, s *flowcontrolv1.Subject, path *field.Path) {
	type variant struct {
		kind flowcontrolv1.SubjectKind
		name string
		set  bool
	}
	kinds := []variant{
		{flowcontrolv1.SubjectKindServiceAccount, "serviceAccount", s.ServiceAccount != nil},
		{flowcontrolv1.SubjectKindUser, "user", s.User != nil},
		{flowcontrolv1.SubjectKindGroup, "group", s.Group != nil},
	}
	if !slices.ContainsFunc(kinds, func(v variant) bool { return v.kind == s.Kind }) {
		l.Add(field.NotSupported(path.Child("kind"), s.Kind, []string{
			string(flowcontrolv1.SubjectKindGroup), string(flowcontrolv1.SubjectKindServiceAccount), string(flowcontrolv1.SubjectKindUser)}))
		return
	}
	for _, k := range kinds {
		at := path.Child(k.name)
		switch {
		case k.kind != s.Kind && k.set:
			l.Forbidden(at, fmt.Sprintf("%s is forbidden when subject kind is not '%s'", k.name, k.kind))
		case k.kind == s.Kind && !k.set:
			l.Required(at, fmt.Sprintf("%s is required when subject kind is '%s'", k.name, k.kind))
		case k.kind == s.Kind:
			subjectName(l, s, at)
		}
	}
}

func subjectName(l *check.List, s *flowcontrolv1.Subject, path *field.Path) {
	var name string
	switch s.Kind {
	case flowcontrolv1.SubjectKindUser:
		name = s.User.Name
	case flowcontrolv1.SubjectKindGroup:
		name = s.Group.Name
	default:
		name = s.ServiceAccount.Name
	}
	if name == "" {
		l.Required(path.Child("name"), "")
	}
	if s.Kind != flowcontrolv1.SubjectKindServiceAccount {
		return
	}
	if name != "" && name != all {
		l.Messages(path.Child("name"), name, apivalidation.ValidateServiceAccountName(name, false))
	}
	if namespace := s.ServiceAccount.Namespace; namespace == "" {
		l.Required(path.Child("namespace"), "must specify namespace for service account")
	} else {
		l.Messages(path.Child("namespace"), namespace, apivalidation.ValidateNamespaceName(namespace, false))
	}
}

// alone refuses a star beside other values; it tells whether there is a star.
func alone(l *check.List, list []string, what string, path *field.Path) bool {
	if !slices.Contains(list, all) {
		return false
	}
	if len(list) > 1 {
		l.Invalid(path, list, "if '*' is present, must not specify other "+what)
	}
	return true
}

func verbs(l *check.List, list []string, path *field.Path) {
	known := []string{"create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"}
	switch {
	case len(list) == 0:
		l.Required(path, "verbs must contain at least one value")
	case alone(l, list, "verbs", path):
	case slices.ContainsFunc(list, func(v string) bool { return !slices.Contains(known, v) }):
		l.Add(field.NotSupported(path, list, known))
	}
}

func resourceRule(l *check.List, r *flowcontrolv1.ResourcePolicyRule, path *field.Path) {
	verbs(l, r.Verbs, path.Child("verbs"))
	if at := path.Child("apiGroups"); len(r.APIGroups) == 0 {
		l.Required(at, "resource rules must supply at least one api group")
	} else {
		alone(l, r.APIGroups, "api groups", at)
	}
	if at := path.Child("resources"); len(r.Resources) == 0 {
		l.Required(at, "resource rules must supply at least one resource")
	} else {
		alone(l, r.Resources, "resources", at)
	}
	at := path.Child("namespaces")
	if len(r.Namespaces) == 0 && !r.ClusterScope {
		l.Required(at, "resource rules that are not cluster scoped must supply at least one namespace")
		return
	}
	if alone(l, r.Namespaces, "namespaces", at) {
		return
	}
	for i, n := range r.Namespaces {
		for _, m := range apivalidation.ValidateNamespaceName(n, false) {
			l.Invalid(at.Index(i), n, "each member of this list must be '*' or a DNS-1123 label; "+m)
		}
	}
}

func nonResourceRule(l *check.List, r *flowcontrolv1.NonResourcePolicyRule, path *field.Path) {
	verbs(l, r.Verbs, path.Child("verbs"))
	at := path.Child("nonResourceURLs")
	switch {
	case len(r.NonResourceURLs) == 0:
		l.Required(at, "nonResourceURLs must contain at least one value")
	case alone(l, r.NonResourceURLs, "non-resource URLs", at):
	default:
		for i, u := range r.NonResourceURLs {
			if fault := urlFault(u); fault != "" {
				l.Invalid(at.Index(i), u, fault)
			}
		}
	}
}

func urlFault(u string) string {
	stars := strings.Count(u, all)
	switch {
	case u == "":
		return "must not be empty"
	case u == "/":
		return ""
	case !strings.HasPrefix(u, "/"):
		return "must start with slash"
	case strings.Contains(u, " "):
		return "must not contain white-space"
	case strings.Contains(u, "//"):
		return "must not contain double slash"
	case stars > 1 || stars == 1 && !strings.HasSuffix(u, "/*"):
		return "wildcard can only do suffix matching"
	}
	return ""
}
