package policy

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	rbacinformers "k8s.io/client-go/informers/rbac/v1"
	"k8s.io/client-go/kubernetes"
	rbaclisters "k8s.io/client-go/listers/rbac/v1"
	"k8s.io/client-go/tools/cache"
)

// Aggregator keeps the rules of aggregated cluster roles in step with the roles
// that they gather from. It works at every change of a cluster role; those are
// few and small, so that it looks at all of them each time.
type Aggregator struct {
	client  kubernetes.Interface
	roles   rbaclisters.ClusterRoleLister
	changed chan struct{}
	log     *slog.Logger
}

// retryAfter is how long after a failed write the aggregator tries again.
const retryAfter = time.Second

// NewAggregator returns an aggregator that follows informer, which its owner
// starts.
func NewAggregator(client kubernetes.Interface, informer rbacinformers.ClusterRoleInformer, log *slog.Logger) (*Aggregator, error) {
	a := &Aggregator{client: client, roles: informer.Lister(), changed: make(chan struct{}, 1), log: log}
	_, err := informer.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { a.wake() },
		UpdateFunc: func(_, _ any) { a.wake() },
		DeleteFunc: func(any) { a.wake() },
	})
	if err != nil {
		return nil, fmt.Errorf("follow cluster roles: %w", err)
	}
	return a, nil
}

func (a *Aggregator) wake() {
	select {
	case a.changed <- struct{}{}:
	default: // it is awake already
	}
}

// Run works until ctx ends.
func (a *Aggregator) Run(ctx context.Context) error {
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-a.changed:
		case <-again:
		}
		again = nil
		if err := a.sync(ctx); err != nil && ctx.Err() == nil {
			a.log.WarnContext(ctx, "aggregate cluster roles", "err", err)
			again = time.After(retryAfter)
		}
	}
}

func (a *Aggregator) sync(ctx context.Context) error {
	list, err := a.roles.List(labels.Everything())
	if err != nil {
		return err
	}
	all := make([]rbacv1.ClusterRole, 0, len(list))
	for _, r := range list {
		all = append(all, *r)
	}
	for _, r := range list {
		if r.AggregationRule == nil {
			continue
		}
		rules := Aggregate(r, all)
		if apiequality.Semantic.DeepEqual(rules, r.Rules) {
			continue
		}
		updated := r.DeepCopy()
		updated.Rules = rules
		_, err := a.client.RbacV1().ClusterRoles().Update(ctx, updated, metav1.UpdateOptions{FieldManager: "clusterrole-aggregation-controller"})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return fmt.Errorf("update cluster role %s: %w", r.Name, err)
		}
		// After a conflict the change that won comes in and wakes us.
	}
	return nil
}
