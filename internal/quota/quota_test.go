package quota

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/admission"
	apiquota "k8s.io/apiserver/pkg/quota/v1"
)

func list(pairs ...string) corev1.ResourceList {
	out := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		out[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return out
}

func evaluatorFor(t *testing.T, name string) apiquota.Evaluator {
	t.Helper()
	for _, e := range New(nil, func() time.Time { return time.Unix(1000, 0) }).Evaluators() {
		if e.GroupResource().Resource == name {
			return e
		}
	}
	t.Fatalf("no rules for %s", name)
	return nil
}

func pod(requests, limits corev1.ResourceList, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{
		Name: "c", Resources: corev1.ResourceRequirements{Requests: requests, Limits: limits},
	}}}}
	for _, f := range change {
		f(p)
	}
	return p
}

func TestUsage(t *testing.T) {
	no, class, grace := false, "fast", int64(5)
	for name, c := range map[string]struct {
		resource string
		obj      runtime.Object
		want     corev1.ResourceList
	}{
		"pod": {"pods", pod(list("cpu", "1", "memory", "1Gi", "x.io/gpu", "2", "hugepages-2Mi", "4Mi"), list("cpu", "2", "x.io/gpu", "2")), list(
			"count/pods", "1", "pods", "1", "cpu", "1", "requests.cpu", "1", "limits.cpu", "2",
			"memory", "1Gi", "requests.memory", "1Gi", "requests.x.io/gpu", "2", "hugepages-2Mi", "4Mi", "requests.hugepages-2Mi", "4Mi")},
		"pod that ended": {"pods", pod(list("cpu", "1"), nil, func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }), list("count/pods", "1")},
		"pod overdue": {"pods", pod(nil, nil, func(p *corev1.Pod) {
			p.DeletionTimestamp, p.DeletionGracePeriodSeconds = &metav1.Time{Time: time.Unix(900, 0)}, &grace
		}), list("count/pods", "1")},
		"cluster service": {"services", &corev1.Service{}, list("count/services", "1", "services", "1", "services.nodeports", "0", "services.loadbalancers", "0")},
		"balancer": {"services", &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: make([]corev1.ServicePort, 2)}},
			list("count/services", "1", "services", "1", "services.nodeports", "2", "services.loadbalancers", "1")},
		"balancer without ports": {"services", &corev1.Service{Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, AllocateLoadBalancerNodePorts: &no, Ports: []corev1.ServicePort{{NodePort: 30000}, {}},
		}}, list("count/services", "1", "services", "1", "services.nodeports", "1", "services.loadbalancers", "1")},
		"claim": {"persistentvolumeclaims", &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: &class, Resources: corev1.VolumeResourceRequirements{Requests: list("storage", "1500m")},
		}}, list("count/persistentvolumeclaims", "1", "persistentvolumeclaims", "1", "requests.storage", "2",
			"fast.storageclass.storage.k8s.io/persistentvolumeclaims", "1", "fast.storageclass.storage.k8s.io/requests.storage", "2")},
	} {
		t.Run(name, func(t *testing.T) {
			e := evaluatorFor(t, c.resource)
			got, err := e.Usage(c.obj)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			var names []corev1.ResourceName
			for n := range c.want {
				names = append(names, n)
			}
			if n := len(e.MatchingResources(names)); n != len(names) {
				t.Errorf("%d of %d names are the resource's own", n, len(names))
			}
		})
	}
	if names := evaluatorFor(t, "pods").MatchingResources([]corev1.ResourceName{"services", "requests.storage", "x.io/gpu"}); len(names) != 0 {
		t.Errorf("pods count towards %v", names)
	}
}

