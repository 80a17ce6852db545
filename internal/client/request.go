package client

import (
	"context"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/request"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// request is the context of a request that the client's user might have sent.
func (c *Client) request(ctx context.Context, e *Endpoint, verb string, key client.ObjectKey) context.Context {
	namespace := key.Namespace
	if !e.Namespaced {
		namespace = ""
	}
	ctx = request.WithNamespace(ctx, namespace)
	ctx = request.WithUser(ctx, c.opts.User)
	return request.WithRequestInfo(ctx, &request.RequestInfo{
		IsResourceRequest: true,
		Path:              path(e, namespace, key.Name),
		Verb:              verb,
		APIPrefix:         prefix(e.Resource.GroupVersion()),
		APIGroup:          e.Resource.Group,
		APIVersion:        e.Resource.Version,
		Namespace:         namespace,
		Resource:          e.Resource.Resource,
		Subresource:       e.Subresource,
		Name:              key.Name,
	})
}

func prefix(gv schema.GroupVersion) string {
	if gv.Group == "" {
		return "api"
	}
	return "apis"
}

func path(e *Endpoint, namespace, name string) string {
	var b strings.Builder
	b.WriteString("/" + prefix(e.Resource.GroupVersion()) + "/" + e.Resource.GroupVersion().String())
	if namespace != "" {
		b.WriteString("/namespaces/" + namespace)
	}
	b.WriteString("/" + e.Resource.Resource)
	for _, part := range []string{name, e.Subresource} {
		if part != "" {
			b.WriteString("/" + part)
		}
	}
	return b.String()
}
