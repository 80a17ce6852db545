package apiserver_test

import (
	"cmp"
	"net/http"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
)

func TestServesObjects(t *testing.T) {
	start := time.Now()
	s := apitest.Start(t)
	t.Logf("ready after %v", time.Since(start))
	c := s.Clientset()
	if _, err := c.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "cm", Namespace: "a"}, Data: map[string]string{"k": "v"}}
	if _, err := c.CoreV1().ConfigMaps("a").Create(t.Context(), cm, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	got, err := c.CoreV1().ConfigMaps("a").Get(t.Context(), "cm", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got.Data["k"] != "v" || got.UID == "" || got.ResourceVersion == "" || len(got.ManagedFields) == 0 {
		t.Errorf("got %+v", got)
	}
}

// Paths beside the objects', as clients and probes of Kubernetes know them.
func TestPaths(t *testing.T) {
	s := apitest.Start(t)
	client, err := rest.HTTPClientFor(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	const jsonType, textType = "application/json", "text/plain; charset=utf-8"
	tests := []struct {
		method, path, accept string
		code                 int
		contentType          string
	}{
		{"GET", "/readyz/etcd-readiness", "", 200, textType},
		{"GET", "/livez/etcd-readiness", "", 404, textType},
		{"GET", "/livez/poststarthook/rbac/bootstrap-roles", "", 200, textType},
		{"GET", "/readyz/poststarthook/storage-readiness", "", 200, textType},
		{"GET", "/healthz/poststarthook/crd-informer-synced", "", 200, textType},
		{"GET", "/healthz/autoregister-completion", "", 200, textType},
		{"POST", "/apis", "", 200, jsonType},
		{"OPTIONS", "/apis/", "", 200, jsonType},
		{"POST", "/apis/apps", "", 200, jsonType},
		{"GET", "/apis/apps/", "application/*", 200, jsonType},
		{"GET", "/apis/apps", "text/html", 406, jsonType},
		{"GET", "/apis/apps/v2", "", 404, jsonType},
		{"POST", "/api", "", 405, jsonType},
		{"GET", "//api/v1", "", 404, textType},
		{"GET", "/.well-known/openid-configuration", "", 200, jsonType},
		{"GET", "/.well-known/openid-configuration/", "", 200, jsonType},
		{"HEAD", "/.well-known/openid-configuration", "", 405, jsonType},
		{"GET", "/openid/v1/jwks/", "", 200, "application/jwk-set+json"},
		{"GET", "/openid/v1/jwks", "application/json", 406, jsonType},
		{"POST", "/openid/v1/jwks", "", 405, jsonType},
		{"GET", "/openapi/v3/openid/v1/jwks", "", 200, jsonType},
		{"GET", "/openapi/v3/apis/foo/v1", "", 404, ""},
	}
	for _, tt := range tests {
		request, err := http.NewRequestWithContext(t.Context(), tt.method, s.Config.Host+tt.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Accept", cmp.Or(tt.accept, "*/*"))
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if got := response.Header.Get("Content-Type"); response.StatusCode != tt.code || got != tt.contentType {
			t.Errorf("%s %s, accept %q: %d %q", tt.method, tt.path, tt.accept, response.StatusCode, got)
		}
	}
}

// A list of a revision that is not there yet is to be asked for again.
func TestRevisionOfTheFuture(t *testing.T) {
	s := apitest.Start(t)
	for _, o := range []metav1.ListOptions{
		{ResourceVersion: "99999999", Limit: 1},
		{ResourceVersion: "99999999", ResourceVersionMatch: metav1.ResourceVersionMatchExact},
	} {
		err := s.Clientset().CoreV1().RESTClient().Get().AbsPath("/api/v1/configmaps").MaxRetries(0).
			VersionedParams(&o, metav1.ParameterCodec).Do(t.Context()).Error()
		if seconds, ok := apierrors.SuggestsClientDelay(err); !ok || seconds != 1 {
			t.Errorf("%+v: %v, come again in %d s", o, err, seconds)
		}
	}
}
