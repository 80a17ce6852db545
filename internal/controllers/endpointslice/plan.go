package endpointslice

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"

	"github.com/sinawi/sinawi/internal/controllers/backend"
	"github.com/sinawi/sinawi/internal/controllers/workload"
)

const (
	manager = "endpointslice-controller.k8s.io"
	// full is the most endpoints in one slice.
	full = 100
)

// snapshot is what a decision is made from.
type snapshot struct {
	service *corev1.Service
	// pods are all pods that the service selects, by name.
	pods []*corev1.Pod
	// zones are the zones of the nodes that exist.
	zones map[string]string
	// slices are the service's slices that this package manages.
	slices []*discoveryv1.EndpointSlice
	// shares are the zones' parts of all processors, for services that go by
	// topology; unshared says why there are none.
	shares   map[string]float64
	unshared string
}

// plan is what to write.
type plan struct {
	create, update, remove []*discoveryv1.EndpointSlice
	events                 []event
}

// event is what users hear.
type event struct{ kind, reason, message string }

// subject is who the slices are written for.
type subject struct {
	namespace, name string
	owner           metav1.OwnerReference
	labels          map[string]string // of its slices
	annotations     map[string]string // of its slices, beside those that others put there
	full            int               // the most endpoints in one slice
}

// group is the endpoints that can share slices: one family, the same ports.
type group struct {
	family    corev1.IPFamily
	ports     []discoveryv1.EndpointPort
	endpoints []discoveryv1.Endpoint
}

// decide says which slices to write so that they show the service's pods.
func decide(s snapshot) plan {
	var p plan
	if s.service.Spec.Type == corev1.ServiceTypeExternalName {
		p.remove = s.slices
		return p
	}
	groups := map[string]*group{}
	var skipped []error
	for _, family := range families(s) {
		skipped = append(skipped, collect(groups, s, family)...)
		if byTopology(s.service) {
			p.events = append(p.events, addHints(groups, s, family)...)
		} else {
			p.events = append(p.events, takeHints(s, family)...)
		}
	}
	if err := utilerrors.NewAggregate(skipped); err != nil {
		p.events = append(p.events, event{corev1.EventTypeWarning, "FailedToUpdateEndpointSlices",
			fmt.Sprintf("Error updating Endpoint Slices for Service %s/%s: %v", s.service.Namespace, s.service.Name, err)})
	}
	p.fit(subject{
		namespace: s.service.Namespace, name: s.service.Name,
		owner: *metav1.NewControllerRef(s.service, kind), labels: labelsOf(s.service), full: full,
	}, groups, s.slices)
	return p
}

// fit plans what makes of the slices there are those of the groups.
func (p *plan) fit(of subject, groups map[string]*group, have []*discoveryv1.EndpointSlice) {
	existing := map[string][]*discoveryv1.EndpointSlice{}
	for _, slice := range have {
		id := groupID(slice.AddressType, slice.Ports)
		if groups[id] == nil || slice.DeletionTimestamp != nil {
			p.remove = append(p.remove, slice)
			continue
		}
		existing[id] = append(existing[id], slice)
	}
	for _, id := range slices.Sorted(maps.Keys(groups)) {
		p.reconcile(of, groups[id], existing[id])
	}
	p.recycle(of)
}

// recycle makes slices that would go those that would come: a service keeps its
// slices while its ports change.
func (p *plan) recycle(of subject) {
	for i := 0; i < len(p.remove) && len(p.create) > 0; {
		old, next := p.remove[i], p.create[len(p.create)-1]
		owned := slices.ContainsFunc(old.OwnerReferences, func(ref metav1.OwnerReference) bool { return ref.UID == of.owner.UID })
		if !owned || old.AddressType != next.AddressType || old.DeletionTimestamp != nil {
			i++
			continue
		}
		changed := old.DeepCopy()
		changed.Labels, changed.Endpoints, changed.Ports = next.Labels, next.Endpoints, next.Ports
		annotate(changed, of)
		p.update = append(p.update, changed)
		p.create = p.create[:len(p.create)-1]
		p.remove = slices.Delete(p.remove, i, i+1)
	}
}

// families are those that the service serves. A headless service of an older
// client may not say; then its pods do.
func families(s snapshot) []corev1.IPFamily {
	if len(s.service.Spec.IPFamilies) > 0 {
		return s.service.Spec.IPFamilies
	}
	if family := backend.Family(s.service.Spec.ClusterIP); family != "" {
		return []corev1.IPFamily{family}
	}
	for _, pod := range s.pods {
		if family := backend.Family(pod.Status.PodIP); family != "" {
			return []corev1.IPFamily{family}
		}
	}
	return []corev1.IPFamily{corev1.IPv4Protocol}
}

