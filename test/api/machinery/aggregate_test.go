package machinery

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset"
)

// sample is an API server of flunders, which it keeps in memory. It believes
// who the API server says the user is only where the certificate is the one
// that the cluster announces for that.
type sample struct {
	group string
	trust *x509.CertPool

	mu       sync.Mutex
	flunders map[string]*unstructured.Unstructured // guarded by mu
	users    map[string]bool                       // guarded by mu
}

func (s *sample) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer := func(code int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(v)
	}
	refuse := func(err *apierrors.StatusError) {
		status := err.Status()
		status.Kind, status.APIVersion = "Status", "v1"
		answer(int(status.Code), status)
	}
	if len(r.TLS.PeerCertificates) == 0 {
		refuse(apierrors.NewUnauthorized("no certificate"))
		return
	}
	proof := x509.VerifyOptions{Roots: s.trust, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	if _, err := r.TLS.PeerCertificates[0].Verify(proof); err != nil {
		refuse(apierrors.NewUnauthorized(err.Error()))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[r.Header.Get("X-Remote-User")] = true
	base := "/apis/" + s.group + "/v1alpha1"
	if r.URL.Path == base {
		answer(http.StatusOK, metav1.APIResourceList{
			TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: s.group + "/v1alpha1",
			APIResources: []metav1.APIResource{{Name: "flunders", SingularName: "flunder", Namespaced: true, Kind: "Flunder", Verbs: metav1.Verbs{"create", "delete", "get", "list"}}},
		})
		return
	}
	_, name, ok := strings.Cut(strings.TrimPrefix(r.URL.Path, base+"/namespaces/"), "/flunders")
	if !ok {
		http.NotFound(w, r)
		return
	}
	name = strings.TrimPrefix(name, "/")
	switch {
	case r.Method == http.MethodPost:
		o := &unstructured.Unstructured{}
		if err := json.NewDecoder(r.Body).Decode(&o.Object); err != nil {
			refuse(apierrors.NewBadRequest(err.Error()))
			return
		}
		s.flunders[o.GetName()] = o
		answer(http.StatusCreated, o)
	case name == "":
		list := object(`{"kind":"FlunderList","apiVersion":"%s/v1alpha1","metadata":{"resourceVersion":"1"},"items":[]}`, s.group).Object
		for _, o := range s.flunders {
			list["items"] = append(list["items"].([]any), o.Object)
		}
		answer(http.StatusOK, list)
	case s.flunders[name] == nil:
		refuse(apierrors.NewNotFound(schema.GroupResource{Group: s.group, Resource: "flunders"}, name))
	case r.Method == http.MethodDelete:
		delete(s.flunders, name)
		answer(http.StatusOK, metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusSuccess})
	default:
		answer(http.StatusOK, s.flunders[name])
	}
}

