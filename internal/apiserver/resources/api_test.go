package resources_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
)

// post sends text as it is and returns the server's answer as an error.
func post(t *testing.T, c kubernetes.Interface, path, contentType, text string, params ...string) error {
	t.Helper()
	r := c.CoreV1().RESTClient().Post().AbsPath(path).SetHeader("Content-Type", contentType).Body([]byte(text))
	for i := 0; i < len(params); i += 2 {
		r = r.Param(params[i], params[i+1])
	}
	return r.Do(t.Context()).Error()
}

func TestBadInput(t *testing.T) {
	server := apitest.Start(t)
	c := server.Clientset()
	const pods, maps = "/api/v1/namespaces/default/pods", "/api/v1/namespaces/default/configmaps"
	const good = `{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [{"name": "a", "image": "i"%s}]}}`
	bodies := map[string]struct {
		path, kind, text string
		params           []string
		is               func(error) bool
		want             string
	}{
		"no JSON":          {pods, "application/json", `{"apiVersion": `, nil, apierrors.IsBadRequest, "unexpected end of JSON input"},
		"another kind":     {pods, "application/json", `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}`, nil, apierrors.IsBadRequest, `ConfigMap in version "v1" cannot be handled as a Pod`},
		"another place":    {pods, "application/json", `{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "other"}}`, nil, apierrors.IsBadRequest, "the namespace of the provided object does not match the namespace sent on the request"},
		"no name":          {pods, "application/json", `{"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [{"name": "a", "image": "i"}]}}`, nil, apierrors.IsInvalid, "name or generateName is required"},
		"bad name":         {maps, "application/json", `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "A_B"}}`, nil, apierrors.IsInvalid, `metadata.name: Invalid value: "A_B": a lowercase RFC 1123 subdomain must consist of`},
		"long name":        {maps, "application/json", `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "` + strings.Repeat("a", 254) + `"}}`, nil, apierrors.IsInvalid, "must be no more than 253"},
		"no namespace":     {"/api/v1/namespaces/absent/configmaps", "application/json", `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}`, nil, apierrors.IsNotFound, `namespaces "absent" not found`},
		"bad label":        {maps, "application/json", `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "labels": {"a b": "c"}}}`, nil, apierrors.IsInvalid, `metadata.labels: Invalid value: "a b"`},
		"wrong type":       {pods, "application/json", `{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": "none"}}`, nil, apierrors.IsBadRequest, "cannot unmarshal string into Go struct field PodSpec.spec.containers"},
		"no quantity":      {pods, "application/json", fmt.Sprintf(good, `, "resources": {"requests": {"cpu": "lots"}}`), nil, apierrors.IsBadRequest, "quantities must match the regular expression"},
		"unknown field":    {pods, "application/json", fmt.Sprintf(good, `, "imagee": "i"`), []string{"fieldValidation", "Strict"}, apierrors.IsBadRequest, `unknown field "spec.containers[0].imagee"`},
		"field twice":      {pods, "application/json", fmt.Sprintf(good, `, "image": "j"`), []string{"fieldValidation", "Strict"}, apierrors.IsBadRequest, `duplicate field "spec.containers[0].image"`},
		"unknown in YAML":  {maps, "application/yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndatta: {}\n", []string{"fieldValidation", "Strict"}, apierrors.IsBadRequest, `unknown field "datta"`},
		"too much":         {maps, "application/json", `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"a": "` + strings.Repeat("x", 1<<20+1) + `"}}`, nil, apierrors.IsInvalid, "may not be more than 1048576 bytes"},
		"far too much":     {maps, "application/json", `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"a": "` + strings.Repeat("x", 4<<20) + `"}}`, nil, apierrors.IsRequestEntityTooLargeError, "limit is 3145728"},
		"annotations":      {maps, "application/json", `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "annotations": {"a": "` + strings.Repeat("x", 256<<10) + `"}}}`, nil, apierrors.IsInvalid, "metadata.annotations: Too long: may not be more than 262144 bytes"},
		"unknown language": {maps, "text/plain", `a`, nil, apierrors.IsUnsupportedMediaType, "the body of the request was in an unknown format"},
		"version given":    {maps, "application/json", `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "resourceVersion": "5"}}`, nil, func(error) bool { return true }, "resourceVersion should not be set on objects to be created"},
	}
	for name, tc := range bodies {
		t.Run(name, func(t *testing.T) {
			err := post(t, c, tc.path, tc.kind, tc.text, tc.params...)
			if err == nil || !tc.is(err) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %.300v, want %q", err, tc.want)
			}
		})
	}
	t.Run("ignored when asked for", func(t *testing.T) {
		if err := post(t, c, pods, "application/json", fmt.Sprintf(good, `, "imagee": "i"`), "fieldValidation", "Ignore"); err != nil {
			t.Error(err)
		}
	})
}

