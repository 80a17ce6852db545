package auth

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
	"github.com/sinawi/sinawi/internal/apiserver/controlplane"
)

const treasure = "a-very-plain-text-password"

func hide(t *testing.T, s *apitest.Server, names ...string) {
	t.Helper()
	for _, name := range names {
		must[*corev1.Secret](t)(s.Clientset().CoreV1().Secrets(namespace).Create(t.Context(), &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: map[string]string{"password": treasure + name},
		}, metav1.CreateOptions{}))
	}
}

func found(t *testing.T, s *apitest.Server, names ...string) {
	t.Helper()
	for _, name := range names {
		got := must[*corev1.Secret](t)(s.Clientset().CoreV1().Secrets(namespace).Get(t.Context(), name, metav1.GetOptions{}))
		if string(got.Data["password"]) != treasure+name {
			t.Errorf("secret %s holds %q", name, got.Data)
		}
	}
}

// prefixes says how the values of a resource begin in the store.
func prefixes(t *testing.T, s *apitest.Server, resource string, names ...string) string {
	t.Helper()
	var out []string
	for _, name := range names {
		raw, err := s.Store.Client().Get(t.Context(), "/registry/"+resource+"/default/"+name)
		if err != nil || len(raw.Kvs) != 1 {
			t.Fatalf("raw value: %v, %v", raw, err)
		}
		value := raw.Kvs[0].Value
		if bytes.Contains(value, []byte(treasure)) {
			out = append(out, "plain")
			continue
		}
		out = append(out, strings.Join(strings.SplitN(string(value), ":", 6)[:5], ":"))
	}
	return strings.Join(out, " ")
}

func TestEncryptionKeyIsRotated(t *testing.T) {
	s := apitest.Start(t)
	hide(t, s, "a", "b", "c")
	if got := prefixes(t, s, "secrets", "a"); got != "k8s:enc:secretbox:v1:sinawi" {
		t.Fatalf("before: %s", got)
	}
	done := func() error {
		n, err := controlplane.StaleEncryptionKeys(s.Keys)
		if err == nil && n > 0 {
			err = fmt.Errorf("%d older keys are still needed", n)
		}
		return err
	}
	first := must[string](t)(controlplane.RotateEncryptionKey(s.Keys))
	eventually(t, done)
	want := "k8s:enc:secretbox:v1:" + first
	if got := prefixes(t, s, "secrets", "a", "b", "c"); got != strings.Join([]string{want, want, want}, " ") {
		t.Errorf("after a rotation: %s, want %s", got, want)
	}
	found(t, s, "a", "b", "c")
	hide(t, s, "d")
	if got := prefixes(t, s, "secrets", "d"); got != want {
		t.Errorf("a new secret: %s, want %s", got, want)
	}

	// A server that was down does the work when it starts.
	s.Stop()
	second := must[string](t)(controlplane.RotateEncryptionKey(s.Keys))
	s = apitest.StartWith(t, apitest.Options{Dir: s.Dir})
	eventually(t, done)
	if got := prefixes(t, s, "secrets", "a"); got != "k8s:enc:secretbox:v1:"+second {
		t.Errorf("after a restart: %s, want %s", got, second)
	}
	// The retired keys may go: nothing in the store needs them.
	if err := os.Remove(s.Keys.Path("encryption.key.retired")); err != nil {
		t.Error(err)
	}
	s.Stop()
	s = apitest.StartWith(t, apitest.Options{Dir: s.Dir})
	found(t, s, "a", "b", "c", "d")
}

func encryptionConfig(providers string) string {
	return `apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets, configmaps]
  providers:
` + providers
}

func encryptionProvider(kind, name string) string {
	key := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte(name[:1]), 32))
	return fmt.Sprintf("  - %s: {keys: [{name: %s, secret: %s}]}\n", kind, name, key)
}

func TestEncryptionConfiguration(t *testing.T) {
	s := apitest.Start(t)
	hide(t, s, "a")
	must[*corev1.ConfigMap](t)(s.Clientset().CoreV1().ConfigMaps(namespace).Create(t.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "c"}, Data: map[string]string{"password": treasure}}, metav1.CreateOptions{}))
	s.Stop()

	// What was there before is written anew as the file says.
	file := write(t, "encryption.yaml", encryptionConfig(encryptionProvider("aescbc", "one")+"  - identity: {}\n"))
	s = apitest.StartWith(t, apitest.Options{Dir: s.Dir, Mutate: func(o *controlplane.Options) { o.Guard.EncryptionConfig = file }})
	written := func(want string) {
		t.Helper()
		eventually(t, func() error {
			if got := prefixes(t, s, "secrets", "a") + " " + prefixes(t, s, "configmaps", "c"); got != want+" "+want {
				return fmt.Errorf("in the store: %s, want twice %s", got, want)
			}
			return nil
		})
		found(t, s, "a")
	}
	written("k8s:enc:aescbc:v1:one")
	// A new key comes before the old one, then the old one goes.
	write(t, file, encryptionConfig(encryptionProvider("aesgcm", "two")+encryptionProvider("aescbc", "one")))
	written("k8s:enc:aesgcm:v1:two")
	write(t, file, encryptionConfig(encryptionProvider("aesgcm", "two")))
	hide(t, s, "b")
	found(t, s, "a", "b")
	// A file that is wrong changes nothing.
	write(t, file, encryptionConfig("  - aesgcm: {keys: []}\n"))
	hide(t, s, "d")
	if err := (controlplane.Guard{EncryptionConfig: file}).Check(); err == nil || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "resources[0].providers[0]") {
		t.Errorf("the wrong file: %v", err)
	}
	found(t, s, "a", "b", "d")
}
