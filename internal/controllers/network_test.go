//lint:file-ignore SA1019 the older Endpoints are kept too, and tested

package controllers_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// endpointsOf counts ready, serving and terminating endpoints of a service.
func (e *env) endpointsOf(service string) (ready, serving, terminating int) {
	e.Helper()
	var list discoveryv1.EndpointSliceList
	err := e.List(e.ctx, &list, client.InNamespace("default"), client.MatchingLabels{discoveryv1.LabelServiceName: service})
	if err != nil {
		e.Fatal(err)
	}
	for _, slice := range list.Items {
		for _, ep := range slice.Endpoints {
			ready += count(ep.Conditions.Ready)
			serving += count(ep.Conditions.Serving)
			terminating += count(ep.Conditions.Terminating)
		}
	}
	return ready, serving, terminating
}

func count(b *bool) int {
	if b != nil && *b {
		return 1
	}
	return 0
}

func (e *env) awaitEndpoints(service string, ready, serving, terminating, legacyReady, legacyNot int) {
	e.Helper()
	e.eventually("endpoints of "+service, func() error {
		r, s, t := e.endpointsOf(service)
		legacy := &corev1.Endpoints{ObjectMeta: meta(service)}
		if err := e.Get(e.ctx, client.ObjectKeyFromObject(legacy), legacy); err != nil {
			return err
		}
		var lr, ln int
		for _, s := range legacy.Subsets {
			lr += len(s.Addresses)
			ln += len(s.NotReadyAddresses)
		}
		got, want := [5]int{r, s, t, lr, ln}, [5]int{ready, serving, terminating, legacyReady, legacyNot}
		if got != want {
			return fmt.Errorf("ready, serving, terminating, in Endpoints ready and not: %v, want %v", got, want)
		}
		return nil
	})
}

func TestEndpointsFollowPods(t *testing.T) {
	e := start(t)
	e.node("one")
	service := &corev1.Service{
		ObjectMeta: meta("web"),
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": "web", "tier": "front"},
			Ports:    []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromString("http")}},
		},
	}
	e.create(service)
	e.awaitEndpoints("web", 0, 0, 0, 0, 0)
	var pods []corev1.Pod
	for i := range 3 {
		pod := &corev1.Pod{ObjectMeta: meta(fmt.Sprintf("web-%d", i)), Spec: template("", "").Spec}
		pod.Labels = map[string]string{"app": "web", "tier": "front"}
		pod.Spec.NodeName = "one"
		pod.Spec.Containers[0].Ports = []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}
		e.create(pod)
		pods = append(pods, *pod)
		e.setPhase(*pod, corev1.PodRunning, i > 0)
	}
	e.awaitEndpoints("web", 2, 2, 0, 2, 1)
	e.setPhase(pods[0], corev1.PodRunning, true)
	e.awaitEndpoints("web", 3, 3, 0, 3, 0)

	// A pod that terminates leaves at once though it still serves.
	if err := e.Client.Delete(e.ctx, &pods[1], client.GracePeriodSeconds(30)); err != nil {
		t.Fatal(err)
	}
	e.awaitEndpoints("web", 2, 3, 1, 2, 0)
	if err := e.Client.Delete(e.ctx, &pods[1], client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	e.awaitEndpoints("web", 2, 2, 0, 2, 0)

	// A pod that is relabelled leaves, and one that is finished.
	change(e, &pods[2], func(p *corev1.Pod) { p.Labels["tier"] = "back" })
	e.awaitEndpoints("web", 1, 1, 0, 1, 0)
	e.setPhase(pods[0], corev1.PodSucceeded, false)
	e.awaitEndpoints("web", 0, 0, 0, 0, 0)

	change(e, service, func(s *corev1.Service) {
		s.Spec.Selector = map[string]string{"tier": "back"}
		s.Labels = map[string]string{"a": "b"}
	})
	e.awaitEndpoints("web", 1, 1, 0, 1, 0)
	var list discoveryv1.EndpointSliceList
	if err := e.List(e.ctx, &list, client.MatchingLabels{"a": "b", discoveryv1.LabelServiceName: "web"}); err != nil {
		t.Fatal(err)
	}
	if len(list.Items) != 1 {
		t.Fatalf("%d slices with the service's label, want 1", len(list.Items))
	}
	slice := list.Items[0]
	if p := slice.Ports[0]; *p.Port != 8080 {
		t.Errorf("port %d, want that of the container port's name", *p.Port)
	}
	if ep := slice.Endpoints[0]; ep.TargetRef.Name != "web-2" || *ep.NodeName != "one" {
		t.Errorf("endpoint %+v", ep)
	}
}

func TestPublishNotReady(t *testing.T) {
	e := start(t)
	e.create(&corev1.Service{
		ObjectMeta: meta("peers"),
		Spec: corev1.ServiceSpec{
			ClusterIP: corev1.ClusterIPNone, PublishNotReadyAddresses: true,
			Selector: map[string]string{"app": "peer"},
		},
	})
	pod := &corev1.Pod{ObjectMeta: meta("peer-0"), Spec: template("", "").Spec}
	pod.Labels = map[string]string{"app": "peer"}
	pod.Spec.Hostname, pod.Spec.Subdomain = "peer-0", "peers"
	e.create(pod)
	e.setPhase(*pod, corev1.PodRunning, false)
	e.awaitEndpoints("peers", 1, 0, 0, 1, 0)
	var list discoveryv1.EndpointSliceList
	if err := e.List(e.ctx, &list, client.HasLabels{corev1.IsHeadlessService}); err != nil {
		t.Fatal(err)
	}
	if len(list.Items) != 1 || *list.Items[0].Endpoints[0].Hostname != "peer-0" {
		t.Errorf("headless slices: %+v", list.Items)
	}
}

func TestEndpointsOfUsersAreMirrored(t *testing.T) {
	e := start(t)
	e.create(&corev1.Service{ObjectMeta: meta("outside"), Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 5432}}}})
	manual := &corev1.Endpoints{ObjectMeta: meta("outside"), Subsets: []corev1.EndpointSubset{{
		Addresses: []corev1.EndpointAddress{{IP: "192.0.2.1"}, {IP: "192.0.2.2"}}, Ports: []corev1.EndpointPort{{Port: 5432}},
	}}}
	e.create(manual)
	await := func(want int) {
		t.Helper()
		e.eventually("mirrored endpoints", func() error {
			if ready, _, _ := e.endpointsOf("outside"); ready != want {
				return fmt.Errorf("%d, want %d", ready, want)
			}
			return nil
		})
	}
	await(2)
	change(e, manual, func(m *corev1.Endpoints) { m.Subsets[0].Addresses = m.Subsets[0].Addresses[:1] })
	await(1)
	if err := e.Client.Delete(e.ctx, manual); err != nil {
		t.Fatal(err)
	}
	await(0)
}
