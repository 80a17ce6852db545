// Package backend knows which pods stand behind a service: which services select
// a pod, whether a pod takes part, under which address and at which port.
//
// It is shared by those who write Endpoints and EndpointSlices. It keeps no
// state, and reads the cache only in Services, Pods and WatchPods.
package backend

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/loop"
	"github.com/sinawi/sinawi/internal/controllers/workload"
)

// selectorIndex indexes services by one pair of their selector. A service can
// select a pod only if that pair is among the pod's labels, so a pod finds its
// services in as many look-ups as it has labels.
const selectorIndex = "spec.selectorPair"

// Index tells the cache to index services by selector. It is called once for a
// cache, before its readers run.
func Index(ctx context.Context, c cache.Cache) error {
	err := c.IndexField(ctx, &corev1.Service{}, selectorIndex, func(obj client.Object) []string {
		selector := obj.(*corev1.Service).Spec.Selector
		if len(selector) == 0 {
			return nil
		}
		key := slices.Min(slices.Collect(maps.Keys(selector)))
		return []string{pair(key, selector[key])}
	})
	if err != nil {
		return fmt.Errorf("index services by selector: %w", err)
	}
	return nil
}

func pair(key, value string) string { return key + "=" + value }

// Services returns the keys of the services that select a pod with these labels.
func Services(ctx context.Context, r client.Reader, namespace string, have map[string]string) ([]types.NamespacedName, error) {
	var keys []types.NamespacedName
	for k, v := range have {
		var list corev1.ServiceList
		err := r.List(ctx, &list, client.InNamespace(namespace),
			client.MatchingFields{selectorIndex: pair(k, v)}, client.UnsafeDisableDeepCopy)
		if err != nil {
			return nil, fmt.Errorf("list services of a pod: %w", err)
		}
		for i := range list.Items {
			if labels.SelectorFromSet(list.Items[i].Spec.Selector).Matches(labels.Set(have)) {
				keys = append(keys, client.ObjectKeyFromObject(&list.Items[i]))
			}
		}
	}
	return keys, nil
}

// Pods returns the pods that the service selects, by name. They are shared with
// the cache: read-only.
func Pods(ctx context.Context, r client.Reader, service *corev1.Service) ([]*corev1.Pod, error) {
	var list corev1.PodList
	err := r.List(ctx, &list, client.InNamespace(service.Namespace),
		client.MatchingLabels(service.Spec.Selector), client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("list pods of service %s: %w", service.Name, err)
	}
	pods := make([]*corev1.Pod, len(list.Items))
	for i := range list.Items {
		pods[i] = &list.Items[i]
	}
	slices.SortFunc(pods, func(a, b *corev1.Pod) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return pods, nil
}

// WatchPods makes l, which reconciles services, reconcile those to which a change
// of a pod matters.
func WatchPods(l *loop.Loop, deps loop.Deps) {
	l.WatchChanges(&corev1.Pod{}, func(before, after client.Object) []loop.Key {
		old, _ := before.(*corev1.Pod)
		next, _ := after.(*corev1.Pod)
		keys, err := affected(context.Background(), deps.Cache, old, next)
		if err != nil {
			deps.Log.Error("find services of a pod", "err", err)
		}
		return keys
	})
}

// affected returns the keys of the services to which a change of a pod matters;
// before or after may be nil.
func affected(ctx context.Context, r client.Reader, before, after *corev1.Pod) ([]types.NamespacedName, error) {
	switch {
	case (before == nil || !Present(before)) && (after == nil || !Present(after)):
		return nil, nil // most changes of a new pod come before it has an address
	case before == nil:
		return Services(ctx, r, after.Namespace, after.Labels)
	case after == nil:
		return Services(ctx, r, before.Namespace, before.Labels)
	}
	relabelled := !maps.Equal(before.Labels, after.Labels)
	if !relabelled && same(before, after) {
		return nil, nil
	}
	keys, err := Services(ctx, r, after.Namespace, after.Labels)
	if err != nil || !relabelled {
		return keys, err
	}
	old, err := Services(ctx, r, before.Namespace, before.Labels)
	return append(keys, old...), err
}

// same says that two states of a pod give the same endpoint.
func same(a, b *corev1.Pod) bool {
	return workload.Ready(a) == workload.Ready(b) &&
		(a.DeletionTimestamp == nil) == (b.DeletionTimestamp == nil) &&
		workload.Finished(a) == workload.Finished(b) &&
		a.Spec.NodeName == b.Spec.NodeName &&
		a.Spec.Hostname == b.Spec.Hostname && a.Spec.Subdomain == b.Spec.Subdomain &&
		a.Status.PodIP == b.Status.PodIP && slices.Equal(a.Status.PodIPs, b.Status.PodIPs)
}

// Present says whether a pod is an endpoint at all, ready or not.
func Present(pod *corev1.Pod) bool {
	return !workload.Finished(pod) && (pod.Status.PodIP != "" || len(pod.Status.PodIPs) > 0)
}

// Address returns the pod's address of the family.
func Address(pod *corev1.Pod, family corev1.IPFamily) (string, bool) {
	for _, ip := range pod.Status.PodIPs {
		if Family(ip.IP) == family {
			return ip.IP, true
		}
	}
	if Family(pod.Status.PodIP) == family {
		return pod.Status.PodIP, true
	}
	return "", false
}

// Family is the family of an address, or empty if it is none.
func Family(address string) corev1.IPFamily {
	ip, err := netip.ParseAddr(address)
	switch {
	case err != nil:
		return ""
	case ip.Unmap().Is4():
		return corev1.IPv4Protocol
	default:
		return corev1.IPv6Protocol
	}
}

// Hostname is the name under which DNS finds the pod below the service.
func Hostname(pod *corev1.Pod, service *corev1.Service) (string, bool) {
	ok := pod.Spec.Hostname != "" && pod.Spec.Subdomain == service.Name && pod.Namespace == service.Namespace
	return pod.Spec.Hostname, ok
}

// Port is the number at which the pod serves a port of the service.
func Port(pod *corev1.Pod, port *corev1.ServicePort) (int32, bool) {
	if port.TargetPort.Type == intstr.Int {
		return port.TargetPort.IntVal, true
	}
	for c := range workload.LongRunning(pod) {
		if n, ok := named(c.Ports, port); ok {
			return n, true
		}
	}
	return 0, false
}

func named(ports []corev1.ContainerPort, want *corev1.ServicePort) (int32, bool) {
	for _, p := range ports {
		if p.Name == want.TargetPort.StrVal && p.Protocol == want.Protocol {
			return p.ContainerPort, true
		}
	}
	return 0, false
}
