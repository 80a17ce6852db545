package resources_test

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
)

// TestPodsByFields: a field is found by its value, whether the watch cache keeps that
// or leaves it unsaid.
func TestPodsByFields(t *testing.T) {
	pods := apitest.Start(t).Clientset().CoreV1().Pods("default")
	for name, spec := range map[string]corev1.PodSpec{
		"plain":  {},
		"once":   {RestartPolicy: corev1.RestartPolicyNever, SchedulerName: "own"},
		"on":     {NodeName: "n1"},
		"direct": {HostNetwork: true},
	} {
		spec.Containers = []corev1.Container{{Name: "a", Image: "i"}}
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}
		if _, err := pods.Create(t.Context(), pod, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	on, err := pods.Get(t.Context(), "on", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	on.Status.PodIP, on.Status.PodIPs = "10.0.0.1", []corev1.PodIP{{IP: "10.0.0.1"}}
	if _, err := pods.UpdateStatus(t.Context(), on, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	for selector, want := range map[string]string{
		"spec.hostNetwork=false":                            "on once plain",
		"spec.hostNetwork=true":                             "direct",
		"spec.hostNetwork!=false":                           "direct",
		"spec.hostNetwork!=true":                            "on once plain",
		"spec.hostNetwork=":                                 "",
		"spec.hostNetwork!=":                                "direct on once plain",
		"spec.restartPolicy=Always":                         "direct on plain",
		"spec.restartPolicy!=Always":                        "once",
		"spec.restartPolicy=Never":                          "once",
		"spec.restartPolicy=OnFailure":                      "",
		"spec.schedulerName=default-scheduler":              "direct on plain",
		"spec.schedulerName=own":                            "once",
		"spec.schedulerName=":                               "",
		"spec.nodeName=":                                    "direct once plain",
		"spec.nodeName!=":                                   "on",
		"spec.nodeName=n1,spec.hostNetwork=false":           "on",
		"status.podIP=10.0.0.1":                             "on",
		"status.podIPs=10.0.0.1":                            "on",
		"status.podIP=":                                     "direct once plain",
		"status.nominatedNodeName=":                         "direct on once plain",
		"status.phase=Pending,spec.restartPolicy=Always":    "direct on plain",
		"status.phase!=Pending":                             "",
		"spec.serviceAccountName=default,metadata.name!=on": "direct once plain",
	} {
		list, err := pods.List(t.Context(), metav1.ListOptions{FieldSelector: selector})
		if err != nil {
			t.Fatalf("%s: %v", selector, err)
		}
		var got []string
		for _, p := range list.Items {
			got = append(got, p.Name)
		}
		slices.Sort(got)
		if strings.Join(got, " ") != want {
			t.Errorf("%s: got %v, want %s", selector, got, want)
		}
	}
}
