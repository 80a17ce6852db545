package machinery

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// controlled makes a replication controller and waits for its pods.
func (c *cluster) controlled(name string, replicas int32, labels map[string]string) (*corev1.ReplicationController, []corev1.Pod) {
	c.Helper()
	t := template(labels)
	rc := try(c.CoreV1().ReplicationControllers(c.ns).Create(c.ctx, &corev1.ReplicationController{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.ReplicationControllerSpec{Replicas: &replicas, Selector: labels, Template: &t},
	}, metav1.CreateOptions{})).or(c)
	return rc, c.pods(int(replicas))
}

// pods waits until the namespace has n pods.
func (c *cluster) pods(n int) []corev1.Pod {
	c.Helper()
	var out []corev1.Pod
	c.eventually(fmt.Sprintf("%d pods", n), func() error {
		list, err := c.CoreV1().Pods(c.ns).List(c.ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		if out = list.Items; len(out) != n {
			return fmt.Errorf("%d", len(out))
		}
		return nil
	})
	return out
}

// hold gives all pods a finalizer of ours, so that they go when the test lets them.
func (c *cluster) hold(pods []corev1.Pod) (release func()) {
	c.Helper()
	api := c.CoreV1().Pods(c.ns)
	for _, p := range pods {
		try(api.Patch(c.ctx, p.Name, types.MergePatchType, []byte(`{"metadata":{"finalizers":["example.com/test"]}}`), metav1.PatchOptions{})).or(c)
	}
	return func() {
		c.Helper()
		for _, p := range pods {
			_, err := api.Patch(c.ctx, p.Name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
			if !apierrors.IsNotFound(err) {
				c.ok(err)
			}
		}
	}
}

// gone waits until get does not find any more.
func (c *cluster) gone(what string, get func() error) {
	c.Helper()
	c.eventually("removal of "+what, func() error {
		if err := get(); !apierrors.IsNotFound(err) {
			return fmt.Errorf("there: %v", err)
		}
		return nil
	})
}

func propagating(p metav1.DeletionPropagation) metav1.DeleteOptions {
	return metav1.DeleteOptions{PropagationPolicy: &p}
}

// Conformance: [sig-api-machinery] Garbage collector should delete pods created by rc when not orphaning
func TestGarbagePods(t *testing.T) {
	c := begin(t)
	api := c.CoreV1().ReplicationControllers(c.ns)
	_, pods := c.controlled("rc", 3, map[string]string{"app": "a"})
	release := c.hold(pods)
	c.ok(api.Delete(c.ctx, "rc", propagating(metav1.DeletePropagationBackground)))
	c.gone("the controller, at once", func() error { _, err := api.Get(c.ctx, "rc", metav1.GetOptions{}); return err })
	c.pods(3)
	release()
	c.pods(0)
}

// Conformance: [sig-api-machinery] Garbage collector should orphan pods created by rc if delete options say so [Serial]
func TestOrphanPods(t *testing.T) {
	c := begin(t)
	api := c.CoreV1().ReplicationControllers(c.ns)
	c.controlled("rc", 3, map[string]string{"app": "a"})
	c.ok(api.Delete(c.ctx, "rc", propagating(metav1.DeletePropagationOrphan)))
	c.gone("the controller", func() error { _, err := api.Get(c.ctx, "rc", metav1.GetOptions{}); return err })
	for _, p := range c.pods(3) {
		if len(p.OwnerReferences) != 0 || p.DeletionTimestamp != nil {
			t.Errorf("%s has owners %v, deleted at %v", p.Name, p.OwnerReferences, p.DeletionTimestamp)
		}
	}
}

// Conformance: [sig-api-machinery] Garbage collector should keep the rc around until all its pods are deleted if the deleteOptions says so [Serial]
func TestForeground(t *testing.T) {
	c := begin(t)
	api := c.CoreV1().ReplicationControllers(c.ns)
	_, pods := c.controlled("rc", 3, map[string]string{"app": "a"})
	release := c.hold(pods)
	c.ok(api.Delete(c.ctx, "rc", propagating(metav1.DeletePropagationForeground)))
	c.eventually("the deletion of the pods", func() error {
		for _, p := range try(c.CoreV1().Pods(c.ns).List(c.ctx, metav1.ListOptions{})).or(c).Items {
			if p.DeletionTimestamp == nil {
				return fmt.Errorf("%s is not being deleted", p.Name)
			}
		}
		return nil
	})
	rc := try(api.Get(c.ctx, "rc", metav1.GetOptions{})).or(c)
	if rc.DeletionTimestamp == nil || len(rc.Finalizers) != 1 || rc.Finalizers[0] != metav1.FinalizerDeleteDependents {
		t.Errorf("finalizers %v, deleted at %v", rc.Finalizers, rc.DeletionTimestamp)
	}
	release()
	c.gone("the controller", func() error { _, err := api.Get(c.ctx, "rc", metav1.GetOptions{}); return err })
	c.pods(0)
}

// Conformance: [sig-api-machinery] Garbage collector should not delete dependents that have both valid owner and owner that's waiting for dependents to be deleted [Serial]
func TestTwoOwners(t *testing.T) {
	c := begin(t)
	api := c.CoreV1().ReplicationControllers(c.ns)
	_, pods := c.controlled("going", 4, map[string]string{"app": "a"})
	staying := try(api.Create(c.ctx, &corev1.ReplicationController{
		ObjectMeta: metav1.ObjectMeta{Name: "staying"},
		Spec:       corev1.ReplicationControllerSpec{Replicas: ptr(int32(0)), Selector: map[string]string{"app": "b"}, Template: ptr(template(map[string]string{"app": "b"}))},
	}, metav1.CreateOptions{})).or(c)
	for _, p := range pods[:2] {
		patch := fmt.Sprintf(`{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"ReplicationController","name":"staying","uid":%q}]}}`, staying.UID)
		try(c.CoreV1().Pods(c.ns).Patch(c.ctx, p.Name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})).or(c)
	}
	c.ok(api.Delete(c.ctx, "going", propagating(metav1.DeletePropagationForeground)))
	c.gone("the one", func() error { _, err := api.Get(c.ctx, "going", metav1.GetOptions{}); return err })
	for _, p := range c.pods(2) {
		if p.DeletionTimestamp != nil || len(p.OwnerReferences) != 1 || p.OwnerReferences[0].Name != "staying" {
			t.Errorf("%s has owners %v, deleted at %v", p.Name, p.OwnerReferences, p.DeletionTimestamp)
		}
	}
}

// Conformance: [sig-api-machinery] Garbage collector should not be blocked by dependency circle
func TestCircle(t *testing.T) {
	c := begin(t)
	api := c.CoreV1().Pods(c.ns)
	var pods []*corev1.Pod
	for i := range 3 {
		pods = append(pods, try(api.Create(c.ctx, pod(fmt.Sprint("pod-", i), nil), metav1.CreateOptions{})).or(c))
	}
	for i, p := range pods {
		owner := pods[(i+2)%3]
		patch := fmt.Sprintf(`{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Pod","name":%q,"uid":%q,"controller":true,"blockOwnerDeletion":true}]}}`, owner.Name, owner.UID)
		try(api.Patch(c.ctx, p.Name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{})).or(c)
	}
	c.ok(api.Delete(c.ctx, "pod-0", propagating(metav1.DeletePropagationForeground)))
	c.pods(0)
}

// sets waits until the namespace has n replica sets.
func (c *cluster) sets(n int) []metav1.ObjectMeta {
	c.Helper()
	var out []metav1.ObjectMeta
	c.eventually(fmt.Sprintf("%d replica sets", n), func() error {
		out = nil
		for _, rs := range try(c.AppsV1().ReplicaSets(c.ns).List(c.ctx, metav1.ListOptions{})).or(c).Items {
			out = append(out, rs.ObjectMeta)
		}
		if len(out) != n {
			return fmt.Errorf("%d", len(out))
		}
		return nil
	})
	return out
}

// Conformance: [sig-api-machinery] Garbage collector should delete RS created by deployment when not orphaning
func TestGarbageReplicaSets(t *testing.T) {
	c := begin(t)
	api := c.AppsV1().Deployments(c.ns)
	try(api.Create(c.ctx, deployment("d", 2), metav1.CreateOptions{})).or(c)
	c.sets(1)
	c.pods(2)
	c.ok(api.Delete(c.ctx, "d", propagating(metav1.DeletePropagationBackground)))
	c.sets(0)
	c.pods(0)
}

// Conformance: [sig-api-machinery] Garbage collector should orphan RS created by deployment when deleteOptions.PropagationPolicy is Orphan
func TestOrphanReplicaSets(t *testing.T) {
	c := begin(t)
	api := c.AppsV1().Deployments(c.ns)
	try(api.Create(c.ctx, deployment("d", 2), metav1.CreateOptions{})).or(c)
	c.sets(1)
	c.pods(2)
	c.ok(api.Delete(c.ctx, "d", propagating(metav1.DeletePropagationOrphan)))
	c.gone("the deployment", func() error { _, err := api.Get(c.ctx, "d", metav1.GetOptions{}); return err })
	if rs := c.sets(1)[0]; len(rs.OwnerReferences) != 0 {
		t.Errorf("the replica set has owners %v", rs.OwnerReferences)
	}
	c.pods(2)
}
