package libraries

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	appsapply "k8s.io/client-go/applyconfigurations/apps/v1"
	coreapply "k8s.io/client-go/applyconfigurations/core/v1"
	metaapply "k8s.io/client-go/applyconfigurations/meta/v1"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/pager"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
)

// TestClients reads and writes with every client that client-go has.
func TestClients(t *testing.T) {
	s := apitest.StartWith(t, apitest.Options{NoSync: true})
	typed := kubernetes.NewForConfigOrDie(s.Config)
	maps := typed.CoreV1().ConfigMaps("default")
	for i := range 25 {
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("page-%02d", i), Labels: map[string]string{"book": "one"}}}
		if _, err := maps.Create(t.Context(), cm, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("dynamic", func(t *testing.T) { byName(t, s, typed) })
	t.Run("pages", func(t *testing.T) { pages(t, typed) })
	t.Run("watch list", func(t *testing.T) { watchList(t, typed) })
	t.Run("apply", func(t *testing.T) { apply(t, typed) })
}

// byName finds a resource by the names that people use and reads it as a whole and
// as metadata.
func byName(t *testing.T, s *apitest.Server, typed kubernetes.Interface) {
	cached := memory.NewMemCacheClient(typed.Discovery())
	mapper := restmapper.NewShortcutExpander(restmapper.NewDeferredDiscoveryRESTMapper(cached), cached, nil)
	for short, want := range map[string]schema.GroupVersionResource{
		"cm":     {Version: "v1", Resource: "configmaps"},
		"deploy": {Group: "apps", Version: "v1", Resource: "deployments"},
		"netpol": {Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"},
		"crd":    {Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"},
	} {
		got, err := mapper.ResourceFor(schema.GroupVersionResource{Resource: short})
		if err != nil || got != want {
			t.Errorf("%s is %v, %v; want %v", short, got, err, want)
		}
	}
	mapping, err := mapper.RESTMapping(schema.GroupKind{Group: "apps", Kind: "Deployment"})
	if err != nil || mapping.Scope.Name() != meta.RESTScopeNameNamespace {
		t.Errorf("the mapping of deployments: %v, %v", mapping, err)
	}
	configMaps := schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}
	whole, err := dynamic.NewForConfigOrDie(s.Config).Resource(configMaps).Namespace("default").Get(t.Context(), "page-00", metav1.GetOptions{})
	if err != nil || whole.GetKind() != "ConfigMap" {
		t.Errorf("dynamic: %v, %v", whole, err)
	}
	client := metadata.NewForConfigOrDie(s.Config).Resource(configMaps).Namespace("default")
	part, err := client.Get(t.Context(), "page-00", metav1.GetOptions{})
	if err != nil || part.Labels["book"] != "one" {
		t.Errorf("metadata: %v, %v", part, err)
	}
	if _, err := dynamic.NewForConfigOrDie(s.Config).Resource(configMaps).Namespace("default").Create(t.Context(),
		&unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "page-00"}}},
		metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
		t.Errorf("create it again: %v", err)
	}
}

func pages(t *testing.T, typed kubernetes.Interface) {
	requests := 0
	p := pager.New(func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
		requests++
		return typed.CoreV1().ConfigMaps("default").List(ctx, opts)
	})
	p.PageSize = 10
	n := 0
	err := p.EachListItem(t.Context(), metav1.ListOptions{LabelSelector: "book=one"}, func(runtime.Object) error { n++; return nil })
	if err != nil || n != 25 || requests != 3 {
		t.Errorf("%d objects in %d requests, %v; want 25 in 3", n, requests, err)
	}
}

// watchList gets what there is as events, then a bookmark that says so.
func watchList(t *testing.T, typed kubernetes.Interface) {
	yes, bound := true, int64(patience.Seconds())
	w, err := typed.CoreV1().ConfigMaps("default").Watch(t.Context(), metav1.ListOptions{
		LabelSelector: "book=one", SendInitialEvents: &yes, AllowWatchBookmarks: true, TimeoutSeconds: &bound,
		ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	n := 0
	for e := range w.ResultChan() {
		switch e.Type {
		case watch.Added:
			n++
		case watch.Bookmark:
			if e.Object.(*corev1.ConfigMap).Annotations[metav1.InitialEventsAnnotationKey] == "true" {
				if n != 25 {
					t.Errorf("%d objects before the bookmark, want 25", n)
				}
				return
			}
		default:
			t.Fatalf("event %v: %v", e.Type, e.Object)
		}
	}
	t.Error("no bookmark came")
}

// apply owns fields with typed configurations.
func apply(t *testing.T, typed kubernetes.Interface) {
	api := typed.AppsV1().Deployments("default")
	labels := map[string]string{"app": "web"}
	config := func(replicas int32) *appsapply.DeploymentApplyConfiguration {
		return appsapply.Deployment("web", "default").WithSpec(appsapply.DeploymentSpec().WithReplicas(replicas).
			WithSelector(metaapply.LabelSelector().WithMatchLabels(labels)).
			WithTemplate(coreapply.PodTemplateSpec().WithLabels(labels).
				WithSpec(coreapply.PodSpec().WithContainers(coreapply.Container().WithName("web").WithImage("example.com/web:1")))))
	}
	if _, err := api.Apply(t.Context(), config(1), metav1.ApplyOptions{FieldManager: "one"}); err != nil {
		t.Fatal(err)
	}
	if _, err := api.Apply(t.Context(), config(2), metav1.ApplyOptions{FieldManager: "two"}); !apierrors.IsConflict(err) {
		t.Errorf("another manager's value: %v, want a conflict", err)
	}
	if _, err := api.Apply(t.Context(), config(2), metav1.ApplyOptions{FieldManager: "two", Force: true}); err != nil {
		t.Fatal(err)
	}
	live, err := api.Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	mine, err := appsapply.ExtractDeployment(live, "one")
	if err != nil {
		t.Fatal(err)
	}
	if mine.Spec.Replicas != nil || mine.Spec.Template == nil {
		t.Errorf("the first manager still owns %+v", mine.Spec)
	}
	status := appsapply.Deployment("web", "default").WithStatus(appsapply.DeploymentStatus().WithObservedGeneration(1))
	if _, err := api.ApplyStatus(t.Context(), status, metav1.ApplyOptions{FieldManager: "three"}); err != nil {
		t.Errorf("apply a status: %v", err)
	}
}
