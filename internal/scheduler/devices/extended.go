package devices

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/sinawi/sinawi/internal/scheduler/engine/demand"
)

// Reasons in kube-scheduler's words.
const (
	reasonLeftover = "cannot schedule extended resource claim"
	reasonNotHere  = "cannot fit resource"
)

// Resource reports whether a resource may be one that a class of devices offers: it has
// a domain of its own, or names a class.
func Resource(name corev1.ResourceName) bool {
	s := string(name)
	return strings.HasPrefix(s, resourcev1.ResourceDeviceClassPrefix) ||
		strings.Contains(s, "/") && !strings.Contains(s, corev1.ResourceDefaultNamespacePrefix) &&
			!strings.HasPrefix(s, corev1.DefaultResourceRequestsPrefix)
}

// Asks reports whether devices may have to do with where a pod goes.
func Asks(pod *corev1.Pod) bool {
	if len(pod.Spec.ResourceClaims) > 0 {
		return true
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			for name := range list[i].Resources.Requests {
				if Resource(name) {
					return true
				}
			}
		}
	}
	return false
}

// classFor returns the class that offers a resource, or nil.
func (w *World) classFor(name corev1.ResourceName) *resourcev1.DeviceClass {
	if w.offers != nil {
		return w.offers[name]
	}
	w.offers = map[corev1.ResourceName]*resourcev1.DeviceClass{}
	for _, c := range w.classes {
		for _, name := range namesOf(c) {
			if have := w.offers[name]; have == nil || rather(c, have) {
				w.offers[name] = c
			}
		}
	}
	return w.offers[name]
}

// namesOf are the resources that a class offers.
func namesOf(c *resourcev1.DeviceClass) []corev1.ResourceName {
	out := []corev1.ResourceName{corev1.ResourceName(resourcev1.ResourceDeviceClassPrefix + c.Name)}
	if c.Spec.ExtendedResourceName != nil {
		out = append(out, corev1.ResourceName(*c.Spec.ExtendedResourceName))
	}
	return out
}

// rather reports whether a class offers a resource that another offers too: the newer
// does, so that one can take the place of the other.
func rather(c, than *resourcev1.DeviceClass) bool {
	return cmp.Or(than.CreationTimestamp.Compare(c.CreationTimestamp.Time), strings.Compare(c.Name, than.Name)) < 0
}

// setClass takes in a class, and notes whose names others may wait for.
func (w *World) setClass(c *resourcev1.DeviceClass, deleted bool) {
	before := w.classes[c.Name]
	keep(w.classes, c.Name, c, deleted)
	w.offers = nil
	if before != nil && !deleted && slices.Equal(namesOf(before), namesOf(c)) {
		return
	}
	for _, c := range []*resourcev1.DeviceClass{before, c} {
		if c != nil {
			w.renamed = append(w.renamed, namesOf(c)...)
		}
	}
}

// Renamed returns what tells which pods ask for a resource that other classes offer
// than before, since it was called last; nil when no pod can.
func (w *World) Renamed() func(*corev1.Pod) bool {
	names := w.renamed
	w.renamed = nil
	if len(names) == 0 {
		return nil
	}
	return func(pod *corev1.Pod) bool {
		asked := demand.Requests(pod)
		return slices.ContainsFunc(names, func(name corev1.ResourceName) bool {
			_, ok := asked[name]
			return ok
		})
	}
}

// ownerOf is the pod that a claim was made for because it asks for resources that
// classes offer, "" for any other claim.
func ownerOf(claim *resourcev1.ResourceClaim) types.UID {
	if claim.Annotations[resourcev1.ExtendedResourceClaimAnnotation] != "true" {
		return ""
	}
	if ref := metav1.GetControllerOfNoCopy(claim); ref != nil {
		return ref.UID
	}
	return ""
}

func (w *World) setClaim(claim *resourcev1.ResourceClaim, deleted bool) {
	key := types.NamespacedName{Namespace: claim.Namespace, Name: claim.Name}
	keep(w.claims, key, claim, deleted)
	switch owner := ownerOf(claim); {
	case owner == "":
	case !deleted:
		w.made[owner] = key
	case w.made[owner] == key:
		delete(w.made, owner)
	}
}

// Made returns the claim that was made for the resources that a pod asks for, as last
// told of, or nil.
func (w *World) Made(pod types.UID) *resourcev1.ResourceClaim {
	if key, ok := w.made[pod]; ok {
		return w.claims[key]
	}
	return nil
}

// Free forgets the claim that was made for the resources that a pod asks for, and
// returns it, or nil: as if the pod had never been placed.
func (w *World) Free(pod types.UID) *resourcev1.ResourceClaim {
	claim := w.Made(pod)
	if claim != nil {
		w.setClaim(claim, true)
	}
	return claim
}

// extended is what a pod asks for by the names of resources, some of which classes
// offer.
type extended struct {
	pod     *corev1.Pod
	asked   []corev1.ResourceName // that may be devices, sorted
	classes map[corev1.ResourceName]string
	left    *resourcev1.ResourceClaim // by an attempt that failed
}

