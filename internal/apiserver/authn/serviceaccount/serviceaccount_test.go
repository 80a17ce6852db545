package serviceaccount

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/client-go/util/keyutil"
)

const issuer = "https://kubernetes.default.svc.cluster.local"

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// world is what tokens refer to.
type world map[string]metav1.Object

func (w world) find(kind, namespace, name string) (metav1.Object, error) {
	if o, ok := w[kind+"/"+namespace+"/"+name]; ok {
		return o, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: kind}, name)
}

func get[T metav1.Object](w world, kind, namespace, name string) (T, error) {
	o, err := w.find(kind, namespace, name)
	if err != nil {
		var none T
		return none, err
	}
	return o.(T), nil
}

func (w world) ServiceAccount(_ context.Context, namespace, name string) (*corev1.ServiceAccount, error) {
	return get[*corev1.ServiceAccount](w, "account", namespace, name)
}
func (w world) Pod(_ context.Context, namespace, name string) (*corev1.Pod, error) {
	return get[*corev1.Pod](w, "pod", namespace, name)
}
func (w world) Node(_ context.Context, name string) (*corev1.Node, error) {
	return get[*corev1.Node](w, "node", "", name)
}
func (w world) Secret(_ context.Context, namespace, name string) (*corev1.Secret, error) {
	return get[*corev1.Secret](w, "secret", namespace, name)
}

// Label keeps the label where the next lookup finds it.
func (w world) Label(_ context.Context, secret *corev1.Secret, key, value string) error {
	if secret.Name == "cannot-write" {
		return errors.New("no")
	}
	next := secret.DeepCopy()
	metav1.SetMetaDataLabel(&next.ObjectMeta, key, value)
	w["secret/"+secret.Namespace+"/"+secret.Name] = next
	return nil
}

func meta(name, uid string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(uid)}
}

func newWorld() world {
	return world{
		"account/ns/bot": &corev1.ServiceAccount{ObjectMeta: meta("bot", "sa-1")},
		"pod/ns/p":       &corev1.Pod{ObjectMeta: meta("p", "pod-1")},
		"secret/ns/s":    &corev1.Secret{ObjectMeta: meta("s", "sec-1")},
		"node//n":        &corev1.Node{ObjectMeta: meta("n", "node-1")},
	}
}

func ecKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newKeys(t testing.TB, signing crypto.Signer, retired ...crypto.PublicKey) *Keys {
	t.Helper()
	keys, err := NewKeys(signing, retired...)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func at(d time.Duration) func() time.Time {
	return func() time.Time { return start.Add(d) }
}

func TestBoundTokens(t *testing.T) {
	deleted := metav1.NewTime(start.Add(time.Minute))
	pod, node, secret := &Object{"p", "pod-1"}, &Object{"n", "node-1"}, &Object{"s", "sec-1"}
	for _, tt := range []struct {
		name   string
		grant  Grant
		after  time.Duration
		change func(world)
		asked  []string // audiences of the caller; nil: the API server's
		extra  map[string][]string
		err    string
	}{
		{name: "account alone"},
		{name: "expired", after: 2 * time.Hour, err: "service account token has expired"},
		{name: "not yet valid", after: -2 * time.Hour, err: "service account token is not valid yet"},
		{name: "account gone", change: func(w world) { delete(w, "account/ns/bot") }, err: `account "bot" not found`},
		{name: "account made anew", change: func(w world) {
			w["account/ns/bot"] = &corev1.ServiceAccount{ObjectMeta: meta("bot", "sa-2")}
		}, err: "service account UID (sa-2) does not match claim (sa-1)"},
		{
			name: "pod on a node", grant: Grant{Pod: pod, Node: node},
			extra: map[string][]string{
				"authentication.kubernetes.io/pod-name":  {"p"},
				"authentication.kubernetes.io/pod-uid":   {"pod-1"},
				"authentication.kubernetes.io/node-name": {"n"},
				"authentication.kubernetes.io/node-uid":  {"node-1"},
			},
		},
		{name: "pod gone", grant: Grant{Pod: pod}, change: func(w world) { delete(w, "pod/ns/p") }, err: "service account token has been invalidated"},
		{name: "pod made anew", grant: Grant{Pod: pod}, change: func(w world) {
			w["pod/ns/p"] = &corev1.Pod{ObjectMeta: meta("p", "pod-2")}
		}, err: "pod UID (pod-2) does not match service account pod ref claim (pod-1)"},
		{name: "pod stopping is good for the leeway", grant: Grant{Pod: pod}, after: 90 * time.Second, change: func(w world) {
			w["pod/ns/p"].SetDeletionTimestamp(&deleted)
		}, extra: map[string][]string{
			"authentication.kubernetes.io/pod-name": {"p"}, "authentication.kubernetes.io/pod-uid": {"pod-1"},
		}},
		{name: "pod stopped long ago", grant: Grant{Pod: pod}, after: 10 * time.Minute, change: func(w world) {
			w["pod/ns/p"].SetDeletionTimestamp(&deleted)
		}, err: "service account token has been invalidated"},
		{name: "pod's node may go", grant: Grant{Pod: pod, Node: node}, change: func(w world) { delete(w, "node//n") }, extra: map[string][]string{
			"authentication.kubernetes.io/pod-name": {"p"}, "authentication.kubernetes.io/pod-uid": {"pod-1"},
			"authentication.kubernetes.io/node-name": {"n"}, "authentication.kubernetes.io/node-uid": {"node-1"},
		}},
		{name: "node's own token dies with it", grant: Grant{Node: node}, change: func(w world) { delete(w, "node//n") }, err: "service account token has been invalidated"},
		{name: "secret", grant: Grant{Secret: secret}},
		{name: "secret gone", grant: Grant{Secret: secret}, change: func(w world) { delete(w, "secret/ns/s") }, err: "service account token has been invalidated"},
		{name: "for another audience", grant: Grant{Audiences: []string{"vault"}}, err: `token audiences ["vault"] is invalid for the target audiences ["` + issuer + `"]`},
		{name: "reviewed for another audience", grant: Grant{Audiences: []string{"vault"}}, asked: []string{"vault"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld()
			if tt.change != nil {
				tt.change(w)
			}
			g := tt.grant
			g.Namespace, g.Account, g.Lifetime = "ns", Object{"bot", "sa-1"}, time.Hour
			if g.Audiences == nil {
				g.Audiences = []string{issuer}
			}
			keys := newKeys(t, ecKey(t))
			token, id, err := NewIssuer(issuer, keys, at(0)).Issue(g)
			if err != nil {
				t.Fatal(err)
			}
			ctx := context.Background()
			if tt.asked != nil {
				ctx = authenticator.WithAudiences(ctx, tt.asked)
			}
			a := NewAuthenticator([]string{issuer}, keys, []string{issuer}, w, slog.New(slog.DiscardHandler), at(tt.after))
			got, ok, err := a.AuthenticateToken(ctx, token)
			if tt.err != "" {
				if ok || err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("got %v, %v, want error %q", ok, err, tt.err)
				}
				return
			}
			if err != nil || !ok {
				t.Fatalf("got %v, %v", ok, err)
			}
			want := map[string][]string{"authentication.kubernetes.io/credential-id": {"JTI=" + id}}
			for k, v := range tt.extra {
				want[k] = v
			}
			if d := cmp.Diff(want, got.User.GetExtra()); d != "" {
				t.Errorf("extra (-want +got):\n%s", d)
			}
			if got.User.GetName() != "system:serviceaccount:ns:bot" || got.User.GetUID() != "sa-1" {
				t.Errorf("user %s, uid %s", got.User.GetName(), got.User.GetUID())
			}
			if d := cmp.Diff([]string{"system:serviceaccounts", "system:serviceaccounts:ns"}, got.User.GetGroups()); d != "" {
				t.Errorf("groups (-want +got):\n%s", d)
			}
		})
	}
}

