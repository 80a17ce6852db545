package reviews

import (
	"context"
	"errors"
	"fmt"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/request"
)

// access tells what somebody may do.
type access struct{ authorizer authorizer.Authorizer }

func (a access) subject(ctx context.Context, q *authorizationv1.SubjectAccessReview, check func() error) (runtime.Object, error) {
	errs := append(validateSubject(&q.Spec), validateMeta(q.ObjectMeta, "must be empty")...)
	if err := sound(errs, check); err != nil {
		return nil, err
	}
	q.Status = a.decide(ctx, subjectOf(&q.Spec), q.Spec.ResourceAttributes, q.Spec.NonResourceAttributes)
	return q, nil
}

func (a access) local(ctx context.Context, q *authorizationv1.LocalSubjectAccessReview, check func() error) (runtime.Object, error) {
	meta := q.ObjectMeta
	meta.Namespace = ""
	errs := append(validateSubject(&q.Spec), validateMeta(meta, "must be empty except for namespace")...)
	if r := q.Spec.ResourceAttributes; r != nil && r.Namespace != q.Namespace {
		errs = append(errs, field.Invalid(field.NewPath("spec.resourceAttributes.namespace"), r.Namespace, "must match metadata.namespace"))
	}
	if q.Spec.NonResourceAttributes != nil {
		errs = append(errs, field.Invalid(field.NewPath("spec.nonResourceAttributes"), q.Spec.NonResourceAttributes, "disallowed on this kind of request"))
	}
	if err := sound(errs, nil); err != nil {
		return nil, err
	}
	namespace := request.NamespaceValue(ctx)
	if namespace == "" {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("namespace is required on this type: %v", namespace))
	}
	if namespace != q.Namespace {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("spec.resourceAttributes.namespace must match namespace: %v", namespace))
	}
	if err := check(); err != nil {
		return nil, err
	}
	q.Status = a.decide(ctx, subjectOf(&q.Spec), q.Spec.ResourceAttributes, nil)
	return q, nil
}

func (a access) self(ctx context.Context, q *authorizationv1.SelfSubjectAccessReview, check func() error) (runtime.Object, error) {
	errs := append(validateTarget(q.Spec.ResourceAttributes, q.Spec.NonResourceAttributes), validateMeta(q.ObjectMeta, "must be empty")...)
	if err := sound(errs, nil); err != nil {
		return nil, err
	}
	u, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	if err := check(); err != nil {
		return nil, err
	}
	q.Status = a.decide(ctx, u, q.Spec.ResourceAttributes, q.Spec.NonResourceAttributes)
	return q, nil
}

// sound refuses a question that makes no sense, then asks admission. The
// refusal names no kind: questions have none once they are read, and Kubernetes
// looks there.
func sound(errs field.ErrorList, check func() error) error {
	if len(errs) > 0 {
		return apierrors.NewInvalid(schema.GroupKind{Group: authorizationv1.GroupName}, "", errs)
	}
	if check == nil {
		return nil
	}
	return check()
}

func subjectOf(spec *authorizationv1.SubjectAccessReviewSpec) user.Info {
	u := &user.DefaultInfo{Name: spec.User, Groups: spec.Groups, UID: spec.UID}
	if spec.Extra != nil {
		u.Extra = make(map[string][]string, len(spec.Extra))
		for k, v := range spec.Extra {
			u.Extra[k] = v
		}
	}
	return u
}

func (a access) decide(ctx context.Context, u user.Info, r *authorizationv1.ResourceAttributes, n *authorizationv1.NonResourceAttributes) authorizationv1.SubjectAccessReviewStatus {
	attrs := authorizer.AttributesRecord{User: u}
	if r != nil {
		attrs = resourceAttributes(u, r)
	} else if n != nil {
		attrs.Path, attrs.Verb = n.Path, n.Verb
	}
	decision, reason, err := a.authorizer.Authorize(ctx, attrs)
	return authorizationv1.SubjectAccessReviewStatus{
		Allowed:         decision == authorizer.DecisionAllow,
		Denied:          decision == authorizer.DecisionDeny,
		Reason:          reason,
		EvaluationError: evaluationError(err, attrs),
	}
}

func evaluationError(err error, attrs authorizer.AttributesRecord) string {
	var out []string
	if err != nil {
		out = append(out, err.Error())
	}
	for _, s := range []struct {
		name  string
		err   error
		taken int
	}{
		{"fieldSelector", attrs.FieldSelectorParsingErr, len(attrs.FieldSelectorRequirements)},
		{"labelSelector", attrs.LabelSelectorParsingErr, len(attrs.LabelSelectorRequirements)},
	} {
		switch {
		case s.err == nil:
		case s.taken > 0:
			out = append(out, "spec.resourceAttributes."+s.name+" partially ignored due to parse error")
		default:
			out = append(out, "spec.resourceAttributes."+s.name+" ignored due to parse error")
		}
	}
	return strings.Join(out, "; ")
}

