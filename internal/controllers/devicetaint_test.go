package controllers_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// withDevice makes a pod on a node that has a device, with these tolerations.
func (e *env) withDevice(name, device string, tolerations ...resourcev1.DeviceToleration) *corev1.Pod {
	e.Helper()
	claim := &resourcev1.ResourceClaim{ObjectMeta: meta(name), Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{
		Requests: []resourcev1.DeviceRequest{{Name: "one", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "gpu.example.com", Tolerations: tolerations}}},
	}}}
	pod := &corev1.Pod{ObjectMeta: meta(name), Spec: corev1.PodSpec{
		NodeName:       "n1",
		Containers:     []corev1.Container{{Name: "c", Image: "i", Resources: corev1.ResourceRequirements{Claims: []corev1.ResourceClaim{{Name: "gpu"}}}}},
		ResourceClaims: []corev1.PodResourceClaim{{Name: "gpu", ResourceClaimName: &name}},
	}}
	e.create(claim, pod)
	change(e, claim, func(c *resourcev1.ResourceClaim) { c.Finalizers = append(c.Finalizers, resourcev1.Finalizer) })
	changeStatus(e, claim, func(c *resourcev1.ResourceClaim) {
		c.Status.Allocation = &resourcev1.AllocationResult{Devices: resourcev1.DeviceAllocationResult{Results: []resourcev1.DeviceRequestAllocationResult{{
			Request: "one", Driver: "gpu.example.com", Pool: "n1", Device: device, Tolerations: tolerations,
		}}}}
		c.Status.ReservedFor = []resourcev1.ResourceClaimConsumerReference{{Resource: "pods", Name: pod.Name, UID: pod.UID}}
	})
	return pod
}

func (e *env) awaitCondition(rule *resourcev1.DeviceTaintRule, reason, part string) {
	e.Helper()
	e.eventually("condition of rule "+rule.Name, func() error {
		c := apimeta.FindStatusCondition(get(e, rule).Status.Conditions, resourcev1.DeviceTaintConditionEvictionInProgress)
		if c == nil || c.Reason != reason || !strings.Contains(c.Message, part) {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
}

// evicted waits until a pod is told to go, and says why.
func (e *env) evicted(pod *corev1.Pod) {
	e.Helper()
	e.eventually("eviction of "+pod.Name, func() error {
		now := &corev1.Pod{ObjectMeta: pod.ObjectMeta}
		err := e.Get(e.ctx, client.ObjectKeyFromObject(pod), now)
		if client.IgnoreNotFound(err) != nil {
			return err
		}
		if err == nil && now.DeletionTimestamp == nil {
			return fmt.Errorf("conditions %+v", now.Status.Conditions)
		}
		return nil
	})
}

func TestPodsLeaveTaintedDevices(t *testing.T) {
	e := start(t)
	e.node("n1")
	slice := &resourcev1.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: "n1-gpus"}, Spec: resourcev1.ResourceSliceSpec{
		Driver: "gpu.example.com", Pool: resourcev1.ResourcePool{Name: "n1", Generation: 1, ResourceSliceCount: 1}, NodeName: new("n1"),
		Devices: []resourcev1.Device{{Name: "a"}, {Name: "b"}, {Name: "c"}},
	}}
	e.create(slice)
	forEver := resourcev1.DeviceToleration{Operator: resourcev1.DeviceTolerationOpExists, Effect: resourcev1.DeviceTaintEffectNoExecute}
	shortly, long := forEver, forEver
	shortly.TolerationSeconds, long.TolerationSeconds = new(int64(1)), new(int64(3600))
	onA, onB, stays, later, soon := e.withDevice("on-a", "a"), e.withDevice("on-b", "b"), e.withDevice("stays", "a", forEver), e.withDevice("later", "a", long), e.withDevice("soon", "a", shortly)

	// What would be evicted is told first: once, from what is known then.
	taint := func(name string) *resourcev1.DeviceTaintRule {
		return &resourcev1.DeviceTaintRule{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: resourcev1.DeviceTaintRuleSpec{
			DeviceSelector: &resourcev1.DeviceTaintSelector{Device: new("a")},
			Taint:          resourcev1.DeviceTaint{Key: "example.com/broken", Effect: resourcev1.DeviceTaintEffectNone},
		}}
	}
	rule := taint("what-if")
	e.create(rule)
	e.eventually("what would happen", func() error {
		c := apimeta.FindStatusCondition(get(e, rule).Status.Conditions, resourcev1.DeviceTaintConditionEvictionInProgress)
		const want = "1 published device selected. 4 allocated devices selected. 3 pods would be evicted in 1 namespace if"
		if c == nil {
			return errors.New("nothing is told")
		}
		if c.Reason == "NoEffect" && strings.Contains(c.Message, want) {
			return nil
		}
		if err := e.Delete(e.ctx, rule); err != nil {
			return err
		}
		rule = taint("what-if")
		e.create(rule)
		return fmt.Errorf("%+v", c)
	})
	change(e, rule, func(r *resourcev1.DeviceTaintRule) { r.Spec.Taint.Effect = resourcev1.DeviceTaintEffectNoExecute })
	if rule = get(e, rule); rule.Spec.Taint.TimeAdded == nil {
		t.Error("nobody noted when the taint was added")
	}
	e.evicted(onA)
	e.evicted(soon)
	e.awaitCondition(rule, "PodsPendingEviction", "1 pod needs to be evicted in 1 namespace. 2 pods evicted since starting the controller.")

	// A driver taints a device.
	change(e, slice, func(s *resourcev1.ResourceSlice) {
		s.Spec.Devices[1].Taints = []resourcev1.DeviceTaint{{Key: "example.com/hot", Effect: resourcev1.DeviceTaintEffectNoExecute}}
	})
	e.evicted(onB)
	for _, pod := range []*corev1.Pod{stays, later} {
		if get(e, pod).DeletionTimestamp != nil {
			t.Errorf("pod %s was evicted though it tolerates the taint", pod.Name)
		}
	}
}
