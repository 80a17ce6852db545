package scheduler_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/scheduler"
)

func (r *rig) addDeviceClass(name, driver, resource string) {
	r.Helper()
	class := &resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: resourcev1.DeviceClassSpec{
		Selectors: []resourcev1.DeviceSelector{{CEL: &resourcev1.CELDeviceSelector{Expression: `device.driver == "` + driver + `"`}}}}}
	if resource != "" {
		class.Spec.ExtendedResourceName = &resource
	}
	if _, err := r.ResourceV1().DeviceClasses().Create(r.ctx, class, metav1.CreateOptions{}); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) addDevices(node, driver string, names ...string) {
	r.Helper()
	slice := &resourcev1.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: node}, Spec: resourcev1.ResourceSliceSpec{
		Driver: driver, NodeName: &node, Pool: resourcev1.ResourcePool{Name: node, ResourceSliceCount: 1}}}
	for _, name := range names {
		slice.Spec.Devices = append(slice.Spec.Devices, resourcev1.Device{Name: name})
	}
	if _, err := r.ResourceV1().ResourceSlices().Create(r.ctx, slice, metav1.CreateOptions{}); err != nil {
		r.Fatal(err)
	}
}

func asks(name corev1.ResourceName, amount string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		q := resource.MustParse(amount)
		p.Spec.Containers[0].Resources.Requests[name] = q
		p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{name: q}
	}
}

func (r *rig) claimOf(pod *corev1.Pod) *resourcev1.ResourceClaim {
	r.Helper()
	if pod.Status.ExtendedResourceClaimStatus == nil {
		r.Fatalf("pod %s names no claim", pod.Name)
	}
	claim, err := r.ResourceV1().ResourceClaims("default").Get(r.ctx, pod.Status.ExtendedResourceClaimStatus.ResourceClaimName, metav1.GetOptions{})
	if err != nil {
		r.Fatal(err)
	}
	return claim
}

func TestResourcesThatAreDevices(t *testing.T) {
	r := start(t)
	r.addNode("n1", "4")
	r.addNode("n2", "4")
	const gpu = corev1.ResourceName("example.com/gpu")
	r.addPod("train", "1", asks(gpu, "2"))
	r.awaitUnschedulable("train", "2 Insufficient example.com/gpu")
	r.addDeviceClass("gpu", "gpu.example.com", string(gpu))
	r.await("train", "told of devices", func(p *corev1.Pod) bool {
		return scheduled(p).Message == "0/2 nodes are available: 2 cannot allocate all claims. preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling."
	})
	r.addDevices("n2", "gpu.example.com", "gpu0", "gpu1", "gpu2")
	r.awaitNode("train", "n2")
	pod := r.get("train")
	claim := r.claimOf(pod)
	if want := []corev1.ContainerExtendedResourceRequest{{ContainerName: "c", ResourceName: string(gpu), RequestName: "container-0-request-1"}}; len(pod.Status.ExtendedResourceClaimStatus.RequestMappings) != 1 ||
		pod.Status.ExtendedResourceClaimStatus.RequestMappings[0] != want[0] {
		t.Errorf("mappings %+v, want %+v", pod.Status.ExtendedResourceClaimStatus.RequestMappings, want)
	}
	if claim.Annotations[resourcev1.ExtendedResourceClaimAnnotation] != "true" || !metav1.IsControlledBy(claim, pod) || claim.GenerateName != "train-extended-resources-" ||
		claim.Status.Allocation == nil || len(claim.Status.Allocation.Devices.Results) != 2 || len(claim.Status.ReservedFor) != 1 || claim.Status.ReservedFor[0].UID != pod.UID {
		t.Errorf("claim %+v", claim)
	}
	// One is left: by its class's own name.
	r.addPod("infer", "1", asks(corev1.ResourceName(resourcev1.ResourceDeviceClassPrefix+"gpu"), "1"))
	r.awaitNode("infer", "n2")
	r.addPod("more", "1", asks(gpu, "1"))
	r.awaitUnschedulable("more", "2 cannot allocate all claims")
	r.ownFirst(gpu)
}

