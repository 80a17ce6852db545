package crd

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver"
	"k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	"k8s.io/apiextensions-apiserver/pkg/generated/openapi"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/client-go/rest"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/sinawi/sinawi/internal/apiserver/storage"
)

// definitionOptions say how definitions are stored: as JSON in version v1.
type definitionOptions struct{ backend *storage.Backend }

func (o definitionOptions) GetRESTOptions(schema.GroupResource, runtime.Object) (generic.RESTOptions, error) {
	codec := apiserver.Codecs.LegacyCodec(apiextensionsv1.SchemeGroupVersion)
	return o.backend.ForCustomResources(DefinitionStorage(), codec), nil
}

// DefinitionStorage says where definitions are stored.
func DefinitionStorage() storage.Resource {
	resource := apiextensions.Resource("customresourcedefinitions")
	return storage.Resource{
		GroupResource: resource,
		Version:       apiextensionsv1.SchemeGroupVersion,
		KeyPrefix:     resource.Group + "/" + resource.Resource,
	}
}

// resourceOptions say how custom resources are stored: as JSON. The handler
// wraps the codec in one that knows versions and schemas.
type resourceOptions struct{ backend *storage.Backend }

func (o resourceOptions) GetRESTOptions(resource schema.GroupResource, _ runtime.Object) (generic.RESTOptions, error) {
	return o.backend.ForCustomResources(ResourceStorage(resource), unstructured.UnstructuredJSONScheme), nil
}

// ResourceStorage says where a custom resource is stored.
func ResourceStorage(resource schema.GroupResource) storage.Resource {
	return storage.Resource{
		GroupResource: resource,
		Version:       schema.GroupVersion{Group: resource.Group},
		KeyPrefix:     resource.Group + "/" + resource.Resource,
		// One definition has several storages while it changes; the feed
		// follows resources that have one.
		NoFeed: true,
		Filled: true,
	}
}

// Resources lists what is defined at this moment.
func Resources(ctx context.Context, config *rest.Config) ([]schema.GroupResource, error) {
	config = rest.CopyConfig(config)
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	client, err := clientset.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client of custom resource definitions: %w", err)
	}
	all, err := client.ApiextensionsV1().CustomResourceDefinitions().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list custom resource definitions: %w", err)
	}
	var out []schema.GroupResource
	for i := range all.Items {
		spec := &all.Items[i].Spec
		out = append(out, schema.GroupResource{Group: spec.Group, Resource: spec.Names.Plural})
	}
	return out, nil
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
