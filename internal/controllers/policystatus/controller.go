// Package policystatus tells the authors of validating admission policies what
// in their expressions does not fit the kinds that the policies are for.
//
// It owns the status of ValidatingAdmissionPolicies. Each is checked once for
// every change of its spec.
package policystatus

import (
	"context"
	"fmt"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/loop"
)

// Checker finds what is wrong with a policy's expressions.
type Checker interface {
	Check(*admissionregistrationv1.ValidatingAdmissionPolicy) []admissionregistrationv1.ExpressionWarning
}

// Controller reconciles policies.
type Controller struct {
	loop.Deps
	loop  *loop.Loop
	check Checker
}

// New returns a controller that works with the given dependencies.
func New(deps loop.Deps, check Checker) *Controller {
	c := &Controller{Deps: deps, check: check}
	c.loop = loop.New("policystatus", 1, deps, c.reconcile)
	c.loop.WatchChanges(&admissionregistrationv1.ValidatingAdmissionPolicy{}, func(before, after client.Object) []loop.Key {
		if after == nil || before != nil && before.GetGeneration() == after.GetGeneration() {
			return nil
		}
		return loop.Self(after)
	})
	return c
}

// Run reconciles until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

func (c *Controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	policy := &admissionregistrationv1.ValidatingAdmissionPolicy{}
	if err := c.Cache.Get(ctx, key, policy); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	if policy.DeletionTimestamp != nil || policy.Status.ObservedGeneration >= policy.Generation {
		return 0, nil
	}
	policy.Status.TypeChecking = &admissionregistrationv1.TypeChecking{ExpressionWarnings: c.check.Check(policy)}
	policy.Status.ObservedGeneration = policy.Generation
	if err := c.Client.Status().Update(ctx, policy); err != nil {
		return 0, client.IgnoreNotFound(fmt.Errorf("write status of policy %s: %w", policy.Name, err))
	}
	return 0, nil
}
