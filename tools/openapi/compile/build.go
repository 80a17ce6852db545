package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	restful "github.com/emicklei/go-restful/v3"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiopenapi "k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/kube-openapi/pkg/builder"
	"k8s.io/kube-openapi/pkg/builder3"
	"k8s.io/kube-openapi/pkg/common/restfuladapter"
	"k8s.io/kube-openapi/pkg/handler"
	"k8s.io/kube-openapi/pkg/handler3"
	"k8s.io/kube-openapi/pkg/schemaconv"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"

	smd "sigs.k8s.io/structured-merge-diff/v6/schema"

	"github.com/sinawi/sinawi/internal/apiserver"
	"github.com/sinawi/sinawi/internal/apiserver/openapi/mergetypes"
	"github.com/sinawi/sinawi/internal/version"
	"github.com/sinawi/sinawi/tools/openapi/definitions"
)

// title is what the documents call the API.
const title = "Kubernetes"

type docBuilder struct {
	services []*restful.WebService
	namer    *apiopenapi.DefinitionNamer
}

func newBuilder(server *apiserver.Server) (*docBuilder, error) {
	if len(definitions.GetOpenAPIDefinitions(func(string) (r spec.Ref) { return r })) == 0 {
		return nil, fmt.Errorf("no definitions: run `go generate ./internal/apiserver/openapi`")
	}
	var schemes []*runtime.Scheme
	for _, s := range server.Schemes() {
		schemes = append(schemes, published(s))
	}
	services, err := server.WebServices()
	if err != nil {
		return nil, err
	}
	return &docBuilder{services: services, namer: apiopenapi.NewDefinitionNamer(schemes...)}, nil
}

// published is s without the internal versions, which share their Go types
// with published ones here.
func published(s *runtime.Scheme) *runtime.Scheme {
	out := runtime.NewScheme()
	for gvk := range s.AllKnownTypes() {
		if gvk.Version == runtime.APIVersionInternal {
			continue
		}
		obj, err := s.New(gvk)
		if err == nil {
			out.AddKnownTypeWithName(gvk, obj)
		}
	}
	return out
}

const bearerToken = "Bearer Token authentication"

// buildV2 makes one document of the services.
func (b *docBuilder) buildV2(services []*restful.WebService) (*spec.Swagger, error) {
	c := genericapiserver.DefaultOpenAPIConfig(definitions.GetOpenAPIDefinitions, b.namer)
	c.Info.Title, c.Info.Version = title, version.Kubernetes
	c.SecurityDefinitions = &spec.SecurityDefinitions{"BearerToken": {SecuritySchemeProps: spec.SecuritySchemeProps{
		Type: "apiKey", Name: "authorization", In: "header", Description: bearerToken,
	}}}
	c.DefaultSecurity = []map[string][]string{{"BearerToken": {}}}
	c.CommonResponses = map[int]spec.Response{401: {ResponseProps: spec.ResponseProps{Description: "Unauthorized"}}}
	doc, err := builder.BuildOpenAPISpecFromRoutes(restfuladapter.AdaptWebServices(services), c)
	if err != nil {
		return nil, fmt.Errorf("build v2: %w", err)
	}
	doc.Definitions = handler.PruneDefaults(doc.Definitions)
	return doc, nil
}

func (b *docBuilder) v2(w *documents) error {
	doc, err := b.buildV2(b.services)
	if err != nil {
		return err
	}
	data, err := json.Marshal(doc)
	if err != nil {
		return fmt.Errorf("encode v2: %w", err)
	}
	w.v2 = doc
	if err := w.writeIndexed("v2", "v2.json", data); err != nil {
		return err
	}
	proto, err := handler.ToProtoBinary(data)
	if err != nil {
		return fmt.Errorf("encode v2: %w", err)
	}
	return w.write("v2.pb", proto)
}

// buildV3 makes the document of one service, and adds its schemas to models.
func (b *docBuilder) buildV3(service *restful.WebService, models map[string]*spec.Schema) (path string, data []byte, err error) {
	c := genericapiserver.DefaultOpenAPIV3Config(definitions.GetOpenAPIDefinitions, b.namer)
	c.Info.Title, c.Info.Version = title, version.Kubernetes
	c.SecuritySchemes = spec3.SecuritySchemes{"BearerToken": {SecuritySchemeProps: spec3.SecuritySchemeProps{
		Type: "apiKey", Name: "authorization", In: "header", Description: bearerToken,
	}}}
	c.DefaultSecurity = []map[string][]string{{"BearerToken": {}}}
	c.CommonResponses = map[int]*spec3.Response{401: {ResponseProps: spec3.ResponseProps{Description: "Unauthorized"}}}
	path = strings.Trim(service.RootPath(), "/")
	doc, err := builder3.BuildOpenAPISpecFromRoutes(restfuladapter.AdaptWebServices([]*restful.WebService{service}), c)
	if err != nil {
		return path, nil, fmt.Errorf("build v3 of %s: %w", path, err)
	}
	scope(doc, path)
	if doc.Components != nil {
		for name, s := range doc.Components.Schemas {
			models[name] = s
		}
	}
	if data, err = json.Marshal(doc); err != nil {
		return path, nil, fmt.Errorf("encode v3 of %s: %w", path, err)
	}
	return path, data, nil
}