// Conformance: [sig-api-machinery] Aggregator Should be able to support the 1.17 Sample API Server using the current Aggregator [LinuxOnly]
func TestAggregator(t *testing.T) {
	c := begin(t)
	group := c.ns + ".example.com"
	announced := try(c.CoreV1().ConfigMaps("kube-system").Get(c.ctx, "extension-apiserver-authentication", metav1.GetOptions{})).or(c)
	s := &sample{group: group, trust: x509.NewCertPool(), flunders: map[string]*unstructured.Unstructured{}, users: map[string]bool{}}
	if !s.trust.AppendCertsFromPEM([]byte(announced.Data["requestheader-client-ca-file"])) {
		t.Fatalf("announced is %v", announced.Data)
	}
	r := c.serve(s)
	services := clientset.NewForConfigOrDie(c.server.Config).ApiregistrationV1().APIServices()
	name := "v1alpha1." + group
	try(services.Create(c.ctx, &apiregistrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"test": c.ns}},
		Spec: apiregistrationv1.APIServiceSpec{
			Group: group, Version: "v1alpha1", GroupPriorityMinimum: 2000, VersionPriority: 200, CABundle: r.ca,
			Service: &apiregistrationv1.ServiceReference{Namespace: c.ns, Name: r.service, Port: ptr(r.port)},
		},
	}, metav1.CreateOptions{})).or(c)
	c.later(func(ctx context.Context) { _ = services.Delete(ctx, name, metav1.DeleteOptions{}) })
	available := func() error {
		o := try(services.Get(c.ctx, name, metav1.GetOptions{})).or(c)
		for _, condition := range o.Status.Conditions {
			if condition.Type == apiregistrationv1.Available && condition.Status == apiregistrationv1.ConditionTrue {
				return nil
			}
		}
		return fmt.Errorf("%+v", o.Status)
	}
	c.eventually("the server is available", available)

	flunders := c.dyn.Resource(schema.GroupVersionResource{Group: group, Version: "v1alpha1", Resource: "flunders"}).Namespace(c.ns)
	try(flunders.Create(c.ctx, object(`{"apiVersion":"%s/v1alpha1","kind":"Flunder","metadata":{"name":"one"}}`, group), metav1.CreateOptions{})).or(c)
	if list := try(flunders.List(c.ctx, metav1.ListOptions{})).or(c); len(list.Items) != 1 || list.Items[0].GetName() != "one" {
		t.Errorf("listed %v", list.Items)
	}
	c.eventually("discovery", func() error { return contains(c, "/apis", asAggregated, `"flunders"`) })
	c.eventually("discovery of groups", func() error { return contains(c, "/apis", asJSON, group) })
	c.ok(contains(c, "/apis/"+group, asJSON, `"preferredVersion"`))
	c.ok(flunders.Delete(c.ctx, "one", metav1.DeleteOptions{}))
	_, err := flunders.Get(c.ctx, "one", metav1.GetOptions{})
	c.refused(err, apierrors.IsNotFound, `flunders.`+group+` "one" not found`)
	s.mu.Lock()
	if !s.users["admin"] {
		t.Errorf("the server saw the users %v", s.users)
	}
	s.mu.Unlock()

	// Its object is one like any other.
	c.aggregated(services.Patch(c.ctx, name, types.MergePatchType, []byte(`{"metadata":{"labels":{"apiservice":"patched"}},"spec":{"versionPriority":400}}`), metav1.PatchOptions{}))
	c.aggregated(services.Patch(c.ctx, name, types.MergePatchType, []byte(`{"status":{"conditions":[{"type":"StatusPatched","status":"True","reason":"E2E","message":"Set by a test"}]}}`), metav1.PatchOptions{}, "status"))
	c.ok(retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		o := try(services.Get(c.ctx, name, metav1.GetOptions{})).or(c)
		o.Status.Conditions = append(o.Status.Conditions, apiregistrationv1.APIServiceCondition{Type: "StatusUpdated", Status: apiregistrationv1.ConditionTrue, Reason: "E2E"})
		_, err := services.UpdateStatus(c.ctx, o, metav1.UpdateOptions{})
		return err
	}))
	if list := try(services.List(c.ctx, metav1.ListOptions{LabelSelector: "apiservice=patched,test=" + c.ns})).or(c); len(list.Items) != 1 || list.Items[0].Spec.VersionPriority != 400 {
		t.Errorf("listed %v", list.Items)
	}
	c.eventually("it is available still", available)
	c.ok(services.DeleteCollection(c.ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "test=" + c.ns}))
	c.eventually("it is gone", func() error {
		if _, err := flunders.List(c.ctx, metav1.ListOptions{}); !apierrors.IsNotFound(err) {
			return fmt.Errorf("answered: %v", err)
		}
		return nil
	})
}

func (c *cluster) aggregated(o *apiregistrationv1.APIService, err error) {
	c.Helper()
	c.ok(err)
	if o.Labels["test"] != c.ns {
		c.Errorf("answered with %v", o.ObjectMeta)
	}
}

// A server that does not answer is not available, and says why.
func TestAggregatorWithoutServer(t *testing.T) {
	c := begin(t)
	group := c.ns + ".example.com"
	services := clientset.NewForConfigOrDie(c.server.Config).ApiregistrationV1().APIServices()
	name := "v1." + group
	try(services.Create(c.ctx, &apiregistrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: apiregistrationv1.APIServiceSpec{
			Group: group, Version: "v1", GroupPriorityMinimum: 2000, VersionPriority: 200, InsecureSkipTLSVerify: true,
			Service: &apiregistrationv1.ServiceReference{Namespace: c.ns, Name: "nobody"},
		},
	}, metav1.CreateOptions{})).or(c)
	c.later(func(ctx context.Context) { _ = services.Delete(ctx, name, metav1.DeleteOptions{}) })
	c.eventually("it is not available", func() error {
		o := try(services.Get(c.ctx, name, metav1.GetOptions{})).or(c)
		for _, condition := range o.Status.Conditions {
			if condition.Type == apiregistrationv1.Available && condition.Status == apiregistrationv1.ConditionFalse {
				if want := fmt.Sprintf(`service/nobody in %q is not present`, c.ns); condition.Reason != "ServiceNotFound" || condition.Message != want {
					t.Errorf("it says %s: %s, want ServiceNotFound: %s", condition.Reason, condition.Message, want)
				}
				return nil
			}
		}
		return fmt.Errorf("%v", o.Status)
	})
	_, err := c.get("/apis/"+group+"/v1", asJSON)
	if !apierrors.IsServiceUnavailable(err) {
		t.Errorf("got %v, want 503", err)
	}
}
