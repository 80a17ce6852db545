package aggregate

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
	apiproxy "k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/client-go/transport"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-openapi/pkg/handler3"
	"k8s.io/streaming/pkg/httpstream"
)

// Resolver finds a server behind a service.
type Resolver interface {
	ResolveEndpoint(namespace, name string, port int32) (*url.URL, error)
}

// server is another API server that answers for a group version.
type server struct {
	object    *apiregistrationv1.APIService
	transport http.RoundTripper
	resolve   Resolver

	available atomic.Bool
	// document is the hash of its OpenAPI document, "" when it has none.
	document atomic.Pointer[string]
}

func newServer(o *apiregistrationv1.APIService, certPEM, keyPEM []byte, resolve Resolver) (*server, error) {
	rt, err := transport.New(&transport.Config{TLS: transport.TLSConfig{
		Insecure:   o.Spec.InsecureSkipTLSVerify,
		ServerName: o.Spec.Service.Name + "." + o.Spec.Service.Namespace + ".svc",
		CertData:   certPEM, KeyData: keyPEM, CAData: o.Spec.CABundle,
	}})
	if err != nil {
		return nil, fmt.Errorf("transport to API service %s: %w", o.Name, err)
	}
	return &server{object: o, transport: rt, resolve: resolve}, nil
}

const defaultPort = 443

func (s *server) location(path string) (*url.URL, error) {
	service, port := s.object.Spec.Service, int32(defaultPort)
	if service.Port != nil {
		port = *service.Port
	}
	found, err := s.resolve.ResolveEndpoint(service.Namespace, service.Name, port)
	if err != nil {
		return nil, err
	}
	return &url.URL{Scheme: "https", Host: found.Host, Path: path}, nil
}

// path is where the server's group version lies.
func (s *server) path() string {
	return "/apis/" + s.object.Spec.Group + "/" + s.object.Spec.Version
}

// ServeHTTP passes a request on when the server is known to answer.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.available.Load() {
		http.Error(w, "service unavailable", http.StatusServiceUnavailable)
		return
	}
	s.pass(w, r)
}

// pass passes a request on in the name of its user.
func (s *server) pass(w http.ResponseWriter, r *http.Request) {
	user, ok := apirequest.UserFrom(r.Context())
	if !ok {
		http.Error(w, "missing user", http.StatusInternalServerError)
		return
	}
	to, err := s.location(r.URL.Path)
	if err != nil {
		http.Error(w, "service unavailable", http.StatusServiceUnavailable)
		return
	}
	to.RawQuery = r.URL.Query().Encode()
	out, cancel := apiproxy.NewRequestForProxy(to, r)
	defer cancel()
	rt := transport.NewAuthProxyRoundTripper(user.GetName(), user.GetUID(), user.GetGroups(), user.GetExtra(), s.transport)
	upgrade := httpstream.IsUpgradeRequest(r)
	if upgrade { // it is dialled directly, so the headers must be there already
		transport.SetAuthProxyHeaders(out, user.GetName(), user.GetUID(), user.GetGroups(), user.GetExtra())
	}
	handler := proxy.NewUpgradeAwareHandler(to, rt, true, upgrade, responder{w})
	handler.RejectForwardingRedirects = true
	handler.ServeHTTP(w, out)
}

type responder struct{ w http.ResponseWriter }

func (r responder) Object(status int, obj runtime.Object) {
	responsewriters.WriteRawJSON(status, obj, r.w)
}

func (r responder) Error(_ http.ResponseWriter, _ *http.Request, err error) {
	http.Error(r.w, err.Error(), http.StatusServiceUnavailable)
}

const (
	checkTimeout = 5 * time.Second
	maxDocument  = 4 << 20
)

// check asks the server for its group version, and for its OpenAPI documents.
func (s *server) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	if _, err := s.ask(ctx, s.path()); err != nil {
		return err
	}
	hash := ""
	// A server without documents is a server all the same.
	if data, err := s.ask(ctx, "/openapi/v3"); err == nil {
		var root handler3.OpenAPIV3Discovery
		if json.Unmarshal(data, &root) == nil {
			if u, err := url.Parse(root.Paths[s.path()[1:]].ServerRelativeURL); err == nil {
				hash = u.Query().Get("hash")
			}
		}
	}
	s.document.Store(&hash)
	return nil
}

func (s *server) ask(ctx context.Context, path string) ([]byte, error) {
	to, err := s.location(path)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, to.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	transport.SetAuthProxyHeaders(req, "system:kube-aggregator", "", []string{"system:masters"}, nil)
	resp, err := s.transport.RoundTrip(req)
	if err != nil {
		return nil, fmt.Errorf("failing or missing response from %s: %w", to, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, fmt.Errorf("failing or missing response from %s: bad status from %s: %d", to, to, resp.StatusCode)
	}
	return io.ReadAll(io.LimitReader(resp.Body, maxDocument))
}
