package bootstraptoken

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

type secrets map[string]*corev1.Secret

func (s secrets) Secret(_ context.Context, namespace, name string) (*corev1.Secret, error) {
	if found, ok := s[namespace+"/"+name]; ok {
		return found, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "secrets"}, name)
}

func TestAuthenticateToken(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	const token = "abcdef.0123456789abcdef"
	for _, tt := range []struct {
		name   string
		token  string
		change func(*corev1.Secret)
		groups []string
	}{
		{name: "good", groups: []string{"system:bootstrappers"}},
		{name: "of extra groups", change: func(s *corev1.Secret) {
			s.Data["auth-extra-groups"] = []byte("system:bootstrappers:nodes,system:bootstrappers:a")
		}, groups: []string{"system:bootstrappers", "system:bootstrappers:a", "system:bootstrappers:nodes"}},
		{name: "of a group above its own", change: func(s *corev1.Secret) { s.Data["auth-extra-groups"] = []byte("system:masters") }},
		{name: "still valid", change: func(s *corev1.Secret) { s.Data["expiration"] = []byte("2026-03-01T12:00:01Z") }, groups: []string{"system:bootstrappers"}},
		{name: "expired", change: func(s *corev1.Secret) { s.Data["expiration"] = []byte("2026-03-01T12:00:00Z") }},
		{name: "with no readable end", change: func(s *corev1.Secret) { s.Data["expiration"] = []byte("tomorrow") }},
		{name: "only for signing", change: func(s *corev1.Secret) { delete(s.Data, "usage-bootstrap-authentication") }},
		{name: "in a secret of another type", change: func(s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque }},
		{name: "in a secret of another id", change: func(s *corev1.Secret) { s.Data["token-id"] = []byte("bbbbbb") }},
		{name: "being deleted", change: func(s *corev1.Secret) { s.DeletionTimestamp = &metav1.Time{Time: now} }},
		{name: "of another secret part", token: "abcdef.0123456789abcdee"},
		{name: "unknown", token: "zzzzzz.0123456789abcdef"},
		{name: "no token at all", token: "abcdef.0123456789ABCDEF"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			stored := &corev1.Secret{Type: "bootstrap.kubernetes.io/token", Data: map[string][]byte{
				"token-id": []byte("abcdef"), "token-secret": []byte("0123456789abcdef"), "usage-bootstrap-authentication": []byte("true"),
			}}
			if tt.change != nil {
				tt.change(stored)
			}
			if tt.token == "" {
				tt.token = token
			}
			a := New(secrets{"kube-system/bootstrap-token-abcdef": stored}, slog.New(slog.DiscardHandler), func() time.Time { return now })
			got, ok, err := a.AuthenticateToken(context.Background(), tt.token)
			if err != nil {
				t.Fatal(err)
			}
			if ok != (tt.groups != nil) {
				t.Fatalf("taken: %v", ok)
			}
			if !ok {
				return
			}
			if got.User.GetName() != "system:bootstrap:abcdef" {
				t.Errorf("user %s", got.User.GetName())
			}
			if d := cmp.Diff(tt.groups, got.User.GetGroups()); d != "" {
				t.Errorf("groups (-want +got):\n%s", d)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add("abcdef.0123456789abcdef")
	f.Add("abcdef.0123456789abcdef\n")
	f.Fuzz(func(t *testing.T, in string) {
		if id, secret, ok := Parse(in); ok && (id+"."+secret != in || len(in) != 23) {
			t.Errorf("Parse(%q) = %q, %q", in, id, secret)
		}
	})
}
