package auth

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"

	"github.com/sinawi/sinawi/internal/apiserver/authn/openid"
	"github.com/sinawi/sinawi/internal/apiserver/controlplane"
)

// provider is an OpenID Connect provider.
type provider struct {
	*testing.T
	url, ca string
	key     *rsa.PrivateKey
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{T: t, key: must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048))}
	mux := http.NewServeMux()
	server := httptest.NewTLSServer(mux)
	t.Cleanup(server.Close)
	p.url = server.URL
	p.ca = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q,"id_token_signing_alg_values_supported":["RS256"]}`, p.url, p.url+"/keys")
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: p.key.Public(), KeyID: "one", Algorithm: "RS256", Use: "sig"}}})
	})
	return p
}

// token signs claims, with those that every token has.
func (p *provider) token(claims map[string]any) string {
	p.Helper()
	all := map[string]any{"iss": p.url, "aud": "sinawi", "sub": "ann", "exp": time.Now().Add(time.Hour).Unix(), "jti": rand.Text()}
	for k, v := range claims {
		all[k] = v
	}
	signer := must[jose.Signer](p.T)(jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: p.key, KeyID: "one"}}, nil))
	return must[string](p.T)(jwt.Signed(signer).Claims(all).Serialize())
}

func (p *provider) config(prefix string) string {
	return fmt.Sprintf(`apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
anonymous:
  enabled: true
  conditions:
  - path: /healthz
jwt:
- issuer:
    url: %s
    audiences: [sinawi]
    certificateAuthority: |
%s
  claimValidationRules:
  - expression: "claims.hd == 'corp'"
    message: the hosted domain must be corp
  claimMappings:
    username: {claim: sub, prefix: %q}
    groups: {expression: "dyn(claims.roles).map(r, 'team:' + r)"}
    uid: {claim: oid}
    extra:
    - {key: example.com/department, valueExpression: claims.dept}
  userValidationRules:
  - expression: "!user.groups.exists(g, g == 'team:banned')"
    message: the banned team stays out
