package apiserver

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	restful "github.com/emicklei/go-restful/v3"
	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apiserver/pkg/endpoints"
	"k8s.io/apiserver/pkg/endpoints/discovery"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"github.com/sinawi/sinawi/internal/apiserver/stack"
)

// group is one API group with the storage of its versions.
type group struct {
	name     string
	scheme   *runtime.Scheme
	codecs   serializer.CodecFactory
	versions []schema.GroupVersion // by priority
	storage  map[schema.GroupVersion]map[string]rest.Storage
}

// groups are all groups that rows and extensions make up, by name.
type groups map[string]*group

// extend lets the extensions add what rows cannot say.
func (s *Server) extend() error {
	s.groups = groups{}
	for _, served := range s.host.Served {
		for _, gv := range append([]schema.GroupVersion{served.Row.GroupVersion}, served.Row.ServedAs...) {
			for sub, st := range served.Storage() {
				s.groups.of(gv.Group, s.host.Scheme, s.host.Codecs).add(gv, path(served.Row.Plural, sub), st)
			}
		}
	}
	var handler http.Handler = http.HandlerFunc(notFound)
	first := s.front.paths
	for _, extension := range s.config.Extensions {
		added, err := extension(s.host)
		if err != nil {
			return fmt.Errorf("extension: %w", err)
		}
		for _, e := range added.Endpoints {
			s.groups.of(e.GroupVersion.Group, s.host.Scheme, s.host.Codecs).add(e.GroupVersion, e.Path, e.Storage)
		}
		for _, g := range added.APIGroups {
			for path, st := range g.Storage {
				s.groups.of(g.GroupVersion.Group, g.Scheme, g.Codecs).add(g.GroupVersion, path, st)
			}
		}
		for path, h := range added.Paths {
			if strings.HasSuffix(path, "/") {
				s.generic.Handler.NonGoRestfulMux.HandlePrefix(path, h)
			} else {
				s.generic.Handler.NonGoRestfulMux.Handle(path, h)
			}
		}
		s.services = append(s.services, added.Services...)
		if added.Front != nil {
			first = added.Front(first)
		}
		if added.Fallback != nil {
			handler = added.Fallback(handler)
		}
		for _, h := range added.Hooks {
			if err := s.addHook(h); err != nil {
				return fmt.Errorf("extension: %w", err)
			}
		}
	}
	s.fallback.handler.Store(&handler)
	s.front.with.Store(&first)
	return nil
}

// notFound answers what nobody knows, in the way of the path's kind.
func notFound(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }

// install puts all groups behind their paths.
func (s *Server) install() error {
	for _, name := range slices.Sorted(maps.Keys(s.groups)) {
		if err := s.installGroup(s.groups[name]); err != nil {
			return err
		}
	}
	s.serve(s.services...)
	return nil
}

func path(resource, sub string) string {
	if sub == "" {
		return resource
	}
	return resource + "/" + sub
}

func (gs groups) of(name string, types *runtime.Scheme, codecs serializer.CodecFactory) *group {
	g := gs[name]
	if g == nil {
		g = &group{name: name, scheme: types, codecs: codecs, storage: map[schema.GroupVersion]map[string]rest.Storage{}}
		gs[name] = g
	}
	return g
}

func (g *group) add(gv schema.GroupVersion, path string, st rest.Storage) {
	if g.storage[gv] == nil {
		g.storage[gv] = map[string]rest.Storage{}
	}
	g.storage[gv][path] = st
}

// installGroup serves all versions of a group. The stock way would also build
// the group's OpenAPI models here; ours are made ahead of time.
func (s *Server) installGroup(g *group) error {
	for _, gv := range g.scheme.PrioritizedVersionsForGroup(g.name) {
		if len(g.storage[gv]) != 0 {
			g.versions = append(g.versions, gv)
		}
	}
	manager := s.generic.AggregatedDiscoveryGroupManager
	if g.name == "" {
		manager = s.generic.AggregatedLegacyDiscoveryGroupManager
	}
	for _, gv := range g.versions {
		services, resources, err := s.versionRoutes(g, gv)
		if err != nil {
			return err
		}
		s.serve(services...)
		manager.AddGroupVersion(gv.Group, apidiscoveryv2.APIVersionDiscovery{
			Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent,
			Version:   gv.Version,
			Resources: resources,
		})
	}
	if g.name == "" {
		s.serve(s.about(g))
	} else {
		// Whatever the method, it is answered: so does kube-apiserver's aggregator.
		root := genericapiserver.APIGroupPrefix + "/" + g.name
		s.routes.Handle(root, discovery.NewAPIGroupHandler(g.codecs, g.described()))
		s.generic.Handler.GoRestfulContainer.Add(new(restful.WebService).Path(root))
		s.generic.DiscoveryGroupManager.AddGroup(g.described())
	}
	s.generic.RegisterDestroyFunc(func() {
		for _, storage := range g.storage {
			for _, st := range storage {
				st.Destroy()
			}
		}
	})
	return nil
}

