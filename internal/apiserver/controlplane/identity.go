package controlplane

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"

	"github.com/sinawi/sinawi/internal/apiserver/authn"
	"github.com/sinawi/sinawi/internal/apiserver/authn/openid"
	"github.com/sinawi/sinawi/internal/apiserver/authn/serviceaccount"
	"github.com/sinawi/sinawi/internal/apiserver/plug"
	"github.com/sinawi/sinawi/internal/pki"
)

// frontProxyName is the common name by which this server speaks for its users
// to aggregated API servers.
const frontProxyName = "front-proxy-client"

// identity is who this cluster says it is, and how its callers are known.
type identity struct {
	issuers   []string // the first signs
	audiences []string
	files     serviceaccount.Files
	keys      *serviceaccount.Keys
	people    *openid.Authenticator
	config    openid.Config
	guard     Guard
	pki       *pki.PKI
	log       *slog.Logger
}

func newIdentity(o Options) (*identity, error) {
	i := &identity{guard: o.Guard, pki: o.Keys, log: o.Logger}
	i.issuers = o.Guard.Tokens.issuers(o.ClusterDomain)
	if i.audiences = o.Guard.Tokens.Audiences; len(i.audiences) == 0 {
		i.audiences = i.issuers
	}
	i.files = o.Guard.Tokens.files(o.Keys)
	var err error
	if i.keys, err = i.files.Load(); err != nil {
		return nil, err
	}
	i.people, i.config, err = openid.New(o.Guard.OpenID, i.issuers, "sinawi", o.Logger)
	if err != nil {
		return nil, err
	}
	return i, nil
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
	o := authn.Options{
		ClientCA:        clients.VerifyOptions,
		FrontProxy:      proxies.VerifyOptions,
		FrontProxyNames: []string{frontProxyName},
		Issuers:         i.issuers,
		Audiences:       i.audiences,
		NoAnonymous:     i.guard.NoAnonymous,
	}
	if a := i.config.Anonymous; a != nil {
		o.NoAnonymous = !a.Enabled
		for _, c := range a.Conditions {
			o.AnonymousPaths = append(o.AnonymousPaths, c.Path)
		}
	}
	if i.guard.OpenID.Enabled() {
		o.Tokens = append(o.Tokens, authenticator.WrapAudienceAgnosticToken(i.audiences, i.people))
	}
	if i.guard.TokenWebhook.ConfigFile != "" {
		hook, err := i.guard.TokenWebhook.New(i.audiences)
		if err != nil {
			return nil, err
		}
		o.Tokens = append(o.Tokens, hook)
	}
	return authn.New(i.keys, holders{h}, i.log, o)
}

// follow keeps keys and providers as their files are.
func (i *identity) follow(*plug.Host) (plug.Additions, error) {
	hooks := []plug.Hook{{Name: "service account keys", Run: func(ctx context.Context) error {
		return i.files.Follow(ctx, i.keys, i.log)
	}}}
	if i.guard.OpenID.Enabled() {
		hooks = append(hooks, plug.Hook{Name: "authentication configuration", Start: i.people.Start, Run: i.people.Run})
	}
	return plug.Additions{Hooks: hooks}, nil
}

// documents publishes how this cluster's tokens are proved by others.
func (i *identity) documents(*plug.Host) (plug.Additions, error) {
	keySet := i.guard.Tokens.KeySetURL
	if keySet == "" {
		keySet = i.issuers[0] + serviceaccount.KeySetPath
	}
	docs := serviceaccount.NewDocuments(i.issuers[0], keySet, i.keys)
	return plug.Additions{Services: docs.Services()}, nil
}

// holders looks up what tokens refer to, in the watch caches of this server:
// no second copy of every pod is kept for it.
type holders struct{ host *plug.Host }

// get reads from the watch cache, and from the store where the cache has
// nothing: a token is often used the moment after its holder was made.
func get[T runtime.Object](ctx context.Context, h *plug.Host, resource, namespace, name string) (T, error) {
	obj, err := read[T](ctx, h, resource, namespace, name, "0")
	if apierrors.IsNotFound(err) {
		return read[T](ctx, h, resource, namespace, name, "")
	}
	return obj, err
}

// read gets an object at a resource version: "0" is what the watch cache has,
// "" the present one.
func read[T runtime.Object](ctx context.Context, h *plug.Host, resource, namespace, name, version string) (T, error) {
	var none T
	store := h.Store("", resource)
	if store == nil {
		return none, apierrors.NewNotFound(corev1.Resource(resource), name)
	}
	obj, err := store.Get(genericapirequest.WithNamespace(ctx, namespace), name, &metav1.GetOptions{ResourceVersion: version})
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

// Secret reads from the store: a token is written into its secret and used the
// moment after, when the watch cache may still show the secret without it.
func (l holders) Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	return read[*corev1.Secret](ctx, l.host, "secrets", namespace, name, "")
}

// Label writes as this server itself; the secret's uid is a precondition.
func (l holders) Label(ctx context.Context, secret *corev1.Secret, key, value string) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": secret.UID, "labels": map[string]string{key: value},
	}})
	if err != nil {
		return err
	}
	_, err = l.host.Client.CoreV1().Secrets(secret.Namespace).Patch(ctx, secret.Name, types.MergePatchType, patch, metav1.PatchOptions{})
	return err
}