func validateSubject(spec *authorizationv1.SubjectAccessReviewSpec) field.ErrorList {
	errs := validateTarget(spec.ResourceAttributes, spec.NonResourceAttributes)
	if spec.User == "" && len(spec.Groups) == 0 {
		errs = append(errs, field.Invalid(field.NewPath("spec", "user"), spec.User, "at least one of user or group must be specified"))
	}
	return errs
}

func validateTarget(r *authorizationv1.ResourceAttributes, n *authorizationv1.NonResourceAttributes) field.ErrorList {
	var errs field.ErrorList
	if (r == nil) == (n == nil) {
		errs = append(errs, field.Invalid(field.NewPath("spec"), n, "exactly one of nonResourceAttributes or resourceAttributes must be specified"))
	}
	if r == nil {
		return errs
	}
	path := field.NewPath("spec.resourceAttributes")
	// Whoever asks may know operators that this server does not.
	if s := r.FieldSelector; s != nil {
		at := path.Child("fieldSelector")
		errs = append(errs, validateSelector(at, s.RawSelector, len(s.Requirements))...)
		options := metav1validation.FieldSelectorValidationOptions{AllowUnknownOperatorInRequirement: true}
		for i, q := range s.Requirements {
			errs = append(errs, metav1validation.ValidateFieldSelectorRequirement(q, options, at.Child("requirements").Index(i))...)
		}
	}
	if s := r.LabelSelector; s != nil {
		at := path.Child("labelSelector")
		errs = append(errs, validateSelector(at, s.RawSelector, len(s.Requirements))...)
		options := metav1validation.LabelSelectorValidationOptions{AllowUnknownOperatorInRequirement: true}
		for i, q := range s.Requirements {
			errs = append(errs, metav1validation.ValidateLabelSelectorRequirement(q, options, at.Child("requirements").Index(i))...)
		}
	}
	return errs
}

func validateSelector(path *field.Path, raw string, requirements int) field.ErrorList {
	switch {
	case raw != "" && requirements > 0:
		return field.ErrorList{field.Invalid(path.Child("rawSelector"), raw, "may not specified at the same time as requirements")}
	case raw == "" && requirements == 0:
		return field.ErrorList{field.Required(path.Child("requirements"), "when "+path.String()+" is specified, requirements or rawSelector is required")}
	}
	return nil
}

func validateMeta(meta metav1.ObjectMeta, must string) field.ErrorList {
	meta.ManagedFields = nil
	if apiequality.Semantic.DeepEqual(metav1.ObjectMeta{}, meta) {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("metadata"), meta, must)}
}

// myRules lists what the caller may do, as far as that is a list.
type myRules struct{ rules authorizer.RuleResolver }

func (m myRules) answer(ctx context.Context, q *authorizationv1.SelfSubjectRulesReview, check func() error) (runtime.Object, error) {
	u, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	if q.Spec.Namespace == "" {
		return nil, apierrors.NewBadRequest("no namespace on request")
	}
	if err := check(); err != nil {
		return nil, err
	}
	if m.rules == nil {
		return nil, apierrors.NewInternalError(errors.New("this server has no list of rules"))
	}
	resources, paths, incomplete, err := m.rules.RulesFor(ctx, u, q.Spec.Namespace)
	out := &authorizationv1.SelfSubjectRulesReview{Status: authorizationv1.SubjectRulesReviewStatus{
		ResourceRules:    make([]authorizationv1.ResourceRule, 0, len(resources)),
		NonResourceRules: make([]authorizationv1.NonResourceRule, 0, len(paths)),
		Incomplete:       incomplete,
	}}
	for _, r := range resources {
		out.Status.ResourceRules = append(out.Status.ResourceRules, authorizationv1.ResourceRule{
			Verbs: r.GetVerbs(), APIGroups: r.GetAPIGroups(), Resources: r.GetResources(), ResourceNames: r.GetResourceNames(),
		})
	}
	for _, r := range paths {
		out.Status.NonResourceRules = append(out.Status.NonResourceRules, authorizationv1.NonResourceRule{
			Verbs: r.GetVerbs(), NonResourceURLs: r.GetNonResourceURLs(),
		})
	}
	if err != nil {
		out.Status.EvaluationError = err.Error()
	}
	return out, nil
}