// collect adds the endpoints of one family to their groups. A family without any
// keeps one empty group, so that readers see that the service is known. It
// returns which pods cannot be shown.
func collect(groups map[string]*group, s snapshot, family corev1.IPFamily) []error {
	found := false
	var skipped []error
	for _, pod := range s.pods {
		address, ok := backend.Address(pod, family)
		if !ok || !backend.Present(pod) {
			continue
		}
		zone, known := s.zones[pod.Spec.NodeName]
		if !known && !s.service.Spec.PublishNotReadyAddresses {
			// Nothing can reach a pod on a node that is gone.
			skipped = append(skipped, fmt.Errorf("skipping Pod %s for Service %s/%s: Node %s Not Found", pod.Name, s.service.Namespace, s.service.Name, pod.Spec.NodeName))
			continue
		}
		ports := portsOf(s.service, pod)
		id := groupID(discoveryv1.AddressType(family), ports)
		if groups[id] == nil {
			backend.Sort(ports)
			groups[id] = &group{family: family, ports: ports}
		}
		groups[id].endpoints = append(groups[id].endpoints, endpoint(s.service, pod, address, zone))
		found = true
	}
	if !found {
		groups[groupID(discoveryv1.AddressType(family), nil)] = &group{family: family, ports: []discoveryv1.EndpointPort{}}
	}
	return skipped
}

func portsOf(service *corev1.Service, pod *corev1.Pod) []discoveryv1.EndpointPort {
	ports := []discoveryv1.EndpointPort{}
	for i := range service.Spec.Ports {
		port := &service.Spec.Ports[i]
		number, ok := backend.Port(pod, port)
		if !ok {
			continue
		}
		ports = append(ports, discoveryv1.EndpointPort{
			Name: &port.Name, Port: &number, Protocol: &port.Protocol, AppProtocol: port.AppProtocol,
		})
	}
	return ports
}

func endpoint(service *corev1.Service, pod *corev1.Pod, address, zone string) discoveryv1.Endpoint {
	serving := workload.Ready(pod)
	terminating := pod.DeletionTimestamp != nil
	ready := service.Spec.PublishNotReadyAddresses || (serving && !terminating)
	e := discoveryv1.Endpoint{
		Addresses:  []string{address},
		Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating},
		TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
	}
	if pod.Spec.NodeName != "" {
		e.NodeName = &pod.Spec.NodeName
	}
	if zone != "" {
		e.Zone = &zone
	}
	if name, ok := backend.Hostname(pod, service); ok {
		e.Hostname = &name
	}
	e.Hints = hints(service, &e)
	return e
}

// hints say who should prefer the endpoint, by the service's wish for traffic.
func hints(service *corev1.Service, e *discoveryv1.Endpoint) *discoveryv1.EndpointHints {
	wish := service.Spec.TrafficDistribution
	if wish == nil || !*e.Conditions.Ready || byTopology(service) {
		return nil
	}
	var h discoveryv1.EndpointHints
	switch *wish {
	case corev1.ServiceTrafficDistributionPreferSameNode:
		if e.NodeName != nil {
			h.ForNodes = []discoveryv1.ForNode{{Name: *e.NodeName}}
		}
	case corev1.ServiceTrafficDistributionPreferClose, corev1.ServiceTrafficDistributionPreferSameZone:
	default:
		return nil
	}
	if e.Zone != nil {
		h.ForZones = []discoveryv1.ForZone{{Name: *e.Zone}}
	}
	if h.ForNodes == nil && h.ForZones == nil {
		return nil
	}
	return &h
}

// reconcile fits the group's endpoints into its slices. Endpoints stay in the
// slice they are in; new ones fill slices that change anyway, then the fullest
// that has room for all, then new slices.
func (p *plan) reconcile(of subject, g *group, existing []*discoveryv1.EndpointSlice) {
	wanted := make(map[string]discoveryv1.Endpoint, len(g.endpoints))
	for _, e := range g.endpoints {
		wanted[identity(&e)] = e
	}
	var states []*sliceState
	for _, slice := range existing {
		states = append(states, keep(of, slice, wanted))
	}
	var added []discoveryv1.Endpoint
	for _, e := range g.endpoints {
		if _, missing := wanted[identity(&e)]; missing {
			added = append(added, e)
			delete(wanted, identity(&e)) // an address that is given twice counts once
		}
	}
	added = fill(of, states, added)
	survivors := p.settle(of, states, len(added) > 0)
	for len(added) > 0 || survivors == 0 {
		n := min(len(added), of.full)
		slice := newSlice(of, g)
		slice.Endpoints = append(slice.Endpoints, added[:n]...)
		added = added[n:]
		p.create = append(p.create, slice)
		survivors++
	}
}