// Addresses are given once, given back, and remembered over a restart.
func TestServices(t *testing.T) {
	dir := t.TempDir()
	server := apitest.StartWith(t, apitest.Options{Dir: dir})
	services := server.Clientset().CoreV1().Services("default")
	web := func(name string, change func(*corev1.ServiceSpec)) *corev1.Service {
		s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": name}, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}},
		}}
		if change != nil {
			change(&s.Spec)
		}
		return s
	}
	a, err := services.Create(t.Context(), web("a", func(s *corev1.ServiceSpec) { s.Type = corev1.ServiceTypeNodePort }), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if a.Spec.ClusterIP == "" || a.Spec.Ports[0].NodePort < 30000 || len(a.Spec.IPFamilies) != 1 {
		t.Errorf("given: %+v", a.Spec)
	}
	taken := web("b", func(s *corev1.ServiceSpec) { s.ClusterIP = a.Spec.ClusterIP })
	if _, err := services.Create(t.Context(), taken, metav1.CreateOptions{}); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "provided IP is already allocated") {
		t.Errorf("taken address: %v", err)
	}
	if _, err := services.Create(t.Context(), web("Bad_Name", nil), metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("bad name: %v", err)
	}
	server.Stop()

	server = apitest.StartWith(t, apitest.Options{Dir: dir})
	services = server.Clientset().CoreV1().Services("default")
	if _, err := services.Create(t.Context(), taken, metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("taken address after a restart: %v", err)
	}
	// A change of type gives the node port back; deletion gives the address back.
	a.Spec.Type, a.Spec.Ports[0].NodePort = corev1.ServiceTypeClusterIP, 0
	if a, err = services.Update(t.Context(), a, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if a.Spec.Ports[0].NodePort != 0 {
		t.Errorf("node port of a cluster service: %d", a.Spec.Ports[0].NodePort)
	}
	if err := services.Delete(t.Context(), "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := services.Create(t.Context(), taken, metav1.CreateOptions{}); err != nil {
		t.Errorf("address of a deleted service: %v", err)
	}
}

// A node follows its own pods alone, through every step of their deletion.
func TestPodsOfANode(t *testing.T) {
	server := apitest.Start(t)
	pods := server.Clientset().CoreV1().Pods("default")
	mine := metav1.ListOptions{FieldSelector: "spec.nodeName=n1"}
	w, err := pods.Watch(t.Context(), mine)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	for name, node := range map[string]string{"a": "n1", "b": "n2", "c": ""} {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "a", Image: "i"}}}}
		if _, err := pods.Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := pods.List(t.Context(), mine); err != nil || len(got.Items) != 1 || got.Items[0].Name != "a" {
		t.Errorf("listed %+v, %v", got.Items, err)
	}
	none := int64(0)
	for _, step := range []struct {
		name    string
		options metav1.DeleteOptions
	}{{"c", metav1.DeleteOptions{}}, {"b", metav1.DeleteOptions{}}, {"a", metav1.DeleteOptions{}}, {"a", metav1.DeleteOptions{GracePeriodSeconds: &none}}} {
		if err := pods.Delete(t.Context(), step.name, step.options); err != nil {
			t.Fatal(err)
		}
	}
	var seen []string
	for len(seen) < 4 {
		select {
		case e := <-w.ResultChan():
			p, ok := e.Object.(*corev1.Pod)
			if !ok {
				t.Fatalf("%s: %v", e.Type, e.Object)
			}
			seen = append(seen, fmt.Sprintf("%s %s %v", e.Type, p.Name, p.DeletionTimestamp != nil))
		case <-t.Context().Done():
			t.Fatal("the watch ended")
		}
	}
	if got, want := strings.Join(seen, ", "), "ADDED a false, MODIFIED a true, MODIFIED a true, DELETED a true"; got != want {
		t.Errorf("seen %q, want %q", got, want)
	}
	// What no node has begun goes at once.
	if _, err := pods.Get(t.Context(), "c", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("unscheduled pod after its deletion: %v", err)
	}
}