func TestTokenBody(t *testing.T) {
	token, id, err := NewIssuer(issuer, newKeys(t, ecKey(t)), at(0)).Issue(Grant{
		Namespace: "ns", Account: Object{"bot", "sa-1"}, Pod: &Object{"p", "pod-1"}, Node: &Object{"n", "node-1"},
		Audiences: []string{issuer}, Lifetime: time.Hour, WarnAfter: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	body, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var got any
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	now := float64(start.Unix())
	want := map[string]any{
		"aud": []any{issuer}, "exp": now + 3600, "iat": now, "nbf": now, "iss": issuer, "jti": id,
		"sub": "system:serviceaccount:ns:bot",
		"kubernetes.io": map[string]any{
			"namespace":      "ns",
			"node":           map[string]any{"name": "n", "uid": "node-1"},
			"pod":            map[string]any{"name": "p", "uid": "pod-1"},
			"serviceaccount": map[string]any{"name": "bot", "uid": "sa-1"},
			"warnafter":      now + 60,
		},
	}
	if d := cmp.Diff(any(want), got); d != "" {
		t.Errorf("claims (-want +got):\n%s", d)
	}
}

func TestKeysRotate(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	before := newKeys(t, rsaKey)
	g := Grant{Namespace: "ns", Account: Object{"bot", "sa-1"}, Lifetime: time.Hour}
	token, _, err := NewIssuer(issuer, before, at(0)).Issue(g)
	if err != nil {
		t.Fatal(err)
	}
	next := ecKey(t)
	prove := func(keys *Keys) (bool, error) {
		_, ok, err := NewAuthenticator([]string{issuer}, keys, []string{issuer}, newWorld(), slog.New(slog.DiscardHandler), at(0)).AuthenticateToken(context.Background(), token)
		return ok, err
	}
	if ok, err := prove(newKeys(t, next, rsaKey.Public())); !ok || err != nil {
		t.Errorf("retired key: %v, %v", ok, err)
	}
	if ok, _ := prove(newKeys(t, next)); ok {
		t.Error("a token by a key that nobody trusts any more was taken")
	}
	// The same while the server runs.
	if !before.Replace(newKeys(t, next, rsaKey.Public())) || before.Replace(newKeys(t, next, rsaKey.Public())) {
		t.Error("a replacement by other keys must say so, one by the same keys must not")
	}
	if ok, err := prove(before); !ok || err != nil {
		t.Errorf("after the keys were replaced: %v, %v", ok, err)
	}
}

func TestKeyFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, blocks ...[]byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, bytes.Join(blocks, nil), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	block := func(key *ecdsa.PrivateKey) []byte {
		data, err := keyutil.MarshalPrivateKeyToPEM(key)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	one, two := ecKey(t).(*ecdsa.PrivateKey), ecKey(t).(*ecdsa.PrivateKey)
	g := Grant{Namespace: "ns", Account: Object{"bot", "sa-1"}, Lifetime: time.Hour}
	token, _, err := NewIssuer(issuer, newKeys(t, one), at(0)).Issue(g)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		files Files
		good  bool
		err   string
	}{
		"one file with both":        {Files{Signing: write("both", block(two), block(one))}, true, ""},
		"one named to prove":        {Files{Signing: write("new", block(two)), Verifying: []string{write("old", block(one))}}, true, ""},
		"nobody proves the old one": {Files{Signing: write("new", block(two))}, false, ""},
		"no file":                   {Files{Signing: filepath.Join(dir, "none")}, false, "no such file"},
		"no key in it":              {Files{Signing: write("empty", []byte("words"))}, false, "no private key"},
	} {
		t.Run(name, func(t *testing.T) {
			keys, err := test.files.Load()
			if err != nil || test.err != "" {
				if err == nil || test.err == "" || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("got error %v, want one with %q", err, test.err)
				}
				return
			}
			_, ok, _ := NewAuthenticator([]string{issuer}, keys, []string{issuer}, newWorld(), slog.New(slog.DiscardHandler), at(0)).AuthenticateToken(context.Background(), token)
			if ok != test.good {
				t.Errorf("the token is good: %v, want %v", ok, test.good)
			}
		})
	}
}

