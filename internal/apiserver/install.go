package apiserver

import (
	"fmt"
	"slices"
	"strings"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apiserver/pkg/endpoints"
	"k8s.io/apiserver/pkg/endpoints/discovery"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"

	"github.com/sinawi/sinawi/internal/apiserver/rows"
)

// group is one API group with the storage of its versions.
type group struct {
	name     string
	versions []schema.GroupVersion // by priority
	storage  map[schema.GroupVersion]map[string]rest.Storage
}

// install makes the storage of every row and puts it behind its paths.
func (s *Server) install() error {
	s.served = make(map[schema.GroupResource]*rows.Served, len(s.config.Rows))
	groups := map[string]*group{}
	for _, row := range s.config.Rows {
		served, err := rows.New(row, s.scheme, s.backend)
		if err != nil {
			return err
		}
		s.served[served.GroupResource()] = served
		for _, gv := range append([]schema.GroupVersion{row.GroupVersion}, row.ServedAs...) {
			for sub, st := range served.Storage() {
				groupOf(groups, gv).add(gv, path(row.Plural, sub), st)
			}
		}
	}
	types := managedfields.NewDeducedTypeConverter()
	for _, name := range sortedNames(groups) {
		if err := s.installGroup(groups[name], types); err != nil {
			return err
		}
	}
	return nil
}

func path(resource, sub string) string {
	if sub == "" {
		return resource
	}
	return resource + "/" + sub
}

func groupOf(groups map[string]*group, gv schema.GroupVersion) *group {
	g := groups[gv.Group]
	if g == nil {
		g = &group{name: gv.Group, storage: map[schema.GroupVersion]map[string]rest.Storage{}}
		groups[gv.Group] = g
	}
	return g
}

func (g *group) add(gv schema.GroupVersion, path string, st rest.Storage) {
	if g.storage[gv] == nil {
		g.storage[gv] = map[string]rest.Storage{}
	}
	g.storage[gv][path] = st
}

func sortedNames(groups map[string]*group) []string {
	names := make([]string, 0, len(groups))
	for name := range groups {
		names = append(names, name)
	}
	slices.SortFunc(names, strings.Compare)
	return names
}

// installGroup serves all versions of a group. The stock way would also build
// the group's OpenAPI models here; ours are made ahead of time.
func (s *Server) installGroup(g *group, types managedfields.TypeConverter) error {
	prefix := genericapiserver.APIGroupPrefix
	manager := s.generic.AggregatedDiscoveryGroupManager
	if g.name == "" {
		prefix = genericapiserver.DefaultLegacyAPIPrefix
		manager = s.generic.AggregatedLegacyDiscoveryGroupManager
	}
	for _, gv := range s.scheme.PrioritizedVersionsForGroup(g.name) {
		if len(g.storage[gv]) != 0 {
			g.versions = append(g.versions, gv)
		}
	}
	for _, gv := range g.versions {
		resources, _, err := s.groupVersion(g, gv, prefix, types).InstallREST(s.generic.Handler.GoRestfulContainer)
		if err != nil {
			return fmt.Errorf("install %s: %w", gv, err)
		}
		manager.AddGroupVersion(gv.Group, apidiscoveryv2.APIVersionDiscovery{
			Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent,
			Version:   gv.Version,
			Resources: resources,
		})
	}
	s.discoverGroup(g)
	s.generic.RegisterDestroyFunc(func() {
		for _, storage := range g.storage {
			for _, st := range storage {
				st.Destroy()
			}
		}
	})
	return nil
}

func (s *Server) discoverGroup(g *group) {
	container := s.generic.Handler.GoRestfulContainer
	if g.name == "" {
		root := discovery.NewLegacyRootAPIHandler(s.discoveryAddresses(), s.codecs, genericapiserver.DefaultLegacyAPIPrefix)
		manager := s.generic.AggregatedLegacyDiscoveryGroupManager
		wrapped := aggregated.WrapAggregatedDiscoveryToHandler(root, manager, manager)
		container.Add(wrapped.GenerateWebService("/api", metav1.APIVersions{}))
		return
	}
	apiGroup := metav1.APIGroup{Name: g.name}
	for _, gv := range g.versions {
		apiGroup.Versions = append(apiGroup.Versions, metav1.GroupVersionForDiscovery{GroupVersion: gv.String(), Version: gv.Version})
	}
	apiGroup.PreferredVersion = apiGroup.Versions[0]
	s.generic.DiscoveryGroupManager.AddGroup(apiGroup)
	container.Add(discovery.NewAPIGroupHandler(s.codecs, apiGroup).WebService())
}

func (s *Server) discoveryAddresses() discovery.Addresses {
	return discovery.DefaultAddresses{DefaultAddress: s.generic.ExternalAddress}
}

// maxRequestBodyBytes is kube-apiserver's limit: an object of 1.5 MB in its
// largest encoding.
const maxRequestBodyBytes = 3 << 20

func (s *Server) groupVersion(g *group, gv schema.GroupVersion, prefix string, types managedfields.TypeConverter) *endpoints.APIGroupVersion {
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
		ParameterCodec:              runtime.NewParameterCodec(s.scheme),
		Serializer:                  s.codecs,
		Creater:                     s.scheme,
		Convertor:                   s.scheme,
		ConvertabilityChecker:       s.scheme,
		UnsafeConvertor:             runtime.UnsafeObjectConvertor(s.scheme),
		Defaulter:                   s.scheme,
		Typer:                       s.scheme,
		Namer:                       runtime.Namer(meta.NewAccessor()),
		TypeConverter:               types,
		EquivalentResourceRegistry:  s.generic.EquivalentResourceRegistry,
		Authorizer:                  s.generic.Authorizer,
		Admit:                       s.config.Admission,
		MinRequestTimeout:           minRequestTimeout,
		MaxRequestBodyBytes:         maxRequestBodyBytes,
	}
}
