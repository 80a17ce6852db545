package policy

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	rbacv1 "k8s.io/api/rbac/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes"

	"github.com/sinawi/sinawi/internal/apiserver/authz/follow"
	"github.com/sinawi/sinawi/internal/store/feed"
)

// Aggregator keeps the rules of aggregated cluster roles in step with the roles
// that they gather from. It works at every change of a cluster role; those are
// few and small, so that it looks at all of them each time.
type Aggregator struct {
	client  kubernetes.Interface
	feed    *feed.Feed
	log     *slog.Logger
	changed chan struct{}

	mu    sync.Mutex
	roles map[string]*rbacv1.ClusterRole // guarded by mu; by name, read-only
}

// retryAfter is how long after a failed write the aggregator tries again.
const retryAfter = time.Second

// NewAggregator returns an aggregator that follows from.
func NewAggregator(client kubernetes.Interface, from *feed.Feed, log *slog.Logger) *Aggregator {
	return &Aggregator{
		client: client, feed: from, log: log,
		changed: make(chan struct{}, 1), roles: map[string]*rbacv1.ClusterRole{},
	}
}

// Run works until ctx ends.
func (a *Aggregator) Run(ctx context.Context) error {
	gate := follow.NewGate()
	work, ctx := errgroup.WithContext(ctx)
	work.Go(func() error {
		return follow.Run(ctx, a.feed, gate, follow.Source{
			Resource: schema.GroupResource{Group: rbacv1.GroupName, Resource: "clusterroles"},
			Set: func(_, obj runtime.Object) {
				r := obj.(*rbacv1.ClusterRole)
				a.change(func() { a.roles[r.Name] = r })
			},
			Drop:  func(obj runtime.Object) { a.change(func() { delete(a.roles, obj.(*rbacv1.ClusterRole).Name) }) },
			Clear: func() { a.change(func() { clear(a.roles) }) },
		})
	})
	work.Go(func() error { return a.work(ctx, gate) })
	return work.Wait()
}

func (a *Aggregator) change(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
	select {
	case a.changed <- struct{}{}:
	default: // it is awake already
	}
}

func (a *Aggregator) work(ctx context.Context, gate *follow.Gate) error {
	for gate.Pass(ctx) != nil {
		if ctx.Err() != nil {
			return nil
		}
	}
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
	a.mu.Lock()
	all := make([]rbacv1.ClusterRole, 0, len(a.roles))
	for _, r := range a.roles {
		all = append(all, *r)
	}
	a.mu.Unlock()
	for i := range all {
		r := &all[i]
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
