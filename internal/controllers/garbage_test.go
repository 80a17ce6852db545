package controllers_test

import (
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func configMap(name string, owners ...client.Object) *corev1.ConfigMap {
	cm := &corev1.ConfigMap{ObjectMeta: meta(name)}
	for _, o := range owners {
		cm.OwnerReferences = append(cm.OwnerReferences, metav1.OwnerReference{
			APIVersion: "v1", Kind: "ConfigMap", Name: o.GetName(), UID: o.GetUID(), BlockOwnerDeletion: ptr(true),
		})
	}
	return cm
}

func (e *env) delete(obj client.Object, how metav1.DeletionPropagation) {
	e.Helper()
	if err := e.Client.Delete(e.ctx, obj, client.PropagationPolicy(how)); err != nil {
		e.Fatalf("delete %s: %v", obj.GetName(), err)
	}
}

func TestCascades(t *testing.T) {
	e := start(t)
	family := func(name string) (parent, child, grandchild *corev1.ConfigMap) {
		parent = configMap(name)
		e.create(parent)
		child = configMap(name+"-child", parent)
		e.create(child)
		grandchild = configMap(name+"-grandchild", child)
		e.create(grandchild)
		return parent, child, grandchild
	}
	t.Run("background", func(t *testing.T) {
		parent, child, grandchild := family("background")
		e.delete(parent, metav1.DeletePropagationBackground)
		e.gone(parent)
		e.gone(child)
		e.gone(grandchild)
	})
	t.Run("foreground", func(t *testing.T) {
		parent, child, grandchild := family("foreground")
		change(e, grandchild, func(c *corev1.ConfigMap) { c.Finalizers = []string{"example.com/hold"} })
		e.delete(parent, metav1.DeletePropagationForeground)
		e.eventually("deletion of the grandchild", func() error {
			if get(e, grandchild).DeletionTimestamp == nil {
				return fmt.Errorf("not deleted yet")
			}
			return nil
		})
		for _, obj := range []*corev1.ConfigMap{parent, child} {
			if get(e, obj).DeletionTimestamp == nil {
				t.Errorf("%s is not being deleted", obj.Name)
			}
		}
		change(e, grandchild, func(c *corev1.ConfigMap) { c.Finalizers = nil })
		e.gone(grandchild)
		e.gone(child)
		e.gone(parent)
	})
	t.Run("orphan", func(t *testing.T) {
		parent, child, grandchild := family("orphan")
		e.delete(parent, metav1.DeletePropagationOrphan)
		e.gone(parent)
		if refs := get(e, child).OwnerReferences; len(refs) != 0 || child.DeletionTimestamp != nil {
			t.Errorf("child still has owners %v, deletion %v", refs, child.DeletionTimestamp)
		}
		if refs := get(e, grandchild).OwnerReferences; len(refs) != 1 {
			t.Errorf("grandchild has owners %v", refs)
		}
	})
}

func TestOwnersThatDoNotExist(t *testing.T) {
	e := start(t)
	here, gone := configMap("here"), configMap("gone")
	gone.UID = types.UID("00000000-0000-0000-0000-000000000001")
	e.create(here)
	lost := configMap("lost", gone)
	half := configMap("half", here, gone)
	e.create(lost, half)
	e.gone(lost)
	// One that has an owner left loses only the other, once it is looked at.
	e.eventually("the absent owner's removal", func() error {
		if refs := get(e, half).OwnerReferences; len(refs) != 1 || refs[0].Name != "here" {
			return fmt.Errorf("owners %v", refs)
		}
		return nil
	})
	// The uid decides, not the name.
	impostor := configMap("impostor", here)
	impostor.OwnerReferences[0].UID = "00000000-0000-0000-0000-000000000002"
	e.create(impostor)
	e.gone(impostor)
	if get(e, here).DeletionTimestamp != nil {
		t.Error("the owner itself was deleted")
	}
}

func TestDeploymentGoesWithAllItsPods(t *testing.T) {
	e := start(t)
	d := newDeployment("web", 2)
	e.create(d)
	e.awaitPods(2, "app", "web")
	e.delete(d, metav1.DeletePropagationForeground)
	e.gone(d)
	if n := len(e.pods("app", "web")); n != 0 {
		t.Errorf("%d pods outlive their deployment", n)
	}
	var sets appsv1.ReplicaSetList
	if err := e.List(e.ctx, &sets, client.InNamespace("default")); err != nil || len(sets.Items) != 0 {
		t.Errorf("%d replica sets stay, %v", len(sets.Items), err)
	}
}

func TestNamespaceIsEmptiedAndGoes(t *testing.T) {
	e := start(t)
	e.namespace("doomed")
	held := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "doomed", Name: "held", Finalizers: []string{"example.com/hold"}}}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "doomed", Name: "pod"}, Spec: template("", "").Spec}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "doomed", Name: "secret"}}
	e.create(held, pod, secret)
	ns := get(e, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "doomed"}})
	change(e, ns, func(n *corev1.Namespace) { n.Finalizers = []string{"example.com/keep"} })
	e.delete(ns, metav1.DeletePropagationBackground)
	e.gone(pod)
	e.gone(secret)
	e.eventually("the condition", func() error {
		for _, c := range get(e, ns).Status.Conditions {
			if c.Type == corev1.NamespaceFinalizersRemaining && c.Status == corev1.ConditionTrue {
				want := "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
				if c.Message != want {
					t.Fatalf("message %q, want %q", c.Message, want)
				}
				return nil
			}
		}
		return fmt.Errorf("conditions %+v", ns.Status.Conditions)
	})
	change(e, held, func(c *corev1.ConfigMap) { c.Finalizers = nil })
	e.gone(held)
	e.until("a namespace that somebody else keeps says that it is empty", func() bool {
		return len(get(e, ns).Spec.Finalizers) == 0
	})
	for _, c := range ns.Status.Conditions {
		if c.Status != corev1.ConditionFalse {
			t.Errorf("an empty namespace says %s: %s", c.Type, c.Message)
		}
	}
	change(e, ns, func(n *corev1.Namespace) { n.Finalizers = nil })
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the namespace: %+v", ns.Status)
		}
	})
	e.gone(ns)
}

func TestNewNamespaceIsFurnished(t *testing.T) {
	e := start(t)
	e.namespace("new")
	e.eventually("service account and CA", func() error {
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "new", Name: "default"}}
		if err := e.Get(e.ctx, client.ObjectKeyFromObject(account), account); err != nil {
			return err
		}
		ca := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "new", Name: "kube-root-ca.crt"}}
		return e.Get(e.ctx, client.ObjectKeyFromObject(ca), ca)
	})
	ca := get(e, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "new", Name: "kube-root-ca.crt"}})
	change(e, ca, func(c *corev1.ConfigMap) { c.Data = map[string]string{"ca.crt": "forged"} })
	e.eventually("the CA's return", func() error {
		if got := get(e, ca).Data["ca.crt"]; got != "a certificate" {
			return fmt.Errorf("%q", got)
		}
		return nil
	})
	if err := e.Client.Delete(e.ctx, ca); err != nil {
		t.Fatal(err)
	}
	e.eventually("the CA's recreation", func() error { return e.Get(e.ctx, keyOf(ca), ca) })
}
