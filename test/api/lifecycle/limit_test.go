package lifecycle

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
)

func amounts(cpu, memory string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
}

// Conformance: [sig-scheduling] LimitRange should create a LimitRange with defaults and ensure pod has those defaults applied.
func TestLimitRange(t *testing.T) {
	server := apitest.Start(t)
	ctx, client := t.Context(), server.Clientset().CoreV1()
	server.Account(ctx, "default")
	limits := client.LimitRanges("default")
	made, err := limits.Create(ctx, &corev1.LimitRange{
		ObjectMeta: metav1.ObjectMeta{Name: "limits"},
		Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{{
			Type: corev1.LimitTypeContainer, Min: amounts("50m", "100Mi"), Max: amounts("500m", "500Mi"),
			Default: amounts("500m", "500Mi"), DefaultRequest: amounts("100m", "200Mi"),
		}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pod := func(name string, r corev1.ResourceRequirements) (*corev1.Pod, error) {
		return client.Pods("default").Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i", Resources: r}}},
		}, metav1.CreateOptions{})
	}
	check := func(p *corev1.Pod, err error, requests, limits corev1.ResourceList) {
		t.Helper()
		if err != nil {
			t.Error(err)
			return
		}
		have := p.Spec.Containers[0].Resources
		for name, want := range requests {
			if got := have.Requests[name]; got.Cmp(want) != 0 {
				t.Errorf("%s asks for %s %s, want %s", p.Name, &got, name, &want)
			}
		}
		for name, want := range limits {
			if got := have.Limits[name]; got.Cmp(want) != 0 {
				t.Errorf("%s is limited to %s %s, want %s", p.Name, &got, name, &want)
			}
		}
	}
	p, err := pod("none", corev1.ResourceRequirements{})
	check(p, err, amounts("100m", "200Mi"), amounts("500m", "500Mi"))
	p, err = pod("some", corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("150Mi")},
		Limits:   corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("300m")},
	})
	check(p, err, amounts("300m", "150Mi"), amounts("300m", "500Mi"))

	refused := func(name, says string, r corev1.ResourceRequirements) {
		t.Helper()
		if _, err := pod(name, r); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	refused("little", "minimum cpu usage per Container is 50m", corev1.ResourceRequirements{Requests: amounts("10m", "200Mi")})
	refused("much", "maximum memory usage per Container is 500Mi", corev1.ResourceRequirements{Limits: amounts("500m", "600Mi")})

	made.Spec.Limits[0].Min = amounts("9m", "49Mi")
	if _, err := limits.Update(ctx, made, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	// The server looks at limits through a watch.
	for {
		_, err := pod("little", corev1.ResourceRequirements{Requests: amounts("10m", "50Mi")})
		if err == nil {
			break
		}
		if !apierrors.IsForbidden(err) || ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}
