package crd

import (
	"context"
	"fmt"
	"net/http"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver"
	"k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	"k8s.io/apiextensions-apiserver/pkg/client/informers/externalversions"
	informers "k8s.io/apiextensions-apiserver/pkg/client/informers/externalversions/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/controller/apiapproval"
	"k8s.io/apiextensions-apiserver/pkg/controller/establish"
	"k8s.io/apiextensions-apiserver/pkg/controller/finalizer"
	"k8s.io/apiextensions-apiserver/pkg/controller/nonstructuralschema"
	"k8s.io/apiextensions-apiserver/pkg/controller/status"
	"k8s.io/apiextensions-apiserver/pkg/registry/customresourcedefinition"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/util/webhook"
	clientrest "k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"go.opentelemetry.io/otel/trace/noop"
	"golang.org/x/sync/errgroup"

	"github.com/sinawi/sinawi/internal/apiserver/plug"
)

// Options of the custom resources.
type Options struct {
	// Services finds the webhooks that convert between versions.
	Services webhook.ServiceResolver
	// Limits of a request, the same as for built-in resources.
	RequestTimeout, MinRequestTimeout time.Duration
	MaxBodyBytes                      int64
}

// Custom is all that concerns custom resources in one server.
type Custom struct {
	host      *plug.Host
	client    clientset.Interface
	informers externalversions.SharedInformerFactory
	crds      informers.CustomResourceDefinitionInformer
	handler   http.Handler
	discovery *discovery
	run       []func(context.Context)
}

// resync is how long the controllers, which forget a conflict of writes, may
// leave a definition behind.
const resync = 5 * time.Minute

// New builds the custom resources of h. It is called by an extension, whose
// additions are Additions.
func New(h *plug.Host, o Options) (*Custom, plug.Additions, error) {
	config := clientrest.CopyConfig(h.Loopback)
	config.ContentType, config.AcceptContentTypes = runtime.ContentTypeJSON, runtime.ContentTypeJSON
	client, err := clientset.NewForConfig(config)
	if err != nil {
		return nil, plug.Additions{}, fmt.Errorf("client of custom resource definitions: %w", err)
	}
	c := &Custom{host: h, client: client, informers: externalversions.NewSharedInformerFactory(client, resync)}
	c.crds = c.informers.Apiextensions().V1().CustomResourceDefinitions()
	definitions, err := c.definitions()
	if err != nil {
		return nil, plug.Additions{}, err
	}
	if c.discovery, err = newDiscovery(h, c.crds); err != nil {
		return nil, plug.Additions{}, err
	}
	return c, plug.Additions{
		APIGroups: []plug.Group{{
			GroupVersion: apiextensionsv1.SchemeGroupVersion,
			Scheme:       apiserver.Scheme,
			Codecs:       apiserver.Codecs,
			Storage:      definitions,
		}},
		Fallback: func(next http.Handler) http.Handler { return c.fallback(next, o) },
		Hooks: []plug.Hook{{Name: "custom-resources", Start: c.start, Run: c.keep, Checks: []string{
			"poststarthook/start-apiextensions-informers",
			"poststarthook/start-apiextensions-controllers",
			"poststarthook/crd-informer-synced",
		}}},
	}, nil
}

// definitions is the storage of custom resource definitions.
func (c *Custom) definitions() (map[string]rest.Storage, error) {
	main, err := customresourcedefinition.NewREST(apiserver.Scheme, definitionOptions{c.host.Backend})
	if err != nil {
		return nil, fmt.Errorf("storage of custom resource definitions: %w", err)
	}
	main.CreateStrategy, main.UpdateStrategy = creation{main.CreateStrategy}, change{main.UpdateStrategy}
	return map[string]rest.Storage{
		"customresourcedefinitions":        main,
		"customresourcedefinitions/status": customresourcedefinition.NewStatusREST(apiserver.Scheme, main),
	}, nil
}

// fallback makes the handler of custom resources, which passes on to next
// what is none.
func (c *Custom) fallback(next http.Handler, o Options) http.Handler {
	establishing := establish.NewEstablishingController(c.crds, c.client.ApiextensionsV1())
	auth := webhook.NewDefaultAuthenticationInfoResolverWrapper(nil, nil, c.host.Loopback, noop.NewTracerProvider())
	// The two documents of discovery are ours, so the handler is given none
	// and never asked for one.
	handler, err := apiserver.NewCustomResourceDefinitionHandler(nil, nil, promptInformer{c.crds}, next,
		resourceOptions{c.host.Backend}, c.host.Admission, establishing, o.Services, auth, 1, c.host.Authorizer,
		o.RequestTimeout, o.MinRequestTimeout, metaSchemas(), o.MaxBodyBytes)
	if err != nil {
		// It fails only where a metric is registered twice, which is a mistake
		// in this program.
		panic(fmt.Sprintf("custom resource handler: %v", err))
	}
	c.handler = handler
	naming := status.NewNamingConditionController(klog.Background(), c.crds, c.client.ApiextensionsV1())
	schemas := nonstructuralschema.NewConditionController(c.crds, c.client.ApiextensionsV1())
	approval := apiapproval.NewKubernetesAPIApprovalPolicyConformantConditionController(c.crds, c.client.ApiextensionsV1())
	finalizing := finalizer.NewCRDFinalizer(c.crds, c.client.ApiextensionsV1(), handler)
	c.run = []func(context.Context){
		naming.RunWithContext,
		establishing.RunWithContext,
		func(ctx context.Context) { schemas.RunWithContext(1, ctx) },
		func(ctx context.Context) { approval.RunWithContext(1, ctx) },
		func(ctx context.Context) { finalizing.RunWithContext(1, ctx) },
	}
	return c.route(next)
}

// start fills the informer, whose goroutines end with ctx.
func (c *Custom) start(ctx context.Context) error {
	c.informers.StartWithContext(ctx)
	if err := c.informers.WaitForCacheSyncWithContext(ctx).AsError(); err != nil {
		return err
	}
	c.discovery.fill()
	return nil
}

// keep runs the controllers until ctx ends.
func (c *Custom) keep(ctx context.Context) error {
	defer c.informers.Shutdown()
	var group errgroup.Group
	for _, run := range c.run {
		group.Go(func() error { run(ctx); return nil })
	}
	return group.Wait()
}
