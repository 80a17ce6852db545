package engine

import (
	"crypto/sha256"
	"encoding/json"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	resourcehelper "k8s.io/component-helpers/resource"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// Amounts is an amount of every resource: CPU in thousandths, all others in
// their base unit.
type Amounts struct {
	MilliCPU  int64
	Memory    int64
	Ephemeral int64
	Others    map[corev1.ResourceName]int64 // extended resources and huge pages; nil when none
}

func amounts(list corev1.ResourceList) Amounts {
	var a Amounts
	for name, q := range list {
		switch name {
		case corev1.ResourceCPU:
			a.MilliCPU = q.MilliValue()
		case corev1.ResourceMemory:
			a.Memory = q.Value()
		case corev1.ResourceEphemeralStorage:
			a.Ephemeral = q.Value()
		case corev1.ResourcePods:
		default:
			if a.Others == nil {
				a.Others = map[corev1.ResourceName]int64{}
			}
			a.Others[name] = q.Value()
		}
	}
	return a
}

// add adds sign × b, where sign is 1 or -1.
func (a *Amounts) add(b Amounts, sign int64) {
	a.MilliCPU += sign * b.MilliCPU
	a.Memory += sign * b.Memory
	a.Ephemeral += sign * b.Ephemeral
	for name, n := range b.Others {
		if a.Others == nil {
			a.Others = map[corev1.ResourceName]int64{}
		}
		a.Others[name] += sign * n
	}
}

// hostPort is a port that a pod takes on its node.
type hostPort struct {
	ip       string
	protocol corev1.Protocol
	port     int32
}

// conflicts follows kube-scheduler: the unspecified address takes the port on
// every address.
func (p hostPort) conflicts(q hostPort) bool {
	return p.port == q.port && p.protocol == q.protocol && (p.ip == q.ip || p.ip == anyAddress || q.ip == anyAddress)
}

const anyAddress = "0.0.0.0"

func hostPorts(spec *corev1.PodSpec) []hostPort {
	var out []hostPort
	for _, containers := range [][]corev1.Container{spec.Containers, sidecars(spec)} {
		for _, c := range containers {
			for _, p := range c.Ports {
				if p.HostPort == 0 {
					continue
				}
				hp := hostPort{ip: p.HostIP, protocol: p.Protocol, port: p.HostPort}
				if hp.ip == "" {
					hp.ip = anyAddress
				}
				if hp.protocol == "" {
					hp.protocol = corev1.ProtocolTCP
				}
				out = append(out, hp)
			}
		}
	}
	return out
}

func sidecars(spec *corev1.PodSpec) []corev1.Container {
	var out []corev1.Container
	for _, c := range spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			out = append(out, c)
		}
	}
	return out
}

// request is what a class of pods asks of a node, compiled once.
type request struct {
	amounts     Amounts
	scoring     Amounts // amounts, with a floor for pods that ask for nothing
	required    nodeaffinity.RequiredNodeAffinity
	volumes     *nodeaffinity.NodeSelector // where the pod's volumes are reachable; nil: anywhere
	preferred   *nodeaffinity.PreferredSchedulingTerms
	preferMax   int64 // sum of the positive weights of preferred
	tolerations []corev1.Toleration
	ports       []hostPort
}

// Key identifies a class.
type Key [16]byte

// identity is what makes two pods ask for the same. It is hashed as JSON: maps
// come out sorted.
type identity struct {
	Owner       types.UID
	Requests    map[corev1.ResourceName]string
	Selector    map[string]string
	Affinity    *corev1.NodeAffinity
	Tolerations []corev1.Toleration
	Ports       []hostPortJSON
	Volumes     *corev1.NodeSelector
}

type hostPortJSON struct {
	IP       string
	Protocol corev1.Protocol
	Port     int32
}

// Ask is a pod to be placed.
type Ask struct {
	Pod *corev1.Pod
	// Volumes is where all of the pod's bound volumes are reachable; nil when
	// it has none that are tied to a node.
	Volumes *corev1.NodeSelector
}

func requests(pod *corev1.Pod) corev1.ResourceList {
	return resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{UseStatusResources: true})
}

// KeyOf returns the class of a pod. Replicas of one owner share a class; pods
// without an owner share one when they ask for the same.
func KeyOf(ask Ask) Key {
	spec := &ask.Pod.Spec
	id := identity{Requests: map[corev1.ResourceName]string{}, Selector: spec.NodeSelector, Tolerations: spec.Tolerations, Volumes: ask.Volumes}
	for name, q := range requests(ask.Pod) {
		id.Requests[name] = q.String()
	}
	if owner := metav1.GetControllerOf(ask.Pod); owner != nil {
		id.Owner = owner.UID
	}
	if spec.Affinity != nil {
		id.Affinity = spec.Affinity.NodeAffinity
	}
	for _, p := range hostPorts(spec) {
		id.Ports = append(id.Ports, hostPortJSON{p.ip, p.protocol, p.port})
	}
	data, err := json.Marshal(id)
	if err != nil {
		panic("identity of a pod is plain data and always encodes: " + err.Error())
	}
	sum := sha256.Sum256(data)
	return Key(sum[:len(Key{})])
}

// kube-scheduler scores a container that asks for nothing as if it asked for
// this much, so that such pods spread too.
const (
	scoringMilliCPU = 100
	scoringMemory   = 200 * 1024 * 1024
)

func compile(ask Ask) request {
	spec := &ask.Pod.Spec
	r := request{
		amounts:     amounts(requests(ask.Pod)),
		required:    nodeaffinity.GetRequiredNodeAffinity(ask.Pod),
		tolerations: spec.Tolerations,
		ports:       hostPorts(spec),
	}
	r.scoring = scoringAmounts(ask.Pod)
	if spec.Affinity != nil && spec.Affinity.NodeAffinity != nil {
		terms := spec.Affinity.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution
		// Validation has refused malformed terms; one that slipped through is
		// a preference that matches nothing.
		if p, err := nodeaffinity.NewPreferredSchedulingTerms(terms); err == nil {
			r.preferred = p
			for _, t := range terms {
				r.preferMax += int64(max(t.Weight, 0))
			}
		}
	}
	if ask.Volumes != nil {
		if s, err := nodeaffinity.NewNodeSelector(ask.Volumes); err == nil {
			r.volumes = s
		}
	}
	return r
}

func scoringAmounts(pod *corev1.Pod) Amounts {
	return amounts(resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{
		UseStatusResources: true,
		NonMissingContainerRequests: corev1.ResourceList{
			corev1.ResourceCPU:    *resource.NewMilliQuantity(scoringMilliCPU, resource.DecimalSI),
			corev1.ResourceMemory: *resource.NewQuantity(scoringMemory, resource.BinarySI),
		},
	}))
}

func sortedKeys[V any](m map[corev1.ResourceName]V) []corev1.ResourceName {
	return slices.Sorted(maps.Keys(m))
}
