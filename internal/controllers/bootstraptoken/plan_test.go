package bootstraptoken

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestPlan(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	token := func(id string, change ...string) corev1.Secret {
		data := map[string][]byte{"token-id": []byte(id), "token-secret": []byte("0123456789abcdef"), "usage-bootstrap-signing": []byte("true")}
		for i := 0; i < len(change); i += 2 {
			data[change[i]] = []byte(change[i+1])
		}
		return corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "bootstrap-token-" + id},
			Type:       corev1.SecretTypeBootstrapToken, Data: data,
		}
	}
	secrets := []corev1.Secret{
		token("abcdef"),
		token("soon00", "expiration", "2026-05-01T12:10:00Z"),
		token("gone00", "expiration", "2026-05-01T11:59:59Z"),
		token("other0", "usage-bootstrap-signing", "false"),
		token("wrong0", "token-id", "another"),
		token("nosecr", "token-secret", ""),
		token("unread", "expiration", "tomorrow"),
		token("toolong"),
	}
	have := map[string]string{"kubeconfig": "content", "jws-kubeconfig-gone00": "old", "note": "mine"}
	got, again := plan(have, secrets, now)
	want := map[string]string{
		"kubeconfig": "content", "note": "mine",
		// What another implementation makes of the same.
		"jws-kubeconfig-abcdef": "eyJhbGciOiJIUzI1NiIsImtpZCI6ImFiY2RlZiJ9..Fq6A5EJIBI9mw7CGLYV0RbfoogA2BP4cSgkutskZ1PY",
		"jws-kubeconfig-soon00": got["jws-kubeconfig-soon00"],
	}
	if diff := cmp.Diff(want, got); diff != "" || got["jws-kubeconfig-soon00"] == "" {
		t.Error(diff)
	}
	if again != 10*time.Minute {
		t.Errorf("again after %s, want when the next token ends", again)
	}
	if got, _ := plan(map[string]string{"jws-kubeconfig-abcdef": "x"}, secrets, now); len(got) != 1 {
		t.Errorf("without a kubeconfig: %v", got)
	}
}

func TestLeft(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]struct {
		lasts time.Duration
		ended bool
	}{
		"":                     {0, false},
		"2026-05-01T12:10:00Z": {10 * time.Minute, false},
		"2026-05-01T12:00:00Z": {0, true},
		"tomorrow":             {0, true},
	} {
		s := &corev1.Secret{Data: map[string][]byte{"expiration": []byte(text)}}
		if lasts, ended := left(s, now); lasts != want.lasts || ended != want.ended {
			t.Errorf("%q: %v %v, want %v", text, lasts, ended, want)
		}
	}
}
