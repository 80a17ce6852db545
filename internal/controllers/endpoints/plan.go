//lint:file-ignore SA1019 the older objects are what this package is for

package endpoints

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sinawi/sinawi/internal/controllers/backend"
	"github.com/sinawi/sinawi/internal/controllers/workload"
)

const (
	managedBy = "endpoints.kubernetes.io/managed-by"
	manager   = "endpoint-controller"
	leader    = "control-plane.alpha.kubernetes.io/leader"
	// capacity is the most addresses that one object may hold.
	capacity  = 1000
	truncated = "truncated"
)

// decide returns the object that shows the service's pods, or nil if have does.
func decide(service *corev1.Service, pods []*corev1.Pod, have *corev1.Endpoints) *corev1.Endpoints {
	next := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: service.Namespace, Name: service.Name}}
	if have != nil {
		next = have.DeepCopy()
	}
	next.Labels = labelsOf(service)
	var cut bool
	next.Subsets, cut = truncate(subsets(service, pods))
	delete(next.Annotations, corev1.EndpointsOverCapacity)
	if cut {
		if next.Annotations == nil {
			next.Annotations = map[string]string{}
		}
		next.Annotations[corev1.EndpointsOverCapacity] = truncated
	}
	if have != nil && maps.Equal(have.Labels, next.Labels) && maps.Equal(have.Annotations, next.Annotations) &&
		equality.Semantic.DeepEqual(have.Subsets, next.Subsets) {
		return nil
	}
	return next
}

func labelsOf(service *corev1.Service) map[string]string {
	out := make(map[string]string, len(service.Labels)+1)
	for k, v := range service.Labels {
		if k != corev1.IsHeadlessService {
			out[k] = v
		}
	}
	if service.Spec.ClusterIP == corev1.ClusterIPNone {
		out[corev1.IsHeadlessService] = ""
	}
	out[managedBy] = manager
	return out
}

// member is one pod's address with the ports at which it serves.
type member struct {
	address corev1.EndpointAddress
	ports   []corev1.EndpointPort
	ready   bool
}

// subsets puts addresses together that serve at the same ports, and ports that the
// same addresses serve.
func subsets(service *corev1.Service, pods []*corev1.Pod) []corev1.EndpointSubset {
	var members []member
	at := map[string][]int{} // members by port
	ports := map[string]corev1.EndpointPort{}
	for _, pod := range pods {
		m, ok := memberOf(service, pod)
		if !ok {
			continue
		}
		for _, port := range m.ports {
			id := portID(port)
			ports[id], at[id] = port, append(at[id], len(members))
		}
		if len(m.ports) == 0 {
			at[""] = append(at[""], len(members))
		}
		members = append(members, m)
	}
	byMembers := map[string]*corev1.EndpointSubset{}
	for id, who := range at {
		key := fmt.Sprint(who)
		if byMembers[key] == nil {
			byMembers[key] = subsetOf(members, who)
		}
		if id != "" {
			byMembers[key].Ports = append(byMembers[key].Ports, ports[id])
		}
	}
	var out []corev1.EndpointSubset
	for _, subset := range byMembers {
		backend.Sort(subset.Ports)
		out = append(out, *subset)
	}
	backend.Sort(out)
	return out
}

func subsetOf(members []member, who []int) *corev1.EndpointSubset {
	out := &corev1.EndpointSubset{}
	for _, i := range who {
		if m := &members[i]; m.ready {
			out.Addresses = append(out.Addresses, m.address)
		} else {
			out.NotReadyAddresses = append(out.NotReadyAddresses, m.address)
		}
	}
	slices.SortFunc(out.Addresses, byIP)
	slices.SortFunc(out.NotReadyAddresses, byIP)
	return out
}

func memberOf(service *corev1.Service, pod *corev1.Pod) (member, bool) {
	all := service.Spec.PublishNotReadyAddresses
	if !backend.Present(pod) || (pod.DeletionTimestamp != nil && !all) {
		return member{}, false
	}
	ip, ok := backend.Address(pod, family(service, pod))
	if !ok {
		return member{}, false
	}
	m := member{
		ready: all || workload.Ready(pod),
		address: corev1.EndpointAddress{
			IP:        ip,
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		},
	}
	if pod.Spec.NodeName != "" {
		m.address.NodeName = &pod.Spec.NodeName
	}
	if name, ok := backend.Hostname(pod, service); ok {
		m.address.Hostname = name
	}
	for i := range service.Spec.Ports {
		port := &service.Spec.Ports[i]
		if number, ok := backend.Port(pod, port); ok {
			m.ports = append(m.ports, corev1.EndpointPort{
				Name: port.Name, Port: number, Protocol: port.Protocol, AppProtocol: port.AppProtocol,
			})
		}
	}
	// A service with ports has nothing to offer in a pod that serves none of them.
	return m, len(m.ports) > 0 || len(service.Spec.Ports) == 0
}

func family(service *corev1.Service, pod *corev1.Pod) corev1.IPFamily {
	if len(service.Spec.IPFamilies) > 0 {
		return service.Spec.IPFamilies[0]
	}
	if f := backend.Family(service.Spec.ClusterIP); f != "" {
		return f
	}
	return backend.Family(pod.Status.PodIP)
}

func portID(p corev1.EndpointPort) string {
	protocol := ""
	if p.AppProtocol != nil {
		protocol = *p.AppProtocol
	}
	return p.Name + "|" + strconv.Itoa(int(p.Port)) + "|" + string(p.Protocol) + "|" + protocol
}

func byIP(a, b corev1.EndpointAddress) int {
	return cmp.Or(strings.Compare(a.IP, b.IP), strings.Compare(string(a.TargetRef.UID), string(b.TargetRef.UID)))
}

// truncate keeps as many addresses as one object may hold, ready ones first, and of
// each set its share.
func truncate(sets []corev1.EndpointSubset) ([]corev1.EndpointSubset, bool) {
	ready, other := 0, 0
	for i := range sets {
		ready += len(sets[i].Addresses)
		other += len(sets[i].NotReadyAddresses)
	}
	switch {
	case ready+other <= capacity:
		return sets, false
	case ready > capacity:
		share(sets, ready, capacity, func(s *corev1.EndpointSubset) *[]corev1.EndpointAddress {
			s.NotReadyAddresses = nil
			return &s.Addresses
		})
	default:
		share(sets, other, capacity-ready, func(s *corev1.EndpointSubset) *[]corev1.EndpointAddress { return &s.NotReadyAddresses })
	}
	return sets, true
}

// share leaves so many of all addresses, each set its part of that, rounded up as long
// as there is room.
func share(sets []corev1.EndpointSubset, all, room int, of func(*corev1.EndpointSubset) *[]corev1.EndpointAddress) {
	left := room
	for i := range sets {
		addresses := of(&sets[i])
		part := int(math.Ceil(float64(len(*addresses)) / float64(all) * float64(room)))
		n := min(part, left, len(*addresses))
		*addresses = (*addresses)[:n]
		left -= n
	}
}
