package workloads

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A pod that asks for devices by the name of a resource holds them by a claim that it
// never hears of, until it is gone: then the next pod gets them.
func TestDevicesByTheNameOfAResource(t *testing.T) {
	c := start(t, 1).in(t)
	const name, node, driver = "example.com/gpu", "node-0", "gpu.example.com"
	offered, host := name, node
	class := &resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: "gpu"}, Spec: resourcev1.DeviceClassSpec{ExtendedResourceName: &offered}}
	if _, err := c.ResourceV1().DeviceClasses().Create(c.ctx, class, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	slice := &resourcev1.ResourceSlice{ObjectMeta: metav1.ObjectMeta{Name: node}, Spec: resourcev1.ResourceSliceSpec{
		Driver: driver, NodeName: &host, Pool: resourcev1.ResourcePool{Name: node, ResourceSliceCount: 1}, Devices: []resourcev1.Device{{Name: "gpu0"}}}}
	if _, err := c.ResourceV1().ResourceSlices().Create(c.ctx, slice, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "gpus"}, Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{
		"requests." + name: resource.MustParse("2"), "requests.deviceclass.resource.kubernetes.io/gpu": resource.MustParse("2")}}}
	if _, err := c.CoreV1().ResourceQuotas(c.namespace).Create(c.ctx, quota, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	until(c, c.CoreV1().ResourceQuotas(c.namespace), "gpus", "counted", func(q *corev1.ResourceQuota) bool { return len(q.Status.Used) == 2 })
	add := func(pod string) error {
		list := corev1.ResourceList{name: resource.MustParse("1")}
		_, err := c.CoreV1().Pods(c.namespace).Create(c.ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: pod}, Spec: corev1.PodSpec{Containers: []corev1.Container{
			{Name: "c", Image: "example.com/c:1", Resources: corev1.ResourceRequirements{Requests: list, Limits: list}}}}}, metav1.CreateOptions{})
		return err
	}
	placed := func(pod string) *resourcev1.ResourceClaim {
		p := until(c, c.CoreV1().Pods(c.namespace), pod, "placed", func(p *corev1.Pod) bool { return p.Spec.NodeName != "" })
		if p.Status.ExtendedResourceClaimStatus == nil {
			t.Fatalf("pod %s names no claim", pod)
		}
		claim, err := c.ResourceV1().ResourceClaims(c.namespace).Get(c.ctx, p.Status.ExtendedResourceClaimStatus.ResourceClaimName, metav1.GetOptions{})
		if err != nil || claim.Status.Allocation == nil || len(claim.Status.ReservedFor) != 1 || claim.Status.ReservedFor[0].UID != p.UID {
			t.Fatalf("claim of pod %s: %+v, %v", pod, claim, err)
		}
		return claim
	}
	for _, pod := range []string{"first", "second"} {
		if err := add(pod); err != nil {
			t.Fatal(err)
		}
		if pod == "first" {
			placed("first")
		}
	}
	if err := add("third"); !apierrors.IsForbidden(err) {
		t.Errorf("a third pod is let in by a quota of two: %v", err)
	}
	until(c, c.CoreV1().Pods(c.namespace), "second", "told why it waits", func(p *corev1.Pod) bool { return len(p.Status.Conditions) > 0 })
	used := until(c, c.CoreV1().ResourceQuotas(c.namespace), "gpus", "used up", func(q *corev1.ResourceQuota) bool {
		n := q.Status.Used["requests."+name]
		return n.Value() >= 2
	}).Status.Used
	if n := used["requests.deviceclass.resource.kubernetes.io/gpu"]; n.Value() != 1 { // by the claim of the first
		t.Errorf("used by the name of the class: %v", used)
	}
	claim := placed("first")
	if err := c.CoreV1().Pods(c.namespace).Delete(c.ctx, "first", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	untilGone(c, c.ResourceV1().ResourceClaims(c.namespace), claim)
	placed("second")
}
