// Package plug is the seam between the API server's machinery and the parts
// that are plugged into it: authorization, admission, subresources, virtual
// resources, allocators. A part is given a Host and answers with what it adds;
// it never imports the machinery, and the machinery never knows it by name.
//
// Order, once per server:
//
//	Host.Client, Informers ─► authenticator, authorizer ─► admission ─► row stores
//	  ─► every Extension in turn ─► paths installed ─► informers started
//	  ─► Hook.Start of all ─► ready ─► Hook.Run of all until the server stops
//
// Nothing may be asked of Client before Hook.Start: until then it only fails.
package plug

import (
	"context"
	"log/slog"
	"net/http"

	restful "github.com/emicklei/go-restful/v3"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/endpoints/discovery"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	registry "k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/sinawi/sinawi/internal/apiserver/rows"
	"github.com/sinawi/sinawi/internal/apiserver/storage"
	"github.com/sinawi/sinawi/internal/store/feed"
)

// Host is what the server offers to the parts that are plugged into it. The
// fields are set from the top down; each group is nil until its turn.
type Host struct {
	Scheme *runtime.Scheme
	Codecs serializer.CodecFactory
	Log    *slog.Logger

	// Loopback reaches this server without a socket, as system:masters.
	Loopback *rest.Config
	Client   kubernetes.Interface
	// Informers are shared by all parts and started by the server after the
	// extensions ran: ask for informers and listers before that. All of them
	// are filled before the server is ready. Ask for few: each costs memory.
	Informers informers.SharedInformerFactory
	// Mapper knows all served kinds, custom ones included, once serving.
	Mapper meta.ResettableRESTMapper
	Feed   *feed.Feed

	// For extensions: who may do what (reviews answer by these).
	Authenticator authenticator.Request
	Authorizer    authorizer.Authorizer
	RuleResolver  authorizer.RuleResolver // nil when there is none
	Admission     admission.Interface     // nil when there is none

	// Served is every row's storage by group and resource.
	Served map[schema.GroupResource]*rows.Served

	// Backend makes storage for what is no row: custom resources, groups with
	// a scheme of their own.
	Backend *storage.Backend
	// Groups and Resources are the discovery documents, to which groups that
	// come and go are added; Types gives the schemas that managed fields need.
	Groups    discovery.GroupManager
	Resources aggregated.ResourceManager
	Types     managedfields.TypeConverter
}

// Store is the storage of a row, nil when it is not served. An allocator hooks
// into writes by setting BeginCreate, BeginUpdate and AfterDelete on it in its
// Extension; status writes do not pass these.
func (h *Host) Store(group, resource string) *rows.Store {
	if s := h.Served[schema.GroupResource{Group: group, Resource: resource}]; s != nil {
		return s.Store
	}
	return nil
}

// Extension adds what rows cannot say. It runs once while the server is built.
type Extension func(*Host) (Additions, error)

// Additions are what an extension adds; every field may be empty.
type Additions struct {
	Endpoints []Endpoint
	Hooks     []Hook
	// APIGroups are whole groups with types of their own.
	APIGroups []Group
	// Paths are handlers outside the API groups ("/openid/v1/jwks"); they are
	// authorized like any path.
	Paths map[string]http.Handler
	// Services are routes outside the API groups that OpenAPI describes.
	Services []*restful.WebService
	// Front sees every authorized request before the installed paths; it hands
	// on to next what is none of its business.
	Front func(next http.Handler) http.Handler
	// Fallback answers what no installed path matches, after authorization; it
	// hands on to next what it does not know.
	Fallback func(next http.Handler) http.Handler
}

// Group is an API group in one version whose types are not in Host.Scheme.
type Group struct {
	GroupVersion schema.GroupVersion
	Scheme       *runtime.Scheme
	Codecs       serializer.CodecFactory
	Storage      map[string]registry.Storage // by path
}

// Endpoint is storage under a path of a group version: a subresource
// ("pods/log", "serviceaccounts/token") or a virtual resource
// ("tokenreviews"). It takes the place of what a row serves there, so
// wrapping a row's store is possible too.
type Endpoint struct {
	GroupVersion schema.GroupVersion
	Path         string
	Storage      registry.Storage
}

// Hook is work around the server's life.
type Hook struct {
	Name string
	// Start runs when the API answers and the informers are filled, before
	// the server is ready; the hooks' Starts run one after another in the
	// order of the extensions, and an error stops the server. Bootstrap
	// objects are made here. ctx ends when the server stops working, so what
	// is started here may live on until then. Optional.
	Start func(context.Context) error
	// Checks are health checks that fail until Start is done: those by which
	// kube-apiserver tells of the same work ("poststarthook/rbac/bootstrap-roles").
	// What waits for a server or watches one asks for them. Optional.
	Checks []string
	// Run blocks until ctx ends, from ready on. An error stops the server.
	// Optional.
	Run func(context.Context) error
}