func TestUnsignedAndForeignTokensAreNotTaken(t *testing.T) {
	keys := newKeys(t, ecKey(t))
	good, _, err := NewIssuer(issuer, keys, at(0)).Issue(Grant{Namespace: "ns", Account: Object{"bot", "sa-1"}, Lifetime: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(good, ".")
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`))
	other, _, _ := NewIssuer("https://elsewhere", keys, at(0)).Issue(Grant{Namespace: "ns", Account: Object{"bot", "sa-1"}, Lifetime: time.Hour})
	a := NewAuthenticator([]string{issuer}, keys, []string{issuer}, newWorld(), slog.New(slog.DiscardHandler), at(0))
	for name, token := range map[string]string{
		"no signature":    none + "." + parts[1] + ".",
		"cut signature":   parts[0] + "." + parts[1] + "." + parts[2][:10],
		"another issuer":  other,
		"empty":           "",
		"json form":       `{"payload":"e30","protected":"e30","signature":""}`,
		"four parts":      good + ".x",
		"changed payload": parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"`+issuer+`","sub":"x"}`)) + "." + parts[2],
	} {
		if _, ok, _ := a.AuthenticateToken(context.Background(), token); ok {
			t.Errorf("%s was taken", name)
		}
	}
	if _, ok, err := a.AuthenticateToken(context.Background(), other); ok || err != nil {
		t.Errorf("a foreign issuer's token is somebody else's business: %v, %v", ok, err)
	}
}

func TestDiscoveryDocuments(t *testing.T) {
	d := NewDocuments(issuer, issuer+KeySetPath, newKeys(t, ecKey(t)))
	w := httptest.NewRecorder()
	d.Configuration(w, nil)
	want := `{"issuer":"` + issuer + `","jwks_uri":"` + issuer + `/openid/v1/jwks","response_types_supported":["id_token"],"subject_types_supported":["public"],"id_token_signing_alg_values_supported":["ES256"]}`
	if w.Body.String() != want {
		t.Errorf("got %s, want %s", w.Body, want)
	}
	w = httptest.NewRecorder()
	d.KeySet(w, nil)
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal(w.Body.Bytes(), &set); err != nil {
		t.Fatal(err)
	}
	if len(set.Keys) != 1 || set.Keys[0]["alg"] != "ES256" || set.Keys[0]["use"] != "sig" || set.Keys[0]["d"] != "" {
		t.Errorf("got %s: one public key is wanted", w.Body)
	}
}

func FuzzAuthenticateToken(f *testing.F) {
	keys := newKeys(f, ecKey(f))
	token, _, err := NewIssuer(issuer, keys, at(0)).Issue(Grant{Namespace: "ns", Account: Object{"bot", "sa-1"}, Lifetime: time.Hour})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(token)
	f.Add("a.e30.c")
	f.Add("eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL2t1YmVybmV0ZXMuZGVmYXVsdC5zdmMuY2x1c3Rlci5sb2NhbCJ9.")
	a := NewAuthenticator([]string{issuer}, keys, []string{issuer}, newWorld(), slog.New(slog.DiscardHandler), at(0))
	signed := token[:strings.LastIndex(token, ".")]
	f.Fuzz(func(t *testing.T, in string) {
		_, ok, _ := a.AuthenticateToken(context.Background(), in)
		if ok && !strings.HasPrefix(in, signed) {
			t.Errorf("%q was taken, which nobody signed", in)
		}
	})
}
