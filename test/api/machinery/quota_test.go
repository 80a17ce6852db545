package machinery

import (
	"context"
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

type amounts = map[corev1.ResourceName]string

func quantities(of amounts) corev1.ResourceList {
	out := corev1.ResourceList{}
	for name, amount := range of {
		out[name] = resource.MustParse(amount)
	}
	return out
}

// quota makes a quota and waits until its use has been counted.
func (c *cluster) quota(name string, hard amounts, scopes ...corev1.ResourceQuotaScope) {
	c.Helper()
	try(c.CoreV1().ResourceQuotas(c.ns).Create(c.ctx, &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ResourceQuotaSpec{Hard: quantities(hard), Scopes: scopes},
	}, metav1.CreateOptions{})).or(c)
	c.eventually("calculation of "+name, func() error {
		q := try(c.CoreV1().ResourceQuotas(c.ns).Get(c.ctx, name, metav1.GetOptions{})).or(c)
		if len(q.Status.Hard) != len(hard) || len(q.Status.Used) != len(hard) {
			return fmt.Errorf("status is %v", q.Status)
		}
		return nil
	})
}

// uses waits until the quota says that so much is used.
func (c *cluster) uses(name string, used amounts) {
	c.Helper()
	c.eventually("use of "+name, func() error {
		q := try(c.CoreV1().ResourceQuotas(c.ns).Get(c.ctx, name, metav1.GetOptions{})).or(c)
		for resource, want := range quantities(used) {
			if got := q.Status.Used[resource]; got.Cmp(want) != 0 {
				return fmt.Errorf("%s is %s, want %s", resource, got.String(), want.String())
			}
		}
		return nil
	})
}

// charge creates what quotas count. The server may ask to come again as long as
// it has not seen a quota's last change.
func charge[T any](c *cluster, create func(context.Context, T, metav1.CreateOptions) (T, error), o T) error {
	c.Helper()
	var err error
	c.eventually("an answer", func() error {
		if _, err = create(c.ctx, o, metav1.CreateOptions{}); apierrors.IsConflict(err) {
			return err
		}
		return nil
	})
	return err
}

// asking is a pod that asks for resources.
func asking(name, cpu, memory string) *corev1.Pod {
	p := pod(name, nil)
	want := quantities(amounts{"cpu": cpu, "memory": memory})
	p.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: want, Limits: want}
	return p
}

// Conformance: [sig-api-machinery] ResourceQuota should create a ResourceQuota and ensure its status is promptly calculated.
// Conformance: [sig-api-machinery] ResourceQuota should be able to update and delete ResourceQuota.
func TestQuota(t *testing.T) {
	c := begin(t)
	api := c.CoreV1().ResourceQuotas(c.ns)
	c.quota("q", amounts{"cpu": "1", "memory": "500Mi", "configmaps": "10"})
	var q *corev1.ResourceQuota
	c.eventually("the update", func() (err error) {
		q = try(api.Get(c.ctx, "q", metav1.GetOptions{})).or(c)
		q.Spec.Hard = quantities(amounts{"cpu": "2", "memory": "1Gi"})
		q, err = api.Update(c.ctx, q, metav1.UpdateOptions{})
		return err
	})
	if cpu := q.Spec.Hard["cpu"]; cpu.String() != "2" {
		t.Errorf("cpu is %s", cpu.String())
	}
	c.eventually("the new limits in the status", func() error {
		q = try(api.Get(c.ctx, "q", metav1.GetOptions{})).or(c)
		if cpu := q.Status.Hard["cpu"]; cpu.String() != "2" || len(q.Status.Hard) != 2 {
			return fmt.Errorf("%v", q.Status.Hard)
		}
		return nil
	})
	c.ok(api.Delete(c.ctx, "q", metav1.DeleteOptions{}))
	_, err := api.Get(c.ctx, "q", metav1.GetOptions{})
	c.refused(err, apierrors.IsNotFound, `resourcequotas "q" not found`)
}

