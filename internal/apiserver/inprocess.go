package apiserver

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/endpoints"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/sinawi/sinawi/internal/apiserver/audit"
	"github.com/sinawi/sinawi/internal/apiserver/resources"
	"github.com/sinawi/sinawi/internal/client"
)

// Endpoint returns what a client in this process needs to work on a row's kind
// as the handlers do; nil for what is no row.
func (s *Server) Endpoint(kind schema.GroupVersionKind, subresource string) (*client.Endpoint, error) {
	row := s.rowOf(kind)
	if row == nil {
		return nil, nil
	}
	gv := kind.GroupVersion()
	group := s.groups[gv.Group]
	if group == nil {
		return nil, nil
	}
	storage := group.storage[gv][path(row.Plural, subresource)]
	if storage == nil {
		return nil, nil
	}
	own, err := endpoints.GetResourceKind(gv, storage, s.host.Scheme)
	if err != nil {
		return nil, fmt.Errorf("kind of %s: %w", path(row.Plural, subresource), err)
	}
	e := &client.Endpoint{
		Storage:     storage,
		Resource:    gv.WithResource(row.Plural),
		Subresource: subresource,
		Kind:        own,
		Namespaced:  !row.ClusterScoped,
		Scheme:      s.host.Scheme,
		Hub:         schema.GroupVersion{Group: own.Group, Version: runtime.APIVersionInternal},
		Admission:   s.host.Admission,
		Audit:       audit.NewInProcess(s.config.Audit, s.host.Codecs),
		Objects: &admission.RuntimeObjectInterfaces{
			ObjectCreater: s.host.Scheme, ObjectTyper: s.host.Scheme, ObjectDefaulter: s.host.Scheme,
			ObjectConvertor: s.host.Scheme, EquivalentResourceMapper: s.generic.EquivalentResourceRegistry,
		},
	}
	if row.TTLSeconds == 0 && subresource == "" {
		e.Changes = s.host.Feed.Log(schema.GroupResource{Group: row.GroupVersion.Group, Resource: row.Plural})
	}
	e.Fields, err = s.fieldManager(e)
	return e, err
}

func (s *Server) fieldManager(e *client.Endpoint) (*managedfields.FieldManager, error) {
	var reset map[fieldpath.APIVersion]fieldpath.Filter
	if r, ok := e.Storage.(rest.ResetFieldsStrategy); ok {
		reset = fieldpath.NewExcludeFilterSetMap(r.GetResetFields())
	}
	if r, ok := e.Storage.(rest.ResetFieldsFilterStrategy); ok {
		reset = r.GetResetFieldsFilter()
	}
	types := s.host.Scheme
	m, err := managedfields.NewDefaultFieldManager(s.host.Types, runtime.UnsafeObjectConvertor(types), types, types,
		e.Kind, e.Hub, e.Subresource, reset)
	if err != nil {
		return nil, fmt.Errorf("field manager of %s: %w", e.Kind, err)
	}
	return m, nil
}

// rowOf is the row that serves a kind, in any of its versions.
func (s *Server) rowOf(kind schema.GroupVersionKind) *resources.Resource {
	gv := kind.GroupVersion()
	i := slices.IndexFunc(s.config.Rows, func(r resources.Resource) bool {
		return r.Kind == kind.Kind && (r.GroupVersion == gv || slices.Contains(r.ServedAs, gv))
	})
	if i < 0 {
		return nil
	}
	return &s.config.Rows[i]
}
