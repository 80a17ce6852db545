package services_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	watchtools "k8s.io/client-go/tools/watch"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
)

func web(name, ip string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{
		ClusterIP: ip, Ports: []corev1.ServicePort{{Port: 80}},
	}}
}

// Every address of a service has a record, and a record that somebody makes
// keeps its address from services.
func TestRecords(t *testing.T) {
	dir := t.TempDir()
	server := apitest.StartWith(t, apitest.Options{Dir: dir})
	c := server.Clientset()
	services, addresses := c.CoreV1().Services("default"), c.NetworkingV1().IPAddresses()
	if _, err := addresses.Get(t.Context(), "10.43.0.1", metav1.GetOptions{}); err != nil {
		t.Errorf("that of the kubernetes service: %v", err)
	}
	a, err := services.Create(t.Context(), web("a", ""), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		r, err := addresses.Get(t.Context(), a.Spec.ClusterIP, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		want := networkingv1.ParentReference{Resource: "services", Namespace: "default", Name: "a"}
		if *r.Spec.ParentRef != want || r.Labels["ipaddress.kubernetes.io/managed-by"] != "ipallocator.k8s.io" || r.Labels["ipaddress.kubernetes.io/ip-family"] != "IPv4" {
			t.Errorf("recorded %+v %v", r.Spec.ParentRef, r.Labels)
		}
	}
	check()
	if err := addresses.Delete(t.Context(), a.Spec.ClusterIP, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	check() // it is in use, so it is back

	mine := &networkingv1.IPAddress{ObjectMeta: metav1.ObjectMeta{Name: "10.43.7.7"}, Spec: networkingv1.IPAddressSpec{
		ParentRef: &networkingv1.ParentReference{Group: "example.com", Resource: "things", Name: "x"}}}
	if _, err := addresses.Create(t.Context(), mine, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	refused := func(when string) {
		t.Helper()
		if _, err := services.Create(t.Context(), web("b", "10.43.7.7"), metav1.CreateOptions{}); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "already allocated") {
			t.Errorf("%s: %v", when, err)
		}
	}
	refused("an address that is kept")
	server.Stop()
	server = apitest.StartWith(t, apitest.Options{Dir: dir})
	c = server.Clientset()
	services, addresses = c.CoreV1().Services("default"), c.NetworkingV1().IPAddresses()
	refused("an address that is kept, after a restart")
	check()
	if err := addresses.Delete(t.Context(), "10.43.7.7", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := services.Create(t.Context(), web("b", "10.43.7.7"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
		t.Error(err)
	}
	if _, err := services.Create(t.Context(), web("b", "10.43.7.7"), metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"a", "b"} {
		if err := services.Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	list, err := addresses.List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 1 {
		t.Errorf("left of the records: %+v, %v", list.Items, err)
	}
}

// network waits until a network is as is says.
func network(t *testing.T, server *apitest.Server, name string, is func(*networkingv1.ServiceCIDR) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	one := metav1.ListOptions{FieldSelector: "metadata.name=" + name}
	api := server.Clientset().NetworkingV1().ServiceCIDRs()
	list, err := api.List(ctx, one)
	if err != nil {
		t.Fatal(err)
	}
	if len(list.Items) == 0 && is(nil) || len(list.Items) == 1 && is(&list.Items[0]) {
		return
	}
	_, err = watchtools.Until(ctx, list.ResourceVersion, watcher(func(o metav1.ListOptions) (watch.Interface, error) {
		o.FieldSelector = one.FieldSelector
		return api.Watch(ctx, o)
	}), func(e watch.Event) (bool, error) {
		c, ok := e.Object.(*networkingv1.ServiceCIDR)
		if e.Type == watch.Deleted {
			return is(nil), nil
		}
		return ok && is(c), nil
	})
	if err != nil {
		t.Fatalf("service network %s: %v", name, err)
	}
}

// watcher is what watches, with the selector that it was given.
type watcher func(metav1.ListOptions) (watch.Interface, error)

func (w watcher) Watch(o metav1.ListOptions) (watch.Interface, error) { return w(o) }

func ready(want metav1.ConditionStatus) func(*networkingv1.ServiceCIDR) bool {
	return func(c *networkingv1.ServiceCIDR) bool {
		if c == nil {
			return false
		}
		have := apimeta.FindStatusCondition(c.Status.Conditions, networkingv1.ServiceCIDRConditionReady)
		return have != nil && have.Status == want
	}
}

// Services get addresses of networks that are added, and a network stays until
// no service needs it.
func TestNetworksAreAdded(t *testing.T) {
	server := apitest.Start(t)
	c := server.Clientset()
	services, networks := c.CoreV1().Services("default"), c.NetworkingV1().ServiceCIDRs()
	network(t, server, "kubernetes", ready(metav1.ConditionTrue))
	if _, err := services.Create(t.Context(), web("a", "10.77.0.5"), metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		t.Fatalf("an address of no network: %v", err)
	}
	more := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "more"}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.77.0.0/24"}}}
	if _, err := networks.Create(t.Context(), more, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	network(t, server, "more", ready(metav1.ConditionTrue))
	if _, err := services.Create(t.Context(), web("a", "10.77.0.5"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := networks.Delete(t.Context(), "more", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	network(t, server, "more", ready(metav1.ConditionFalse))
	kept, err := networks.Get(t.Context(), "more", metav1.GetOptions{})
	if err != nil || !slices.Contains(kept.Finalizers, "networking.k8s.io/service-cidr-finalizer") {
		t.Fatalf("%+v, %v", kept, err)
	}
	if err := services.Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	network(t, server, "more", func(c *networkingv1.ServiceCIDR) bool { return c == nil })
}
