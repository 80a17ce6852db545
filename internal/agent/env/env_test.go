package env

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

type source struct{}

func (source) ConfigMap(_ context.Context, namespace, name string) (*corev1.ConfigMap, error) {
	if namespace == "shop" && name == "settings" {
		return &corev1.ConfigMap{Data: map[string]string{"COLOR": "blue", "SIZE": "xl", "not-a-c-name": "1"}}, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "configmap"}, name)
}

func (source) Secret(_ context.Context, namespace, name string) (*corev1.Secret, error) {
	if namespace == "shop" && name == "login" {
		return &corev1.Secret{Data: map[string][]byte{"USER": []byte("ann"), "PASS": []byte("s3")}}, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "secret"}, name)
}

func service(namespace, name, ip string, ports ...corev1.ServicePort) corev1.Service {
	return corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Spec: corev1.ServiceSpec{ClusterIP: ip, Ports: ports}}
}

func services(namespace string) []corev1.Service {
	return map[string][]corev1.Service{
		"default": {service("default", "kubernetes", "10.43.0.1", corev1.ServicePort{Name: "https", Port: 443, Protocol: "TCP"}),
			service("default", "other", "10.43.0.2", corev1.ServicePort{Port: 1})},
		"shop": {service("shop", "my-db", "10.43.0.3", corev1.ServicePort{Name: "sql-port", Port: 5432, Protocol: "TCP"}, corev1.ServicePort{Name: "dns", Port: 53, Protocol: "UDP"}),
			service("shop", "headless", "None", corev1.ServicePort{Port: 2})},
	}[namespace]
}

func yes1() *bool { b := true; return &b }

func fromMap(name, key string, optional *bool) *corev1.EnvVarSource {
	return &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: key, Optional: optional}}
}

func fromSecret(name, key string, optional *bool) *corev1.EnvVarSource {
	return &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: corev1.LocalObjectReference{Name: name}, Key: key, Optional: optional}}
}

var api = []string{
	"KUBERNETES_PORT=tcp://10.43.0.1:443", "KUBERNETES_PORT_443_TCP=tcp://10.43.0.1:443", "KUBERNETES_PORT_443_TCP_ADDR=10.43.0.1",
	"KUBERNETES_PORT_443_TCP_PORT=443", "KUBERNETES_PORT_443_TCP_PROTO=tcp", "KUBERNETES_SERVICE_HOST=10.43.0.1",
	"KUBERNETES_SERVICE_PORT=443", "KUBERNETES_SERVICE_PORT_HTTPS=443",
}

