package api

import (
	"bytes"
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
	"github.com/sinawi/sinawi/internal/apiserver/controlplane"
)

func TestSecretsAreSealedAtRest(t *testing.T) {
	const treasure = "a-very-plain-text-password"
	s := apitest.Start(t)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}, StringData: map[string]string{"password": treasure}}
	if _, err := s.Clientset().CoreV1().Secrets(namespace).Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	raw, err := s.Store.Client().Get(t.Context(), "/registry/secrets/default/s")
	if err != nil || len(raw.Kvs) != 1 {
		t.Fatalf("raw value: %v, %v", raw, err)
	}
	value := raw.Kvs[0].Value
	if bytes.Contains(value, []byte(treasure)) || bytes.Contains(value, []byte("password")) || !bytes.HasPrefix(value, []byte("k8s:enc:secretbox:v1:")) {
		t.Errorf("the stored value is readable: %q", value)
	}
	key := s.Keys.Path("encryption.key")
	if info, err := os.Stat(key); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v, %v; want mode 0600", info, err)
	}

	s.Stop()
	s = apitest.StartWith(t, apitest.Options{Dir: s.Dir})
	got, err := s.Clientset().CoreV1().Secrets(namespace).Get(t.Context(), "s", metav1.GetOptions{})
	if err != nil || string(got.Data["password"]) != treasure {
		t.Errorf("after a restart the secret is %q, %v", got.Data, err)
	}

	// A lost key is never replaced while there are values that need it.
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	_, err = controlplane.New(t.Context(), controlplane.Options{
		Store: s.Store, Keys: s.Keys, Listeners: s.Listeners(), AdvertiseIP: s.AdvertiseIP(),
	})
	if err == nil || !strings.Contains(err.Error(), "restore it from a backup") {
		t.Errorf("without its key the server starts: %v", err)
	}
}
