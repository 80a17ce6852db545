package aggregate

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration/v1/helper"

	"golang.org/x/sync/errgroup"
)

// Other servers are asked this often whether they answer.
const (
	checkEvery        = 30 * time.Second
	checkMissingEvery = 2 * time.Second
	maxWrites         = 4 // beside each other
)

// keep keeps the objects of what is served here, and watches over the other
// servers, until ctx ends.
func (a *Aggregator) keep(ctx context.Context) error {
	var group errgroup.Group
	defer func() {
		_ = group.Wait() // its functions return nothing
		a.informers.Shutdown()
	}()
	discovering := false
	var again <-chan time.Time
	for {
		a.register(ctx)
		again = nil
		if wait, any := a.watchOver(ctx); any {
			if !discovering {
				discovering = true
				group.Go(func() error {
					a.documents.Run(ctx.Done(), make(chan struct{}))
					return nil
				})
			}
			again = time.After(wait)
		}
		select {
		case <-a.changed:
		case <-a.o.Custom.Changed():
		case <-again:
		case <-ctx.Done():
			return nil
		}
	}
}

// register brings the objects of local group versions up to date.
func (a *Aggregator) register(ctx context.Context) {
	var served []local
	for _, gv := range a.built {
		served = append(served, local{GroupVersion: gv})
	}
	for group, versions := range a.o.Custom.Groups() {
		for _, v := range versions {
			served = append(served, local{GroupVersion: schema.GroupVersion{Group: group, Version: v}, custom: true})
		}
	}
	have, _ := a.objects.List(labels.Everything()) // a cache does not fail
	todo, api := plan(served, have), a.client.ApiregistrationV1().APIServices()
	var group errgroup.Group
	group.SetLimit(maxWrites)
	write := func(what string, o *apiregistrationv1.APIService, f func() error) {
		group.Go(func() error {
			// Who was faster is seen as a change, and all is looked at again.
			if err := f(); err != nil && ctx.Err() == nil && !apierrors.IsAlreadyExists(err) && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
				a.host.Log.Warn("API service not "+what, "name", o.Name, "err", err)
			}
			return nil
		})
	}
	for _, o := range todo.create {
		write("created", o, func() error { _, err := api.Create(ctx, o, metav1.CreateOptions{}); return err })
	}
	for _, o := range todo.update {
		write("updated", o, func() error { _, err := api.Update(ctx, o, metav1.UpdateOptions{}); return err })
	}
	for _, o := range todo.remove {
		write("deleted", o, func() error {
			return api.Delete(ctx, o.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(o.UID))})
		})
	}
	_ = group.Wait() // its functions return nothing
}

// watchOver asks all other servers whether they answer, and says when to ask
// again, and whether there are any.
func (a *Aggregator) watchOver(ctx context.Context) (wait time.Duration, any bool) {
	a.mu.RLock()
	servers := make([]*server, 0, len(a.servers))
	for _, s := range a.servers {
		servers = append(servers, s)
	}
	a.mu.RUnlock()
	wait = checkEvery
	var group errgroup.Group
	for _, s := range servers {
		group.Go(func() error {
			err := s.check(ctx)
			s.available.Store(err == nil)
			a.report(ctx, s, err)
			return nil
		})
	}
	_ = group.Wait() // its functions return nothing
	for _, s := range servers {
		if !s.available.Load() {
			wait = checkMissingEvery
		}
	}
	return wait, len(servers) != 0
}

// report writes down whether a server answers.
func (a *Aggregator) report(ctx context.Context, s *server, problem error) {
	now, err := a.objects.Get(s.object.Name)
	if err != nil || ctx.Err() != nil {
		return // it is gone, or we are going
	}
	now = now.DeepCopy()
	condition := apiregistrationv1.APIServiceCondition{
		Type: apiregistrationv1.Available, Status: apiregistrationv1.ConditionTrue, LastTransitionTime: metav1.Now(),
		Reason: "Passed", Message: "all checks passed",
	}
	if problem != nil {
		condition.Status = apiregistrationv1.ConditionFalse
		condition.Reason, condition.Message = why(s.object, problem)
	}
	if have := helper.GetAPIServiceConditionByType(now, apiregistrationv1.Available); have != nil && have.Status == condition.Status && have.Reason == condition.Reason {
		return
	}
	helper.SetAPIServiceCondition(now, condition)
	_, err = a.client.ApiregistrationV1().APIServices().UpdateStatus(ctx, now, metav1.UpdateOptions{})
	if err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) && ctx.Err() == nil {
		a.host.Log.Warn("availability of API service not written", "name", s.object.Name, "err", err)
	}
}

// why says in upstream's words why a server does not answer.
func why(o *apiregistrationv1.APIService, problem error) (reason, message string) {
	service := o.Spec.Service
	switch {
	case apierrors.IsNotFound(problem): // by who looked for the service
		return "ServiceNotFound", fmt.Sprintf("service/%s in %q is not present", service.Name, service.Namespace)
	case apierrors.IsServiceUnavailable(problem):
		return "MissingEndpoints", problem.Error()
	}
	return "FailedDiscoveryCheck", problem.Error()
}
