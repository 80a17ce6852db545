package aggregate_test

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
)

// other is an API server that serves weather.example.com/v1.
func other(t *testing.T, user *atomic.Value) *httptest.Server {
	t.Helper()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/clouds") { // the aggregator asks for documents by itself
			user.Store(r.Header.Get("X-Remote-User") + " " + strings.Join(r.Header.Values("X-Remote-Group"), ","))
		}
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/apis/weather.example.com/v1":
			_ = json.NewEncoder(w).Encode(metav1.APIResourceList{
				TypeMeta: metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"}, GroupVersion: "weather.example.com/v1",
				APIResources: []metav1.APIResource{{Name: "clouds", SingularName: "cloud", Kind: "Cloud", Verbs: metav1.Verbs{"get", "list"}}},
			})
		case "/apis/weather.example.com/v1/clouds":
			_, _ = w.Write([]byte(`{"kind":"CloudList","apiVersion":"weather.example.com/v1","items":[]}`))
		case "/openapi/v3":
			_, _ = w.Write([]byte(`{"paths":{"apis/weather.example.com/v1":{"serverRelativeURL":"/openapi/v3/apis/weather.example.com/v1?hash=ABC"}}}`))
		case "/openapi/v3/apis/weather.example.com/v1":
			_, _ = w.Write([]byte(`{"openapi":"3.0.0","info":{"title":"weather"}}`))
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	apitest.Eventually(t, what, func() error {
		if !f() {
			return errors.New("not so")
		}
		return nil
	})
}

func TestAnotherServer(t *testing.T) {
	var user atomic.Value
	weather := other(t, &user)
	_, port, err := net.SplitHostPort(weather.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	s := apitest.Start(t)
	ctx, c := t.Context(), s.Clientset()
	_, err = c.CoreV1().Services("default").Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "weather"},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "localhost"},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	services := clientset.NewForConfigOrDie(s.Config).ApiregistrationV1().APIServices()
	p := int32(n)
	_, err = services.Create(ctx, &apiregistrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: "v1.weather.example.com"},
		Spec: apiregistrationv1.APIServiceSpec{
			Group: "weather.example.com", Version: "v1", GroupPriorityMinimum: 100, VersionPriority: 10, InsecureSkipTLSVerify: true,
			Service: &apiregistrationv1.ServiceReference{Namespace: "default", Name: "weather", Port: &p},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	available := func(status apiregistrationv1.ConditionStatus) func() bool {
		return func() bool {
			o, err := services.Get(ctx, "v1.weather.example.com", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			return len(o.Status.Conditions) == 1 && o.Status.Conditions[0].Status == status
		}
	}
	eventually(t, "the server is available", available(apiregistrationv1.ConditionTrue))
	get := func(path, accept string) string {
		data, err := c.Discovery().RESTClient().Get().AbsPath(path).SetHeader("Accept", accept).DoRaw(ctx)
		if err != nil {
			return err.Error()
		}
		return string(data)
	}
	const asJSON = "application/json"
	if got := get("/apis/weather.example.com/v1/clouds", asJSON); !strings.Contains(got, "CloudList") {
		t.Errorf("clouds: %s", got)
	}
	if got := user.Load(); got != "admin system:masters,system:authenticated" {
		t.Errorf("the other server saw user %q", got)
	}
	for _, want := range []struct{ path, accept, text string }{
		{"/apis", asJSON, "weather.example.com/v1"},
		{"/apis/weather.example.com", asJSON, "preferredVersion"},
		{"/apis", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList", "clouds"},
		{"/openapi/v3", asJSON, "/openapi/v3/apis/weather.example.com/v1?hash=ABC"},
		{"/openapi/v3/apis/weather.example.com/v1", asJSON, `"title":"weather"`},
	} {
		eventually(t, want.path+" tells of it", func() bool { return strings.Contains(get(want.path, want.accept), want.text) })
	}

	if err := services.Delete(ctx, "v1.weather.example.com", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "discovery forgets it", func() bool { return !strings.Contains(get("/apis", asJSON), "weather") })
}

func TestEveryGroupHasAnAPIService(t *testing.T) {
	s := apitest.Start(t)
	services := clientset.NewForConfigOrDie(s.Config).ApiregistrationV1().APIServices()
	groups, err := s.Clientset().Discovery().ServerGroups()
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "every group version has an available API service", func() bool {
		for _, g := range groups.Groups {
			if g.Name == "metrics.k8s.io" || g.Name == apiregistrationv1.GroupName {
				continue // the one's object is made by who replaces it, the other has none
			}
			for _, v := range g.Versions {
				o, err := services.Get(t.Context(), v.Version+"."+g.Name, metav1.GetOptions{})
				if err != nil || len(o.Status.Conditions) != 1 || o.Status.Conditions[0].Status != apiregistrationv1.ConditionTrue {
					return false
				}
			}
		}
		return true
	})
}
