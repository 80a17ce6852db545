package libraries

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/go-logr/logr"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
)

// patience bounds every wait; nothing is asserted about how long one takes.
const patience = 2 * time.Minute

const (
	finalizer = "hats.example.com/cleanup"
	byColour  = "spec.colour"
)

var hatKind = schema.GroupVersionKind{Group: "example.com", Version: "v1", Kind: "Hat"}

func newHat(name, colour string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{Object: map[string]any{}}
	u.SetGroupVersionKind(hatKind)
	u.SetName(name)
	u.SetNamespace("default")
	if colour != "" {
		_ = unstructured.SetNestedField(u.Object, colour, "spec", "colour")
	}
	return u
}

func hatList() *unstructured.UnstructuredList {
	l := &unstructured.UnstructuredList{}
	l.SetGroupVersionKind(hatKind.GroupVersion().WithKind("HatList"))
	return l
}

// define makes the kind Hat, with a status of its own.
func define(t *testing.T, c client.WithWatch) {
	t.Helper()
	open := true
	crd := &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "hats.example.com"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "example.com",
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "hats", Singular: "hat", Kind: "Hat", ListKind: "HatList"},
			Scope: apiextensionsv1.NamespaceScoped,
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true,
				Subresources: &apiextensionsv1.CustomResourceSubresources{Status: &apiextensionsv1.CustomResourceSubresourceStatus{}},
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
					Type: "object",
					Properties: map[string]apiextensionsv1.JSONSchemaProps{
						"spec":   {Type: "object", XPreserveUnknownFields: &open},
						"status": {Type: "object", XPreserveUnknownFields: &open},
					},
				}},
			}},
		},
	}
	if err := c.Create(t.Context(), crd); err != nil {
		t.Fatal(err)
	}
	await(t, c, &apiextensionsv1.CustomResourceDefinitionList{}, "", crd.Name, func(o client.Object) bool {
		for _, cond := range o.(*apiextensionsv1.CustomResourceDefinition).Status.Conditions {
			if cond.Type == apiextensionsv1.Established {
				return cond.Status == apiextensionsv1.ConditionTrue
			}
		}
		return false
	})
}

// await watches until an object is as wanted; wanted gets nil once there is none.
func await(t *testing.T, c client.WithWatch, list client.ObjectList, namespace, name string, wanted func(client.Object) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	only := []client.ListOption{client.InNamespace(namespace), client.MatchingFieldsSelector{Selector: fields.OneTermEqualSelector("metadata.name", name)}}
	for ctx.Err() == nil {
		if err := c.List(ctx, list, only...); err != nil {
			t.Fatal(err)
		}
		items, err := meta.ExtractList(list)
		if err != nil {
			t.Fatal(err)
		}
		var now client.Object
		if len(items) > 0 {
			now = items[0].(client.Object)
		}
		if wanted(now) {
			return
		}
		from := append([]client.ListOption{&client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: list.GetResourceVersion()}}}, only...)
		w, err := c.Watch(ctx, list, from...)
		if err != nil {
			t.Fatal(err)
		}
		<-w.ResultChan() // whatever happened: look again
		w.Stop()
	}
	t.Fatalf("%s is not as wanted in time", name)
}

// haberdasher keeps a config map for every hat, tells of it in the status, and
// leaves a note when the hat goes.
type haberdasher struct {
	client.Client
	identity string
}

func (r *haberdasher) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	hat := newHat("", "")
	if err := r.Get(ctx, req.NamespacedName, hat); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if hat.GetDeletionTimestamp() != nil {
		note := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: hat.GetName() + "-gone", Namespace: hat.GetNamespace()}}
		if err := r.Create(ctx, note); client.IgnoreAlreadyExists(err) != nil {
			return reconcile.Result{}, err
		}
		controllerutil.RemoveFinalizer(hat, finalizer)
		return reconcile.Result{}, r.Update(ctx, hat)
	}
	if controllerutil.AddFinalizer(hat, finalizer) {
		return reconcile.Result{}, r.Update(ctx, hat)
	}
	colour, _, _ := unstructured.NestedString(hat.Object, "spec", "colour")
	box := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: hat.GetName(), Namespace: hat.GetNamespace()}}
	if _, err := controllerutil.CreateOrUpdate(ctx, r.Client, box, func() error {
		box.Data = map[string]string{"colour": colour}
		return controllerutil.SetControllerReference(hat, box, r.Scheme())
	}); err != nil {
		return reconcile.Result{}, err
	}
	alike := hatList()
	if err := r.List(ctx, alike, client.InNamespace(hat.GetNamespace()), client.MatchingFields{byColour: colour}); err != nil {
		return reconcile.Result{}, err
	}
	before := hat.DeepCopy()
	hat.Object["status"] = map[string]any{"boxed": colour, "alike": int64(len(alike.Items)), "by": r.identity}
	return reconcile.Result{}, r.Status().Patch(ctx, hat, client.MergeFrom(before))
}

