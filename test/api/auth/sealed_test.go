package auth

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

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

// TestCustomResourcesAreWrittenAnew: what is encrypted by an
// EncryptionConfiguration is not only what is built in.
func TestCustomResourcesAreWrittenAnew(t *testing.T) {
	s := apitest.Start(t)
	hats := schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "hats"}
	dyn := dynamic.NewForConfigOrDie(s.Config)
	definition := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": map[string]any{"name": "hats.example.com"},
		"spec": map[string]any{
			"group": hats.Group, "scope": "Namespaced", "names": map[string]any{"plural": "hats", "kind": "Hat"},
			"versions": []any{map[string]any{
				"name": "v1", "served": true, "storage": true,
				"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
			}},
		},
	}}
	definitions := schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	must[*unstructured.Unstructured](t)(dyn.Resource(definitions).Create(t.Context(), definition, metav1.CreateOptions{}))
	eventually(t, func() error {
		_, err := dyn.Resource(hats).Namespace(namespace).Create(t.Context(), &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "example.com/v1", "kind": "Hat", "metadata": map[string]any{"name": "a"}, "spec": map[string]any{"under": treasure},
		}}, metav1.CreateOptions{})
		return err
	})
	s.Stop()

	config := func(providers string) string {
		return strings.ReplaceAll(encryptionConfig(providers), "[secrets, configmaps]", "['*.*']")
	}
	file := write(t, "encryption.yaml", config(encryptionProvider("aescbc", "one")+"  - identity: {}\n"))
	s = apitest.StartWith(t, apitest.Options{Dir: s.Dir, Mutate: func(o *controlplane.Options) { o.Guard.EncryptionConfig = file }})
	// Definitions, APIServices and all that is built in count too: a key that
	// anything needs may not go.
	written := func(want string) {
		t.Helper()
		eventually(t, func() error {
			all, err := s.Store.Client().Get(t.Context(), "/registry/", clientv3.WithPrefix())
			if err != nil {
				return err
			}
			hats := false
			for _, one := range all.Kvs {
				if !bytes.HasPrefix(one.Value, []byte(want)) {
					return fmt.Errorf("%s is stored as %.40q, want %s", one.Key, one.Value, want)
				}
				hats = hats || string(one.Key) == "/registry/example.com/hats/default/a"
			}
			if !hats {
				return errors.New("the hat is missing")
			}
			return nil
		})
	}
	written("k8s:enc:aescbc:v1:one:")
	write(t, file, config(encryptionProvider("aesgcm", "two")+encryptionProvider("aescbc", "one")))
	written("k8s:enc:aesgcm:v1:two:")
	// Nothing needs the first key any more.
	write(t, file, config(encryptionProvider("aesgcm", "two")))
	s.Stop()
	s = apitest.StartWith(t, apitest.Options{Dir: s.Dir, Mutate: func(o *controlplane.Options) { o.Guard.EncryptionConfig = file }})
	got := must[*unstructured.Unstructured](t)(dynamic.NewForConfigOrDie(s.Config).Resource(hats).Namespace(namespace).Get(t.Context(), "a", metav1.GetOptions{}))
	if under, _, _ := unstructured.NestedString(got.Object, "spec", "under"); under != treasure {
		t.Errorf("the hat is %v", got.Object)
	}
}
