package client

import (
	"context"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
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
	name := key.Name
	if verb == "create" && e.Subresource == "" {
		name = "" // it is asked of the collection
	}
	ctx = request.WithNamespace(ctx, namespace)
	ctx = request.WithUser(ctx, c.opts.User)
	return request.WithRequestInfo(ctx, &request.RequestInfo{
		IsResourceRequest: true,
		Path:              path(e, namespace, name),
		Verb:              verb,
		APIPrefix:         prefix(e.Resource.GroupVersion()),
		APIGroup:          e.Resource.Group,
		APIVersion:        e.Resource.Version,
		Namespace:         namespace,
		Resource:          e.Resource.Resource,
		Subresource:       e.Subresource,
		Name:              name,
	})
}

// recorded does the work of a request, and has the server's audit log tell of it:
// what was sent, an object or a patch, and what came of it.
func (c *Client) recorded(ctx context.Context, e *Endpoint, sent runtime.Object, patch []byte, work func(context.Context) (runtime.Object, error)) (runtime.Object, error) {
	if e.Audit == nil {
		return work(ctx)
	}
	ctx, done, err := e.Audit.Begin(ctx, Recorded{
		Agent: c.opts.Manager, Resource: e.Resource, Version: e.Kind.GroupVersion(), Sent: sent, Patch: patch,
	})
	if err != nil {
		return nil, err
	}
	out, err := work(ctx)
	done(out, err)
	return out, err
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
