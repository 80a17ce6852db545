package downward

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestField(t *testing.T) {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: "u1", Labels: map[string]string{"b": "2", "a": "1\n\"x\""}, Annotations: map[string]string{"example.com/k['x']": "v"}},
		Spec:       corev1.PodSpec{NodeName: "n1", ServiceAccountName: "robot"},
		Status:     corev1.PodStatus{PodIP: "10.42.0.7", PodIPs: []corev1.PodIP{{IP: "10.42.0.7"}, {IP: "fd00::7"}}, HostIP: "10.0.0.1", HostIPs: []corev1.HostIP{{IP: "10.0.0.1"}}},
	}
	tests := map[string]string{
		"metadata.name":                              "web",
		"metadata.namespace":                         "shop",
		"metadata.uid":                               "u1",
		"metadata.labels":                            "a=\"1\\n\\\"x\\\"\"\nb=\"2\"",
		"metadata.labels['b']":                       "2",
		"metadata.labels['none']":                    "",
		"metadata.annotations['example.com/k['x']']": "v",
		"spec.nodeName":                              "n1",
		"spec.serviceAccountName":                    "robot",
		"status.podIP":                               "10.42.0.7",
		"status.podIPs":                              "10.42.0.7,fd00::7",
		"status.hostIP":                              "10.0.0.1",
		"status.hostIPs":                             "10.0.0.1",
	}
	for path, want := range tests {
		if got, err := Field(pod, path); err != nil || got != want {
			t.Errorf("%s: got %q %v, want %q", path, got, err, want)
		}
	}
	for _, path := range []string{"", "spec.x", "metadata.name['x']", "metadata.labels["} {
		if got, err := Field(pod, path); err == nil {
			t.Errorf("%s: got %q", path, got)
		}
	}
}

func TestResource(t *testing.T) {
	list := func(cpu, memory string) corev1.ResourceList {
		return corev1.ResourceList{"cpu": resource.MustParse(cpu), "memory": resource.MustParse(memory)}
	}
	full := corev1.Container{Name: "full", Resources: corev1.ResourceRequirements{
		Limits:   corev1.ResourceList{"cpu": resource.MustParse("1500m"), "memory": resource.MustParse("100M"), "hugepages-2Mi": resource.MustParse("4Mi")},
		Requests: list("250m", "64Mi")}}
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{full, {Name: "bare"}}, InitContainers: []corev1.Container{{Name: "init", Resources: corev1.ResourceRequirements{Limits: list("3", "1Gi")}}}}}
	allocatable := list("8", "16Gi")
	tests := []struct{ container, resource, divisor, want string }{
		{"full", "limits.cpu", "", "2"},
		{"full", "limits.cpu", "1m", "1500"},
		{"full", "requests.cpu", "1", "1"},
		{"full", "requests.cpu", "1m", "250"},
		{"full", "limits.memory", "", "100000000"},
		{"full", "limits.memory", "1Mi", "96"},
		{"full", "requests.memory", "1Ki", "65536"},
		{"full", "limits.hugepages-2Mi", "1Mi", "4"},
		{"init", "limits.memory", "1Gi", "1"},
		{"bare", "limits.cpu", "", "8"},
		{"bare", "limits.memory", "1Gi", "16"},
		{"bare", "requests.memory", "", "0"},
		{"", "limits.cpu", "1m", "1500"},
	}
	for _, test := range tests {
		ref := &corev1.ResourceFieldSelector{ContainerName: test.container, Resource: test.resource}
		if test.divisor != "" {
			ref.Divisor = resource.MustParse(test.divisor)
		}
		if got, err := Resource(ref, pod, &pod.Spec.Containers[0], allocatable); err != nil || got != test.want {
			t.Errorf("%+v: got %q %v", test, got, err)
		}
	}
	for _, ref := range []corev1.ResourceFieldSelector{{ContainerName: "none", Resource: "limits.cpu"}, {Resource: "limits.disk"}, {Resource: "cpu"}, {Resource: "wishes.cpu"}} {
		if got, err := Resource(&ref, pod, &pod.Spec.Containers[0], allocatable); err == nil {
			t.Errorf("%+v: got %q", ref, got)
		}
	}
	if got, err := Resource(&corev1.ResourceFieldSelector{Resource: "limits.cpu"}, pod, nil, allocatable); err == nil {
		t.Errorf("of no container: got %q", got)
	}
	pod.Spec.Resources = &corev1.ResourceRequirements{Limits: list("4", "2Gi")}
	if got, err := Resource(&corev1.ResourceFieldSelector{ContainerName: "bare", Resource: "limits.memory", Divisor: resource.MustParse("1Gi")}, pod, nil, allocatable); err != nil || got != "2" {
		t.Errorf("the pod's limit: got %q %v", got, err)
	}
}
