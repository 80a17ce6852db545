package services

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	listers "k8s.io/client-go/listers/networking/v1"
	"k8s.io/client-go/tools/cache"
)

// finalizer keeps a range until no service needs it.
const finalizer = "networking.k8s.io/service-cidr-finalizer"

// ranges follows the ServiceCIDR objects: each opens a range, and one that is
// being deleted gives nothing more and goes when nothing of it is in use.
type ranges struct {
	allocator *Allocator
	client    kubernetes.Interface
	lister    listers.ServiceCIDRLister
	changed   chan struct{} // holds one
}

func newRanges(a *Allocator, client kubernetes.Interface, informer cache.SharedIndexInformer, lister listers.ServiceCIDRLister) (*ranges, error) {
	r := &ranges{allocator: a, client: client, lister: lister, changed: make(chan struct{}, 1)}
	a.freed = r.wake
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { r.wake() },
		UpdateFunc: func(any, any) { r.wake() },
		DeleteFunc: func(any) { r.wake() },
	})
	return r, err
}

func (r *ranges) wake() {
	select {
	case r.changed <- struct{}{}:
	default: // one is waiting
	}
}

// run blocks until ctx ends.
func (r *ranges) run(ctx context.Context) error {
	r.wake()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-r.changed:
		}
		if err := r.sync(ctx); err != nil && ctx.Err() == nil {
			r.allocator.log.Warn("service networks", "error", err)
		}
	}
}

// open opens the ranges that there are; a nil r knows none.
func (r *ranges) open() error {
	if r == nil {
		return nil
	}
	list, err := r.lister.List(labels.Everything())
	if err != nil {
		return fmt.Errorf("list service networks: %w", err)
	}
	r.allocator.setRanges(list)
	return nil
}

// sync opens and closes ranges and reports on each. What somebody else wrote
// at the same time comes as another change.
func (r *ranges) sync(ctx context.Context) error {
	if err := r.open(); err != nil {
		return err
	}
	list, err := r.lister.List(labels.Everything())
	if err != nil {
		return fmt.Errorf("list service networks: %w", err)
	}
	for _, c := range list {
		if err := r.report(ctx, c.DeepCopy()); err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			return fmt.Errorf("service network %s: %w", c.Name, err)
		}
	}
	return nil
}

func (r *ranges) report(ctx context.Context, c *networkingv1.ServiceCIDR) error {
	api := r.client.NetworkingV1().ServiceCIDRs()
	condition := metav1.Condition{
		Type: networkingv1.ServiceCIDRConditionReady, Status: metav1.ConditionTrue, Message: "Kubernetes Service CIDR is ready",
		ObservedGeneration: c.Generation,
	}
	kept := slices.Contains(c.Finalizers, finalizer)
	switch {
	case c.DeletionTimestamp == nil && !kept:
		c.Finalizers = append(c.Finalizers, finalizer)
		var err error
		if c, err = api.Update(ctx, c, metav1.UpdateOptions{}); err != nil {
			return err
		}
	case c.DeletionTimestamp != nil && !kept:
		return nil
	case c.DeletionTimestamp != nil && !r.allocator.needed(c):
		c.Finalizers = slices.DeleteFunc(c.Finalizers, func(f string) bool { return f == finalizer })
		_, err := api.Update(ctx, c, metav1.UpdateOptions{})
		return err
	case c.DeletionTimestamp != nil:
		condition.Status, condition.Reason = metav1.ConditionFalse, networkingv1.ServiceCIDRReasonTerminating
		condition.Message = "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"
	}
	if !apimeta.SetStatusCondition(&c.Status.Conditions, condition) {
		return nil
	}
	_, err := api.UpdateStatus(ctx, c, metav1.UpdateOptions{})
	return err
}

// prefixes are the networks of a range that can be read.
func prefixes(c *networkingv1.ServiceCIDR) []netip.Prefix {
	var out []netip.Prefix
	for _, text := range c.Spec.CIDRs {
		if p, err := netip.ParsePrefix(text); err == nil {
			out = append(out, p.Masked())
		}
	}
	return out
}

// setRanges opens what is listed and closes what is not; the cluster's own
// networks stay.
func (a *Allocator) setRanges(list []*networkingv1.ServiceCIDR) {
	open, known := map[netip.Prefix]bool{}, map[netip.Prefix]bool{}
	for _, c := range list {
		for _, p := range prefixes(c) {
			known[p] = true
			open[p] = open[p] || c.DeletionTimestamp == nil
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for p := range known {
		if n := a.ips[familyOf(p.Addr())]; n != nil && n.find(p) == nil {
			n.add(p)
		}
	}
	for _, n := range a.ips {
		for _, r := range slices.Clone(n.ranges)[1:] {
			r.closed = !open[r.network]
			if !known[r.network] {
				n.remove(r.network)
			}
		}
	}
}

// needed tells whether services have addresses that only c gives.
func (a *Allocator) needed(c *networkingv1.ServiceCIDR) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range prefixes(c) {
		n := a.ips[familyOf(p.Addr())]
		if n == nil {
			continue
		}
		if n.ranges[0].network == p || n.needed(p) {
			return true // the cluster's own is always in use
		}
	}
	return false
}
