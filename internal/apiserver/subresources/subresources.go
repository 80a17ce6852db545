// Package subresources serves what the rows of the resource table cannot say:
// binding and evicting pods, the finalizers of namespaces, the approval of
// certificates, and the connections that lead to a node or into a pod (logs,
// exec, attach, port-forward, proxy).
//
// It speaks to the kubelet API at the address that a node publishes and
// streams through; it promises upstream's error texts and keeps no state and
// no goroutine beyond a request.
package subresources

import (
	"crypto/tls"
	"fmt"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/sinawi/sinawi/internal/apiserver/plug"
	"github.com/sinawi/sinawi/internal/apiserver/resources"
	"github.com/sinawi/sinawi/internal/apiserver/rows"
)

// Options say how to reach the nodes.
type Options struct {
	// KubeletTLS holds the client certificate that nodes accept and the CA of
	// their serving certificates.
	KubeletTLS *tls.Config
}

// Extension plugs all subresources of this package into an API server.
func Extension(opts Options) plug.Extension {
	return func(h *plug.Host) (plug.Additions, error) {
		var out plug.Additions
		add := func(gv schema.GroupVersion, path string, storage rest.Storage) {
			out.Endpoints = append(out.Endpoints, plug.Endpoint{GroupVersion: gv, Path: path, Storage: storage})
		}
		served := func(gv schema.GroupVersion, plural string) (*rows.Served, error) {
			s := h.Served[schema.GroupResource{Group: gv.Group, Resource: plural}]
			if s == nil {
				return nil, fmt.Errorf("subresources: %s are not served", plural)
			}
			return s, nil
		}
		core := corev1.SchemeGroupVersion
		pods, err := served(core, "pods")
		if err != nil {
			return plug.Additions{}, err
		}
		namespaces, err := served(core, "namespaces")
		if err != nil {
			return plug.Additions{}, err
		}
		requests, err := served(certificatesv1.SchemeGroupVersion, "certificatesigningrequests")
		if err != nil {
			return plug.Additions{}, err
		}
		bind := &binding{pods: pods.Store}
		add(core, "pods/binding", bind)
		add(core, "bindings", &bindings{binding: bind})
		add(core, "pods/ephemeralcontainers", pods.Variant(h.Scheme, resources.PodEphemeralContainers()))
		add(core, "pods/resize", pods.Variant(h.Scheme, resources.PodResize()))
		add(certificatesv1.SchemeGroupVersion, "certificatesigningrequests/approval", requests.Variant(h.Scheme, resources.CertificateApproval()))
		addNamespaces(add, h, namespaces)
		if err := addEviction(add, h, pods); err != nil {
			return plug.Additions{}, err
		}
		return out, addConnections(add, h, pods, opts)
	}
}
