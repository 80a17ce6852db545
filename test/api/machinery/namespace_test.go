package machinery

import (
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func (c *cluster) namespaceGone(name string) {
	c.Helper()
	c.gone("namespace "+name, func() error {
		_, err := c.CoreV1().Namespaces().Get(c.ctx, name, metav1.GetOptions{})
		return err
	})
}

// again makes a namespace that was there before.
func (c *cluster) again(name string) {
	c.Helper()
	try(c.CoreV1().Namespaces().Create(c.ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})).or(c)
}

// Conformance: [sig-api-machinery] Namespaces [Serial] should ensure that all pods are removed when a namespace is deleted
// Conformance: [sig-api-machinery] Namespaces [Serial] should ensure that all services are removed when a namespace is deleted
func TestNamespaceContent(t *testing.T) {
	c := begin(t)
	api := c.CoreV1().Namespaces()
	try(c.CoreV1().Pods(c.ns).Create(c.ctx, pod("p", nil), metav1.CreateOptions{})).or(c)
	try(c.CoreV1().Services(c.ns).Create(c.ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "s"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
	}, metav1.CreateOptions{})).or(c)
	c.ok(api.Delete(c.ctx, c.ns, metav1.DeleteOptions{}))
	_, err := c.CoreV1().Pods(c.ns).Create(c.ctx, pod("late", nil), metav1.CreateOptions{})
	if err == nil || !apierrors.IsForbidden(err) && !apierrors.IsNotFound(err) {
		t.Errorf("a pod in a namespace that goes: %v", err)
	}
	c.namespaceGone(c.ns)
	c.again(c.ns)
	pods := try(c.CoreV1().Pods(c.ns).List(c.ctx, metav1.ListOptions{})).or(c)
	services := try(c.CoreV1().Services(c.ns).List(c.ctx, metav1.ListOptions{})).or(c)
	if len(pods.Items) != 0 || len(services.Items) != 0 {
		t.Errorf("%d pods and %d services are left", len(pods.Items), len(services.Items))
	}
}

// Conformance: [sig-api-machinery] OrderedNamespaceDeletion namespace deletion should delete pod first
func TestPodsGoFirst(t *testing.T) {
	c := begin(t)
	p := try(c.CoreV1().Pods(c.ns).Create(c.ctx, pod("p", nil), metav1.CreateOptions{})).or(c)
	release := c.hold([]corev1.Pod{*p})
	try(c.CoreV1().ConfigMaps(c.ns).Create(c.ctx, configMap("cm", nil), metav1.CreateOptions{})).or(c)
	c.ok(c.CoreV1().Namespaces().Delete(c.ctx, c.ns, metav1.DeleteOptions{}))
	c.eventually("the condition that says what remains", func() error {
		ns := try(c.CoreV1().Namespaces().Get(c.ctx, c.ns, metav1.GetOptions{})).or(c)
		for _, condition := range ns.Status.Conditions {
			if condition.Type == corev1.NamespaceFinalizersRemaining && condition.Status == corev1.ConditionTrue {
				return nil
			}
		}
		return fmt.Errorf("%v", ns.Status.Conditions)
	})
	if p = try(c.CoreV1().Pods(c.ns).Get(c.ctx, "p", metav1.GetOptions{})).or(c); p.DeletionTimestamp == nil {
		t.Error("the pod is not being deleted")
	}
	if cm := try(c.CoreV1().ConfigMaps(c.ns).Get(c.ctx, "cm", metav1.GetOptions{})).or(c); cm.DeletionTimestamp != nil {
		t.Error("the config map went before the pod")
	}
	release()
	c.namespaceGone(c.ns)
}

