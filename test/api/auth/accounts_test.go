package auth

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
	"github.com/sinawi/sinawi/internal/apiserver/controlplane"
)

func issue(t *testing.T, c kubernetes.Interface, spec authenticationv1.TokenRequestSpec) string {
	t.Helper()
	return must[*authenticationv1.TokenRequest](t)(c.CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), "default",
		&authenticationv1.TokenRequest{Spec: spec}, metav1.CreateOptions{})).Status.Token
}

func unauthorized(t *testing.T, s *apitest.Server, token string) {
	t.Helper()
	eventually(t, func() error {
		if _, err := whoAmI(t.Context(), bearer(t, s, token)); !apierrors.IsUnauthorized(err) {
			return fmt.Errorf("the token is good: %v", err)
		}
		return nil
	})
}

func TestTokensDieWithWhatTheyAreBoundTo(t *testing.T) {
	s := apitest.Start(t)
	ctx, core := t.Context(), s.Clientset().CoreV1()
	secret := must[*corev1.Secret](t)(core.Secrets(namespace).Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}}, metav1.CreateOptions{}))
	node := must[*corev1.Node](t)(core.Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}}, metav1.CreateOptions{}))
	for _, test := range []struct {
		ref    authenticationv1.BoundObjectReference
		remove func() error
	}{
		{authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Secret", Name: "s", UID: secret.UID},
			func() error { return core.Secrets(namespace).Delete(ctx, "s", metav1.DeleteOptions{}) }},
		{authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Node", Name: "n", UID: node.UID},
			func() error { return core.Nodes().Delete(ctx, "n", metav1.DeleteOptions{}) }},
	} {
		token := issue(t, s.Clientset(), authenticationv1.TokenRequestSpec{BoundObjectRef: &test.ref})
		me := must[authenticationv1.UserInfo](t)(whoAmI(ctx, bearer(t, s, token)))
		if me.Username != "system:serviceaccount:default:default" || len(me.Extra["authentication.kubernetes.io/credential-id"]) != 1 {
			t.Errorf("bound to a %s: %+v", test.ref.Kind, me)
		}
		if err := test.remove(); err != nil {
			t.Fatal(err)
		}
		unauthorized(t, s, token)
	}
	token := issue(t, s.Clientset(), authenticationv1.TokenRequestSpec{})
	must[authenticationv1.UserInfo](t)(whoAmI(ctx, bearer(t, s, token)))
	if err := core.ServiceAccounts(namespace).Delete(ctx, "default", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	unauthorized(t, s, token)
}

func TestUseOfSecretsTokensIsRecorded(t *testing.T) {
	s := apitest.Start(t)
	ctx, core := t.Context(), s.Clientset().CoreV1()
	account := must[*corev1.ServiceAccount](t)(core.ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{}))
	token := must[string](t)(controlplane.AccountTokens(controlplane.Guard{}, s.Keys)(account, "kept"))
	must[*corev1.Secret](t)(core.Secrets(namespace).Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "kept", Annotations: map[string]string{corev1.ServiceAccountNameKey: "default"}},
		Type:       corev1.SecretTypeServiceAccountToken, StringData: map[string]string{"token": token},
	}, metav1.CreateOptions{}))
	if me := must[authenticationv1.UserInfo](t)(whoAmI(ctx, bearer(t, s, token))); me.Username != "system:serviceaccount:default:default" {
		t.Errorf("the token makes %+v", me)
	}
	secret := must[*corev1.Secret](t)(core.Secrets(namespace).Get(ctx, "kept", metav1.GetOptions{}))
	used, err := time.Parse(time.DateOnly, secret.Labels["kubernetes.io/legacy-token-last-used"])
	if err != nil || time.Since(used) > 48*time.Hour {
		t.Errorf("after its use the secret has the labels %v: %v", secret.Labels, err)
	}
	since := must[*corev1.ConfigMap](t)(core.ConfigMaps("kube-system").Get(ctx, "kube-apiserver-legacy-service-account-token-tracking", metav1.GetOptions{}))
	if _, err := time.Parse(time.DateOnly, since.Data["since"]); err != nil {
		t.Errorf("use is recorded since %v: %v", since.Data, err)
	}
	secret.Labels["kubernetes.io/legacy-token-invalid-since"] = "2020-01-01"
	must[*corev1.Secret](t)(core.Secrets(namespace).Update(ctx, secret, metav1.UpdateOptions{}))
	unauthorized(t, s, token)
}

