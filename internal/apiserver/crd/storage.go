package crd

import (
	"slices"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver"
	"k8s.io/apiextensions-apiserver/pkg/generated/openapi"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/sinawi/sinawi/internal/apiserver/storage"
)

// definitionOptions say how definitions are stored: as JSON in version v1.
type definitionOptions struct{ backend *storage.Backend }

func (o definitionOptions) GetRESTOptions(resource schema.GroupResource, _ runtime.Object) (generic.RESTOptions, error) {
	codec := apiserver.Codecs.LegacyCodec(apiextensionsv1.SchemeGroupVersion)
	return o.backend.ForCustomResources(storage.Resource{
		GroupResource: resource,
		Version:       apiextensionsv1.SchemeGroupVersion,
		KeyPrefix:     apiextensions.GroupName + "/" + resource.Resource,
	}, codec), nil
}

// resourceOptions say how custom resources are stored: as JSON. The handler
// wraps the codec in one that knows versions and schemas.
type resourceOptions struct{ backend *storage.Backend }

func (o resourceOptions) GetRESTOptions(resource schema.GroupResource, _ runtime.Object) (generic.RESTOptions, error) {
	return o.backend.ForCustomResources(storage.Resource{
		GroupResource: resource,
		Version:       schema.GroupVersion{Group: resource.Group},
		KeyPrefix:     resource.Group + "/" + resource.Resource,
		// One definition has several storages while it changes; the feed
		// follows resources that have one.
		NoFeed: true,
		Filled: true,
	}, unstructured.UnstructuredJSONScheme), nil
}

// metaSchemas are the schemas of object metadata, on which those of custom
// resources are built when applied fields are merged.
func metaSchemas() map[string]*spec.Schema {
	const meta = "io.k8s.apimachinery.pkg.apis.meta.v1."
	out := map[string]*spec.Schema{}
	definitions := openapi.GetOpenAPIDefinitions(func(name string) spec.Ref {
		return spec.MustCreateRef("#/components/schemas/" + name)
	})
	for name, d := range definitions {
		if strings.HasPrefix(name, meta) && slices.Contains([]string{
			"ObjectMeta", "ListMeta", "TypeMeta", "OwnerReference", "ManagedFieldsEntry", "FieldsV1", "Time",
		}, strings.TrimPrefix(name, meta)) {
			s := d.Schema
			out[name] = &s
		}
	}
	return out
}