func TestEnv(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "made"), []byte("# made by init\nA='1'\nB='two\nlines' # end\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	file := func(path, key string, optional *bool) *corev1.EnvVarSource {
		return &corev1.EnvVarSource{FileKeyRef: &corev1.FileKeySelector{VolumeName: "work", Path: path, Key: key, Optional: optional}}
	}
	maker := New(source{}, Options{Services: services,
		Allocatable: func() corev1.ResourceList { return corev1.ResourceList{"memory": resource.MustParse("2Gi")} },
		VolumePath:  func(*corev1.Pod, string) (string, error) { return dir, nil }})
	tests := map[string]struct {
		env   []corev1.EnvVar
		from  []corev1.EnvFromSource
		links bool
		want  []string
		err   string
	}{
		"the API's own service always": {want: api},
		"in the order of declaration, referring to what is before": {
			env:  []corev1.EnvVar{{Name: "B", Value: "$(A) $(C)"}, {Name: "A", Value: "1"}, {Name: "C", Value: "$(A)-$(KUBERNETES_SERVICE_PORT)"}, {Name: "D", Value: "$$(A) $(none) $"}, {Name: "E"}},
			want: append([]string{"B=$(A) $(C)", "A=1", "C=1-443", "D=$(A) $(none) $", "E="}, api...),
		},
		"all keys of objects, env over envFrom": {
			from: []corev1.EnvFromSource{
				{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}}},
				{Prefix: "DB_", SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "login"}}},
				{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "none"}, Optional: yes1()}},
			},
			env:  []corev1.EnvVar{{Name: "SIZE", Value: "s"}, {Name: "URL", Value: "$(DB_USER):$(DB_PASS)@db"}},
			want: append([]string{"COLOR=blue", "SIZE=s", "not-a-c-name=1", "DB_PASS=s3", "DB_USER=ann", "URL=ann:s3@db"}, api...),
		},
		"every source": {
			env: []corev1.EnvVar{
				{Name: "NAME", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.name"}}},
				{Name: "IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}},
				{Name: "LABEL", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels['a/b']"}}},
				{Name: "MEM", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.memory", Divisor: resource.MustParse("1Mi")}}},
				{Name: "CPU", ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "requests.cpu"}}},
				{Name: "COLOR", ValueFrom: fromMap("settings", "COLOR", nil)},
				{Name: "PASS", ValueFrom: fromSecret("login", "PASS", nil)},
				{Name: "FILE", ValueFrom: file("made", "B", nil)},
				{Name: "NOT1", ValueFrom: fromMap("settings", "none", yes1())},
				{Name: "NOT2", ValueFrom: fromSecret("none", "k", yes1())},
				{Name: "NOT3", ValueFrom: file("none", "B", yes1())},
			},
			want: append([]string{"NAME=web", "IP=10.42.0.7", "LABEL=v", "MEM=2048", "CPU=1", "COLOR=blue", "PASS=s3", "FILE=two\nlines"}, api...),
		},
		"services of the namespace": {
			links: true,
			want: append(append([]string{}, api...),
				"MY_DB_PORT=tcp://10.43.0.3:5432",
				"MY_DB_PORT_53_UDP=udp://10.43.0.3:53", "MY_DB_PORT_53_UDP_ADDR=10.43.0.3", "MY_DB_PORT_53_UDP_PORT=53", "MY_DB_PORT_53_UDP_PROTO=udp",
				"MY_DB_PORT_5432_TCP=tcp://10.43.0.3:5432", "MY_DB_PORT_5432_TCP_ADDR=10.43.0.3", "MY_DB_PORT_5432_TCP_PORT=5432", "MY_DB_PORT_5432_TCP_PROTO=tcp",
				"MY_DB_SERVICE_HOST=10.43.0.3", "MY_DB_SERVICE_PORT=5432", "MY_DB_SERVICE_PORT_DNS=53", "MY_DB_SERVICE_PORT_SQL_PORT=5432"),
		},
		"missing config map": {env: []corev1.EnvVar{{Name: "A", ValueFrom: fromMap("none", "k", nil)}}, err: `configmap "none" not found`},
		"missing key":        {env: []corev1.EnvVar{{Name: "A", ValueFrom: fromMap("settings", "k", nil)}}, err: `couldn't find key k in ConfigMap shop/settings`},
		"missing secret key": {env: []corev1.EnvVar{{Name: "A", ValueFrom: fromSecret("login", "k", nil)}}, err: `couldn't find key k in Secret shop/login`},
		"missing envFrom":    {from: []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "none"}}}}, err: `secret "none" not found`},
		"missing in file":    {env: []corev1.EnvVar{{Name: "A", ValueFrom: file("made", "Z", nil)}}, err: `environment variable key "Z" not found in file "made"`},
		"field unknown":      {env: []corev1.EnvVar{{Name: "A", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "spec.x"}}}}, err: "unsupported fieldPath: spec.x"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			container := corev1.Container{Name: "c", Env: test.env, EnvFrom: test.from,
				Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("300m")}}}
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", Labels: map[string]string{"a/b": "v"}},
				Spec: corev1.PodSpec{EnableServiceLinks: &test.links, Containers: []corev1.Container{container}}, Status: corev1.PodStatus{PodIP: "10.42.0.7"}}
			vars, err := maker.Env(t.Context(), pod, &container)
			if test.err != "" {
				if err == nil || err.Error() != test.err {
					t.Fatalf("got %v, want %s", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, v := range vars {
				got = append(got, v.Key+"="+string(v.Value))
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestExpand(t *testing.T) {
	vars := []*cri.KeyValue{{Key: "A", Value: []byte("1")}, {Key: "E"}, {Key: "LOOP", Value: []byte("$(A)")}}
	tests := map[string]string{
		"":                 "",
		"plain":            "plain",
		"$(A)":             "1",
		"x$(A)y$(A)":       "x1y1",
		"$(E)":             "",
		"$(LOOP)":          "$(A)",
		"$(none)":          "$(none)",
		"$$(A)":            "$(A)",
		"$$$(A)":           "$1",
		"$$$$(A)":          "$$(A)",
		"$(A":              "$(A",
		"$(x $(A)":         "$(x $(A)",
		"$A $ $":           "$A $ $",
		"$()":              "$()",
		"a$":               "a$",
		"${A}":             "${A}",
		"$(A)$$(A)$(nope)": "1$(A)$(nope)",
	}
	for word, want := range tests {
		if got := Expand([]string{word}, vars); got[0] != want {
			t.Errorf("%q: got %q, want %q", word, got[0], want)
		}
	}
	if got := Expand(nil, vars); got != nil {
		t.Errorf("nothing became %q", got)
	}
	if got, err := ExpandStrict("logs/$(A)/$(B)", vars); err == nil || err.Error() != `missing value for "B"` {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := ExpandStrict("logs/$(A)", vars); err != nil || got != "logs/1" {
		t.Errorf("got %q, %v", got, err)
	}
}

func FuzzParseFile(f *testing.F) {
	f.Add("A='1'\nB='2\n3' # x\n\n#c\n  C = 'x'\n")
	f.Add("A=1")
	f.Add("A='")
	f.Add("='x'")
	f.Fuzz(func(t *testing.T, text string) {
		vars, err := ParseFile(text)
		if err != nil {
			return
		}
		for name, value := range vars {
			again, err := ParseFile(name + "='" + value + "'")
			if err != nil || again[name] != value {
				t.Errorf("%q=%q does not survive: %v %v", name, value, again, err)
			}
		}
	})
}
