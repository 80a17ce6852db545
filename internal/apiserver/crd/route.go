package crd

import (
	"net/http"

	"k8s.io/apiextensions-apiserver/pkg/apiserver"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	apirequest "k8s.io/apiserver/pkg/endpoints/request"
)

// startingRetrySeconds is when a client shall come again that came before the
// definitions were known.
const startingRetrySeconds = 1

// route sends requests to discovery, to the custom resources, or on to next.
func (c *Custom) route(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info, ok := apirequest.RequestInfoFrom(r.Context())
		switch {
		case !ok:
			next.ServeHTTP(w, r)
		case !info.IsResourceRequest:
			if h := c.discovery.handler(r.URL.Path); h != nil {
				h.ServeHTTP(w, r)
				return
			}
			next.ServeHTTP(w, r)
		case info.APIGroup == "" || info.APIPrefix != "apis":
			next.ServeHTTP(w, r)
		case !c.crds.Informer().HasSynced():
			// Not found would be taken for the truth: garbage would be
			// collected on the strength of it.
			err := apierrors.NewServiceUnavailable("the server is starting and does not know its custom resources yet")
			err.ErrStatus.Details.RetryAfterSeconds = startingRetrySeconds
			responsewriters.ErrorNegotiated(err, apiserver.Codecs, schema.GroupVersion{Group: info.APIGroup, Version: info.APIVersion}, w, r)
		default:
			c.handler.ServeHTTP(w, r)
		}
	})
}
