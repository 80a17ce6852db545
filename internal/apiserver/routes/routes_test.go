package routes

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	restful "github.com/emicklei/go-restful/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/server"
)

var (
	medias  = []string{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf"}
	patches = []string{"application/json-patch+json", "application/merge-patch+json"}
)

// services are routes as k8s.io/apiserver installs them. Each answers with its own
// method and path.
func services() []*restful.WebService {
	var out []*restful.WebService
	service := func(root string) *restful.WebService {
		ws := new(restful.WebService).Path(root).Consumes("*/*").Produces(medias...)
		out = append(out, ws)
		return ws
	}
	route := func(ws *restful.WebService, method, path string, change ...func(*restful.RouteBuilder)) {
		builder := ws.Method(method).Path(path).To(func(_ *restful.Request, response *restful.Response) {
			fmt.Fprintf(response, "%s %s%s", method, ws.RootPath(), path)
		})
		for _, c := range change {
			c(builder)
		}
		ws.Route(builder)
	}
	patched := func(b *restful.RouteBuilder) { b.Consumes(patches...) }
	everything := func(b *restful.RouteBuilder) { b.Consumes("*/*").Produces("*/*") }

	route(service("/api"), http.MethodGet, "/")
	core := service("/api/v1")
	route(core, http.MethodGet, "/")
	for _, prefix := range []string{"/nodes", "/namespaces", "/namespaces/{namespace}/pods"} {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
			route(core, method, prefix)
		}
		for _, path := range []string{"/{name}", "/{name}/status"} {
			route(core, http.MethodGet, prefix+path)
			route(core, http.MethodPut, prefix+path)
			route(core, http.MethodPatch, prefix+path, patched)
		}
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			route(core, method, prefix+"/{name}/proxy", everything)
			route(core, method, prefix+"/{name}/proxy/{path:*}", everything)
		}
		route(core, http.MethodGet, "/watch"+prefix)
		route(core, http.MethodGet, "/watch"+prefix+"/{name}")
	}
	route(core, http.MethodGet, "/pods")
	apps := service("/apis/apps/v1")
	route(apps, http.MethodGet, "/")
	route(apps, http.MethodGet, "/deployments")
	route(apps, http.MethodPost, "/namespaces/{namespace}/deployments", func(b *restful.RouteBuilder) { b.Produces("application/json") })
	return out
}

// asked is a random request: for one of the routes, or for something like it.
func asked(r *rand.Rand, known []restful.Route) *http.Request {
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	word := func() string {
		return pick("nodes", "namespaces", "pods", "deployments", "watch", "proxy", "status", "x", "y.z")
	}
	parts := strings.Split(strings.TrimSuffix(known[r.IntN(len(known))].Path, "/"), "/")
	for i, part := range parts {
		if strings.HasPrefix(part, "{") || i > 1 && r.IntN(20) == 0 {
			parts[i] = word()
		}
	}
	for r.IntN(4) == 0 {
		parts = append(parts, word())
	}
	request := httptest.NewRequest(pick(http.MethodGet, http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodHead), strings.Join(parts, "/")+pick("", "", "/"), nil)
	some := append(slices.Concat(medias, patches), "", "*/*", "text/plain", "text/plain, application/json;q=0.5", "application/json;as=Table;g=meta.k8s.io, */*")
	for _, header := range []string{"Accept", "Content-Type"} {
		if value := pick(some...); value != "" {
			request.Header.Set(header, value)
		}
	}
	return request
}

// both are the same routes in the container of k8s.io/apiserver and in a table.
func both() (*restful.Container, *Table, []restful.Route) {
	types := runtime.NewScheme()
	metav1.AddToGroupVersion(types, schema.GroupVersion{Version: "v1"})
	codecs := serializer.NewCodecFactory(types)
	container := server.NewAPIServerHandler("test", codecs, func(h http.Handler) http.Handler { return h }, http.NotFoundHandler()).GoRestfulContainer
	table := New(codecs)
	var known []restful.Route
	for _, ws := range services() {
		container.Add(ws)
		table.Add(ws)
		known = append(known, ws.Routes()...)
	}
	return container, table, known
}

