//lint:file-ignore SA1019 mirroring the older Endpoints is what this file is for

package endpointslice

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/backend"
	"github.com/sinawi/sinawi/internal/controllers/expect"
	"github.com/sinawi/sinawi/internal/controllers/loop"
)

const (
	mirrorManager = "endpointslicemirroring-controller.k8s.io"
	// mirrorFull is the most addresses of a subset that are mirrored, all in one slice.
	mirrorFull = 1000
	leader     = "control-plane.alpha.kubernetes.io/leader"
)

// Mirror reconciles Endpoints that users write for services without a selector:
// traffic goes by slices, so these get slices too.
type Mirror struct {
	loop.Deps
	loop    *loop.Loop
	pending *expect.Tracker
}

// NewMirror returns a controller that works with the given dependencies.
func NewMirror(deps loop.Deps) *Mirror {
	m := &Mirror{Deps: deps, pending: expect.New()}
	m.loop = loop.New("endpointslicemirroring", 1, deps, m.reconcile)
	m.loop.WatchSelf(&corev1.Endpoints{})
	m.loop.WatchChanges(&corev1.Service{}, func(before, after client.Object) []loop.Key {
		old, _ := before.(*corev1.Service)
		next, _ := after.(*corev1.Service)
		if old != nil && next != nil && (len(old.Spec.Selector) == 0) == (len(next.Spec.Selector) == 0) {
			return nil
		}
		if next == nil {
			return loop.Self(old)
		}
		return loop.Self(next)
	})
	watchSlices(m.loop, m.pending, mirrorManager)
	return m
}

// Run reconciles until ctx ends.
func (m *Mirror) Run(ctx context.Context) error { return m.loop.Run(ctx) }

func (m *Mirror) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	endpoints := &corev1.Endpoints{}
	if err := m.Cache.Get(ctx, key, endpoints, client.UnsafeDisableDeepCopy); err != nil {
		return 0, client.IgnoreNotFound(err) // the garbage collector takes the slices
	}
	service := &corev1.Service{}
	err := m.Cache.Get(ctx, key, service, client.UnsafeDisableDeepCopy)
	if client.IgnoreNotFound(err) != nil {
		return 0, err
	}
	gone := apierrors.IsNotFound(err)
	have, err := slicesOf(ctx, m.Cache, key, mirrorManager)
	if err != nil {
		return 0, err
	}
	if settled, again := expect.Settled(m.pending, endpoints.UID, have, time.Now()); !settled {
		return again, nil
	}
	wanted := !gone && len(service.Spec.Selector) == 0 && mirrored(endpoints)
	p := decideMirror(endpoints, have, wanted)
	for _, e := range p.events {
		m.Events.Eventf(endpoints, e.kind, e.reason, "%s", e.message)
	}
	return 0, write(ctx, m.Client, m.pending, endpoints, p)
}

// mirrored says whether somebody reads these Endpoints as addresses.
func mirrored(e *corev1.Endpoints) bool {
	_, lock := e.Annotations[leader]
	return !lock && e.Labels[discoveryv1.LabelSkipMirror] != "true" && e.DeletionTimestamp == nil
}

// decideMirror says which slices to write so that they show the same addresses.
func decideMirror(e *corev1.Endpoints, have []*discoveryv1.EndpointSlice, wanted bool) plan {
	var p plan
	groups := map[string]*group{}
	skipped := 0
	for i := range e.Subsets {
		if wanted {
			skipped += mirrorSubset(groups, &e.Subsets[i])
		}
	}
	if skipped > 0 {
		p.events = append(p.events, event{corev1.EventTypeWarning, "TooManyAddressesToMirror", fmt.Sprintf(
			"A max of %d addresses can be mirrored to EndpointSlices per Endpoints subset. %d addresses were skipped", mirrorFull, skipped)})
	}
	of := subject{
		namespace: e.Namespace, name: e.Name,
		owner:  *metav1.NewControllerRef(e, corev1.SchemeGroupVersion.WithKind("Endpoints")),
		labels: map[string]string{}, annotations: map[string]string{}, full: mirrorFull,
	}
	for k, v := range e.Annotations {
		if k != corev1.EndpointsLastChangeTriggerTime && k != corev1.LastAppliedConfigAnnotation {
			of.annotations[k] = v
		}
	}
	for k, v := range e.Labels {
		of.labels[k] = v
	}
	of.labels[discoveryv1.LabelServiceName] = e.Name
	of.labels[discoveryv1.LabelManagedBy] = mirrorManager
	p.fit(of, groups, have)
	return p
}

// mirrorSubset adds a subset's addresses to their groups, and returns how many
// are too many.
func mirrorSubset(groups map[string]*group, subset *corev1.EndpointSubset) int {
	ports := []discoveryv1.EndpointPort{}
	for i := range subset.Ports {
		port := &subset.Ports[i]
		ports = append(ports, discoveryv1.EndpointPort{Name: &port.Name, Port: &port.Port, Protocol: &port.Protocol, AppProtocol: port.AppProtocol})
	}
	room, skipped := mirrorFull, 0
	add := func(a *corev1.EndpointAddress, ready bool) {
		family := backend.Family(a.IP)
		if family == "" {
			return
		}
		if room == 0 {
			skipped++
			return
		}
		room--
		id := groupID(discoveryv1.AddressType(family), ports)
		if groups[id] == nil {
			groups[id] = &group{family: family, ports: ports}
		}
		e := discoveryv1.Endpoint{
			Addresses: []string{a.IP}, Conditions: discoveryv1.EndpointConditions{Ready: &ready},
			TargetRef: a.TargetRef, NodeName: a.NodeName,
		}
		if a.Hostname != "" {
			e.Hostname = &a.Hostname
		}
		groups[id].endpoints = append(groups[id].endpoints, e)
	}
	for i := range subset.Addresses {
		add(&subset.Addresses[i], true)
	}
	for i := range subset.NotReadyAddresses {
		add(&subset.NotReadyAddresses[i], false)
	}
	return skipped
}
