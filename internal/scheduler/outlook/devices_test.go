package outlook

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// A pod may ask for devices by the name of a resource: what is said of them is what
// would be said of a resource that nodes have of their own.
func TestResourcesThatAreDevices(t *testing.T) {
	const gpu = "example.com/gpu"
	offered, host, yes := gpu, "n1", true
	asks := func(n string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.Containers[0].Resources.Requests[gpu] = resource.MustParse(n)
		}
	}
	result := func(device string) resourcev1.DeviceRequestAllocationResult {
		return resourcev1.DeviceRequestAllocationResult{Request: "container-0-request-1", Driver: "d", Pool: "p", Device: device}
	}
	running := pod("train", "1", asks("1"), on("n1"))
	objects := []client.Object{
		node("n1", "8"), node("n2", "8"), running,
		&resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: "gpu"}, Spec: resourcev1.DeviceClassSpec{ExtendedResourceName: &offered}},
		&resourcev1.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: "s"}, Spec: resourcev1.ResourceSliceSpec{Driver: "d", NodeName: &host,
			Pool: resourcev1.ResourcePool{Name: "p", ResourceSliceCount: 1}, Devices: []resourcev1.Device{{Name: "a"}, {Name: "b"}, {Name: "c"}}}},
		&resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "made", UID: "made", Annotations: map[string]string{resourcev1.ExtendedResourceClaimAnnotation: "true"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: "train", UID: running.UID, Controller: &yes}}},
			Status: resourcev1.ResourceClaimStatus{Allocation: &resourcev1.AllocationResult{Devices: resourcev1.DeviceAllocationResult{Results: []resourcev1.DeviceRequestAllocationResult{result("a")}}}}},
	}
	c := New(objects)
	got := c.Why(pod("more", "1", asks("3")))
	if o := got.Nodes[0].Obstacles; len(o) != 1 || o[0].Reason != "cannot allocate all claims" || o[0].Resource != gpu || o[0].Wanted != "3" || o[0].Free != "2" || o[0].Total != "3" || o[0].Missing != "1" {
		t.Errorf("n1: %+v", o)
	}
	if o := got.Nodes[1].Obstacles; len(o) != 1 || !o[0].TooBig || o[0].Total != "0" {
		t.Errorf("n2: %+v", o)
	}
	for range 2 { // asking changes nothing
		if fits := c.Why(running).Fits(); !slices.Equal(fits, []string{"n1"}) {
			t.Errorf("the one that runs fits %v", fits)
		}
		if fits := c.Why(pod("more", "1", asks("3"))).Fits(); len(fits) > 0 {
			t.Errorf("what is taken is given to %v", fits)
		}
	}
	placed := c.Plan([]Workload{{Kind: "Deployment", Namespace: "shop", Name: "infer", Count: 3, Pod: pod("", "1", asks("1"))}})
	if placed[0].On["n1"] != 2 || placed[0].Waiting != 1 {
		t.Errorf("planned %+v", placed[0])
	}
}
