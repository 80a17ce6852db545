// Package serviceurl finds a server behind a service: the API server calls
// webhooks and aggregated API servers by the names of their services, and must
// not depend on a node's proxy or DNS to reach them.
//
// It reads services and endpoint slices from the server's own watch caches and
// picks one of the ready endpoints at random.
package serviceurl

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/sinawi/sinawi/internal/apiserver/admission/lookup"
)

// Resolver finds servers. It implements the ServiceResolver of webhooks and of
// the aggregator.
type Resolver struct{ source lookup.Source }

// New returns a resolver that reads from source.
func New(source lookup.Source) *Resolver { return &Resolver{source: source} }

// ResolveEndpoint returns where a port of a service is served right now.
func (r *Resolver) ResolveEndpoint(namespace, name string, port int32) (*url.URL, error) {
	ctx := context.Background() // a look into memory; the interface has no context
	service, err := lookup.Get[*corev1.Service](ctx, r.source, lookup.Core("services"), namespace, name)
	if err != nil {
		return nil, err
	}
	if service.Spec.Type == corev1.ServiceTypeExternalName {
		return https(service.Spec.ExternalName, port), nil
	}
	wanted := servicePort(service, port)
	if wanted == nil {
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %d found for service %q", port, name))
	}
	resource := schema.GroupResource{Group: discoveryv1.GroupName, Resource: "endpointslices"}
	slices, err := lookup.List[*discoveryv1.EndpointSlice](ctx, r.source, resource, namespace)
	if err != nil {
		return nil, err
	}
	addresses := ready(slices, name, wanted.Name)
	if len(addresses) == 0 {
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("no endpoints available for service %q", name))
	}
	return addresses[rand.IntN(len(addresses))], nil
}

func https(host string, port int32) *url.URL {
	return &url.URL{Scheme: "https", Host: net.JoinHostPort(host, strconv.Itoa(int(port)))}
}

func servicePort(service *corev1.Service, port int32) *corev1.ServicePort {
	for i := range service.Spec.Ports {
		if service.Spec.Ports[i].Port == port {
			return &service.Spec.Ports[i]
		}
	}
	return nil
}

// ready returns all addresses that serve the named port of a service.
func ready(slices []*discoveryv1.EndpointSlice, service, port string) []*url.URL {
	var out []*url.URL
	for _, s := range slices {
		if s.Labels[discoveryv1.LabelServiceName] != service {
			continue
		}
		for _, p := range s.Ports {
			if p.Port == nil || p.Name != nil && *p.Name != port || p.Name == nil && port != "" {
				continue
			}
			for _, e := range s.Endpoints {
				if e.Conditions.Ready == nil || *e.Conditions.Ready {
					for _, address := range e.Addresses {
						out = append(out, https(address, *p.Port))
					}
				}
			}
		}
	}
	return out
}
