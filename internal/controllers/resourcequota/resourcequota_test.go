package resourcequota_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
	"github.com/sinawi/sinawi/internal/controllers/loop"
	"github.com/sinawi/sinawi/internal/controllers/resourcequota"
)

// start runs an API server with the controller of quotas.
func start(t *testing.T) client.Client {
	t.Helper()
	s := apitest.Start(t)
	ctx, stop := context.WithCancel(context.Background())
	c, err := client.New(s.Config, client.Options{Scheme: scheme.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	objects, err := cache.New(s.Config, cache.Options{Scheme: scheme.Scheme})
	if err != nil {
		t.Fatal(err)
	}
	q := resourcequota.New(loop.Deps{Client: c, Cache: objects, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	done := make(chan error, 2)
	go func() { done <- objects.Start(ctx) }()
	go func() { done <- q.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-done, <-done); err != nil {
			t.Error(err)
		}
	})
	return c
}

func TestQuotaLimitsAndGivesBack(t *testing.T) {
	c := start(t)
	ctx := t.Context()
	one := resource.MustParse("1")
	q := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "few"},
		Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{
			"pods": one, "count/configmaps": one, "count/deployments.apps": one, "services.nodeports": resource.MustParse("0"),
			"count/widgets.example.com": one, // nobody serves them
		}},
	}
	if err := c.Create(ctx, q); err != nil {
		t.Fatal(err)
	}
	uses := func(name corev1.ResourceName, n int64) {
		t.Helper()
		var have resource.Quantity
		err := wait.PollUntilContextTimeout(ctx, 5*time.Millisecond, 30*time.Second, true, func(ctx context.Context) (bool, error) {
			err := c.Get(ctx, client.ObjectKeyFromObject(q), q)
			used, counted := q.Status.Used[name]
			have = used
			return counted && used.Value() == n, err
		})
		if err != nil {
			t.Fatalf("%s: used %s, want %d", name, have.String(), n)
		}
	}
	uses("pods", 0)
	if n, counted := q.Status.Used["count/widgets.example.com"]; counted {
		t.Errorf("of what is not served %s are used", &n)
	}
	pod := func(name string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}}
	}
	// Until admission has seen what is counted it refuses, by what it knew before.
	soon := func(obj client.Object, before string) {
		t.Helper()
		err := wait.PollUntilContextTimeout(ctx, 5*time.Millisecond, 30*time.Second, true, func(ctx context.Context) (bool, error) {
			err := c.Create(ctx, obj)
			if err != nil && (!apierrors.IsForbidden(err) || !strings.Contains(err.Error(), before)) {
				return false, err
			}
			return err == nil, nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	soon(pod("first"), "status unknown")
	uses("pods", 1)
	err := c.Create(ctx, pod("second"))
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "exceeded quota: few, requested: pods=1, used: pods=1, limited: pods=1") {
		t.Errorf("a second pod: %v", err)
	}
	soon(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "first"}}, "status unknown")
	if err := c.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "second"}}); !apierrors.IsForbidden(err) {
		t.Errorf("a second config map: %v", err)
	}
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "open"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 80}}},
	}
	if err := c.Create(ctx, service); !apierrors.IsForbidden(err) {
		t.Errorf("a node port: %v", err)
	}
	if err := c.Delete(ctx, pod("first"), client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	uses("pods", 0)
	soon(pod("second"), "used: pods=1")
}