// versionRoutes makes the routes of one version of a group.
func (s *Server) versionRoutes(g *group, gv schema.GroupVersion) ([]*restful.WebService, []apidiscoveryv2.APIResourceDiscovery, error) {
	container := restful.NewContainer()
	resources, _, err := s.groupVersion(g, gv).InstallREST(container)
	if err != nil {
		return nil, nil, fmt.Errorf("install %s: %w", gv, err)
	}
	return container.RegisteredWebServices(), resources, nil
}

// serve puts the routes of web services into the server's table. Its container only
// learns their roots, which it lists at / and below which it answers what no route
// does.
func (s *Server) serve(services ...*restful.WebService) {
	for _, ws := range services {
		s.routes.Add(ws)
		s.generic.Handler.GoRestfulContainer.Add(new(restful.WebService).Path(ws.RootPath()))
	}
}

// about answers what versions a group has.
func (s *Server) about(g *group) *restful.WebService {
	if g.name == "" {
		root := discovery.NewLegacyRootAPIHandler(s.discoveryAddresses(), g.codecs, genericapiserver.DefaultLegacyAPIPrefix)
		manager := s.generic.AggregatedLegacyDiscoveryGroupManager
		wrapped := aggregated.WrapAggregatedDiscoveryToHandler(root, manager, manager)
		return wrapped.GenerateWebService("/api", metav1.APIVersions{})
	}
	return discovery.NewAPIGroupHandler(g.codecs, g.described()).WebService()
}

func (g *group) described() metav1.APIGroup {
	described := metav1.APIGroup{Name: g.name}
	for _, gv := range g.versions {
		described.Versions = append(described.Versions, metav1.GroupVersionForDiscovery{GroupVersion: gv.String(), Version: gv.Version})
	}
	described.PreferredVersion = described.Versions[0]
	return described
}

func (s *Server) discoveryAddresses() discovery.Addresses {
	return discovery.DefaultAddresses{DefaultAddress: s.generic.ExternalAddress}
}

func (s *Server) groupVersion(g *group, gv schema.GroupVersion) *endpoints.APIGroupVersion {
	prefix := genericapiserver.APIGroupPrefix
	if g.name == "" {
		prefix = genericapiserver.DefaultLegacyAPIPrefix
	}
	servedBy := map[string][]string{}
	for version, storage := range g.storage {
		for path := range storage {
			servedBy[path] = append(servedBy[path], version.String())
		}
	}
	v1 := schema.GroupVersion{Version: "v1"}
	return &endpoints.APIGroupVersion{
		GroupVersion:                gv,
		Root:                        prefix,
		Storage:                     g.storage[gv],
		AllServedVersionsByResource: servedBy,
		OptionsExternalVersion:      &v1,
		ParameterCodec:              runtime.NewParameterCodec(g.scheme),
		Serializer:                  g.codecs,
		Creater:                     g.scheme,
		Convertor:                   g.scheme,
		ConvertabilityChecker:       g.scheme,
		UnsafeConvertor:             runtime.UnsafeObjectConvertor(g.scheme),
		Defaulter:                   g.scheme,
		Typer:                       g.scheme,
		Namer:                       runtime.Namer(meta.NewAccessor()),
		TypeConverter:               roomy{s.host.Types},
		EquivalentResourceRegistry:  s.generic.EquivalentResourceRegistry,
		Authorizer:                  s.generic.Authorizer,
		Admit:                       s.host.Admission,
		MinRequestTimeout:           MinRequestTimeout,
		MaxRequestBodyBytes:         MaxRequestBodyBytes,
	}
}

// roomy converts where there is room for it: the fields that a request owns are the
// first that is found out in the goroutine that writes for it.
type roomy struct{ managedfields.TypeConverter }

// ObjectToTyped implements [managedfields.TypeConverter].
func (r roomy) ObjectToTyped(obj runtime.Object, options ...typed.ValidationOptions) (*typed.TypedValue, error) {
	stack.Grow()
	return r.TypeConverter.ObjectToTyped(obj, options...)
}
