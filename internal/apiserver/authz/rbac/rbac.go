// Package rbac answers who may do what by the roles and bindings of
// rbac.authorization.k8s.io: whether a request is allowed, which rules a user
// has, and whether a user who writes a role or a binding already holds what it
// would give away.
//
// Bindings are indexed by whom they name, so that a decision looks only at the
// bindings of the caller and his groups however many there are in the cluster.
// The index follows the change feed of the store while Follow runs.
package rbac

import (
	"context"
	"errors"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// Authorizer decides by an index of roles and bindings. It never denies: what
// no role allows is left to the next authorizer.
type Authorizer struct{ index *Index }

// New returns the authorizer over index.
func New(index *Index) *Authorizer { return &Authorizer{index: index} }

// Authorize implements authorizer.Authorizer.
func (a *Authorizer) Authorize(ctx context.Context, attrs authorizer.Attributes) (authorizer.Decision, string, error) {
	if err := a.index.gate.Pass(ctx); err != nil {
		return authorizer.DecisionNoOpinion, "", err
	}
	reason := ""
	var errs []error
	a.index.visit(attrs.GetUser(), attrs.GetNamespace(), func(g grant, rules []rbacv1.PolicyRule, err error) bool {
		if err != nil {
			errs = append(errs, err)
			return true
		}
		if Allows(attrs, rules...) {
			reason = "RBAC: allowed by " + g.String()
			return false
		}
		return true
	})
	if reason != "" {
		return authorizer.DecisionAllow, reason, nil
	}
	if len(errs) > 0 {
		reason = fmt.Sprintf("RBAC: %v", utilerrors.NewAggregate(errs))
	}
	return authorizer.DecisionNoOpinion, reason, nil
}

// ConditionsAwareAuthorize is Authorize: roles know no conditions.
func (a *Authorizer) ConditionsAwareAuthorize(ctx context.Context, attrs authorizer.Attributes) authorizer.ConditionsAwareDecision {
	return authorizer.ConditionsAwareDecisionFromParts(a.Authorize(ctx, attrs))
}

// EvaluateConditions refuses: roles know no conditions.
func (a *Authorizer) EvaluateConditions(context.Context, authorizer.ConditionsAwareDecision, authorizer.ConditionsData) (authorizer.Decision, string, error) {
	return authorizer.DecisionDeny, "", authorizer.ErrorConditionEvaluationNotSupported
}

// RulesFor implements authorizer.RuleResolver.
func (a *Authorizer) RulesFor(ctx context.Context, u user.Info, namespace string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	if err := a.index.gate.Pass(ctx); err != nil {
		return nil, nil, true, err
	}
	rules, err := a.PolicyRulesFor(u, namespace)
	var resources []authorizer.ResourceRuleInfo
	var paths []authorizer.NonResourceRuleInfo
	for _, r := range rules {
		if len(r.Resources) > 0 {
			resources = append(resources, &authorizer.DefaultResourceRuleInfo{
				Verbs: r.Verbs, APIGroups: r.APIGroups, Resources: r.Resources, ResourceNames: r.ResourceNames,
			})
		}
		if len(r.NonResourceURLs) > 0 {
			paths = append(paths, &authorizer.DefaultNonResourceRuleInfo{Verbs: r.Verbs, NonResourceURLs: r.NonResourceURLs})
		}
	}
	return resources, paths, false, err
}

// PolicyRulesFor returns the rules of u in a namespace, or cluster-wide when
// the namespace is empty. With an error the list lacks what the error names.
func (a *Authorizer) PolicyRulesFor(u user.Info, namespace string) ([]rbacv1.PolicyRule, error) {
	var all []rbacv1.PolicyRule
	var errs []error
	a.index.visit(u, namespace, func(_ grant, rules []rbacv1.PolicyRule, err error) bool {
		if err != nil {
			errs = append(errs, err)
		}
		all = append(all, rules...)
		return true
	})
	return all, errors.Join(errs...)
}

// RoleRules returns the rules of the role that a binding in namespace refers to.
func (a *Authorizer) RoleRules(ref rbacv1.RoleRef, namespace string) ([]rbacv1.PolicyRule, error) {
	a.index.mu.RLock()
	defer a.index.mu.RUnlock()
	return a.index.rules(ref, namespace)
}