// extended is nil when no class offers what the pod asks for.
func (w *World) extended(pod *corev1.Pod) *extended {
	x := &extended{pod: pod, classes: map[corev1.ResourceName]string{}}
	for name, amount := range demand.Requests(pod) {
		if !Resource(name) || amount.IsZero() {
			continue
		}
		x.asked = append(x.asked, name)
		if c := w.classFor(name); c != nil {
			x.classes[name] = c.Name
		}
	}
	if len(x.classes) == 0 {
		return nil
	}
	slices.Sort(x.asked)
	x.left = w.Made(pod.UID)
	return x
}

// on is the claim that the pod needs on a node for what the node has none of its own
// of, nil for none, and which container has which part of it.
func (x *extended) on(node *corev1.Node) (*resourcev1.ResourceClaim, []corev1.ContainerExtendedResourceRequest, string) {
	if x == nil {
		return nil, nil, ""
	}
	if x.left != nil {
		return nil, nil, reasonLeftover
	}
	var missing []corev1.ResourceName
	for _, name := range x.asked {
		own, known := node.Status.Allocatable[name]
		switch {
		case x.classes[name] != "" && own.IsZero():
			missing = append(missing, name)
		case !known:
			return nil, nil, reasonNotHere
		}
	}
	requests, mappings := x.requests(missing)
	if len(requests) == 0 {
		return nil, nil, ""
	}
	return x.claim(requests), mappings, ""
}

// claim has no name before it is created; until then its UID tells it from others.
func (x *extended) claim(requests []resourcev1.DeviceRequest) *resourcev1.ResourceClaim {
	yes := true
	return &resourcev1.ResourceClaim{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: x.pod.Namespace, GenerateName: x.pod.Name + "-extended-resources-", UID: "extended-resources/" + x.pod.UID,
			Annotations:     map[string]string{resourcev1.ExtendedResourceClaimAnnotation: "true"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: x.pod.Name, UID: x.pod.UID, Controller: &yes}},
		},
		Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: requests}},
	}
}

// requests are those for resources, and which container uses which. Init containers
// that end before others start share: with those that start after them, and the
// greatest of what they need beyond that among themselves.
func (x *extended) requests(missing []corev1.ResourceName) (requests []resourcev1.DeviceRequest, mappings []corev1.ContainerExtendedResourceRequest) {
	for _, name := range missing {
		one := perResource{name: name, class: x.classes[name]}
		r, m := one.requests(x.pod)
		requests, mappings = append(requests, r...), append(mappings, m...)
	}
	slices.SortFunc(requests, func(a, b resourcev1.DeviceRequest) int { return strings.Compare(a.Name, b.Name) })
	return requests, mappings
}

// perResource makes the requests for one resource.
type perResource struct {
	name  corev1.ResourceName
	class string
}

func (p perResource) requests(pod *corev1.Pod) (requests []resourcev1.DeviceRequest, mappings []corev1.ContainerExtendedResourceRequest) {
	inits := len(pod.Spec.InitContainers)
	containers := slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers)
	ends := func(i int) bool { return i < inits && !demand.Sidecar(&containers[i]) }
	stay := make([]*resourcev1.DeviceRequest, len(containers)) // by container
	for i := range containers {
		if !ends(i) {
			r, m := p.request(i, &containers[i], nil)
			stay[i], mappings = r, append(mappings, m...)
		}
	}
	var most *resourcev1.DeviceRequest
	var ending []corev1.ContainerExtendedResourceRequest
	theirs := map[string]bool{}
	for i := range containers {
		if !ends(i) {
			continue
		}
		r, m := p.request(i, &containers[i], stay[i:])
		ending = append(ending, m...)
		if r == nil {
			continue
		}
		theirs[r.Name] = true
		if most == nil || most.Exactly.Count < r.Exactly.Count {
			most = r
		}
	}
	for i := range ending {
		if theirs[ending[i].RequestName] {
			ending[i].RequestName = most.Name
		}
	}
	if most != nil {
		requests = append(requests, *most)
	}
	for _, r := range stay {
		if r != nil {
			requests = append(requests, *r)
		}
	}
	return requests, append(mappings, ending...)
}

// request is what a container needs beyond what it may share, nil for nothing, and all
// that it uses.
func (p perResource) request(i int, c *corev1.Container, shared []*resourcev1.DeviceRequest) (*resourcev1.DeviceRequest, []corev1.ContainerExtendedResourceRequest) {
	amount := c.Resources.Requests[p.name]
	want, ok := amount.AsInt64()
	if !ok || want == 0 {
		return nil, nil
	}
	var uses []corev1.ContainerExtendedResourceRequest
	use := func(request string) {
		uses = append(uses, corev1.ContainerExtendedResourceRequest{ContainerName: c.Name, ResourceName: string(p.name), RequestName: request})
	}
	for _, r := range shared {
		if r == nil {
			continue
		}
		use(r.Name)
		if want -= r.Exactly.Count; want <= 0 {
			return nil, uses
		}
	}
	at, _ := slices.BinarySearch(slices.Sorted(maps.Keys(c.Resources.Requests)), p.name)
	out := &resourcev1.DeviceRequest{Name: fmt.Sprintf("container-%d-request-%d", i, at), Exactly: &resourcev1.ExactDeviceRequest{
		DeviceClassName: p.class, AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: want,
	}}
	use(out.Name)
	return out, uses
}