// Conformance: [sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a configMap.
// Conformance: [sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a secret.
func TestQuotaOfCounts(t *testing.T) {
	c := begin(t)
	// The controllers put a config map into every namespace.
	c.eventually("the root certificate", func() error {
		_, err := c.CoreV1().ConfigMaps(c.ns).Get(c.ctx, "kube-root-ca.crt", metav1.GetOptions{})
		return err
	})
	c.quota("q", amounts{"configmaps": "2", "count/secrets": "1"})
	c.uses("q", amounts{"configmaps": "1", "count/secrets": "0"})
	c.ok(charge(c, c.CoreV1().ConfigMaps(c.ns).Create, configMap("one", nil)))
	c.ok(charge(c, c.CoreV1().Secrets(c.ns).Create, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "one"}}))
	c.uses("q", amounts{"configmaps": "2", "count/secrets": "1"})
	err := charge(c, c.CoreV1().ConfigMaps(c.ns).Create, configMap("two", nil))
	c.refused(err, apierrors.IsForbidden, `configmaps "two" is forbidden: exceeded quota: q, requested: configmaps=1, used: configmaps=2, limited: configmaps=2`)
	c.ok(c.CoreV1().ConfigMaps(c.ns).Delete(c.ctx, "one", metav1.DeleteOptions{}))
	c.ok(c.CoreV1().Secrets(c.ns).Delete(c.ctx, "one", metav1.DeleteOptions{}))
	c.uses("q", amounts{"configmaps": "1", "count/secrets": "0"})
}

// Conformance: [sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a service.
func TestQuotaOfServices(t *testing.T) {
	c := begin(t)
	c.quota("q", amounts{"services": "2", "services.nodeports": "1", "services.loadbalancers": "1"})
	api := c.CoreV1().Services(c.ns)
	service := func(name string, kind corev1.ServiceType) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{Type: kind, Ports: []corev1.ServicePort{{Port: 80}}}}
	}
	c.ok(charge(c, api.Create, service("plain", corev1.ServiceTypeClusterIP)))
	c.ok(charge(c, api.Create, service("port", corev1.ServiceTypeNodePort)))
	c.uses("q", amounts{"services": "2", "services.nodeports": "1", "services.loadbalancers": "0"})
	err := charge(c, api.Create, service("balanced", corev1.ServiceTypeLoadBalancer))
	c.refused(err, apierrors.IsForbidden, "exceeded quota: q, requested: ")
	c.refused(err, nil, "services.nodeports=1, limited: ")
	c.ok(api.Delete(c.ctx, "plain", metav1.DeleteOptions{}))
	c.ok(api.Delete(c.ctx, "port", metav1.DeleteOptions{}))
	c.uses("q", amounts{"services": "0", "services.nodeports": "0"})
}

// Conformance: [sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a pod.
func TestQuotaOfPods(t *testing.T) {
	c := begin(t)
	api := c.CoreV1().Pods(c.ns)
	c.quota("q", amounts{"pods": "5", "cpu": "1", "memory": "500Mi", "requests.example.com/dongle": "3"})
	p := asking("fits", "500m", "252Mi")
	for _, list := range []corev1.ResourceList{p.Spec.Containers[0].Resources.Requests} {
		list["example.com/dongle"] = resource.MustParse("2")
	}
	c.ok(charge(c, api.Create, p))
	c.uses("q", amounts{"pods": "1", "cpu": "500m", "memory": "252Mi", "requests.example.com/dongle": "2"})
	err := charge(c, api.Create, asking("large", "600m", "100Mi"))
	c.refused(err, apierrors.IsForbidden, `pods "large" is forbidden: exceeded quota: q, requested: cpu=600m, used: cpu=500m, limited: cpu=1`)
	err = charge(c, api.Create, pod("silent", nil))
	c.refused(err, apierrors.IsForbidden, "failed quota: q: must specify cpu for: main; memory for: main")
	c.ok(api.Delete(c.ctx, "fits", metav1.DeleteOptions{GracePeriodSeconds: ptr(int64(0))}))
	c.uses("q", amounts{"pods": "0", "cpu": "0", "memory": "0"})
}

