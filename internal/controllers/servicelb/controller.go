// Package servicelb gives services of type LoadBalancer the addresses of the
// nodes, where the proxy of each node answers for them.
//
// It owns status.loadBalancer of services without a class and of class
// sinawi.io/node; those of other classes it never touches. A port of the nodes
// belongs to one service, the oldest that asks for it.
package servicelb

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/loop"
)

// Controller reconciles services.
type Controller struct {
	loop.Deps
	loop *loop.Loop
}

// New returns a controller that works with the given dependencies.
func New(deps loop.Deps) *Controller {
	c := &Controller{Deps: deps}
	c.loop = loop.New("servicelb", 1, deps, c.reconcile)
	c.loop.WatchChanges(&corev1.Service{}, c.serviceChanged)
	c.loop.WatchChanges(&corev1.Node{}, c.nodeChanged)
	c.loop.WatchChanges(&discoveryv1.EndpointSlice{}, c.sliceChanged)
	return c
}

// Run reconciles until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

// serviceChanged wakes the service, and those that may have waited for its ports.
func (c *Controller) serviceChanged(before, after client.Object) []loop.Key {
	old, _ := before.(*corev1.Service)
	next, _ := after.(*corev1.Service)
	var keys []loop.Key
	if next != nil && (ours(next) || old == nil || ours(old) || len(next.Status.LoadBalancer.Ingress) > 0) {
		keys = loop.Self(next)
	}
	if old != nil && ours(old) && (next == nil || !ours(next) || !equality.Semantic.DeepEqual(old.Spec.Ports, next.Spec.Ports)) {
		keys = append(keys, c.all()...)
	}
	return keys
}

func (c *Controller) nodeChanged(before, after client.Object) []loop.Key {
	old, _ := before.(*corev1.Node)
	next, _ := after.(*corev1.Node)
	if old != nil && next != nil && usable(old) == usable(next) && equality.Semantic.DeepEqual(old.Status.Addresses, next.Status.Addresses) {
		return nil
	}
	return c.all()
}

// sliceChanged matters where only nodes with endpoints lead to a service.
func (c *Controller) sliceChanged(before, after client.Object) []loop.Key {
	if after == nil {
		after = before
	}
	key := loop.Key{Namespace: after.GetNamespace(), Name: after.GetLabels()[discoveryv1.LabelServiceName]}
	service := &corev1.Service{}
	if err := c.Cache.Get(context.Background(), key, service, client.UnsafeDisableDeepCopy); err != nil {
		return nil // there is none, or it will tell
	}
	if !ours(service) || service.Spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal {
		return nil
	}
	return []loop.Key{key}
}

// all are the keys of the load balancers of this package.
func (c *Controller) all() []loop.Key {
	balancers, err := c.balancers(context.Background())
	if err != nil {
		c.Log.Error("wake all load balancers", "err", err)
	}
	var keys []loop.Key
	for _, s := range balancers {
		keys = append(keys, loop.Self(s)...)
	}
	return keys
}

// balancers are the load balancers of this package.
func (c *Controller) balancers(ctx context.Context) ([]*corev1.Service, error) {
	var list corev1.ServiceList
	if err := c.Cache.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list services: %w", err)
	}
	var out []*corev1.Service
	for i := range list.Items {
		if s := &list.Items[i]; ours(s) {
			out = append(out, s)
		}
	}
	return out, nil
}

func (c *Controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	service := &corev1.Service{}
	if err := c.Cache.Get(ctx, key, service, client.UnsafeDisableDeepCopy); err != nil {
		return 0, client.IgnoreNotFound(err)
	}
	switch {
	case service.DeletionTimestamp != nil:
		return 0, nil
	case service.Spec.Type != corev1.ServiceTypeLoadBalancer:
		return 0, c.write(ctx, service, nil) // it was one
	case !ours(service):
		return 0, nil
	}
	s := snapshot{service: service}
	var err error
	if s.balancers, err = c.balancers(ctx); err != nil {
		return 0, err
	}
	if s.nodes, s.reserved, err = c.nodes(ctx); err != nil {
		return 0, err
	}
	if s.slices, err = c.slices(ctx, key); err != nil {
		return 0, err
	}
	p := decide(s)
	if p.refused != "" {
		c.Events.Eventf(service, corev1.EventTypeWarning, "SyncLoadBalancerFailed", "Error syncing load balancer: failed to ensure load balancer: %s", p.refused)
	}
	return 0, c.write(ctx, service, p.ingress)
}

func (c *Controller) write(ctx context.Context, service *corev1.Service, ingress []corev1.LoadBalancerIngress) error {
	if equality.Semantic.DeepEqual(service.Status.LoadBalancer.Ingress, ingress) {
		return nil
	}
	first := len(service.Status.LoadBalancer.Ingress) == 0
	changed := service.DeepCopy()
	changed.Status.LoadBalancer.Ingress = ingress
	if err := c.Client.Status().Update(ctx, changed); err != nil {
		return client.IgnoreNotFound(fmt.Errorf("write addresses of service %s: %w", service.Name, err))
	}
	switch {
	case len(ingress) == 0:
	case first:
		c.Events.Event(service, corev1.EventTypeNormal, "EnsuredLoadBalancer", "Ensured load balancer")
	default:
		c.Events.Event(service, corev1.EventTypeNormal, "UpdatedLoadBalancer", "Updated load balancer with new hosts")
	}
	return nil
}

// nodes are all nodes, with the ports on which they and the API server listen.
func (c *Controller) nodes(ctx context.Context) ([]*corev1.Node, map[int32]string, error) {
	var list corev1.NodeList
	if err := c.Cache.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil, nil, fmt.Errorf("list nodes: %w", err)
	}
	reserved := map[int32]string{}
	var nodes []*corev1.Node
	own := map[string]bool{}
	for i := range list.Items {
		node := &list.Items[i]
		nodes = append(nodes, node)
		if port := node.Status.DaemonEndpoints.KubeletEndpoint.Port; port != 0 {
			reserved[port] = "the kubelet API"
		}
		for _, a := range node.Status.Addresses {
			own[a.Address] = true
		}
	}
	api, err := c.slices(ctx, loop.Key{Namespace: corev1.NamespaceDefault, Name: "kubernetes"})
	for _, slice := range api {
		onNode := slices.ContainsFunc(slice.Endpoints, func(e discoveryv1.Endpoint) bool {
			return slices.ContainsFunc(e.Addresses, func(a string) bool { return own[a] })
		})
		for _, p := range slice.Ports {
			if onNode && p.Port != nil {
				reserved[*p.Port] = "the API server"
			}
		}
	}
	return nodes, reserved, err
}

func (c *Controller) slices(ctx context.Context, service loop.Key) ([]*discoveryv1.EndpointSlice, error) {
	var list discoveryv1.EndpointSliceList
	err := c.Cache.List(ctx, &list, client.InNamespace(service.Namespace), client.MatchingLabels{discoveryv1.LabelServiceName: service.Name}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("list endpoint slices of service %s: %w", service.Name, err)
	}
	out := make([]*discoveryv1.EndpointSlice, len(list.Items))
	for i := range list.Items {
		out[i] = &list.Items[i]
	}
	return out, nil
}
