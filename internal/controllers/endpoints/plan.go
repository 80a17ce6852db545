//lint:file-ignore SA1019 the older objects are what this package is for

package endpoints

import (
	"cmp"
	"maps"
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

// subsets puts pods with the same ports together.
func subsets(service *corev1.Service, pods []*corev1.Pod) []corev1.EndpointSubset {
	byPorts := map[string]*corev1.EndpointSubset{}
	for _, pod := range pods {
		m, ok := memberOf(service, pod)
		if !ok {
			continue
		}
		id := portsID(m.ports)
		if byPorts[id] == nil {
			byPorts[id] = &corev1.EndpointSubset{Ports: m.ports}
		}
		if m.ready {
			byPorts[id].Addresses = append(byPorts[id].Addresses, m.address)
		} else {
			byPorts[id].NotReadyAddresses = append(byPorts[id].NotReadyAddresses, m.address)
		}
	}
	var out []corev1.EndpointSubset
	for _, id := range slices.Sorted(maps.Keys(byPorts)) {
		slices.SortFunc(byPorts[id].Addresses, byIP)
		slices.SortFunc(byPorts[id].NotReadyAddresses, byIP)
		out = append(out, *byPorts[id])
	}
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
	slices.SortFunc(m.ports, func(a, b corev1.EndpointPort) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.Port, b.Port), strings.Compare(string(a.Protocol), string(b.Protocol)))
	})
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

func portsID(ports []corev1.EndpointPort) string {
	var b strings.Builder
	for _, p := range ports {
		b.WriteString(p.Name + "|" + strconv.Itoa(int(p.Port)) + "|" + string(p.Protocol) + ";")
	}
	return b.String()
}

func byIP(a, b corev1.EndpointAddress) int {
	return cmp.Or(strings.Compare(a.IP, b.IP), strings.Compare(string(a.TargetRef.UID), string(b.TargetRef.UID)))
}

// truncate keeps as many addresses as one object may hold, ready ones first.
func truncate(sets []corev1.EndpointSubset) ([]corev1.EndpointSubset, bool) {
	total := 0
	for i := range sets {
		total += len(sets[i].Addresses) + len(sets[i].NotReadyAddresses)
	}
	if total <= capacity {
		return sets, false
	}
	room := capacity
	for i := range sets {
		n := min(room, len(sets[i].Addresses))
		sets[i].Addresses = sets[i].Addresses[:n]
		room -= n
	}
	var out []corev1.EndpointSubset
	for _, s := range sets {
		n := min(room, len(s.NotReadyAddresses))
		s.NotReadyAddresses = s.NotReadyAddresses[:n]
		room -= n
		if len(s.Addresses)+len(s.NotReadyAddresses) > 0 {
			out = append(out, s)
		}
	}
	return out, true
}