// ownFirst gives a node such resources of its own, for which a pod needs no claim.
func (r *rig) ownFirst(name corev1.ResourceName) {
	r.Helper()
	patch := []byte(`{"status":{"capacity":{"` + string(name) + `":"1"},"allocatable":{"` + string(name) + `":"1"}}}`)
	if _, err := r.CoreV1().Nodes().Patch(r.ctx, "n1", types.MergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil {
		r.Fatal(err)
	}
	r.awaitNode("more", "n1")
	if s := r.get("more").Status.ExtendedResourceClaimStatus; s != nil {
		r.Errorf("it has claim %+v for what the node has of its own", s)
	}
	r.addPod("last", "1", asks(name, "1"))
	r.awaitUnschedulable("last", "1 Insufficient "+string(name), "1 cannot allocate all claims")
}

// A claim that an attempt left behind is deleted, and the pod placed with another.
func TestLeftoverOfResourcesThatAreDevices(t *testing.T) {
	r := start(t)
	r.addNode("n1", "4")
	r.addDeviceClass("gpu", "gpu.example.com", "example.com/gpu")
	r.addDevices("n1", "gpu.example.com", "gpu0")
	r.addPod("train", "1", func(p *corev1.Pod) {
		asks("example.com/gpu", "1")(p)
		p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/wait"}}
	})
	pod, yes := r.get("train"), true
	claims := r.ResourceV1().ResourceClaims("default")
	left, err := claims.Create(r.ctx, &resourcev1.ResourceClaim{
		ObjectMeta: metav1.ObjectMeta{Name: "left", Finalizers: []string{resourcev1.Finalizer},
			Annotations:     map[string]string{resourcev1.ExtendedResourceClaimAnnotation: "true"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID, Controller: &yes}}},
		Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{
			{Name: "container-0-request-1", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "gpu"}}}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := claims.Watch(r.ctx, metav1.ListOptions{ResourceVersion: left.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if _, err := r.CoreV1().Pods("default").Patch(r.ctx, "train", types.JSONPatchType, []byte(`[{"op":"remove","path":"/spec/schedulingGates"}]`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	for e := range w.ResultChan() {
		if claim := e.Object.(*resourcev1.ResourceClaim); e.Type == watch.Deleted && claim.Name == "left" {
			break
		}
	}
	r.awaitNode("train", "n1")
	if claim := r.claimOf(r.get("train")); claim.UID == left.UID || claim.Status.Allocation == nil {
		t.Errorf("claim %+v", claim)
	}
}

// faulty refuses the first binding, or the first patch of a status that names a claim.
type faulty struct {
	client.Client
	binding, naming atomic.Bool
}

var errFault = errors.New("a fault")

func (f *faulty) SubResource(name string) client.SubResourceClient {
	return faultyPart{f.Client.SubResource(name), f}
}

func (f *faulty) Status() client.SubResourceWriter {
	return faultyPart{f.Client.SubResource("status"), f}
}

type faultyPart struct {
	client.SubResourceClient
	*faulty
}

func (p faultyPart) Create(ctx context.Context, obj, sub client.Object, opts ...client.SubResourceCreateOption) error {
	if p.binding.CompareAndSwap(true, false) {
		return errFault
	}
	return p.SubResourceClient.Create(ctx, obj, sub, opts...)
}

func (p faultyPart) Patch(ctx context.Context, obj client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
	if pod, ok := obj.(*corev1.Pod); ok && pod.Status.ExtendedResourceClaimStatus != nil && p.naming.CompareAndSwap(true, false) {
		return errFault
	}
	return p.SubResourceClient.Patch(ctx, obj, patch, opts...)
}

func (p faultyPart) Update(ctx context.Context, obj client.Object, opts ...client.SubResourceUpdateOption) error {
	return p.SubResourceClient.Update(ctx, obj, opts...)
}

func (p faultyPart) Get(ctx context.Context, obj, sub client.Object, opts ...client.SubResourceGetOption) error {
	return p.SubResourceClient.Get(ctx, obj, sub, opts...)
}

func (p faultyPart) Apply(ctx context.Context, obj runtime.ApplyConfiguration, opts ...client.SubResourceApplyOption) error {
	return p.SubResourceClient.Apply(ctx, obj, opts...)
}

// A pod that could not be bound gives back the only device, and gets it by another
// claim.
func TestFaultsOfResourcesThatAreDevices(t *testing.T) {
	f := &faulty{}
	r := startVia(t, scheduler.Options{}, func(c client.Client) client.Client { f.Client = c; return f })
	r.addNode("n1", "4")
	r.addDeviceClass("gpu", "gpu.example.com", "example.com/gpu")
	r.addDevices("n1", "gpu.example.com", "gpu0")
	claims := r.ResourceV1().ResourceClaims("default")
	w, err := claims.Watch(r.ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	gone := func() types.UID {
		for e := range w.ResultChan() {
			if e.Type == watch.Deleted {
				return e.Object.(*resourcev1.ResourceClaim).UID
			}
		}
		t.Fatal("no claim is deleted")
		return ""
	}
	told, err := r.CoreV1().Pods("default").Watch(r.ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer told.Stop()
	for _, fault := range []*atomic.Bool{&f.binding, &f.naming} {
		fault.Store(true)
		r.addPod("train", "1", asks("example.com/gpu", "1"))
		first := gone()
		r.awaitNode("train", "n1")
		claim := r.claimOf(r.get("train"))
		if claim.UID == first || claim.Status.Allocation == nil {
			t.Errorf("claim %+v", claim)
		}
		r.end("train", claim)
		gone()
	}
	const why = `running PreBind plugin "DynamicResources": update pod default/train ExtendedResourceClaimStatus: a fault`
	r.awaitNote("train", why)
	for e := range told.ResultChan() {
		c := scheduled(e.Object.(*corev1.Pod))
		if c != nil && c.Reason == corev1.PodReasonSchedulerError && c.Status == corev1.ConditionFalse && c.Message == why {
			return
		}
	}
	t.Error("the pod's condition never says why")
}

// awaitNote waits for an event about a pod.
func (r *rig) awaitNote(pod, note string) {
	r.Helper()
	w, err := r.EventsV1().Events("default").Watch(r.ctx, metav1.ListOptions{FieldSelector: "regarding.name=" + pod})
	if err != nil {
		r.Fatal(err)
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		if noteOf(r, e.Object) == note {
			return
		}
	}
	r.Fatalf("pod %s: no event says %q", pod, note)
}

// end deletes a pod, and its claim as the controller of claims does.
func (r *rig) end(name string, claim *resourcev1.ResourceClaim) {
	r.Helper()
	now := int64(0)
	if err := r.CoreV1().Pods("default").Delete(r.ctx, name, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		r.Fatal(err)
	}
	claims := r.ResourceV1().ResourceClaims("default")
	if _, err := claims.Patch(r.ctx, claim.Name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		r.Fatal(err)
	}
	if err := claims.Delete(r.ctx, claim.Name, metav1.DeleteOptions{}); err != nil {
		r.Fatal(err)
	}
}