// Conformance: [sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a replica set.
// Conformance: [sig-api-machinery] ResourceQuota should create a ResourceQuota and capture the life of a replication controller.
func TestQuotaOfSets(t *testing.T) {
	c := begin(t)
	c.quota("q", amounts{"count/replicasets.apps": "1", "replicationcontrollers": "1"})
	labels := map[string]string{"app": "a"}
	rs := &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Name: "rs"}, Spec: appsv1.ReplicaSetSpec{
		Replicas: ptr(int32(0)), Selector: &metav1.LabelSelector{MatchLabels: labels}, Template: template(labels),
	}}
	c.ok(charge(c, c.AppsV1().ReplicaSets(c.ns).Create, rs))
	c.ok(charge(c, c.CoreV1().ReplicationControllers(c.ns).Create, &corev1.ReplicationController{
		ObjectMeta: metav1.ObjectMeta{Name: "rc"},
		Spec:       corev1.ReplicationControllerSpec{Replicas: ptr(int32(0)), Selector: labels, Template: ptr(template(labels))},
	}))
	c.uses("q", amounts{"count/replicasets.apps": "1", "replicationcontrollers": "1"})
	rs.Name = "another"
	err := charge(c, c.AppsV1().ReplicaSets(c.ns).Create, rs)
	c.refused(err, apierrors.IsForbidden, "exceeded quota: q, requested: count/replicasets.apps=1, used: count/replicasets.apps=1, limited: count/replicasets.apps=1")
	c.ok(c.AppsV1().ReplicaSets(c.ns).Delete(c.ctx, "rs", metav1.DeleteOptions{}))
	c.ok(c.CoreV1().ReplicationControllers(c.ns).Delete(c.ctx, "rc", metav1.DeleteOptions{}))
	c.uses("q", amounts{"count/replicasets.apps": "0", "replicationcontrollers": "0"})
}

// Conformance: [sig-api-machinery] ResourceQuota should verify ResourceQuota with best effort scope.
// Conformance: [sig-api-machinery] ResourceQuota should verify ResourceQuota with terminating scopes.
func TestQuotaScopes(t *testing.T) {
	c := begin(t)
	api := c.CoreV1().Pods(c.ns)
	c.quota("best", amounts{"pods": "5"}, corev1.ResourceQuotaScopeBestEffort)
	c.quota("not-best", amounts{"pods": "5"}, corev1.ResourceQuotaScopeNotBestEffort)
	c.quota("ending", amounts{"pods": "5", "limits.cpu": "1"}, corev1.ResourceQuotaScopeTerminating)
	c.quota("lasting", amounts{"pods": "5"}, corev1.ResourceQuotaScopeNotTerminating)
	both := func(best, not, ending, lasting string) {
		t.Helper()
		c.uses("best", amounts{"pods": best})
		c.uses("not-best", amounts{"pods": not})
		c.uses("ending", amounts{"pods": ending})
		c.uses("lasting", amounts{"pods": lasting})
	}
	c.ok(charge(c, api.Create, pod("plain", nil)))
	both("1", "0", "0", "1")
	p := asking("asking", "200m", "100Mi")
	p.Spec.ActiveDeadlineSeconds = ptr(int64(3600))
	c.ok(charge(c, api.Create, p))
	both("1", "1", "1", "1")
	c.uses("ending", amounts{"limits.cpu": "200m"})
	c.ok(api.DeleteCollection(c.ctx, metav1.DeleteOptions{GracePeriodSeconds: ptr(int64(0))}, metav1.ListOptions{}))
	both("0", "0", "0", "0")
	_, err := c.CoreV1().ResourceQuotas(c.ns).Create(c.ctx, &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "bad"}, Spec: corev1.ResourceQuotaSpec{
		Hard: quantities(amounts{"configmaps": "1"}), Scopes: []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort},
	}}, metav1.CreateOptions{})
	c.refused(err, apierrors.IsInvalid, "conflicting scopes")
}