// sliceState is a slice with what it will hold.
type sliceState struct {
	slice     *discoveryv1.EndpointSlice
	endpoints []discoveryv1.Endpoint
	changed   bool
}

// keep takes from wanted what the slice holds already, in its newest state.
func keep(of subject, slice *discoveryv1.EndpointSlice, wanted map[string]discoveryv1.Endpoint) *sliceState {
	st := &sliceState{slice: slice, changed: !maps.Equal(slice.Labels, of.labels) || !annotated(slice, of)}
	for i := range slice.Endpoints {
		id := identity(&slice.Endpoints[i])
		e, ok := wanted[id]
		if !ok {
			st.changed = true
			continue
		}
		delete(wanted, id)
		st.changed = st.changed || !equality.Semantic.DeepEqual(e, slice.Endpoints[i])
		st.endpoints = append(st.endpoints, e)
	}
	return st
}

// fill puts new endpoints where they cost the fewest writes, and returns what
// needs slices of its own.
func fill(of subject, states []*sliceState, added []discoveryv1.Endpoint) []discoveryv1.Endpoint {
	put := func(st *sliceState) {
		n := min(len(added), of.full-len(st.endpoints))
		if n <= 0 {
			return
		}
		st.endpoints = append(st.endpoints, added[:n]...)
		st.changed = true
		added = added[n:]
	}
	for _, st := range states {
		if st.changed {
			put(st)
		}
	}
	var best *sliceState
	for _, st := range states {
		fits := len(st.endpoints)+len(added) <= of.full
		if fits && (best == nil || len(st.endpoints) > len(best.endpoints)) {
			best = st
		}
	}
	if best != nil {
		put(best)
	}
	return added
}

// settle plans the slices' writes and returns how many stay. An empty one goes
// unless it is the last.
func (p *plan) settle(of subject, states []*sliceState, more bool) int {
	slices.SortStableFunc(states, func(a, b *sliceState) int {
		return cmp.Compare(len(b.endpoints), len(a.endpoints))
	})
	stay := 0
	for _, st := range states {
		if len(st.endpoints) == 0 && (stay > 0 || more) {
			p.remove = append(p.remove, st.slice)
			continue
		}
		stay++
		if st.changed {
			changed := st.slice.DeepCopy()
			changed.Endpoints = st.endpoints
			changed.Labels = of.labels
			annotate(changed, of)
			p.update = append(p.update, changed)
		}
	}
	return stay
}

func newSlice(of subject, g *group) *discoveryv1.EndpointSlice {
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       of.namespace,
			GenerateName:    workload.NamePrefix(of.name),
			Labels:          of.labels,
			OwnerReferences: []metav1.OwnerReference{of.owner},
		},
		AddressType: discoveryv1.AddressType(g.family),
		Endpoints:   []discoveryv1.Endpoint{},
		Ports:       g.ports,
	}
	annotate(slice, of)
	return slice
}

// annotated says whether a slice has all annotations that it should have.
func annotated(slice *discoveryv1.EndpointSlice, of subject) bool {
	for k, v := range of.annotations {
		if have, ok := slice.Annotations[k]; !ok || have != v {
			return false
		}
	}
	return true
}

func annotate(slice *discoveryv1.EndpointSlice, of subject) {
	for k, v := range of.annotations {
		metav1.SetMetaDataAnnotation(&slice.ObjectMeta, k, v)
	}
}

// labelsOf are the service's own labels with those that slices are found by.
func labelsOf(service *corev1.Service) map[string]string {
	out := map[string]string{}
	for k, v := range service.Labels {
		if k != corev1.IsHeadlessService {
			out[k] = v
		}
	}
	if service.Spec.ClusterIP == corev1.ClusterIPNone {
		out[corev1.IsHeadlessService] = ""
	}
	out[discoveryv1.LabelServiceName] = service.Name
	out[discoveryv1.LabelManagedBy] = manager
	return out
}

// identity names an endpoint through its changes of readiness.
func identity(e *discoveryv1.Endpoint) string {
	id := strings.Join(e.Addresses, ",")
	if e.TargetRef != nil {
		id += "/" + string(e.TargetRef.UID)
	}
	return id
}

func groupID(family discoveryv1.AddressType, ports []discoveryv1.EndpointPort) string {
	parts := []string{}
	for i := range ports {
		p := &ports[i]
		number := ""
		if p.Port != nil {
			number = strconv.Itoa(int(*p.Port))
		}
		parts = append(parts, value(p.Name)+"|"+number+"|"+string(value(p.Protocol))+"|"+value(p.AppProtocol))
	}
	slices.Sort(parts)
	return string(family) + ";" + strings.Join(parts, ";")
}

func value[T ~string](s *T) T {
	if s == nil {
		return ""
	}
	return *s
}