// Conformance: [sig-api-machinery] Namespaces [Serial] should patch a Namespace
// Conformance: [sig-api-machinery] Namespaces [Serial] should apply an update to a Namespace
func TestNamespaceChanges(t *testing.T) {
	c := begin(t)
	api := c.CoreV1().Namespaces()
	ns := try(api.Patch(c.ctx, c.ns, types.StrategicMergePatchType, []byte(`{"metadata":{"labels":{"testLabel":"testValue"}}}`), metav1.PatchOptions{})).or(c)
	if ns.Labels["testLabel"] != "testValue" || ns.Labels[corev1.LabelMetadataName] != c.ns {
		t.Errorf("labels are %v", ns.Labels)
	}
	c.eventually("the update", func() error {
		ns = try(api.Get(c.ctx, c.ns, metav1.GetOptions{})).or(c)
		ns.Labels["updated"] = "yes"
		var err error
		ns, err = api.Update(c.ctx, ns, metav1.UpdateOptions{})
		return err
	})
	if ns.Labels["updated"] != "yes" {
		t.Errorf("labels are %v", ns.Labels)
	}
}

// Conformance: [sig-api-machinery] Namespaces [Serial] should apply changes to a namespace status
func TestNamespaceStatus(t *testing.T) {
	c := begin(t)
	api := c.CoreV1().Namespaces()
	dyn := c.dyn.Resource(corev1.SchemeGroupVersion.WithResource("namespaces"))
	got := try(dyn.Get(c.ctx, c.ns, metav1.GetOptions{}, "status")).or(c)
	if at(got, "status.phase") != "Active" {
		t.Errorf("status is %v", at(got, "status"))
	}
	ns := try(api.Patch(c.ctx, c.ns, types.MergePatchType, []byte(`{"metadata":{"annotations":{"patched":"true"}},
"status":{"conditions":[{"type":"StatusPatch","status":"True","reason":"E2E","message":"Patched by a test"}]}}`), metav1.PatchOptions{}, "status")).or(c)
	if len(ns.Status.Conditions) != 1 || ns.Status.Conditions[0].Type != "StatusPatch" {
		t.Errorf("conditions are %v", ns.Status.Conditions)
	}
	ns.Status.Conditions = append(ns.Status.Conditions, corev1.NamespaceCondition{Type: "StatusUpdate", Status: corev1.ConditionTrue, Reason: "E2E", Message: "Updated by a test"})
	ns = try(api.UpdateStatus(c.ctx, ns, metav1.UpdateOptions{})).or(c)
	if len(ns.Status.Conditions) != 2 {
		t.Errorf("conditions are %v", ns.Status.Conditions)
	}
}

// Conformance: [sig-api-machinery] Namespaces [Serial] should apply a finalizer to a Namespace
func TestNamespaceFinalizer(t *testing.T) {
	c := begin(t)
	api := c.CoreV1().Namespaces()
	const fake = corev1.FinalizerName("e2e.example.com/fakeFinalizer")
	finalizers := func(change func([]corev1.FinalizerName) []corev1.FinalizerName) *corev1.Namespace {
		t.Helper()
		var ns *corev1.Namespace
		c.eventually("the change of the finalizers", func() error {
			ns = try(api.Get(c.ctx, c.ns, metav1.GetOptions{})).or(c)
			ns.Spec.Finalizers = change(ns.Spec.Finalizers)
			var err error
			ns, err = api.Finalize(c.ctx, ns, metav1.UpdateOptions{})
			return err
		})
		return ns
	}
	ns := finalizers(func(f []corev1.FinalizerName) []corev1.FinalizerName { return append(f, fake) })
	if !slices.Contains(ns.Spec.Finalizers, fake) || !slices.Contains(ns.Spec.Finalizers, corev1.FinalizerKubernetes) {
		t.Errorf("finalizers are %v", ns.Spec.Finalizers)
	}
	c.ok(api.Delete(c.ctx, c.ns, metav1.DeleteOptions{}))
	c.eventually("it waits for the finalizer alone", func() error {
		ns := try(api.Get(c.ctx, c.ns, metav1.GetOptions{})).or(c)
		if ns.Status.Phase != corev1.NamespaceTerminating || len(ns.Spec.Finalizers) != 1 {
			return fmt.Errorf("%s with %v", ns.Status.Phase, ns.Spec.Finalizers)
		}
		return nil
	})
	finalizers(func(f []corev1.FinalizerName) []corev1.FinalizerName {
		return slices.DeleteFunc(f, func(n corev1.FinalizerName) bool { return n == fake })
	})
	c.namespaceGone(c.ns)
}