// Conformance: [sig-api-machinery] ResourceQuota should manage the lifecycle of a ResourceQuota
// Conformance: [sig-api-machinery] ResourceQuota should apply changes to a resourcequota status
func TestQuotaLife(t *testing.T) {
	c := begin(t)
	api := c.CoreV1().ResourceQuotas(c.ns)
	mine := metav1.ListOptions{LabelSelector: "life=" + c.ns}
	w := try(api.Watch(c.ctx, mine)).or(c)
	defer w.Stop()
	try(api.Create(c.ctx, &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: "q", Labels: map[string]string{"life": c.ns}}, Spec: corev1.ResourceQuotaSpec{Hard: quantities(amounts{"cpu": "500m", "memory": "500Mi"})},
	}, metav1.CreateOptions{})).or(c)
	c.await("the calculation", w, func(e watch.Event) bool {
		q, ok := e.Object.(*corev1.ResourceQuota)
		return ok && len(q.Status.Hard) == 2
	})
	try(api.Patch(c.ctx, "q", types.StrategicMergePatchType, []byte(`{"metadata":{"labels":{"patched":"yes"}},"spec":{"hard":{"memory":"750Mi"}}}`), metav1.PatchOptions{})).or(c)
	if list := try(c.CoreV1().ResourceQuotas("").List(c.ctx, metav1.ListOptions{LabelSelector: "patched=yes,life=" + c.ns})).or(c); len(list.Items) != 1 {
		t.Errorf("%d listed in all namespaces", len(list.Items))
	}
	c.await("the new limit in the status", w, func(e watch.Event) bool {
		q, ok := e.Object.(*corev1.ResourceQuota)
		return ok && q.Status.Hard.Memory().String() == "750Mi"
	})
	// A status that is wrong is accepted, and set right again.
	try(api.Patch(c.ctx, "q", types.MergePatchType, []byte(`{"status":{"hard":{"cpu":"7"}},"spec":{"hard":{"cpu":"9"}}}`), metav1.PatchOptions{}, "status")).or(c)
	c.await("the change of the status", w, func(e watch.Event) bool {
		q, ok := e.Object.(*corev1.ResourceQuota)
		return ok && q.Status.Hard.Cpu().String() == "7" && q.Spec.Hard.Cpu().String() == "500m"
	})
	c.await("the right status", w, func(e watch.Event) bool {
		q, ok := e.Object.(*corev1.ResourceQuota)
		return ok && q.Status.Hard.Cpu().String() == "500m"
	})
	c.ok(api.DeleteCollection(c.ctx, metav1.DeleteOptions{}, mine))
	c.await("the deletion", w, func(e watch.Event) bool { return e.Type == watch.Deleted })
}

// Resources of definitions count too.
func TestQuotaOfCustomResources(t *testing.T) {
	c := begin(t)
	crd := c.define(simple(c.ns))
	count := corev1.ResourceName("count/foos." + crd.Spec.Group)
	c.quota("q", amounts{count: "1"})
	foos := c.of(crd, "v1")
	create := func(ctx context.Context, o *unstructured.Unstructured, opts metav1.CreateOptions) (*unstructured.Unstructured, error) {
		return foos.Create(ctx, o, opts)
	}
	c.ok(charge(c, create, foo(crd, "v1", "one")))
	c.uses("q", amounts{count: "1"})
	err := charge(c, create, foo(crd, "v1", "two"))
	c.refused(err, apierrors.IsForbidden, "exceeded quota: q")
	c.ok(foos.Delete(c.ctx, "one", metav1.DeleteOptions{}))
	c.uses("q", amounts{count: "0"})
}
