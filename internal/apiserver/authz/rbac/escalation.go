package rbac

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/component-helpers/auth/rbac/validation"
)

// Escalation refuses roles and bindings by which a user would give away, to
// himself or to others, what he does not have. It implements
// admission.ValidationInterface. Who may "escalate" a role or "bind" it is
// exempt, as are the members of system:masters.
type Escalation struct {
	rules *Authorizer
	may   authorizer.UnconditionalAuthorizer
}

// NewEscalation returns the check; may decides on the verbs escalate and bind.
func NewEscalation(rules *Authorizer, may authorizer.UnconditionalAuthorizer) *Escalation {
	return &Escalation{rules: rules, may: may}
}

// Handles says which writes are looked at.
func (e *Escalation) Handles(op admission.Operation) bool {
	return op == admission.Create || op == admission.Update
}

// Validate implements admission.ValidationInterface.
func (e *Escalation) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	if a.GetResource().Group != rbacv1.GroupName || a.GetSubresource() != "" ||
		slices.Contains(a.GetUserInfo().GetGroups(), user.SystemPrivilegedGroup) ||
		onlyBookkeeping(a.GetObject(), a.GetOldObject()) {
		return nil
	}
	var err error
	switch obj := a.GetObject().(type) {
	case *rbacv1.Role:
		err = e.role(ctx, a, obj.Rules, false)
	case *rbacv1.ClusterRole:
		old, _ := a.GetOldObject().(*rbacv1.ClusterRole)
		err = e.role(ctx, a, obj.Rules, aggregates(obj) || aggregates(old))
	case *rbacv1.RoleBinding:
		err = e.binding(ctx, a, obj.RoleRef)
	case *rbacv1.ClusterRoleBinding:
		err = e.binding(ctx, a, obj.RoleRef)
	}
	if err == nil || apierrors.IsNotFound(err) {
		return err
	}
	return apierrors.NewForbidden(a.GetResource().GroupResource(), a.GetName(), err)
}

func aggregates(r *rbacv1.ClusterRole) bool {
	return r != nil && r.AggregationRule != nil && len(r.AggregationRule.ClusterRoleSelectors) > 0
}

// onlyBookkeeping says whether an update changes nothing but what garbage
// collection needs to write.
func onlyBookkeeping(obj, old runtime.Object) bool {
	if old == nil {
		return false
	}
	a, b := obj.DeepCopyObject(), old.DeepCopyObject()
	for _, o := range []runtime.Object{a, b} {
		m, err := meta.Accessor(o)
		if err != nil {
			return false
		}
		m.SetOwnerReferences(nil)
		m.SetFinalizers(nil)
		m.SetManagedFields(nil)
		m.SetResourceVersion("")
	}
	return apiequality.Semantic.DeepEqual(a, b)
}

// role checks the writing of a role with these rules.
func (e *Escalation) role(ctx context.Context, a admission.Attributes, rules []rbacv1.PolicyRule, aggregated bool) error {
	name := a.GetName()
	if a.GetOperation() == admission.Create {
		name = "" // a request to create names nothing, so no resourceName matches it
	}
	if e.allowed(ctx, a, authorizer.AttributesRecord{
		Verb: "escalate", Resource: a.GetResource().Resource, Name: name, Namespace: a.GetNamespace(),
	}) {
		return nil
	}
	if err := e.holds(a, rules); err != nil {
		return err
	}
	// An aggregated role can gather anything later on.
	if aggregated && e.holds(a, everything()) != nil {
		return errors.New("must have cluster-admin privileges to use the aggregationRule")
	}
	return nil
}

func everything() []rbacv1.PolicyRule {
	all := []string{"*"}
	return []rbacv1.PolicyRule{
		{Verbs: all, APIGroups: all, Resources: all},
		{Verbs: all, NonResourceURLs: all},
	}
}

// binding checks the writing of a binding to the role that ref names.
func (e *Escalation) binding(ctx context.Context, a admission.Attributes, ref rbacv1.RoleRef) error {
	resource := "clusterroles"
	if ref.Kind == "Role" {
		resource = "roles"
	}
	if e.allowed(ctx, a, authorizer.AttributesRecord{
		Verb: "bind", Resource: resource, Name: ref.Name, Namespace: a.GetNamespace(),
	}) {
		return nil
	}
	rules, err := e.rules.RoleRules(ref, a.GetNamespace())
	if apierrors.IsNotFound(err) {
		return apierrors.NewNotFound(a.GetResource().GroupResource(), ref.Name) // as if it were what is written
	}
	if err != nil {
		return err
	}
	return e.holds(a, rules)
}

func (e *Escalation) allowed(ctx context.Context, a admission.Attributes, want authorizer.AttributesRecord) bool {
	want.User, want.APIGroup, want.APIVersion, want.ResourceRequest = a.GetUserInfo(), rbacv1.GroupName, "*", true
	decision, _, err := e.may.Authorize(ctx, want)
	return err == nil && decision == authorizer.DecisionAllow
}

// holds says, as an error, what of the rules the user does not have himself.
func (e *Escalation) holds(a admission.Attributes, rules []rbacv1.PolicyRule) error {
	u := a.GetUserInfo()
	own, resolution := e.rules.PolicyRulesFor(u, a.GetNamespace())
	covered, missing := validation.Covers(own, rules)
	if covered {
		return nil
	}
	var lines []string
	for _, r := range compact(missing) {
		lines = append(lines, describe(r))
	}
	slices.Sort(lines)
	var msg strings.Builder
	_, _ = fmt.Fprintf(&msg, "user %q (groups=%q) is attempting to grant RBAC permissions not currently held:\n%s",
		u.GetName(), u.GetGroups(), strings.Join(slices.Compact(lines), "\n"))
	if resolution != nil {
		_, _ = io.WriteString(&msg, "; resolution errors: "+resolution.Error())
	}
	return errors.New(msg.String())
}
