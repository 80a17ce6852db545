// Package clusterrole fills ClusterRoles that are put together from others.
//
// It owns the rules of every ClusterRole with an aggregation rule: they are those
// of the roles that it selects, without repetition.
package clusterrole

import (
	"context"
	"fmt"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/loop"
)

// Controller reconciles ClusterRoles.
type Controller struct {
	loop.Deps
	loop *loop.Loop
}

// New returns a controller that works with the given dependencies.
func New(deps loop.Deps) *Controller {
	c := &Controller{Deps: deps}
	c.loop = loop.New("clusterrole", 1, deps, c.reconcile)
	c.loop.WatchChanges(&rbacv1.ClusterRole{}, c.changed)
	return c
}

// Run reconciles until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

// changed wakes the roles that are put together from the changed one.
func (c *Controller) changed(before, after client.Object) []loop.Key {
	var keys []loop.Key
	if after != nil && after.(*rbacv1.ClusterRole).AggregationRule != nil {
		keys = loop.Self(after)
	}
	var list rbacv1.ClusterRoleList
	if err := c.Cache.List(context.Background(), &list, client.UnsafeDisableDeepCopy); err != nil {
		c.Log.Error("list cluster roles", "err", err)
		return keys
	}
	for i := range list.Items {
		role := &list.Items[i]
		if (before != nil && selects(role, before)) || (after != nil && selects(role, after)) {
			keys = append(keys, loop.Self(role)...)
		}
	}
	return keys
}

func selects(role *rbacv1.ClusterRole, part client.Object) bool {
	if role.AggregationRule == nil || role.Name == part.GetName() {
		return false
	}
	for i := range role.AggregationRule.ClusterRoleSelectors {
		selector, err := metav1.LabelSelectorAsSelector(&role.AggregationRule.ClusterRoleSelectors[i])
		if err == nil && selector.Matches(labels.Set(part.GetLabels())) {
			return true
		}
	}
	return false
}

func (c *Controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	role := &rbacv1.ClusterRole{}
	if err := c.Cache.Get(ctx, key, role); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	if role.AggregationRule == nil || role.DeletionTimestamp != nil {
		return 0, nil
	}
	var list rbacv1.ClusterRoleList
	if err := c.Cache.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return 0, fmt.Errorf("list cluster roles: %w", err)
	}
	next := rules(role, list.Items)
	if equality.Semantic.DeepEqual(role.Rules, next) {
		return 0, nil
	}
	role.Rules = next
	if err := c.Client.Update(ctx, role); err != nil {
		return 0, client.IgnoreNotFound(fmt.Errorf("put together cluster role %s: %w", role.Name, err))
	}
	return 0, nil
}
