package cluster

import (
	"fmt"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	schedulingv1 "github.com/sinawi/sinawi/api/scheduling/v1"
	"github.com/sinawi/sinawi/internal/apiserver/resources"
)

// clients returns what components read and write with: the cache is not
// started yet.
func clients(cfg *rest.Config, options cache.Options) (client.Client, cache.Cache, error) {
	http, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, nil, fmt.Errorf("connect to the API: %w", err)
	}
	mapper := builtinMapper()
	options.HTTPClient, options.Scheme, options.Mapper = http, clientgoscheme.Scheme, mapper
	objects, err := cache.New(cfg, options)
	if err != nil {
		return nil, nil, fmt.Errorf("make object cache: %w", err)
	}
	c, err := client.New(cfg, client.Options{HTTPClient: http, Scheme: clientgoscheme.Scheme, Mapper: mapper})
	if err != nil {
		return nil, nil, fmt.Errorf("make API client: %w", err)
	}
	return c, objects, nil
}

// builtinMapper maps the kinds that every server of this version serves. Asking
// the API for them would cost each part several requests before its first.
func builtinMapper() meta.RESTMapper {
	mapper := meta.NewDefaultRESTMapper(nil)
	for _, row := range resources.Table() {
		scope := meta.RESTScopeNamespace
		if row.ClusterScoped {
			scope = meta.RESTScopeRoot
		}
		for _, gv := range append([]schema.GroupVersion{row.GroupVersion}, row.ServedAs...) {
			mapper.AddSpecific(gv.WithKind(row.Kind), gv.WithResource(row.Plural), gv.WithResource(row.Singular), scope)
		}
	}
	// Our own definitions are served a moment later, and are where they always are.
	queue := schedulingv1.QueueKind()
	mapper.AddSpecific(queue, queue.GroupVersion().WithResource("queues"), queue.GroupVersion().WithResource("queue"), meta.RESTScopeRoot)
	// Questions are not kept, so they have no row. Whoever signs certificates asks.
	review := authorizationv1.SchemeGroupVersion
	mapper.AddSpecific(review.WithKind("SubjectAccessReview"), review.WithResource("subjectaccessreviews"), review.WithResource("subjectaccessreview"), meta.RESTScopeRoot)
	return mapper
}