// TestAsGoRestful holds the table against the container of k8s.io/apiserver.
func TestAsGoRestful(t *testing.T) {
	container, table, known := both()
	r := rand.New(rand.NewPCG(1, 2))
	answers := map[string]int{}
	for range 20_000 {
		request := asked(r, known)
		want, got := httptest.NewRecorder(), httptest.NewRecorder()
		container.Dispatch(want, request)
		if !table.Serve(got, request) {
			got.Code = http.StatusNotFound
			got.Body = want.Body // the container answers it then
		}
		if got.Code != want.Code || got.Body.String() != want.Body.String() {
			t.Fatalf("%s %s, accept %q, content %q:\n%d %s, go-restful %d %s", request.Method, request.URL.Path, request.Header.Get("Accept"),
				request.Header.Get("Content-Type"), got.Code, got.Body, want.Code, want.Body)
		}
		if got.Code == http.StatusOK {
			answers[got.Body.String()]++
		} else {
			answers[http.StatusText(got.Code)]++
		}
	}
	for _, r := range known {
		if answers[r.Method+" "+r.Path] == 0 {
			t.Errorf("%s %s was never asked for", r.Method, r.Path)
		}
	}
	for _, code := range []int{http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusUnsupportedMediaType, http.StatusNotAcceptable} {
		if answers[http.StatusText(code)] == 0 {
			t.Errorf("no request was refused with %d", code)
		}
	}
}

// A path that a handler has whole is the handler's whatever is sent or accepted, and
// a path that begins with two slashes is nobody's.
func TestHandle(t *testing.T) {
	table := New(nil)
	table.Handle("/apis/apps", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "apps") }))
	tests := []struct {
		method, path, accept, contentType string
		taken                             bool
	}{
		{http.MethodGet, "/apis/apps", "", "", true},
		{http.MethodGet, "/apis/apps/", "application/cbor", "", true},
		{http.MethodPost, "/apis/apps", "application/*", "text/plain", true},
		{http.MethodOptions, "/apis/apps", "text/html", "", true},
		{"ODD", "/apis//apps", "", "", false},
		{http.MethodGet, "//apis/apps", "", "", false},
		{http.MethodGet, "/apis/apps/v2", "", "", false},
	}
	for _, tt := range tests {
		request := httptest.NewRequest(tt.method, "http://a"+tt.path, nil)
		request.Header.Set("Accept", tt.accept)
		request.Header.Set("Content-Type", tt.contentType)
		out := httptest.NewRecorder()
		if taken := table.Serve(out, request); taken != tt.taken || taken && out.Body.String() != "apps" {
			t.Errorf("%s %s: taken %v, says %q", tt.method, tt.path, taken, out.Body)
		}
	}
}

func TestAddRefusesWhatItCannotHold(t *testing.T) {
	nothing := func(*restful.Request, *restful.Response) {}
	for name, change := range map[string]func(*restful.WebService) *restful.RouteBuilder{
		"a filter": func(ws *restful.WebService) *restful.RouteBuilder {
			return ws.GET("/x").Filter(func(*restful.Request, *restful.Response, *restful.FilterChain) {})
		},
		"an expression": func(ws *restful.WebService) *restful.RouteBuilder { return ws.GET("/{x:[0-9]+}") },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("it was taken")
				}
			}()
			ws := new(restful.WebService).Path("/api")
			New(nil).Add(ws.Route(change(ws).To(nothing)))
		})
	}
}

// BenchmarkRoute compares with go-restful's own router.
func BenchmarkRoute(b *testing.B) {
	container, table, _ := both()
	request := httptest.NewRequest(http.MethodGet, "/api/v1/namespaces/default/pods/web", nil)
	b.Run("go-restful", func(b *testing.B) {
		for b.Loop() {
			container.Dispatch(httptest.NewRecorder(), request)
		}
	})
	b.Run("table", func(b *testing.B) {
		for b.Loop() {
			table.Serve(httptest.NewRecorder(), request)
		}
	})
}
