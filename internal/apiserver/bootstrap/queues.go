package bootstrap

import (
	"context"
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	schedulingv1 "github.com/sinawi/sinawi/api/scheduling/v1"
)

// queues defines the kind Queue. It is done once the server is ready: nobody
// waits for it to start.
func (k *Keeper) queues(ctx context.Context, config *rest.Config) error {
	config = rest.CopyConfig(config)
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	client, err := clientset.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("define queues: %w", err)
	}
	want := &apiextensionsv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(schedulingv1.Definition, want); err != nil {
		return fmt.Errorf("definition of queues: %w", err)
	}
	err = ensure(ctx, client.ApiextensionsV1().CustomResourceDefinitions(), want, func(have *apiextensionsv1.CustomResourceDefinition) {
		if have.Annotations[definedBy] != want.Annotations[definedBy] {
			have.Annotations = with(have.Annotations, want.Annotations)
			have.Spec.Versions = want.Spec.Versions
		}
	})
	if err != nil && ctx.Err() == nil {
		k.log.Error("queues are not served", "err", err)
	}
	return nil
}

// definedBy is raised when the definition changes, so that a server of a later
// release carries it over.
const definedBy = "scheduling.sinawi.dev/definition"