func TestConstraints(t *testing.T) {
	e := evaluatorFor(t, "pods")
	required := []corev1.ResourceName{"requests.cpu", "limits.memory", "requests.ephemeral-storage", "pods"}
	err := e.Constraints(required, pod(list("cpu", "1"), nil))
	if err == nil || err.Error() != "must specify limits.memory for: c" {
		t.Errorf("got %v", err)
	}
	if err := e.Constraints(required, pod(list("cpu", "1"), list("memory", "1"))); err != nil {
		t.Error(err)
	}
}

func TestConstraintsOfWholePods(t *testing.T) {
	p := pod(nil, nil, func(p *corev1.Pod) {
		p.Spec.Resources = &corev1.ResourceRequirements{Requests: list("cpu", "1")}
	})
	if err := evaluatorFor(t, "pods").Constraints([]corev1.ResourceName{"requests.cpu", "limits.memory"}, p); err != nil {
		t.Error(err)
	}
}

func TestDeadlinesAreCharged(t *testing.T) {
	deadline := int64(5)
	plain, ending := pod(nil, nil), pod(nil, nil, func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = &deadline })
	for _, c := range []struct {
		old, now *corev1.Pod
		want     bool
	}{{plain, ending, true}, {ending, plain, true}, {ending, ending, false}, {plain, plain, false}} {
		a := admission.NewAttributesRecord(c.now, c.old, schema.GroupVersionKind{}, "n", "p", schema.GroupVersionResource{Version: "v1", Resource: "pods"},
			"", admission.Update, nil, false, nil)
		if got := evaluatorFor(t, "pods").Handles(a); got != c.want {
			t.Errorf("from %v to %v: charged: %v", c.old.Spec.ActiveDeadlineSeconds, c.now.Spec.ActiveDeadlineSeconds, got)
		}
	}
}

// deviceClaim asks one request of each of the texts "class count", by which one
// of several is chosen where there are more.
func deviceClaim(requests ...[]resourcev1.DeviceSubRequest) *resourcev1.ResourceClaim {
	c := &resourcev1.ResourceClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "c"}}
	for _, r := range requests {
		one := resourcev1.DeviceRequest{FirstAvailable: r}
		if len(r) == 1 {
			one = resourcev1.DeviceRequest{Exactly: &resourcev1.ExactDeviceRequest{
				DeviceClassName: r[0].DeviceClassName, AllocationMode: r[0].AllocationMode, Count: r[0].Count}}
		}
		c.Spec.Devices.Requests = append(c.Spec.Devices.Requests, one)
	}
	return c
}