`, p.url, "      "+strings.ReplaceAll(strings.TrimSpace(p.ca), "\n", "\n      "), prefix)
}

func TestAuthenticationConfiguration(t *testing.T) {
	p := newProvider(t)
	file := write(t, "authentication.yaml", p.config("oidc:"))
	s := guarded(t, func(g *controlplane.Guard) { g.OpenID.ConfigFile = file })
	ctx := t.Context()
	claims := func(change ...string) map[string]any {
		c := map[string]any{"hd": "corp", "roles": []string{"dev", "ops"}, "oid": "u-1", "dept": "sales"}
		for i := 0; i < len(change); i += 2 {
			c[change[i]] = change[i+1]
		}
		return c
	}
	var me authenticationv1.UserInfo
	eventually(t, func() (err error) { me, err = whoAmI(ctx, bearer(t, s, p.token(claims()))); return err })
	if me.Username != "oidc:ann" || me.UID != "u-1" || !slices.Equal(me.Groups, []string{"team:dev", "team:ops", "system:authenticated"}) ||
		me.Extra["example.com/department"][0] != "sales" {
		t.Errorf("the token makes %+v", me)
	}
	for name, token := range map[string]string{
		"another domain":    p.token(claims("hd", "elsewhere")),
		"another audience":  p.token(claims("aud", "somebody")),
		"a banned team":     p.token(map[string]any{"hd": "corp", "roles": []string{"banned"}, "oid": "u", "dept": "d"}),
		"expired":           p.token(map[string]any{"hd": "corp", "roles": []string{}, "oid": "u", "dept": "d", "exp": time.Now().Add(-time.Hour).Unix()}),
		"another's key":     (&provider{t, p.url, p.ca, must[*rsa.PrivateKey](t)(rsa.GenerateKey(rand.Reader, 2048))}).token(claims()),
		"an unknown issuer": p.token(claims("iss", "https://example.com")),
	} {
		if _, err := whoAmI(ctx, bearer(t, s, token)); !apierrors.IsUnauthorized(err) {
			t.Errorf("%s: %v", name, err)
		}
	}

	// Anonymous is let in where the file says so and nowhere else.
	nobody := client(t, rest.AnonymousClientConfig(s.Config)).CoreV1().RESTClient()
	if _, err := nobody.Get().AbsPath("/healthz").DoRaw(ctx); err != nil {
		t.Errorf("anonymous at /healthz: %v", err)
	}
	if _, err := nobody.Get().AbsPath("/version").DoRaw(ctx); !apierrors.IsUnauthorized(err) {
		t.Errorf("anonymous at /version: %v", err)
	}

	// A changed file is taken without a restart; a wrong one is not.
	write(t, file, "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt: [{issuer: {url: nonsense}}]\n")
	write(t, file, p.config("sso:"))
	eventually(t, func() error {
		me, err := whoAmI(ctx, bearer(t, s, p.token(claims())))
		if err == nil && me.Username != "sso:ann" {
			err = fmt.Errorf("still %s", me.Username)
		}
		return err
	})
}

func TestOpenIDFlags(t *testing.T) {
	p := newProvider(t)
	ca := write(t, "ca.pem", p.ca)
	for name, test := range map[string]struct {
		options openid.Options
		claims  map[string]any
		user    string
		groups  []string
	}{
		"defaults":  {openid.Options{}, nil, p.url + "#ann", []string{"system:authenticated"}},
		"no prefix": {openid.Options{UsernamePrefix: "-"}, nil, "ann", []string{"system:authenticated"}},
		"mail and groups": {
			openid.Options{UsernameClaim: "email", GroupsClaim: "groups", GroupsPrefix: "oidc:", RequiredClaims: map[string]string{"hd": "corp"}},
			map[string]any{"email": "ann@example.com", "email_verified": true, "groups": []string{"dev"}, "hd": "corp"},
			"ann@example.com", []string{"oidc:dev", "system:authenticated"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			test.options.IssuerURL, test.options.ClientID, test.options.CAFile = p.url, "sinawi", ca
			s := guarded(t, func(g *controlplane.Guard) { g.OpenID = test.options })
			var me authenticationv1.UserInfo
			eventually(t, func() (err error) { me, err = whoAmI(t.Context(), bearer(t, s, p.token(test.claims))); return err })
			if me.Username != test.user || !slices.Equal(me.Groups, test.groups) {
				t.Errorf("got %s in %v, want %s in %v", me.Username, me.Groups, test.user, test.groups)
			}
			if len(test.options.RequiredClaims) > 0 {
				test.claims["hd"] = "elsewhere"
				if _, err := whoAmI(t.Context(), bearer(t, s, p.token(test.claims))); !apierrors.IsUnauthorized(err) {
					t.Errorf("without the required claim: %v", err)
				}
			}
		})
	}
}

func TestTokenWebhook(t *testing.T) {
	file := reviewer(t, func(review *authenticationv1.TokenReview) {
		if review.Spec.Token == "sesame" {
			review.Status = authenticationv1.TokenReviewStatus{Authenticated: true, User: authenticationv1.UserInfo{Username: "ali", Groups: []string{"cave"}}}
		}
	})
	s := guarded(t, func(g *controlplane.Guard) { g.TokenWebhook.ConfigFile, g.TokenWebhook.Version = file, "v1" })
	me := must[authenticationv1.UserInfo](t)(whoAmI(t.Context(), bearer(t, s, "sesame")))
	if me.Username != "ali" || !slices.Equal(me.Groups, []string{"cave", "system:authenticated"}) {
		t.Errorf("the token makes %+v", me)
	}
	if _, err := whoAmI(t.Context(), bearer(t, s, "open")); !apierrors.IsUnauthorized(err) {
		t.Errorf("another token: %v", err)
	}
}

func TestBadFilesAreNamed(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string { return write(t, dir+"/"+name, content) }
	for name, test := range map[string]struct {
		guard controlplane.Guard
		want  []string
	}{
		"missing": {controlplane.Guard{OpenID: openid.Options{ConfigFile: "/none.yaml"}}, []string{"--authentication-config", "/none.yaml", "no such file"}},
		"unknown field": {controlplane.Guard{OpenID: openid.Options{ConfigFile: file("a", "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwts: []\n")}},
			[]string{dir + "/a", `unknown field "jwts"`}},
		"bad expression": {controlplane.Guard{OpenID: openid.Options{ConfigFile: file("b",
			"apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\njwt: [{issuer: {url: 'https://x', audiences: [a]}, claimMappings: {username: {expression: 'claims.'}}}]\n")}},
			[]string{dir + "/b", "jwt[0].claimMappings.username.expression"}},
		"half of the flags": {controlplane.Guard{OpenID: openid.Options{IssuerURL: "https://x"}}, []string{"--oidc-client-id"}},
		"http provider":     {controlplane.Guard{OpenID: openid.Options{IssuerURL: "http://x", ClientID: "a"}}, []string{"jwt[0].issuer.url", "https"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := test.guard.Check()
			for _, want := range test.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q in it", err, want)
				}
			}
		})
	}
	if err := (controlplane.Guard{}).Check(); err != nil {
		t.Errorf("a guard that sets nothing: %v", err)
	}
}