func TestSigningKeyIsRotated(t *testing.T) {
	s := apitest.Start(t)
	before := issue(t, s.Clientset(), authenticationv1.TokenRequestSpec{})
	published := func() []jose.JSONWebKey {
		var set jose.JSONWebKeySet
		if err := json.Unmarshal(must[[]byte](t)(s.Clientset().CoreV1().RESTClient().Get().AbsPath("/openid/v1/jwks").DoRaw(t.Context())), &set); err != nil {
			t.Fatal(err)
		}
		return set.Keys
	}
	first := published()[0].KeyID
	wait := func(n int) {
		t.Helper()
		eventually(t, func() error {
			if keys := published(); len(keys) != n || keys[0].KeyID == first {
				return fmt.Errorf("%d keys, the first is %s", len(keys), keys[0].KeyID)
			}
			return nil
		})
	}
	if err := s.Keys.RotateServiceAccountKey(false); err != nil {
		t.Fatal(err)
	}
	wait(2)
	after := issue(t, s.Clientset(), authenticationv1.TokenRequestSpec{})
	for name, token := range map[string]string{"old": before, "new": after} {
		if _, err := whoAmI(t.Context(), bearer(t, s, token)); err != nil {
			t.Errorf("the %s token after a rotation: %v", name, err)
		}
	}
	if err := s.Keys.RotateServiceAccountKey(true); err != nil {
		t.Fatal(err)
	}
	wait(1)
	unauthorized(t, s, before)
	unauthorized(t, s, after)
}

func TestTokenOptions(t *testing.T) {
	s := guarded(t, func(g *controlplane.Guard) {
		g.Tokens = controlplane.Tokens{
			Issuers: []string{"https://new.example", "https://old.example"}, Audiences: []string{"api", "https://old.example"},
			KeySetURL: "https://keys.example/jwks", MaxLifetime: time.Hour,
		}
	})
	long := int64(7200)
	made := must[*authenticationv1.TokenRequest](t)(s.Clientset().CoreV1().ServiceAccounts(namespace).CreateToken(t.Context(), "default",
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &long}}, metav1.CreateOptions{}))
	if *made.Spec.ExpirationSeconds != 3600 || !slices.Equal(made.Spec.Audiences, []string{"api", "https://old.example"}) {
		t.Errorf("given %+v", made.Spec)
	}
	must[authenticationv1.UserInfo](t)(whoAmI(t.Context(), bearer(t, s, made.Status.Token)))
	var doc map[string]any
	if err := json.Unmarshal(must[[]byte](t)(s.Clientset().CoreV1().RESTClient().Get().AbsPath("/.well-known/openid-configuration").DoRaw(t.Context())), &doc); err != nil {
		t.Fatal(err)
	}
	if doc["issuer"] != "https://new.example" || doc["jwks_uri"] != "https://keys.example/jwks" {
		t.Errorf("discovery %v", doc)
	}
}

func TestBootstrapToken(t *testing.T) {
	s := apitest.Start(t)
	core := s.Clientset().CoreV1()
	make := func(id string, more map[string]string) {
		data := map[string]string{"token-id": id, "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true"}
		for k, v := range more {
			data[k] = v
		}
		must[*corev1.Secret](t)(core.Secrets("kube-system").Create(t.Context(), &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: "bootstrap-token-" + id}, Type: corev1.SecretTypeBootstrapToken, StringData: data,
		}, metav1.CreateOptions{}))
	}
	make("abcdef", map[string]string{"auth-extra-groups": "system:bootstrappers:sinawi:join", "expiration": time.Now().Add(time.Hour).Format(time.RFC3339)})
	make("expire", map[string]string{"expiration": time.Now().Add(-time.Hour).Format(time.RFC3339)})
	make("signer", map[string]string{"usage-bootstrap-authentication": "false"})
	me := must[authenticationv1.UserInfo](t)(whoAmI(t.Context(), bearer(t, s, "abcdef.0123456789abcdef")))
	if me.Username != "system:bootstrap:abcdef" || !slices.Equal(me.Groups, []string{"system:bootstrappers", "system:bootstrappers:sinawi:join", "system:authenticated"}) {
		t.Errorf("the token makes %+v", me)
	}
	for _, token := range []string{"abcdef.0123456789abcdee", "expire.0123456789abcdef", "signer.0123456789abcdef", "nobody.0123456789abcdef"} {
		if _, err := whoAmI(t.Context(), bearer(t, s, token)); !apierrors.IsUnauthorized(err) {
			t.Errorf("%s: %v", token, err)
		}
	}
}