// v3 writes a document per group version and adds their schemas to models.
func (b *docBuilder) v3(w *documents, models map[string]*spec.Schema) error {
	for _, service := range b.services {
		path, data, err := b.buildV3(service, models)
		if err != nil {
			return err
		}
		name := "v3." + flat(path)
		if err := w.writeIndexed(path, name+".json", data); err != nil {
			return err
		}
		proto, err := handler3.ToV3ProtoBinary(data)
		if err != nil {
			return fmt.Errorf("encode v3 of %s: %w", path, err)
		}
		if err := w.write(name+".pb", proto); err != nil {
			return err
		}
	}
	return nil
}

func flat(path string) string { return strings.ReplaceAll(path, "/", "~") }

// preview writes the documents of services that are not written yet, and adds
// their schemas to models. The v2 documents hold what the written one does not.
func (b *docBuilder) preview(w *documents, models map[string]*spec.Schema) error {
	for _, service := range b.services {
		own := map[string]*spec.Schema{}
		path, data, err := b.buildV3(service, own)
		if err != nil {
			return err
		}
		switch w.index[path] {
		case hash(data):
			continue
		case "":
		default:
			return fmt.Errorf("%s is another document when everything is switched on: only whole group versions can be", path)
		}
		for name, s := range own {
			if models[name] == nil {
				models[name] = s
			}
		}
		w.previews[path] = hash(data)
		if err := w.write("preview.v3."+flat(path)+".json", data); err != nil {
			return err
		}
		doc, err := b.buildV2([]*restful.WebService{service})
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for name := range w.v2.Definitions {
			delete(doc.Definitions, name)
		}
		if data, err = json.Marshal(doc); err != nil {
			return fmt.Errorf("encode v2 of %s: %w", path, err)
		}
		if err := w.write("preview.v2."+flat(path)+".json", data); err != nil {
			return err
		}
	}
	return nil
}

const gvkExtension = "x-kubernetes-group-version-kind"

// scope leaves of the kinds that every group registers (delete options, watch
// events) only what concerns the group version at path.
func scope(doc *spec3.OpenAPI, path string) {
	if doc.Components == nil {
		return
	}
	group, version := groupVersion(path)
	for _, s := range doc.Components.Schemas {
		gvks := kinds(s)
		if len(gvks) < 2 || (gvks[0].Kind != "DeleteOptions" && gvks[0].Kind != "WatchEvent") {
			continue
		}
		kept := slices.DeleteFunc(gvks, func(k schema.GroupVersionKind) bool {
			own := k.Group == group && k.Version == version
			return !own && (k.Group != "" || k.Version != "v1")
		})
		var out []any
		for _, k := range kept {
			out = append(out, map[string]any{"group": k.Group, "version": k.Version, "kind": k.Kind})
		}
		// The schema may be shared with other documents that are not scoped yet.
		s.Extensions = cloneWith(s.Extensions, gvkExtension, out)
	}
}

func cloneWith(e spec.Extensions, key string, value any) spec.Extensions {
	out := spec.Extensions{}
	for k, v := range e {
		out[k] = v
	}
	out[key] = value
	return out
}

func groupVersion(path string) (group, version string) {
	parts := strings.Split(path, "/")
	switch {
	case len(parts) == 2 && parts[0] == "api":
		return "", parts[1]
	case len(parts) == 3 && parts[0] == "apis":
		return parts[1], parts[2]
	}
	return "", ""
}

// kinds are the kinds that a schema describes.
func kinds(s *spec.Schema) []schema.GroupVersionKind {
	if s == nil {
		return nil
	}
	list, _ := s.Extensions[gvkExtension].([]any)
	var out []schema.GroupVersionKind
	for _, item := range list {
		m, _ := item.(map[string]any)
		text := func(key string) string { v, _ := m[key].(string); return v }
		out = append(out, schema.GroupVersionKind{Group: text("group"), Version: text("version"), Kind: text("kind")})
	}
	return out
}

// mergeTypes writes the schemas by which applied fields are merged.
func mergeTypes(w *documents, models map[string]*spec.Schema) error {
	s, err := schemaconv.ToSchemaFromOpenAPI(models, false)
	if err != nil {
		return fmt.Errorf("merge schemas: %w", err)
	}
	types := mergetypes.Types{Schema: s, Kinds: map[schema.GroupVersionKind]string{}}
	for name, model := range models {
		for _, gvk := range kinds(model) {
			types.Kinds[gvk] = name
		}
	}
	slices.SortFunc(s.Types, func(a, b smd.TypeDef) int { return strings.Compare(a.Name, b.Name) })
	data, err := mergetypes.Encode(types)
	if err != nil {
		return fmt.Errorf("merge schemas: %w", err)
	}
	return w.write("mergetypes", data)
}