// manage runs a manager that takes part in an election until stop is called.
func manage(t *testing.T, cfg *rest.Config, scheme *runtime.Scheme, identity string) (stop func()) {
	t.Helper()
	lease, renew, again, once := time.Minute, 50*time.Second, 200*time.Millisecond, true
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme: scheme, Logger: logr.Discard(), Metrics: server.Options{BindAddress: "0"},
		LeaderElection: true, LeaderElectionID: "haberdasher", LeaderElectionNamespace: "default", LeaderElectionReleaseOnCancel: true,
		LeaseDuration: &lease, RenewDeadline: &renew, RetryPeriod: &again,
		Controller: config.Controller{SkipNameValidation: &once},
		// What the reconciler reads comes out of the cache, its own kinds included.
		Client: client.Options{Cache: &client.CacheOptions{Unstructured: true}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := mgr.GetFieldIndexer().IndexField(t.Context(), newHat("", ""), byColour, func(o client.Object) []string {
		colour, _, _ := unstructured.NestedString(o.(*unstructured.Unstructured).Object, "spec", "colour")
		return []string{colour}
	}); err != nil {
		t.Fatal(err)
	}
	// A secret "colours" wakes up every hat that its label names.
	named := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, o client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: client.ObjectKey{Namespace: o.GetNamespace(), Name: o.GetLabels()["hat"]}}}
	})
	r := &haberdasher{Client: mgr.GetClient(), identity: identity}
	if err := ctrl.NewControllerManagedBy(mgr).Named("haberdasher").For(newHat("", "")).Owns(&corev1.ConfigMap{}).Watches(&corev1.Secret{}, named).Complete(r); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("manager %s: %v", identity, err)
		}
	}
	t.Cleanup(stop)
	return stop
}

func TestManager(t *testing.T) {
	klog.SetLogger(logr.Discard())
	ctrl.SetLogger(logr.Discard())
	s := apitest.StartWith(t, apitest.Options{NoSync: true})
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	if err := apiextensionsv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c, err := client.NewWithWatch(s.Config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	define(t, c)
	status := func(name, what string, want any) {
		t.Helper()
		await(t, c, hatList(), "default", name, func(o client.Object) bool {
			if o == nil {
				return false
			}
			got, _, _ := unstructured.NestedFieldNoCopy(o.(*unstructured.Unstructured).Object, "status", what)
			return got == want
		})
	}
	stopFirst := manage(t, s.Config, scheme, "first")
	await(t, c, &coordinationv1.LeaseList{}, "default", "haberdasher", func(o client.Object) bool {
		return o != nil && o.(*coordinationv1.Lease).Spec.HolderIdentity != nil
	})
	if err := c.Create(t.Context(), newHat("bowler", "black")); err != nil {
		t.Fatal(err)
	}
	status("bowler", "by", "first")
	status("bowler", "boxed", "black")
	owned(t, c)
	repair(t, c)
	manage(t, s.Config, scheme, "second")
	stopFirst()
	if err := c.Create(t.Context(), newHat("fez", "red")); err != nil {
		t.Fatal(err)
	}
	status("fez", "by", "second")

	// A retry after a conflict, as every program does it.
	if err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		fez := newHat("fez", "")
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(fez), fez); err != nil {
			return err
		}
		_ = unstructured.SetNestedField(fez.Object, "black", "spec", "colour")
		return c.Update(t.Context(), fez)
	}); err != nil {
		t.Fatal(err)
	}
	status("fez", "boxed", "black")
	// By then the index has both; the other hat is woken by a secret.
	wake := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{GenerateName: "colours-", Namespace: "default", Labels: map[string]string{"hat": "bowler"}}}
	if err := c.Create(t.Context(), wake); err != nil {
		t.Fatal(err)
	}
	status("bowler", "alike", int64(2))
	if err := c.Delete(t.Context(), newHat("fez", "")); err != nil {
		t.Fatal(err)
	}
	gone := func(o client.Object) bool { return o == nil }
	await(t, c, hatList(), "default", "fez", gone)
	await(t, c, &corev1.ConfigMapList{}, "default", "fez-gone", func(o client.Object) bool { return !gone(o) })
}

// owned looks at who the config map says that it belongs to.
func owned(t *testing.T, c client.Client) {
	t.Helper()
	box, hat := &corev1.ConfigMap{}, newHat("bowler", "")
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(hat), box); err != nil {
		t.Fatal(err)
	}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(hat), hat); err != nil {
		t.Fatal(err)
	}
	owner := metav1.GetControllerOf(box)
	if owner == nil || owner.UID != hat.GetUID() || owner.Kind != "Hat" {
		t.Errorf("the owner is %v", owner)
	}
	if hat.GetGeneration() != 1 || !controllerutil.ContainsFinalizer(hat, finalizer) {
		t.Errorf("generation %d, finalizers %v: neither status nor metadata make a generation", hat.GetGeneration(), hat.GetFinalizers())
	}
}

// repair spoils the config map, which the controller that owns it makes good.
func repair(t *testing.T, c client.WithWatch) {
	t.Helper()
	box := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "bowler", Namespace: "default"}}
	patch := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"data":{"colour":"spoilt"}}`))
	if err := c.Patch(t.Context(), box, patch); err != nil {
		t.Fatal(err)
	}
	await(t, c, &corev1.ConfigMapList{}, "default", "bowler", func(o client.Object) bool {
		return o != nil && o.(*corev1.ConfigMap).Data["colour"] == "black"
	})
}
