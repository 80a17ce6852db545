package openapi_test

import (
	"io"
	"net/http"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
	"github.com/sinawi/sinawi/internal/apiserver/openapi"
)

func TestServesEveryRoute(t *testing.T) {
	s := apitest.Start(t)
	paths, err := openapi.Paths()
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, p := range paths {
		documented["/"+p] = true
	}
	for _, ws := range s.API.WebServices() {
		if !documented[ws.RootPath()] && !documented[ws.RootPath()+"/"] {
			t.Errorf("%s has no document: run `go generate ./internal/apiserver/openapi`", ws.RootPath())
		}
	}
	client, err := rest.HTTPClientFor(s.Config)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range append([]string{"/openapi/v2", "/openapi/v3"}, prefixed(paths)...) {
		for _, accept := range []string{"application/json", "application/com.github.proto-openapi.spec.v3@v1.0+protobuf, application/com.github.proto-openapi.spec.v2@v1.0+protobuf, */*"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.Config.Host+p, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Accept", accept)
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err != nil || resp.StatusCode != http.StatusOK || len(body) < 100 {
				t.Errorf("%s as %s: %s, %d bytes, %v", p, accept, resp.Status, len(body), err)
			}
		}
	}
}

func prefixed(paths []string) []string {
	out := make([]string, len(paths))
	for i, p := range paths {
		out[i] = "/openapi/v3/" + p
	}
	return out
}
