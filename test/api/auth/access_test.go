package auth

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
	"github.com/sinawi/sinawi/internal/apiserver/controlplane"
)

func impersonating(config *rest.Config, as rest.ImpersonationConfig) *rest.Config {
	config = rest.CopyConfig(config)
	config.Impersonate = as
	return config
}

func TestImpersonation(t *testing.T) {
	s := apitest.Start(t)
	ctx := t.Context()
	const authentication = "authentication.k8s.io"
	allow(t, s, "ann",
		rbacv1.PolicyRule{Verbs: []string{"impersonate"}, APIGroups: []string{""}, Resources: []string{"users"}, ResourceNames: []string{"bob"}},
		rbacv1.PolicyRule{Verbs: []string{"impersonate"}, APIGroups: []string{""}, Resources: []string{"groups"}, ResourceNames: []string{"dev"}},
		rbacv1.PolicyRule{Verbs: []string{"impersonate"}, APIGroups: []string{authentication}, Resources: []string{"uids"}, ResourceNames: []string{"u-7"}},
		rbacv1.PolicyRule{Verbs: []string{"impersonate"}, APIGroups: []string{authentication}, Resources: []string{"userextras/scopes"}, ResourceNames: []string{"view"}},
		rbacv1.PolicyRule{Verbs: []string{"impersonate"}, APIGroups: []string{""}, Resources: []string{"serviceaccounts"}, ResourceNames: []string{"default"}},
	)
	ann := s.As("ann")
	var me authenticationv1.UserInfo
	eventually(t, func() (err error) {
		me, err = whoAmI(ctx, client(t, impersonating(ann, rest.ImpersonationConfig{
			UserName: "bob", Groups: []string{"dev"}, UID: "u-7", Extra: map[string][]string{"scopes": {"view"}},
		})))
		return err
	})
	if me.Username != "bob" || me.UID != "u-7" || !slices.Equal(me.Groups, []string{"dev", "system:authenticated"}) || me.Extra["scopes"][0] != "view" {
		t.Errorf("as bob I am %+v", me)
	}
	me = must[authenticationv1.UserInfo](t)(whoAmI(ctx, client(t, impersonating(ann, rest.ImpersonationConfig{UserName: "system:serviceaccount:default:default"}))))
	if !slices.Contains(me.Groups, "system:serviceaccounts:default") {
		t.Errorf("as a service account I am %+v", me)
	}
	for name, as := range map[string]rest.ImpersonationConfig{
		"another user":    {UserName: "carol"},
		"another group":   {UserName: "bob", Groups: []string{"system:masters"}},
		"another uid":     {UserName: "bob", UID: "u-8"},
		"another extra":   {UserName: "bob", Extra: map[string][]string{"scopes": {"write"}}},
		"another key":     {UserName: "bob", Extra: map[string][]string{"roles": {"view"}}},
		"another account": {UserName: "system:serviceaccount:default:admin"},
	} {
		if _, err := whoAmI(ctx, client(t, impersonating(ann, as))); !apierrors.IsForbidden(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A group alone is nobody's.
	if _, err := whoAmI(ctx, client(t, impersonating(s.Config, rest.ImpersonationConfig{Groups: []string{"dev"}}))); err == nil {
		t.Error("groups without a user are taken")
	}
}

// TestConstrainedImpersonation gives rights that hold for one action only.
func TestConstrainedImpersonation(t *testing.T) {
	s := apitest.Start(t)
	ctx := t.Context()
	allow(t, s, "bob", rbacv1.PolicyRule{Verbs: []string{"get", "list"}, APIGroups: []string{""}, Resources: []string{"configmaps", "secrets"}})
	allow(t, s, "ann",
		rbacv1.PolicyRule{Verbs: []string{"impersonate:user-info"}, APIGroups: []string{"authentication.k8s.io"}, Resources: []string{"users"}, ResourceNames: []string{"bob"}},
		rbacv1.PolicyRule{Verbs: []string{"impersonate-on:user-info:list"}, APIGroups: []string{""}, Resources: []string{"configmaps"}},
	)
	as := client(t, impersonating(s.As("ann"), rest.ImpersonationConfig{UserName: "bob"}))
	eventually(t, func() error {
		_, err := as.CoreV1().ConfigMaps(namespace).List(ctx, metav1.ListOptions{})
		return err
	})
	if _, err := as.CoreV1().Secrets(namespace).List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("secrets, which ann may not list as bob: %v", err)
	}
}

func TestAnonymous(t *testing.T) {
	s := apitest.Start(t)
	nobody := client(t, rest.AnonymousClientConfig(s.Config)).CoreV1().RESTClient()
	for path, open := range map[string]bool{
		"/healthz": true, "/livez": true, "/readyz": true, "/version": true,
		"/api": false, "/apis": false, "/metrics": false, "/openapi/v2": false, "/api/v1/namespaces": false, "/logs": false,
	} {
		_, err := nobody.Get().AbsPath(path).DoRaw(t.Context())
		if open && err != nil || !open && !apierrors.IsForbidden(err) {
			t.Errorf("%s is open to everybody: want %v, got %v", path, open, err)
		}
	}
	s = guarded(t, func(g *controlplane.Guard) { g.NoAnonymous = true })
	if _, err := client(t, rest.AnonymousClientConfig(s.Config)).CoreV1().RESTClient().Get().AbsPath("/healthz").DoRaw(t.Context()); !apierrors.IsUnauthorized(err) {
		t.Errorf("without anonymous: %v", err)
	}
}

func TestAuthorizationConfiguration(t *testing.T) {
	hook := reviewer(t, func(review *authorizationv1.SubjectAccessReview) {
		attrs := review.Spec.ResourceAttributes
		review.Status.Allowed = review.Spec.User == "ann" && attrs != nil && attrs.Resource == "configmaps"
		review.Status.Denied = attrs != nil && attrs.Resource == "secrets"
	})
	config := func(order string) string {
		webhook := fmt.Sprintf(`
- type: Webhook
  name: hook.example.com
  webhook:
    timeout: 3s
    authorizedTTL: 1s
    unauthorizedTTL: 1s
    subjectAccessReviewVersion: v1
    matchConditionSubjectAccessReviewVersion: v1
    failurePolicy: Deny
    connectionInfo: {type: KubeConfigFile, kubeConfigFile: %s}
    matchConditions:
    - expression: has(request.resourceAttributes) && !('system:masters' in request.groups)
`, hook)
		return "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers:" +
			strings.ReplaceAll(order, "HOOK", webhook)
	}
	const own = "\n- {type: Node, name: node}\n- {type: RBAC, name: rbac}\n"
	file := write(t, "authorization.yaml", config("HOOK"+own))
	s := guarded(t, func(g *controlplane.Guard) { g.Authorization.ConfigFile = file })
	allow(t, s, "bob", rbacv1.PolicyRule{Verbs: []string{"list"}, APIGroups: []string{""}, Resources: []string{"secrets", "pods"}})
	ctx, ann, bob := t.Context(), s.ClientsetAs("ann").CoreV1(), s.ClientsetAs("bob").CoreV1()
	must[*corev1.ConfigMapList](t)(ann.ConfigMaps(namespace).List(ctx, metav1.ListOptions{}))
	if _, err := ann.Pods(namespace).List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("ann lists pods: %v", err)
	}
	eventually(t, func() error { _, err := bob.Pods(namespace).List(ctx, metav1.ListOptions{}); return err })
	if _, err := bob.Secrets(namespace).List(ctx, metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("bob lists secrets although the webhook denies it: %v", err)
	}
	must[*corev1.SecretList](t)(s.Clientset().CoreV1().Secrets(namespace).List(ctx, metav1.ListOptions{}))
	// A changed file is taken without a restart: RBAC is asked first now.
	write(t, file, config(own+"HOOK"))
	eventually(t, func() error { _, err := bob.Secrets(namespace).List(ctx, metav1.ListOptions{}); return err })

	err := controlplane.Guard{}.Check()
	if err != nil {
		t.Error(err)
	}
	bad := controlplane.Guard{}
	bad.Authorization.ConfigFile = write(t, "bad.yaml", "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers: [{type: Nobody, name: a}]\n")
	if err := bad.Check(); err == nil || !strings.Contains(err.Error(), "authorizers[0].type") || !strings.Contains(err.Error(), "bad.yaml") {
		t.Errorf("a bad file: %v", err)
	}
}