func TestDeviceUsage(t *testing.T) {
	name, yes := "x.io/gpu", true
	some := func(class string, n int64) resourcev1.DeviceSubRequest {
		return resourcev1.DeviceSubRequest{DeviceClassName: class, AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: n}
	}
	all := resourcev1.DeviceSubRequest{DeviceClassName: "nic", AllocationMode: resourcev1.DeviceAllocationModeAll}
	asking := pod(list("x.io/gpu", "2"), nil, func(p *corev1.Pod) { p.Namespace, p.Name, p.UID = "n", "p", "u" })
	made := func(uid types.UID) *resourcev1.ResourceClaim {
		c := deviceClaim([]resourcev1.DeviceSubRequest{some("gpu", 3)})
		c.Annotations = map[string]string{resourcev1.ExtendedResourceClaimAnnotation: "true"}
		c.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: "p", UID: uid, Controller: &yes}}
		return c
	}
	objects := map[string][]runtime.Object{
		"deviceclasses": {&resourcev1.DeviceClass{ObjectMeta: metav1.ObjectMeta{Name: "gpu"}, Spec: resourcev1.DeviceClassSpec{ExtendedResourceName: &name}}},
		"pods":          {asking},
	}
	e := deviceClaims(func(r schema.GroupResource, _ string) ([]runtime.Object, error) { return objects[r.Resource], nil }, time.Now)
	const gpus, nics = "gpu.deviceclass.resource.k8s.io/devices", "nic.deviceclass.resource.k8s.io/devices"
	const gpuClass, nicClass = "requests.deviceclass.resource.kubernetes.io/gpu", "requests.deviceclass.resource.kubernetes.io/nic"
	for what, c := range map[string]struct {
		claim *resourcev1.ResourceClaim
		want  corev1.ResourceList
	}{
		"nothing": {deviceClaim(), list(string(countDeviceClaims), "1")},
		"some of a class that containers can name": {deviceClaim([]resourcev1.DeviceSubRequest{some("gpu", 2)}),
			list(string(countDeviceClaims), "1", gpus, "2", gpuClass, "2", "requests.x.io/gpu", "2")},
		"all of one": {deviceClaim([]resourcev1.DeviceSubRequest{all}), list(string(countDeviceClaims), "1", nics, "32", nicClass, "32")},
		"the most of each": {deviceClaim([]resourcev1.DeviceSubRequest{some("nic", 1), some("nic", 3), some("gpu", 1)}, []resourcev1.DeviceSubRequest{some("nic", 1)}),
			list(string(countDeviceClaims), "1", nics, "4", nicClass, "4", gpus, "1", gpuClass, "1", "requests.x.io/gpu", "1")},
		"what a pod counts already": {made("u"), list(string(countDeviceClaims), "1", gpus, "3", gpuClass, "3", "requests.x.io/gpu", "1")},
		"of another pod":            {made("v"), list(string(countDeviceClaims), "1", gpus, "3", gpuClass, "3", "requests.x.io/gpu", "3")},
	} {
		got, err := e.Usage(c.claim)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Error(what, diff)
		}
	}
	if got := e.MatchingResources([]corev1.ResourceName{countDeviceClaims, gpus, gpuClass, nicClass, "requests.x.io/gpu", "requests.y.io/z", "pods"}); len(got) != 4 {
		t.Errorf("claims count towards %v", got)
	}
}

func TestScopes(t *testing.T) {
	deadline := int64(5)
	plain, asking := pod(nil, nil), pod(list("cpu", "1"), nil)
	ending := pod(nil, nil, func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = &deadline })
	ranked := pod(nil, nil, func(p *corev1.Pod) { p.Spec.PriorityClassName = "high" })
	for _, c := range []struct {
		scope    corev1.ResourceQuotaScope
		operator corev1.ScopeSelectorOperator
		values   []string
		in, out  *corev1.Pod
	}{
		{corev1.ResourceQuotaScopeTerminating, corev1.ScopeSelectorOpExists, nil, ending, plain},
		{corev1.ResourceQuotaScopeNotTerminating, corev1.ScopeSelectorOpExists, nil, plain, ending},
		{corev1.ResourceQuotaScopeBestEffort, corev1.ScopeSelectorOpExists, nil, plain, asking},
		{corev1.ResourceQuotaScopeNotBestEffort, corev1.ScopeSelectorOpExists, nil, asking, plain},
		{corev1.ResourceQuotaScopePriorityClass, corev1.ScopeSelectorOpExists, nil, ranked, plain},
		{corev1.ResourceQuotaScopePriorityClass, corev1.ScopeSelectorOpDoesNotExist, nil, plain, ranked},
		{corev1.ResourceQuotaScopePriorityClass, corev1.ScopeSelectorOpIn, []string{"high", "low"}, ranked, plain},
		{corev1.ResourceQuotaScopePriorityClass, corev1.ScopeSelectorOpNotIn, []string{"high"}, plain, ranked},
	} {
		s := corev1.ScopedResourceSelectorRequirement{ScopeName: c.scope, Operator: c.operator, Values: c.values}
		if ok, err := podScope(s, c.in); !ok || err != nil {
			t.Errorf("%s %s %v: leaves out a pod that is in it: %v", c.scope, c.operator, c.values, err)
		}
		if ok, err := podScope(s, c.out); ok || err != nil {
			t.Errorf("%s %s %v: takes in a pod that is not: %v", c.scope, c.operator, c.values, err)
		}
	}
}
