package controlplane

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"

	"github.com/sinawi/sinawi/internal/apiserver/authn"
	"github.com/sinawi/sinawi/internal/apiserver/authn/serviceaccount"
	"github.com/sinawi/sinawi/internal/apiserver/plug"
	"github.com/sinawi/sinawi/internal/pki"
)

// frontProxyName is the common name by which this server speaks for its users
// to aggregated API servers.
const frontProxyName = "front-proxy-client"

// identity is who this cluster says it is, and how its callers are known.
type identity struct {
	issuer    string
	audiences []string
	keys      *serviceaccount.Keys
	pki       *pki.PKI
	log       *slog.Logger
}

func newIdentity(o Options) (*identity, error) {
	keys, err := serviceaccount.NewKeys(o.Keys.ServiceAccountKey)
	if err != nil {
		return nil, fmt.Errorf("service account keys: %w", err)
	}
	issuer := "https://kubernetes.default.svc." + o.ClusterDomain
	return &identity{issuer: issuer, audiences: []string{issuer}, keys: keys, pki: o.Keys, log: o.Logger}, nil
}

func (i *identity) authenticate(h *plug.Host) (authenticator.Request, error) {
	clients, err := dynamiccertificates.NewStaticCAContent("client-ca", i.pki.Cluster.CertPEM)
	if err != nil {
		return nil, err
	}
	proxies, err := dynamiccertificates.NewStaticCAContent("front-proxy-ca", i.pki.FrontProxy.CertPEM)
	if err != nil {
		return nil, err
	}
	return authn.New(i.keys, holders{h}, i.log, authn.Options{
		ClientCA:        clients.VerifyOptions,
		FrontProxy:      proxies.VerifyOptions,
		FrontProxyNames: []string{frontProxyName},
		Issuers:         []string{i.issuer},
		Audiences:       i.audiences,
	})
}

// documents publishes how this cluster's tokens are proved by others.
func (i *identity) documents(*plug.Host) (plug.Additions, error) {
	docs, err := serviceaccount.NewDocuments(i.issuer, i.issuer+serviceaccount.KeySetPath, i.keys)
	if err != nil {
		return plug.Additions{}, err
	}
	return plug.Additions{Paths: map[string]http.Handler{
		serviceaccount.ConfigurationPath: http.HandlerFunc(docs.Configuration),
		serviceaccount.KeySetPath:        http.HandlerFunc(docs.KeySet),
	}}, nil
}

// holders looks up what tokens refer to, in the watch caches of this server:
// no second copy of every pod is kept for it.
type holders struct{ host *plug.Host }

// get reads from the watch cache, and from the store where the cache has
// nothing: a token is often used the moment after its holder was made.
func get[T runtime.Object](ctx context.Context, h *plug.Host, resource, namespace, name string) (T, error) {
	var none T
	store := h.Store("", resource)
	if store == nil {
		return none, apierrors.NewNotFound(corev1.Resource(resource), name)
	}
	ctx = genericapirequest.WithNamespace(ctx, namespace)
	obj, err := store.Get(ctx, name, &metav1.GetOptions{ResourceVersion: "0"})
	if apierrors.IsNotFound(err) {
		obj, err = store.Get(ctx, name, &metav1.GetOptions{})
	}
	if err != nil {
		return none, err
	}
	typed, ok := obj.(T)
	if !ok {
		return none, fmt.Errorf("%s %s/%s: unexpected %T", resource, namespace, name, obj)
	}
	return typed, nil
}

func (l holders) ServiceAccount(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error) {
	return get[*corev1.ServiceAccount](ctx, l.host, "serviceaccounts", namespace, name)
}

func (l holders) Pod(ctx context.Context, namespace, name string) (*corev1.Pod, error) {
	return get[*corev1.Pod](ctx, l.host, "pods", namespace, name)
}

func (l holders) Node(ctx context.Context, name string) (*corev1.Node, error) {
	return get[*corev1.Node](ctx, l.host, "nodes", "", name)
}

func (l holders) Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	return get[*corev1.Secret](ctx, l.host, "secrets", namespace, name)
}