// TestSelectorsAreAuthorized asks with what a request selects.
func TestSelectorsAreAuthorized(t *testing.T) {
	s := apitest.Start(t)
	// Nodes may list the pods of their own, and no others.
	node := s.ClientsetAs("system:node:one", "system:nodes").CoreV1().Pods("")
	must[*corev1.PodList](t)(node.List(t.Context(), metav1.ListOptions{FieldSelector: "spec.nodeName=one"}))
	for _, selector := range []string{"", "spec.nodeName=two", "spec.nodeName!=one"} {
		if _, err := node.List(t.Context(), metav1.ListOptions{FieldSelector: selector}); !apierrors.IsForbidden(err) {
			t.Errorf("pods with %q: %v", selector, err)
		}
	}
	review := must[*authorizationv1.SubjectAccessReview](t)(s.Clientset().AuthorizationV1().SubjectAccessReviews().Create(t.Context(), &authorizationv1.SubjectAccessReview{
		Spec: authorizationv1.SubjectAccessReviewSpec{
			User: "system:node:one", Groups: []string{"system:nodes"},
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Verb: "list", Resource: "pods", Version: "v1",
				FieldSelector: &authorizationv1.FieldSelectorAttributes{RawSelector: "spec.nodeName=one"},
			},
		},
	}, metav1.CreateOptions{}))
	if !review.Status.Allowed {
		t.Errorf("the review of the same: %+v", review.Status)
	}
}
